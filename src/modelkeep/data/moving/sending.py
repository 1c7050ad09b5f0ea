"""From the cache to a remote: what it lacks, verified before it leaves, members first and their manifest last."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.formats import manifest
from modelkeep.data.moving.chunked import send_chunked
from modelkeep.data.moving.cloud import Cloud, key_of, oid_of
from modelkeep.data.moving.healing import heal
from modelkeep.data.moving.transfer import Kind, Load, Moved, Tally, loads
from modelkeep.data.progress import Progress

if TYPE_CHECKING:
    from modelkeep.data.moving.wanted import Wanted
    from modelkeep.data.repository import Repository
    from modelkeep.store.remote import Upload


def send(repo: Repository, cloud: Cloud, outs: Sequence[Wanted], progress: Progress) -> Moved:
    """Sends what a remote lacks of some outputs.

    Whatever is corrupt or missing here is replaced from the workspace or the remote if that can be; if not, it is
    named among the faults, and all the rest is sent. A folder's manifest is sent when the remote holds every member,
    because whoever finds a manifest there takes the folder to be whole.

    Args:
        repo: the repository.
        cloud: the remote.
        outs: what is sent.
        progress: hears of bytes.
    """
    tally = Tally()
    for load in loads(send_chunked(repo, cloud, outs, tally, progress)):
        _Sending(repo, cloud, load, tally, progress).run()
    return tally.moved(cloud.name)


class _Sending:
    def __init__(self, repo: Repository, cloud: Cloud, load: Load, tally: Tally, progress: Progress) -> None:
        self.repo, self.cloud, self.load, self.tally, self.progress = repo, cloud, load, tally, progress

    def run(self) -> None:
        load, cloud = self.load, self.cloud
        whole = set() if load.legacy else cloud.whole(load.manifests)
        self.tally.skipped += len(whole)
        load.outs = [one for one in load.outs if one.oid not in whole]
        if not load.outs:
            return
        looked = cloud.look()
        self._open_manifests()
        needed = (
            set(load.files) | {oid for entries in load.members.values() for _, oid in entries} | load.members.keys()
        )
        absent = cloud.missing(needed, legacy=load.legacy)
        self.tally.skipped += len(needed) - len(absent)
        if not absent:
            self._settled(load.members, looked)
            return
        asked = load.asked()
        unsent = {oid for oid in absent if not oid.endswith(".dir") and oid not in asked}
        unsent |= self._send(absent & asked)
        complete = [oid for oid, entries in load.members.items() if unsent.isdisjoint([part for _, part in entries])]
        unsent |= self._send(absent.intersection(complete))
        if cloud.settles:
            self._settled([oid for oid in complete if oid not in unsent], looked)

    def _settled(self, manifests: Collection[str], looked: dict[str, int]) -> None:
        if manifests and not self.load.legacy:
            self.cloud.remember(manifests, looked)

    def _open_manifests(self) -> None:
        """Reads the folders' manifests, from the remote when the cache has lost them."""
        blobs, load = self.repo.blobs, self.load
        for oid, one in load.manifests.items():
            for again in (True, False):
                try:
                    load.members[oid] = manifest.decode(blobs.read(oid, legacy=load.legacy), one.name)
                    break
                except (Missing, Corrupt) as error:
                    if again and heal(self.repo, [oid], load, [self.cloud], self.progress):
                        self.tally.healed.append(one.name)
                        continue
                    self.tally.fault(_kind(error), oid, one.name, error.message)
                    break

    def _send(self, oids: set[str]) -> set[str]:
        """Sends objects and gives those that could not be sent."""
        if not oids:
            return set()
        blobs, legacy = self.repo.blobs, self.load.legacy
        lost = blobs.missing(oids, legacy=legacy)
        bad = set(blobs.verified(oids - lost, legacy=legacy))
        if lost or bad:
            names = self.load.names(lost | bad)
            healed = heal(self.repo, lost | bad, self.load, [self.cloud] if bad else [], self.progress)
            self.tally.healed += [names[oid] for oid in sorted(healed)]
            for oid in (lost | bad) - healed:
                if oid in bad:
                    self.tally.fault(
                        "corrupt", oid, names[oid], "corrupt in the cache, now in quarantine, and no sound copy"
                    )
                else:
                    self.tally.fault("missing", oid, names[oid], f"neither in the cache nor on {self.cloud.name}")
            oids -= self.tally.faults.keys()
        return (lost | bad) - oids | self._upload(oids)

    def _upload(self, oids: set[str]) -> set[str]:
        from modelkeep.store.remote import Upload

        blobs, legacy = self.repo.blobs, self.load.legacy
        items: list[Upload] = []
        for oid in sorted(oids):
            place = blobs.place_of(oid, legacy=legacy)
            try:
                size = os.stat(place).st_size  # noqa: PTH116
            except FileNotFoundError:  # in pieces: it is put together now
                place = os.fspath(blobs.path(oid, legacy=legacy))
                size = os.stat(place).st_size  # noqa: PTH116
            items.append(Upload(key_of(oid, legacy=legacy), place, size))
        sizes = {item.key: item.size for item in items}
        failed: set[str] = set()
        with self.progress.begin(f"Pushing to {self.cloud.name}", total=sum(sizes.values()), unit="bytes") as step:
            for key, error, _ in self.cloud.remote.upload(items, step.add):
                oid = oid_of(key)
                if error is None:
                    self.tally.objects += 1
                    self.tally.bytes += sizes[key]
                else:
                    failed.add(oid)
                    self.tally.failed(oid, self.load.names([oid]).get(oid, oid), error)
        self.cloud.healed(oids - failed)
        return failed


def _kind(error: Missing | Corrupt) -> Kind:
    return "missing" if isinstance(error, Missing) else "corrupt"
