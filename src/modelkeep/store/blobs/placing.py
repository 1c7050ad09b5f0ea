"""Objects become workspace files: each verified before, each appearing whole, and nothing removed that is not replaced.

A folder that is not there yet is built aside and renamed into place as a whole; a file in a folder that is there is
built aside and renamed over what was there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.store.blobs.checking import judged, read_small, threaded, unreadable, wrong
from modelkeep.store.blobs.digest import Bad, Placed, Placing, Step
from modelkeep.store.blobs.hashed import CREATE, LARGE, READ, copy_hashed, dos2unix_md5, file_digest, write_all
from modelkeep.store.blobs.known import Sound, Stamp, stamp_of
from modelkeep.store.blobs.links import UNABLE, Kind, copy, kinds, make, works
from modelkeep.store.blobs.publish import OBJECT_MODE
from modelkeep.store.blobs.refusal import told
from modelkeep.store.forked import parted

if TYPE_CHECKING:
    from modelkeep.store.blobs.objects import Blobs


_NOWHERE: Final = Stamp(0, 0, 0)


class _Job(NamedTuple):
    number: int
    oid: str
    legacy: bool
    mode: int
    source: str
    aside: str
    target: str
    """Where it is renamed to; empty when its whole folder is renamed later."""


class Row(NamedTuple):
    """What became of one object.

    Args:
        number: of it.
        fate: `placed`, `bad`, `missing` or `large`.
        size: in bytes.
        problem: of a bad one.
        stamp: of one that was verified just now.
        blake3: of a large one that was.
        made: the stamp of the file that it became, or leads to.
    """

    number: int
    fate: str
    size: int = 0
    problem: str = ""
    stamp: Stamp | None = None
    blake3: bytes = b""
    made: Stamp = _NOWHERE


def place(blobs: Blobs, items: Iterable[Placing], step: Step, link_types: Sequence[str], aside: Path | None) -> Placed:
    """Objects become workspace files; see `Blobs.place`."""
    wanted = list({os.fspath(item.path): item for item in items}.values())
    if not wanted:
        return Placed(files=0, size=0)
    layout = _Layout([os.fspath(item.path) for item in wanted])
    first = _first(blobs, wanted)
    with told(layout.ground), _aside(blobs, layout.ground, aside) as folder:
        kind = _kind(link_types, first, folder) if first else "copy"
        layout.build(folder)
        jobs = [
            _Job(
                number,
                item.oid,
                item.legacy,
                0o777 if item.executable else 0o666,
                blobs.place_of(item.oid, legacy=item.legacy),
                *layout.ways[number],
            )
            for number, item in enumerate(wanted)
        ]
        rows = _run(blobs, jobs, kind, step)
        layout.publish({row.number for row in rows if row.fate == "placed"})
    return _told_of(blobs, wanted, rows, kind)


def _run(blobs: Blobs, jobs: Sequence[_Job], kind: Kind, step: Step) -> list[Row]:
    work = _Work(blobs, kind)
    rows: list[Row] = []
    later: list[_Job] = []
    for part in parted(lambda some: [work.small(job) for job in some], jobs, list[Row]):
        later += [jobs[row.number] for row in part if row.fate == "large"]
        rows += (done := [row for row in part if row.fate != "large"])
        step.add(sum(row.size for row in done))
    alone = len(later) == 1
    return rows + threaded(lambda job, heard: work.large(job, heard, alone=alone), later, step)


def _told_of(blobs: Blobs, items: Sequence[Placing], rows: Sequence[Row], kind: Kind) -> Placed:
    bad: dict[str, Bad] = {}
    for legacy in (False, True):
        here = [row for row in rows if items[row.number].legacy == legacy]
        blobs.known.remember(
            {items[row.number].oid: Sound(row.stamp, row.blake3) for row in here if row.stamp is not None},
            legacy=legacy,
        )
        for row in here:
            oid = items[row.number].oid
            if row.fate == "bad" and oid not in bad:
                bad[oid] = Bad(oid, row.problem)
                blobs.quarantine(oid, row.problem, legacy=legacy)
    placed = [row for row in rows if row.fate == "placed"]
    return Placed(
        files=len(placed),
        size=sum(row.size for row in placed),
        bad=tuple(bad.values()),
        missing=tuple(sorted({items[row.number].oid for row in rows if row.fate == "missing"})),
        kind=kind,
        stamps={os.fspath(items[row.number].path): _as_hashed(row.made) for row in placed},
    )


def _as_hashed(made: Stamp) -> tuple[int, int, int, int]:
    return made.inode, made.size, made.mtime_ns, 0


def _first(blobs: Blobs, items: Iterable[Placing]) -> str:
    """An object that is there, to try kinds of link with."""
    for item in items:
        path = blobs.place_of(item.oid, legacy=item.legacy)
        if os.path.isfile(path):
            return path
    return ""


def _kind(names: Sequence[str], source: str, folder: str) -> Kind:
    wanted = kinds(names)
    for kind in wanted:
        if works(kind, source, folder):
            return kind
    raise BadInput(
        f"cache.type {','.join(names)}: none of these works from {source} to {folder}",
        hint="Let cache.type be a list that ends with copy.",
    )


class _Layout:
    """Where each file is built and what is renamed in the end."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.ways: list[tuple[str, str]] = []
        self._paths = paths
        self._folders = [os.path.dirname(path) for path in paths]
        self._tops = {folder: _missing_top(folder) for folder in set(self._folders)}
        self._built: dict[str, str] = {}
        top = self._tops[self._folders[0]]
        self.ground = os.path.dirname(top) if top else self._folders[0]
        """A folder that is there, on whose file system the files are going to be."""

    def build(self, aside: str) -> None:
        """Makes the folders that are needed aside, and decides where each file is built."""
        tops = {top: f"{aside}/{index}" for index, top in enumerate(sorted({*self._tops.values()} - {""}))}
        self._built = tops
        for folder, top in self._tops.items():
            if top:
                os.makedirs(tops[top] + folder[len(top) :], exist_ok=True)
        for index, (path, folder) in enumerate(zip(self._paths, self._folders, strict=True)):
            top = self._tops[folder]
            if top:
                self.ways.append((tops[top] + path[len(top) :], ""))
            else:
                self.ways.append((f"{aside}/f{index}", path))

    def publish(self, done: set[int]) -> None:
        """Renames the folders that were built into place."""
        tops = {self._tops[self._folders[index]] for index in done} - {""}
        for top in sorted(tops):
            try:
                os.rename(self._built[top], top)
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                    raise
                _merge(self._built[top], top)


