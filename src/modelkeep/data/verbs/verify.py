"""`verify`: every byte is read again, in the cache or on a remote, and what is bad is replaced by what is sound."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.formats import manifest
from modelkeep.data.moving.cloud import key_of, oid_of
from modelkeep.data.moving.transfer import Counted, Load, beside, loads
from modelkeep.data.moving.wanted import Wanted, by_remote, wanted
from modelkeep.data.progress import SILENT, Progress, Step
from modelkeep.store.blobs.hashed import dos2unix_md5, file_digest

if TYPE_CHECKING:
    from modelkeep.data.chunks.answers import BadPart
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class BadObject:
    """One object that is not what was written.

    Args:
        oid: its name.
        path: the file that it belongs to; its oid when no tracked file is known.
        where: `cache`, or the remote's name.
        reason: what is wrong with it.
        healed: whether a sound copy took its place.
    """

    oid: str
    path: str
    where: str
    reason: str
    healed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was read, and what was bad.

    Args:
        checked: how many objects were read.
        bytes: how much they hold.
        bad: those that were not sound.
    """

    checked: int = 0
    bytes: int = 0
    bad: tuple[BadObject, ...] = ()

    @property
    def healed(self) -> tuple[BadObject, ...]:
        """Those of the bad ones that are sound again."""
        return tuple(one for one in self.bad if one.healed)

    @property
    def sound(self) -> bool:
        """Whether nothing bad is left."""
        return all(one.healed for one in self.bad)

    def __add__(self, other: Verified) -> Verified:
        return Verified(checked=self.checked + other.checked, bytes=self.bytes + other.bytes, bad=self.bad + other.bad)


