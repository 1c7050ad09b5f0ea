"""From a remote to the cache: what the cache lacks, resumed where it was cut, verified before anybody sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data import manifest
from modelkeep.data.chunked import receive_chunked
from modelkeep.data.cloud import Cloud, key_of, oid_of
from modelkeep.data.progress import Progress
from modelkeep.data.transfer import Load, Moved, Tally, loads
from modelkeep.store.blobs.hashed import file_digest

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.data.wanted import Wanted
    from modelkeep.store.blobs.digest import Digest
    from modelkeep.store.blobs.publish import Incoming

_BATCH_FILES: Final = 50_000
_BATCH_BYTES: Final = 1 << 30
"""So much is published at once: a new folder of the cache appears whole, by one rename."""
_SMALL: Final = 16 << 20
"""What is left of an earlier run and no larger is hashed to see whether it is whole; else its size is asked for."""
_MODERN, _OLD = "md5", "md5-dos2unix"


def receive(repo: Repository, cloud: Cloud, outs: Sequence[Wanted], progress: Progress) -> Moved:
    """Fetches what the cache lacks of some outputs.

    Bytes that a cut transfer left behind are used again. Nothing appears in the cache before its bytes were hashed;
    an object that is corrupt on the remote is named among the faults, and all the rest is fetched.

    Args:
        repo: the repository.
        cloud: the remote.
        outs: what is fetched.
        progress: hears of bytes.
    """
    tally = Tally()
    lacking = _lacking(repo, outs)
    tally.skipped = len(outs) - len(lacking)
    for load in loads(receive_chunked(repo, cloud, lacking, tally, progress)):
        _Receiving(repo, cloud, load, tally, progress).run()
    return tally.moved(cloud.name)


def receive_objects(repo: Repository, cloud: Cloud, oids: Collection[str], load: Load, progress: Progress) -> set[str]:
    """Fetches single objects, whatever outputs they belong to, and gives those that are sound in the cache now."""
    tally = Tally()
    work = _Receiving(repo, cloud, load, tally, progress)
    work.fetch(set(oids))
    return set(oids) - tally.faults.keys()


def _lacking(repo: Repository, outs: Sequence[Wanted]) -> list[Wanted]:
    """Gives the outputs that the cache does not hold whole."""
    from modelkeep.data.metafile import Out
    from modelkeep.data.present import absent

    found = absent(repo, [Out(path=one.name, oid=one.oid, hash=_MODERN if not one.legacy else _OLD) for one in outs])
    return [one for one in outs if one.oid in found]


class _Receiving:
    def __init__(self, repo: Repository, cloud: Cloud, load: Load, tally: Tally, progress: Progress) -> None:
        self.repo, self.cloud, self.load, self.tally, self.progress = repo, cloud, load, tally, progress

    def run(self) -> None:
        load, blobs = self.load, self.repo.blobs
        self.fetch(blobs.missing(load.manifests, legacy=load.legacy))
        self._open_manifests()
        needed = load.asked()
        absent = blobs.missing(needed, legacy=load.legacy)
        self.tally.skipped += len(needed) - len(absent)
        self.fetch(absent)

    def _open_manifests(self) -> None:
        blobs, load = self.repo.blobs, self.load
        for oid, one in load.manifests.items():
            if oid in self.tally.faults or oid in load.members:
                continue
            try:
                data = blobs.read(oid, legacy=load.legacy)
            except Corrupt:
                self.fetch({oid})
                if oid in self.tally.faults:
                    continue
                self.tally.healed.append(one.name)
                data = blobs.read(oid, legacy=load.legacy)
            load.members[oid] = manifest.decode(data, one.name)

    def fetch(self, oids: set[str]) -> None:
        """Fetches objects into the cache; what cannot be had is noted among the faults."""
        if not oids:
            return
        with self.repo.blobs.incoming() as incoming:
            left = self._resume(incoming, oids)
            resumed = {oid for oid in left if _size(incoming.path(oid, legacy=self.load.legacy))}
            bad = self._download(incoming, left)
            again = bad.keys() & resumed  # what lay there from before may have been what was wrong
            if again:
                bad |= dict.fromkeys(again, "") | self._download(incoming, again)
                bad = {oid: reason for oid, reason in bad.items() if reason}
        self._corrupt(bad)

    def _corrupt(self, bad: dict[str, str]) -> None:
        if not bad:
            return
        names = self.load.names(bad)
        for oid, reason in bad.items():
            where = f"{self.cloud.name}:{key_of(oid, legacy=self.load.legacy)}"
            self.tally.fault("corrupt", oid, names.get(oid, oid), f"corrupt on the remote at {where}: {reason}")
        self.cloud.distrust(bad)

    def _resume(self, incoming: Incoming, oids: set[str]) -> set[str]:
        """Publishes what an earlier run fetched completely, and gives the rest."""
        legacy = self.load.legacy
        sizes = {one.oid: one.size for one in self.load.outs if not one.is_dir}
        complete: list[tuple[str, Path]] = []
        digests: dict[str, Digest] = {}
        for oid in oids:
            path = incoming.path(oid, legacy=legacy)
            size = _size(path)
            if not size:
                continue
            if size <= _SMALL and not legacy:
                digest = file_digest(path)
                if digest.md5 == oid[:32]:
                    digests[oid] = digest
                    complete.append((oid, path))
            elif size == self._expected(oid, sizes):
                complete.append((oid, path))
        if not complete:
            return oids
        bad = {oid for oid, _ in incoming.publish(complete, digests, legacy=legacy)}
        return oids - {oid for oid, _ in complete if oid not in bad}

    def _expected(self, oid: str, sizes: dict[str, int | None]) -> int | None:
        known = sizes.get(oid)
        if known is not None:
            return known
        stat = self.cloud.remote.stat(key_of(oid, legacy=self.load.legacy))
        return None if stat is None else stat.size

    def _download(self, incoming: Incoming, oids: set[str]) -> dict[str, str]:
        """Downloads and publishes objects; gives those whose bytes are wrong, and why."""
        from modelkeep.store.remote import Download

        if not oids:
            return {}
        legacy = self.load.legacy
        sizes = {one.oid: one.size for one in self.load.outs if not one.is_dir}
        items = [
            Download(key_of(oid, legacy=legacy), incoming.path(oid, legacy=legacy), sizes.get(oid))
            for oid in sorted(oids)
        ]
        bad: dict[str, str] = {}
        done: list[tuple[str, Path]] = []
        waiting = 0
        with self.progress.begin(f"Fetching from {self.cloud.name}", unit="bytes") as step:
            for key, error in self.cloud.remote.download(items, step.add):
                oid = oid_of(key)
                if error is not None:
                    self._failed(oid, error)
                    continue
                path = incoming.path(oid, legacy=legacy)
                size = _size(path)
                done.append((oid, path))
                waiting += size
                self.tally.objects += 1
                self.tally.bytes += size
                if len(done) >= _BATCH_FILES or waiting >= _BATCH_BYTES:
                    bad |= dict(incoming.publish(done, legacy=legacy))
                    done, waiting = [], 0
            bad |= dict(incoming.publish(done, legacy=legacy))
        self.tally.objects -= len(bad)
        return bad

    def _failed(self, oid: str, error: Exception) -> None:
        name = self.load.names([oid]).get(oid, oid)
        if isinstance(error, Missing):
            self.tally.fault("missing", oid, name, f"not on {self.cloud.name}")
        else:
            self.tally.failed(oid, name, error)  # type: ignore[arg-type]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