def _missing_top(folder: str) -> str:
    """The uppermost folder on the way that is not there; empty when all are."""
    top = ""
    while folder and not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise Conflict(f"{folder}: is a file where a folder is needed", hint="Move it away, then run it again.")
        top, folder = folder, os.path.dirname(folder)
    return top


def _merge(source: str, target: str) -> None:
    """Moves files singly, since somebody made the folder meanwhile."""
    for folder, _, names in os.walk(source):
        there = target + folder[len(source) :]
        os.makedirs(there, exist_ok=True)
        for name in names:
            os.replace(f"{folder}/{name}", f"{there}/{name}")


@contextmanager
def _aside(blobs: Blobs, ground: str, wanted: Path | None) -> Iterator[str]:
    """A folder to build in, on the file system of the workspace; gone afterwards.

    Where nobody names one, it is in the cache if that lies on the same file system and gives its folders no group of
    its own: what a killed run leaves there is swept away by the next. Otherwise it is in the workspace.
    """
    device = os.stat(ground).st_dev
    if wanted is not None:
        os.makedirs(wanted, exist_ok=True)
        if os.stat(wanted).st_dev == device:
            with _own(f"{wanted}/{os.urandom(8).hex()}") as folder:
                yield folder
            return
    if _fit(blobs.folder, device):
        with blobs.incoming(resume=False) as incoming:
            made = incoming.fresh()
            if _renames(made / "probe", ground):
                yield os.fspath(made)
                return
    with _own(f"{ground}/.modelkeep-{os.urandom(8).hex()}") as folder:
        yield folder


def _renames(probe: Path, ground: str) -> bool:
    """Whether a file may be renamed between the two: mounts of one file system may forbid it."""
    target = f"{ground}/.modelkeep-{os.urandom(8).hex()}"
    probe.mkdir()
    try:
        os.rename(probe, target)
    except OSError as error:
        probe.rmdir()
        if error.errno != errno.EXDEV:
            raise
        return False
    os.rmdir(target)
    return True