def verify(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    remote: str | None = None,
    all: bool = False,  # noqa: A002
    heal: bool = True,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> Verified:
    """Reads objects again, every byte, and replaces those that are not what was written.

    In the cache a bad object goes into quarantine; the workspace and the remotes are asked for a sound copy. On a
    remote a bad or missing one is sent again from the cache, if the cache or the workspace has a sound copy.

    Args:
        repo: the repository.
        targets: what is read; none means all that is tracked.
        remote: read what this remote holds instead of the cache; "" is the default remote.
        all: all objects that are there, whoever needs them.
        heal: replace bad objects.
        jobs: how many transfers run side by side.
        progress: hears of bytes.

    Raises:
        Missing: a target is not tracked; the remote is not configured.
        Unreachable: the remote does not answer.
    """
    outs = wanted(repo, targets, remote=remote or "", commits=all and not targets and _has_git(repo))
    with beside(repo, progress):
        if remote is not None:
            return _on_remotes(repo, by_remote(outs, remote), heal, jobs, progress)
        total = Verified()
        seen: dict[bool, set[str]] = {False: set(), True: set()}
        for load in loads(outs):
            total += _cache(repo, load, seen[load.legacy], heal, progress)
        if all:
            for legacy in (False, True):
                rest = {oid for oid, _, _, old in repo.blobs.oids() if old == legacy} - seen[legacy]
                total += _scrub(repo, Load([], legacy), rest, heal, progress)
        return total + _chunks(repo, outs, all, heal, progress)


def _has_git(repo: Repository) -> bool:
    from modelkeep.code.repository import Git

    git = Git.find(repo.root)
    if git is None:
        return False
    with git:
        return git.has_commits()


def _cache(repo: Repository, load: Load, seen: set[str], heal: bool, progress: Progress) -> Verified:
    """Reads the manifests first, because they name the rest; a bad one is healed before that."""
    manifests = set(load.manifests)
    total = _scrub(repo, load, manifests - repo.blobs.missing(manifests, legacy=load.legacy), heal, progress)
    for oid, one in load.manifests.items():
        try:
            load.members[oid] = manifest.decode(repo.blobs.read(oid, legacy=load.legacy), one.name)
        except (Missing, Corrupt):  # not here, or named above: there is nothing of the folder to be read
            continue
    files = load.asked()
    seen |= files | load.manifests.keys()
    return total + _scrub(repo, load, files - repo.blobs.missing(files, legacy=load.legacy), heal, progress)


def _scrub(repo: Repository, load: Load, oids: set[str], heal: bool, progress: Progress) -> Verified:
    if not oids:
        return Verified()
    with progress.begin("Reading the cache", unit="bytes") as drawn:
        step = Counted(drawn)
        found = repo.blobs.scrub(sorted(oids), step, legacy=load.legacy)
    names = load.names([one.oid for one in found])
    healed = _heal(repo, load, {one.oid for one in found}, progress) if heal and found else set()
    bad = tuple(
        BadObject(
            oid=one.oid, path=names.get(one.oid, one.oid), where="cache", reason=one.reason, healed=one.oid in healed
        )
        for one in found
    )
    return Verified(checked=len(oids), bytes=step.amount, bad=bad)


def _heal(repo: Repository, load: Load, oids: set[str], progress: Progress) -> set[str]:
    """Replaces objects of the cache from the workspace, then from the remotes of the outputs they belong to."""
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.moving.healing import heal

    healed = heal(repo, oids, load, [], progress)
    names = list(by_remote(load.outs)) or [""]
    for name in names:
        if healed == oids:
            break
        try:
            cloud = Cloud.open(repo, name)
            try:
                healed |= heal(repo, oids - healed, load, [cloud], progress)
            finally:
                cloud.close()
        except Error as error:
            progress.say(f"No sound copies from {name or 'the default remote'}: {error.message}")
    return healed


def _chunks(repo: Repository, outs: Sequence[Wanted], all: bool, heal: bool, progress: Progress) -> Verified:  # noqa: A002
    """Reads what chunked files are made of."""
    chunked = {one.oid: one for one in outs if one.chunked}
    if not (repo.blobs.folder / "modelkeep" / "chunks").is_dir() or not (chunked or all):
        return Verified()
    from modelkeep.data import chunks

    oids = chunks.locate(repo, chunked)
    with progress.begin("Reading chunks", unit="bytes") as drawn:
        step = Counted(drawn)
        found = chunks.verify(repo, None if all else oids, step)
    sound = _heal_chunks(repo, chunked, found, progress) if heal and found else set()
    bad = tuple(
        BadObject(
            oid=part.name,
            path=", ".join(sorted(chunked[oid].name if oid in chunked else oid for oid in part.oids)) or part.name,
            where="cache",
            reason=f"{part.kind}: {part.reason}",
            healed=bool(part.oids) and sound.issuperset(part.oids),
        )
        for part in found
    )
    return Verified(checked=len(oids), bytes=step.amount, bad=bad)


def _heal_chunks(
    repo: Repository, chunked: dict[str, Wanted], found: Sequence[BadPart], progress: Progress
) -> set[str]:
    """Puts bad pieces into quarantine, fetches them again, and gives the files that are whole and sound now."""
    from modelkeep.data import chunks
    from modelkeep.data.chunks.place import Place
    from modelkeep.data.chunks.upkeep import quarantine
    from modelkeep.data.moving.cloud import Cloud

    quarantine(Place.of(repo), found)
    oids = {oid for part in found for oid in part.oids}
    for name, some in by_remote(chunked[oid] for oid in sorted(oids & chunked.keys())).items():
        try:
            cloud = Cloud.open(repo, name)
            try:
                with progress.begin(f"Fetching chunks from {cloud.name}", unit="bytes") as step:
                    chunks.fetch(cloud.remote, repo, [one.oid for one in some], step.add)
            finally:
                cloud.close()
        except Error as error:
            progress.say(f"No sound chunks from {name or 'the default remote'}: {error.message}")
    whole = {oid for oid in oids if chunks.has(repo, oid)}
    return whole - {oid for part in chunks.verify(repo, whole) for oid in part.oids}


def _on_remotes(
    repo: Repository, groups: dict[str, list[Wanted]], heal: bool, jobs: int | None, progress: Progress
) -> Verified:
    from modelkeep.data.moving.cloud import Cloud

    total = Verified()
    for name, some in groups.items():
        cloud = Cloud.open(repo, name, jobs=jobs)
        try:
            for load in loads(some):
                total += _Reading(repo, cloud, load, progress).run(heal)
        finally:
            cloud.close()
    return total


class _Reading:
    """Reads one layout of one remote."""

    def __init__(self, repo: Repository, cloud: Cloud, load: Load, progress: Progress) -> None:
        self.repo, self.cloud, self.load, self.progress = repo, cloud, load, progress
        self.bad: dict[str, str] = {}
        self.checked = self.bytes = 0

    def run(self, heal: bool) -> Verified:
        load = self.load
        manifests = self._read(set(load.manifests))
        for oid in manifests:
            data = self._manifest(oid)
            if data is not None:
                load.members[oid] = manifest.decode(data, load.manifests[oid].name)
        members = {oid for entries in load.members.values() for _, oid in entries}
        there = self._read(load.asked())
        self.bad |= dict.fromkeys(members & load.asked() - there, "missing, though its folder's manifest is there")
        names = load.names(self.bad)
        self.cloud.distrust(self.bad)
        healed = self._send(self.bad.keys()) if heal and self.bad else set()
        bad = tuple(
            BadObject(oid=oid, path=names.get(oid, oid), where=self.cloud.name, reason=reason, healed=oid in healed)
            for oid, reason in sorted(self.bad.items())
        )
        return Verified(checked=self.checked, bytes=self.bytes, bad=bad)

    def _manifest(self, oid: str) -> bytes | None:
        """A folder's list of files: what the remote holds if it is sound, else what the cache holds."""
        if oid not in self.bad:
            return self.cloud.remote.read(key_of(oid, legacy=self.load.legacy))
        try:
            return self.repo.blobs.read(oid, legacy=self.load.legacy)
        except (Missing, Corrupt):  # then nobody knows what the folder holds, and its manifest is named as bad
            return None

    def _read(self, oids: set[str]) -> set[str]:
        """Reads those objects that are there, notes the bad ones, and gives all that are there."""
        keys = {key_of(oid, legacy=self.load.legacy): oid for oid in oids}
        there = {keys[key] for key in self.cloud.remote.has(list(keys))}
        with self.progress.begin(f"Reading {self.cloud.name}", unit="bytes") as step:
            for oid, path in self._files(sorted(there), step):
                digest = file_digest(path)
                self.checked += 1
                self.bytes += digest.size
                if digest.md5 != oid[:32] and not (self.load.legacy and dos2unix_md5(path) == oid[:32]):
                    self.bad[oid] = f"its bytes have the md5 {digest.md5}"
        return there

    def _files(self, oids: Sequence[str], step: Step) -> Iterator[tuple[str, Path]]:
        """Gives each object as a file: where it lies on a folder of this machine, else as a copy that is soon gone."""
        legacy = self.load.legacy
        if self.cloud.folder is not None:
            for oid in oids:
                path = self.cloud.folder / key_of(oid, legacy=legacy)
                yield oid, path
                step.add(path.stat().st_size)
            return
        from modelkeep.store.remote import Download

        scratch = self.repo.private / f"verify.{os.getpid()}"
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            items = (Download(key_of(oid, legacy=legacy), scratch / oid, None) for oid in oids)
            for key, error, _ in self.cloud.remote.download(items, step.add):
                if error is not None:
                    raise error
                yield oid_of(key), scratch / oid_of(key)
                (scratch / oid_of(key)).unlink()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _send(self, oids: Collection[str]) -> set[str]:
        """Sends sound copies from here, and gives those that could be sent."""
        from modelkeep.data.moving.healing import heal
        from modelkeep.store.remote import Upload

        blobs, legacy = self.repo.blobs, self.load.legacy
        lost = blobs.missing(oids, legacy=legacy) | set(blobs.verified(oids, legacy=legacy))
        sound = set(oids) - lost | heal(self.repo, lost, self.load, [], self.progress)
        items = []
        for oid in sorted(sound, key=lambda oid: (oid.endswith(".dir"), oid)):
            path = blobs.path(oid, legacy=legacy)
            items.append(Upload(key_of(oid, legacy=legacy), path, path.stat().st_size))
        with self.progress.begin(f"Sending to {self.cloud.name}", unit="bytes") as step:
            sent = {oid_of(key) for key, error, _ in self.cloud.remote.upload(items, step.add) if error is None}
        self.cloud.healed(sent)
        return sent
