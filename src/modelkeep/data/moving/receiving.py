"""From a remote to the cache: what the cache lacks, resumed where it was cut, verified before anybody sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.formats import manifest
from modelkeep.data.moving.chunked import receive_chunked
from modelkeep.data.moving.cloud import Cloud, key_of, oid_of
from modelkeep.data.moving.transfer import Counted, Load, Moved, Tally, loads
from modelkeep.data.progress import Progress
from modelkeep.store.blobs.hashed import file_digest

if TYPE_CHECKING:
    from modelkeep.data.moving.wanted import Wanted
    from modelkeep.data.repository import Repository
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
    absent = lacking(repo, outs)
    tally.skipped = len(outs) - len(absent)
    for load in loads(receive_chunked(repo, cloud, absent, tally, progress)):
        _Receiving(repo, cloud, load, tally, progress).run()
    return tally.moved(cloud.name)


def receive_objects(repo: Repository, cloud: Cloud, oids: Collection[str], load: Load, progress: Progress) -> set[str]:
    """Fetches single objects, whatever outputs they belong to, and gives those that are sound in the cache now."""
    tally = Tally()
    work = _Receiving(repo, cloud, load, tally, progress)
    work.fetch(set(oids))
    return set(oids) - tally.faults.keys()


def lacking(repo: Repository, outs: Sequence[Wanted]) -> list[Wanted]:
    """Gives the outputs that the cache does not hold whole; costs next to nothing when nothing changed there."""
    from modelkeep.data.formats.metafile import Out
    from modelkeep.data.workspace.present import absent

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
            begun = _begun(incoming, self.load.legacy)
            left = oids - self._resume(incoming, oids & begun)
            bad = self._download(incoming, left)
            again = bad.keys() & begun  # what lay there from before may have been what was wrong
            if again:
                second = self._download(incoming, again)
                bad = {oid: reason for oid, reason in (bad | second).items() if oid not in again or oid in second}
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
        """Publishes what an earlier run fetched completely, and gives what that was."""
        legacy = self.load.legacy
        complete: dict[str, Path] = {}
        digests: dict[str, Digest] = {}
        for oid in oids:
            path = incoming.path(oid, legacy=legacy)
            size = path.stat().st_size
            if size <= _SMALL and not legacy:
                digest = file_digest(path)
                if digest.md5 == oid[:32]:
                    digests[oid] = digest
                    complete[oid] = path
            elif size == self._expected(oid):
                complete[oid] = path
        if not complete:
            return set()
        return complete.keys() - {oid for oid, _ in incoming.publish(complete.items(), digests, legacy=legacy)}

    def _expected(self, oid: str) -> int | None:
        known = self.load.sizes.get(oid)
        if known is not None:
            return known
        stat = self.cloud.remote.stat(key_of(oid, legacy=self.load.legacy))
        return None if stat is None else stat.size

    def _download(self, incoming: Incoming, oids: Collection[str]) -> dict[str, str]:
        """Downloads and publishes objects; gives those whose bytes are wrong, and why."""
        from modelkeep.store.remote import Download

        legacy = self.load.legacy
        sizes = self.load.sizes
        paths = {oid: incoming.place(oid, legacy=legacy) for oid in sorted(oids)}
        items = [Download(key_of(oid, legacy=legacy), path, sizes.get(oid)) for oid, path in paths.items()]
        bad: dict[str, str] = {}
        done: dict[str, str] = {}
        digests: dict[str, Digest] = {}
        published = 0
        with self.progress.begin(f"Fetching from {self.cloud.name}", total=self._total(oids), unit="bytes") as step:
            heard = Counted(step)
            for key, error, digest in self.cloud.remote.download(items, heard.add):
                oid = oid_of(key)
                if error is not None:
                    self._failed(oid, error)
                    continue
                done[oid] = paths[oid]
                if digest is not None and not legacy:
                    digests[oid] = digest
                if len(done) >= _BATCH_FILES or heard.amount - published >= _BATCH_BYTES:
                    bad |= dict(incoming.publish(done.items(), digests, legacy=legacy))
                    self.tally.objects += len(done)
                    done, published = {}, heard.amount
            bad |= dict(incoming.publish(done.items(), digests, legacy=legacy))
        self.tally.objects += len(done) - len(bad)
        self.tally.bytes += heard.amount
        return bad

    def _total(self, oids: Collection[str]) -> int | None:
        """How many bytes are to come, as far as metafiles tell: those of whole folders and of single files."""
        wanted = set(oids)
        known = 0
        for one in self.load.outs:
            members = {oid for _, oid in self.load.members.get(one.oid, ())} or {one.oid}
            if one.size is not None and members <= wanted:
                known += one.size
                wanted -= members
        return None if wanted else known

    def _failed(self, oid: str, error: Error) -> None:
        name = self.load.names([oid]).get(oid, oid)
        if isinstance(error, Missing):
            self.tally.fault("missing", oid, name, f"not on {self.cloud.name}")
        else:
            self.tally.failed(oid, name, error)


def _begun(incoming: Incoming, legacy: bool) -> set[str]:
    """Gives the objects of which earlier runs left bytes."""
    top = incoming.path("0" * 32, legacy=legacy).parent.parent
    return {
        path.parent.name + path.name
        for path in top.glob("[0-9a-f][0-9a-f]/*")
        if path.is_file() and path.stat().st_size
    }