@contextmanager
def _own(folder: str) -> Iterator[str]:
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fit(cache: Path, device: int) -> bool:
    try:
        found = os.stat(cache)
    except FileNotFoundError:
        return False
    return found.st_dev == device and not found.st_mode & stat.S_ISGID and os.access(cache, os.W_OK)


class _Work:
    """What is done with each object, in whichever process or thread."""

    def __init__(self, blobs: Blobs, kind: Kind) -> None:
        self._known, self._kind = blobs.known, kind

    def small(self, job: _Job) -> Row:
        try:
            fd = os.open(job.source, READ)
        except FileNotFoundError:
            return Row(job.number, "missing")
        try:
            found = os.fstat(fd)
            if found.st_size >= LARGE:
                return Row(job.number, "large")
            sound = self._known.fits(job.oid, found, legacy=job.legacy)
            linked = self._links(job, found)
            data = b"" if sound and linked else read_small(fd, found.st_size)
        except OSError as error:
            return Row(job.number, "bad", problem=unreadable(error))
        finally:
            os.close(fd)
        if not sound and (problem := judged(job.oid, data, legacy=job.legacy)):
            return Row(job.number, "bad", problem=problem)
        made = self._linked(job, found) if linked else None
        if made is None:
            if linked and sound:
                data = Path(job.source).read_bytes()
            made = _written(job, data)
        return self._done(job, made, None if sound else stamp_of(found), b"")

    def large(self, job: _Job, step: Step, *, alone: bool) -> Row:
        try:
            found = os.stat(job.source)
        except FileNotFoundError:
            return Row(job.number, "missing")
        sound = self._known.fits(job.oid, found, legacy=job.legacy)
        if self._links(job, found):
            return self._large_link(job, found, step, sound=sound, alone=alone)
        if sound:
            copy(job.source, job.aside, mode=job.mode, step=step)
            return self._done(job, stamp_of(os.stat(job.aside)), None, b"")
        digest = copy_hashed(job.source, job.aside, step, mode=job.mode, alone=alone)
        if digest.md5 != job.oid[:32] and not (job.legacy and dos2unix_md5(job.aside) == job.oid[:32]):
            os.unlink(job.aside)
            return Row(job.number, "bad", problem=wrong(digest.md5, digest.size))
        return self._done(job, stamp_of(os.stat(job.aside)), stamp_of(found), digest.blake3)

    def _large_link(self, job: _Job, found: os.stat_result, step: Step, *, sound: bool, alone: bool) -> Row:
        blake3 = b""
        if sound:
            step.add(found.st_size)
        else:
            digest = file_digest(job.source, step, alone=alone)
            if digest.md5 != job.oid[:32] and not (job.legacy and dos2unix_md5(job.source) == job.oid[:32]):
                return Row(job.number, "bad", problem=wrong(digest.md5, digest.size))
            blake3 = digest.blake3
        made = self._linked(job, found)
        if made is None:
            copy(job.source, job.aside, mode=job.mode)
            made = stamp_of(os.stat(job.aside))
        return self._done(job, made, None if sound else stamp_of(found), blake3)

    def _links(self, job: _Job, found: os.stat_result) -> bool:
        """Whether the file is to be a link.

        Not when it is executable, since the object would have to be so too; not when it is empty, since the one empty
        object would soon have more names than a file can have.
        """
        if self._kind in {"hardlink", "symlink"}:
            return job.mode == 0o666 and found.st_size > 0
        return self._kind == "reflink" and found.st_size > 0

    def _linked(self, job: _Job, found: os.stat_result) -> Stamp | None:
        """Makes a link and gives the stamp that is seen through it; None where this kind does not work."""
        if self._kind == "hardlink" and stat.S_IMODE(found.st_mode) != OBJECT_MODE:
            with suppress(PermissionError):
                os.chmod(job.source, OBJECT_MODE)
        try:
            make(self._kind, job.source, job.aside, mode=job.mode)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            return None
        return stamp_of(os.stat(job.aside)) if self._kind == "reflink" else stamp_of(found)

    def _done(self, job: _Job, made: Stamp, stamp: Stamp | None, blake3: bytes) -> Row:
        if job.target:
            os.replace(job.aside, job.target)
        return Row(job.number, "placed", made.size, "", stamp, blake3, made)


def _written(job: _Job, data: bytes) -> Stamp:
    out = os.open(job.aside, CREATE, job.mode)
    try:
        write_all(out, data)
        return stamp_of(os.fstat(out))
    finally:
        os.close(out)
