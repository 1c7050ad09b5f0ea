"""Objects become workspace files: each verified before, each appearing whole, and nothing removed that is not replaced.

A folder that is not there yet is built aside and renamed into place as a whole; a file in a folder that is there is
built aside and renamed over what was there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import compress, repeat
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
    layout = _Layout(wanted)
    first = _first(blobs, wanted)
    with told(layout.ground), _aside(blobs, layout.ground, aside) as folder:
        kind = _kind(link_types, first, folder) if first else "copy"
        layout.build(folder)
        fates = _Fates(wanted)
        _run(_Work(blobs, kind, layout), fates, step)
        layout.publish(fates.placed())
    return fates.told(blobs, kind)


def _run(work: _Work, fates: _Fates, step: Step) -> None:
    later: list[int] = []
    for rows in parted(lambda some: [work.small(number) for number in some], range(len(fates.items)), list[Row]):
        later += [row.number for row in rows if row.fate == "large"]
        step.add(sum(row.size for row in rows))
        fates.take(rows)
    alone = len(later) == 1
    fates.take(threaded(lambda number, heard: work.large(number, heard, alone=alone), later, step))


class _Fates:
    """What became of every item, in little memory: there may be millions."""

    def __init__(self, items: Sequence[Placing]) -> None:
        self.items: Final = items
        self._made: Final = array("q", bytes(24 * len(items)))
        """Inode, size and mtime of each file; inode 0 where there is none."""
        self._sound: Final[dict[bool, dict[str, Sound]]] = {False: {}, True: {}}
        self._bad: Final[dict[bool, dict[str, Bad]]] = {False: {}, True: {}}
        self._missing: Final[set[str]] = set()

    def take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            item = self.items[row.number]
            if row.fate == "placed":
                made = row.made
                self._made[3 * row.number : 3 * row.number + 3] = array("q", (made.inode, made.size, made.mtime_ns))
            elif row.fate == "bad":
                self._bad[item.legacy].setdefault(item.oid, Bad(item.oid, row.problem))
            elif row.fate == "missing":
                self._missing.add(item.oid)
            if row.stamp is not None:
                self._sound[item.legacy][item.oid] = Sound(row.stamp, row.blake3)

    def placed(self) -> Iterator[Placing]:
        """Those items that are files now."""
        return compress(self.items, self._made[::3])

    def told(self, blobs: Blobs, kind: Kind) -> Placed:
        """Notes in the cache what was found out, and gives what callers hear."""
        for legacy, bad in self._bad.items():
            blobs.known.remember(self._sound[legacy], legacy=legacy)
            for one in bad.values():
                blobs.quarantine(one.oid, one.reason, legacy=legacy)
        made = self._made
        rows = zip(made[::3], made[1::3], made[2::3], repeat(0))
        stamps = {os.fspath(item.path): row for item, row in zip(self.items, rows, strict=False) if row[0]}
        return Placed(
            files=len(stamps),
            size=sum(made[1::3]),
            bad=tuple((self._bad[True] | self._bad[False]).values()),
            missing=tuple(sorted(self._missing)),
            kind=kind,
            stamps=stamps,
        )


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

    def __init__(self, items: Sequence[Placing]) -> None:
        self._items = items
        folders = {os.path.dirname(os.fspath(item.path)) for item in items}
        self._tops = {folder: _missing_top(folder) for folder in folders}
        self._built: dict[str, str] = {}
        self._aside = ""
        folder = os.path.dirname(os.fspath(items[0].path))
        top = self._tops[folder]
        self.ground = os.path.dirname(top) if top else folder
        """A folder that is there, on whose file system the files are going to be."""

    def build(self, aside: str) -> None:
        """Makes the folders that are needed aside."""
        self._aside = aside
        self._built = {top: f"{aside}/{index}" for index, top in enumerate(sorted({*self._tops.values()} - {""}))}
        for folder, top in self._tops.items():
            if top:
                os.makedirs(self._built[top] + folder[len(top) :], exist_ok=True)

    def job(self, blobs: Blobs, number: int) -> _Job:
        """What is to be done for one item."""
        item = self._items[number]
        path = os.fspath(item.path)
        top = self._tops[os.path.dirname(path)]
        aside, target = (self._built[top] + path[len(top) :], "") if top else (f"{self._aside}/f{number}", path)
        source = blobs.place_of(item.oid, legacy=item.legacy)
        return _Job(number, item.oid, item.legacy, 0o777 if item.executable else 0o666, source, aside, target)

    def publish(self, done: Iterable[Placing]) -> None:
        """Renames the folders that were built into place."""
        tops = {self._tops[os.path.dirname(os.fspath(item.path))] for item in done} - {""}
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

    def __init__(self, blobs: Blobs, kind: Kind, layout: _Layout) -> None:
        self._blobs, self._known, self._kind, self._layout = blobs, blobs.known, kind, layout

    def small(self, number: int) -> Row:
        job = self._layout.job(self._blobs, number)
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

    def large(self, number: int, step: Step, *, alone: bool) -> Row:
        job = self._layout.job(self._blobs, number)
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
