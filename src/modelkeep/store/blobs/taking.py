"""Workspace files become objects: copied, or linked as they are.

A linked file is the user's own inode under a second name, so a program that goes on writing to it would change the
object. It is linked only when that is ruled out: its mode becomes 0444, then a lease proves that nobody has it open for
writing, and its stamp must be that of the bytes that were hashed. Otherwise it is copied. If somebody is writing, the
workspace file is left as it is, since a link in its place would cut the writer off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from modelkeep.core.errors import Conflict
from modelkeep.store.blobs.checking import read_small, threaded
from modelkeep.store.blobs.digest import SILENT, Digest, Placing, Stamp, Step, Taking
from modelkeep.store.blobs.hashed import (
    LARGE,
    READ,
    copy_blake3,
    copy_hashed,
    digest_of,
    dos2unix_md5,
    dos2unix_md5_of,
    file_blake3,
    file_digest,
    md5_of,
)
from modelkeep.store.blobs.known import Sound, stamp_of
from modelkeep.store.blobs.known import Stamp as ObjectStamp
from modelkeep.store.blobs.links import UNABLE, has_writer, reflink
from modelkeep.store.blobs.publish import OBJECT_MODE, write_object
from modelkeep.store.blobs.refusal import told
from modelkeep.store.forked import parted

if TYPE_CHECKING:
    from modelkeep.store.blobs.objects import Blobs

Keep = Literal["copy", "link"]
_FRESH_NS: Final = 2_000_000_000
"""A stamp as young as this proves nothing: two writes may fall into one tick of the clock."""
_MANY: Final = 1000
"""From so many files on, folders of the cache are listed instead of asking for single objects."""
_NOFOLLOW: Final = READ | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class _Job(NamedTuple):
    number: int
    path: str
    oid: str = ""
    blake3: bytes = b""
    stamp: Stamp | None = None


class Row(NamedTuple):
    """What became of one file.

    Args:
        number: of the file.
        fate: `new`, `there` (the cache has the object), `twin` (another file of this run has its bytes) or `large`.
        oid: its name.
        stamp: of the object where it is new; else only the size counts.
        blake3: of a large file.
        relink: set where the workspace file should become a link to the object: the stamp that it must still have.
    """

    number: int
    fate: Literal["new", "there", "twin", "large"]
    oid: str
    stamp: ObjectStamp
    blake3: bytes = b""
    relink: ObjectStamp | None = None


def take(
    blobs: Blobs, files: Iterable[Taking | tuple[str, Path, Digest | None]], keep: Keep, step: Step, *, legacy: bool
) -> int:
    """Files whose names are known become objects; see `Blobs.take`."""
    wanted = {one[0]: Taking(*one) for one in files}
    present = wanted.keys() - blobs.missing(wanted, legacy=legacy)
    present -= set(blobs.verified(present, legacy=legacy))
    todo = [wanted[oid] for oid in sorted(wanted.keys() - present)]
    jobs = [
        _Job(index, os.fspath(one.path), one.oid, one.digest.blake3 if one.digest else b"", one.stamp)
        for index, one in enumerate(todo)
    ]
    rows = _run(blobs, len(jobs), jobs.__getitem__, keep, step, legacy=legacy) if jobs else []
    return sum(row.fate == "new" for row in rows)


def ingest(
    blobs: Blobs,
    paths: Sequence[Path | str],
    keep: Keep,
    step: Step,
    meanwhile: Callable[[list[Digest]], None] | None,
) -> list[Digest]:
    """Files become objects in one pass; see `Blobs.ingest`."""
    digests: list[Digest] = []

    def known(rows: Sequence[Row]) -> None:
        ordered = sorted(rows, key=attrgetter("number"))
        digests.extend(Digest(row.oid, row.blake3, row.stamp.size) for row in ordered)
        if meanwhile is not None:
            meanwhile(digests)

    def job(number: int) -> _Job:
        return _Job(number, os.fspath(paths[number]))

    rows = _run(blobs, len(paths), job, keep, step, legacy=False, meanwhile=known)
    there = {row.oid: Path(paths[row.number]) for row in rows if row.fate == "there"}
    bad = blobs.verified(there)
    if bad:
        take(blobs, [(oid, there[oid], None) for oid in bad], keep, step, legacy=False)
    return digests


def _run(
    blobs: Blobs,
    count: int,
    job: Callable[[int], _Job],
    keep: Keep,
    step: Step,
    *,
    legacy: bool,
    meanwhile: Callable[[Sequence[Row]], None] | None = None,
) -> list[Row]:
    rows: list[Row] = []
    with blobs.incoming(resume=False) as incoming:
        fresh = incoming.fresh()
        work = _Work(blobs, os.fspath(fresh), legacy=legacy, many=count > _MANY)
        small = work.link_small if keep == "link" else work.copy_small
        large = work.link_large if keep == "link" else work.copy_large
        later: list[_Job] = []
        with told(blobs.folder):
            for part in parted(lambda some: [small(job(number)) for number in some], range(count), list[Row]):
                later += [job(row.number) for row in part if row.fate == "large"]
                rows += (done := [row for row in part if row.fate != "large"])
                step.add(sum(row.stamp.size for row in done))
            alone = len(later) == 1
            rows += threaded(lambda one, heard: large(one, heard, alone=alone), later, step)
        sound = {row.oid: Sound(row.stamp, row.blake3) for row in rows if row.fate == "new"}
        incoming.publish_whole(fresh, sound, legacy=legacy, meanwhile=meanwhile and partial(meanwhile, rows))
    _relink(blobs, job, rows, legacy=legacy)
    return rows


def _relink(blobs: Blobs, job: Callable[[int], _Job], rows: Iterable[Row], *, legacy: bool) -> None:
    """Makes those files links to the cache that are copies of an object and have not changed since they were read."""
    items = []
    for row in rows:
        path = job(row.number).path
        with contextlib.suppress(FileNotFoundError):
            if row.relink is not None and stamp_of(os.lstat(path)) == row.relink:
                items.append(Placing(row.oid, path, legacy=legacy))
    if items:
        blobs.place(items, link_types=("hardlink", "copy"))


class _Work:
    """What is done with each file, in whichever process or thread."""

    def __init__(self, blobs: Blobs, folder: str, *, legacy: bool, many: bool) -> None:
        self._blobs, self._folder, self._legacy, self._many = blobs, folder, legacy, many
        self._present: dict[str, set[str]] = {}
        self._reflinks = "reflink" in blobs.link_types
        self._made: set[str] = set()

    def copy_small(self, job: _Job, *, relink: ObjectStamp | None = None) -> Row:
        fd = os.open(job.path, READ)
        try:
            before = os.fstat(fd)
            if before.st_size >= LARGE:
                return Row(job.number, "large", "", stamp_of(before))
            data = read_small(fd, before.st_size)
            if not job.oid and stamp_of(os.fstat(fd)) != stamp_of(before):
                raise _changed(job.path)
        finally:
            os.close(fd)
        oid = self._name_of(job, data)
        size = ObjectStamp(len(data), 0, 0)
        if self._has(job, oid):
            return Row(job.number, "there", oid, size, relink=relink)
        try:
            stamp = write_object(self._target(oid), data)
        except FileExistsError:
            return Row(job.number, "twin", oid, size, relink=relink)
        return Row(job.number, "new", oid, stamp, relink=relink)

    def copy_large(self, job: _Job, step: Step, *, alone: bool, relink: ObjectStamp | None = None) -> Row:
        aside = f"{self._folder}/{job.number}"
        before = os.stat(job.path)
        oid, blake3 = self._copied(job, aside, step, alone)
        if not job.oid and stamp_of(os.stat(job.path)) != stamp_of(before):
            raise _changed(job.path)
        os.chmod(aside, OBJECT_MODE)
        stamp = stamp_of(os.stat(aside))
        if self._has(job, oid):
            os.unlink(aside)
            return Row(job.number, "there", oid, stamp, blake3, relink)
        os.rename(aside, self._target(oid))  # in place of a twin, perhaps, which has the same bytes
        return Row(job.number, "new", oid, stamp, blake3, relink)

    def link_small(self, job: _Job) -> Row:
        with _Guarded(job.path, below=LARGE) as held:
            if held.stat.st_size >= LARGE:
                return Row(job.number, "large", "", stamp_of(held.stat))
            if held.why:
                return self.copy_small(job, relink=held.relink)
            oid = job.oid
            if not held.unchanged(job.stamp):
                oid = self._name_of(job, read_small(held.fd, held.stat.st_size))
            row = self._linked(job, held, oid)
            return row or self.copy_small(job)

    def link_large(self, job: _Job, step: Step, *, alone: bool) -> Row:
        with _Guarded(job.path) as held:
            if held.why:
                return self.copy_large(job, step, alone=alone, relink=held.relink)
            oid, blake3 = job.oid, job.blake3
            if held.unchanged(job.stamp):
                step.add(held.stat.st_size)
            else:
                digest = digest_of(held.fd, step, alone=alone)
                oid = dos2unix_md5(job.path) if self._legacy else digest.md5
                blake3 = digest.blake3
                if job.oid and oid != job.oid:
                    raise _changed(job.path)
            row = self._linked(job, held, oid, blake3)
            return row or self.copy_large(job, SILENT, alone=alone)

    def _linked(self, job: _Job, held: _Guarded, oid: str, blake3: bytes = b"") -> Row | None:
        """Gives the user's own inode the object's name too; None where the file system does not do that."""
        target, stamp = self._target(oid), stamp_of(held.stat)
        if self._has(job, oid):
            return Row(job.number, "there", oid, stamp, blake3, stamp)
        try:
            os.link(job.path, target)
        except FileExistsError:
            return Row(job.number, "twin", oid, stamp, blake3, stamp)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            return None
        if stamp_of(os.stat(target)) != stamp:
            os.unlink(target)
            raise _changed(job.path)
        held.keep()
        return Row(job.number, "new", oid, stamp, blake3)

    def _copied(self, job: _Job, aside: str, step: Step, alone: bool) -> tuple[str, bytes]:
        """Makes a copy or a reflink and gives its name and blake3, from bytes that nobody changes any more."""
        cloned = self._cloned(job.path, aside)
        if job.oid and job.blake3:
            blake3 = file_blake3(aside, step) if cloned else copy_blake3(job.path, aside, step, mode=OBJECT_MODE)
            if blake3 != job.blake3:
                raise _changed(job.path)
            return job.oid, blake3
        if cloned:
            digest = file_digest(aside, step, alone=alone)
        else:
            digest = copy_hashed(job.path, aside, step, mode=OBJECT_MODE, alone=alone)
        oid = dos2unix_md5(aside) if self._legacy else digest.md5
        if job.oid and oid != job.oid:
            raise _changed(job.path)
        return oid, digest.blake3

    def _cloned(self, source: str, target: str) -> bool:
        if not self._reflinks:
            return False
        try:
            reflink(source, target, mode=OBJECT_MODE)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            self._reflinks = False
            return False
        return True

    def _name_of(self, job: _Job, data: bytes) -> str:
        oid = dos2unix_md5_of(data) if self._legacy else md5_of(data)
        if job.oid and oid != job.oid:
            raise _changed(job.path)
        return oid

    def _has(self, job: _Job, oid: str) -> bool:
        """Whether the cache has an object whose name was not known before."""
        if job.oid:
            return False
        if not self._many:
            return os.path.lexists(self._blobs.place_of(oid))
        present = self._present.get(oid[:2])
        if present is None:
            present = self._present[oid[:2]] = self._blobs.names_in(oid[:2])
        return oid[2:] in present

    def _target(self, oid: str) -> str:
        folder = f"{self._folder}/{oid[:2]}"
        if folder not in self._made:
            self._blobs.make_folder(Path(folder))
            self._made.add(folder)
        return f"{folder}/{oid[2:]}"


class _Guarded:
    """A user's file that nobody writes to, and nobody can begin to; it gets its mode back unless it is kept.

    Args:
        path: of the file.
        below: nothing is done to a file of this size or more.

    Attributes:
        fd: open for reading.
        stat: as it was before anything was done.
        why: why it cannot be linked, if so; then it has its mode back already.
        relink: its stamp, if a link to a copy may take its place.
    """

    __slots__ = ("_mode", "_symlink", "fd", "relink", "stat", "why")

    def __init__(self, path: str, *, below: int = sys.maxsize) -> None:
        self._symlink = False
        try:
            self.fd = os.open(path, _NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            self._symlink = True
            self.fd = os.open(path, READ)
        self.stat = os.fstat(self.fd)
        self._mode = -1
        self.relink: ObjectStamp | None = None
        self.why = self._obstacle() if self.stat.st_size < below else "it is large"

    def _obstacle(self) -> str:
        mode = self.stat.st_mode
        if self._symlink or not stat.S_ISREG(mode) or mode & 0o111 or not self.stat.st_size:
            return "it is empty, executable, a symlink or no regular file"
        if self.stat.st_nlink > 1:
            self.relink = stamp_of(self.stat)
            return "it has other names"
        try:
            os.fchmod(self.fd, OBJECT_MODE)
        except PermissionError:
            self.relink = stamp_of(self.stat)
            return "it belongs to somebody else"
        self._mode = stat.S_IMODE(mode)
        writer = has_writer(self.fd)
        if writer is False:
            return ""
        self._restore()
        if writer is None:
            self.relink = stamp_of(self.stat)
        return "somebody writes to it" if writer else "the system does not tell whether somebody writes to it"

    def unchanged(self, stamp: Stamp | None) -> bool:
        """Whether it is, beyond doubt, still the file that was hashed."""
        now = self.stat
        return (
            stamp == (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
            and time.time_ns() - now.st_ctime_ns > _FRESH_NS
        )

    def keep(self) -> None:
        """Lets it stay read-only, since it is an object now."""
        self._mode = -1

    def _restore(self) -> None:
        if self._mode >= 0:
            os.fchmod(self.fd, self._mode)
            self._mode = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._restore()
        finally:
            os.close(self.fd)


def _changed(path: str) -> Conflict:
    return Conflict(f"{path}: changed while it was being added", hint="Add it again when nobody writes to it.")
