"""How objects come to be: written aside, verified, put on the disk, then renamed into place.

DVC trusts every object whose mode is 0444, so nobody may ever see half of one. Bytes on their way in lie in a folder of
their own process, `<cache>/modelkeep/incoming/<random>/`, which the process holds by a lock on the folder that the
system lifts when the process ends, however it ends:

    parts/md5/ab/…, parts/old/ab/…   partial downloads; a later run takes them over and goes on
    whole-0/ab/…                     objects written by this run alone; swept away when it is gone

Files that this run alone wrote for a first byte that the cache has not had yet are published by renaming their folder,
so a first `add` or `pull` needs 256 renames, not one for each file. Otherwise each file is renamed, in the order of the
names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelkeep.core.errors import BadInput, Missing
from modelkeep.store.blobs.digest import Bad, Digest
from modelkeep.store.blobs.durable import FEW, beside, sync_files, sync_names
from modelkeep.store.blobs.hashed import CREATE, write_all
from modelkeep.store.blobs.known import Sound, Stamp, stamp_of
from modelkeep.store.blobs.refusal import told

if TYPE_CHECKING:
    from modelkeep.store.blobs.objects import Blobs

OBJECT_MODE: Final = 0o444
"""DVC reads it as: verified. It is the same in shared caches."""


class Incoming:
    """A folder of this process for files on their way into the cache.

    Args:
        blobs: the cache.
        resume: take over what downloads of earlier runs left.
    """

    def __init__(self, blobs: Blobs, *, resume: bool = True) -> None:
        self._blobs: Final = blobs
        self._made: Final[set[str]] = set()
        self._fresh = 0
        top = blobs.folder / "modelkeep" / "incoming"
        blobs.make_folder(top)
        with told(top):
            self._lock, self.folder = _claim(blobs, top)
            for left in _left(top, self.folder):
                if resume:
                    _merge(left / "parts", self.folder / "parts")
                _sweep(left)

    def path(self, oid: str, *, legacy: bool = False) -> Path:
        """Where the bytes of an object are to be written; the file there may hold the beginning of them already."""
        return Path(self.place(oid, legacy=legacy))

    def place(self, oid: str, *, legacy: bool = False) -> str:
        """The same as text, where there are many."""
        self._blobs.check_name(oid)
        folder = f"{self.folder}/parts/{'old' if legacy else 'md5'}/{oid[:2]}"
        if folder not in self._made:
            self._blobs.make_folder(Path(folder))
            self._made.add(folder)
        return f"{folder}/{oid[2:]}"

    def fresh(self) -> Path:
        """A new folder for objects that this run writes whole, each below the first byte of its name."""
        folder = self.folder / f"whole-{self._fresh}"
        self._fresh += 1
        self._blobs.make_folder(folder)
        return folder

    def publish(
        self,
        items: Iterable[tuple[str, Path | str]],
        digests: Mapping[str, Digest] | None = None,
        *,
        legacy: bool = False,
    ) -> list[Bad]:
        """Makes complete files objects, and gives those whose bytes are not what their name says; these are removed.

        Args:
            items: object and file; the file lies on the cache's file system.
            digests: what the caller found while writing the bytes; a file without one is hashed here.
            legacy: names and places are those of DVC before 3.0.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
            Missing: there is no such file.
        """
        from modelkeep.store.blobs.checking import Checking, check

        paths = {oid: os.fspath(path) for oid, path in items}
        for oid in paths:
            self._blobs.check_name(oid)
        digests = digests or {}
        bad = [
            Bad(oid, f"the bytes have the md5 {digests[oid].md5}")
            for oid in paths
            if oid in digests and digests[oid].md5[:32] != oid[:32]
        ]
        unread = [Checking(oid, path, legacy=legacy) for oid, path in paths.items() if oid not in digests]
        blake3 = {oid: digests[oid].blake3 for oid in paths if oid in digests}
        with told(self.folder):
            for found in check(unread):
                if found.problem:
                    bad.append(Bad(found.oid, found.problem))
                blake3[found.oid] = found.blake3
            for oid, _ in bad:
                os.unlink(paths.pop(oid))
            for oid in paths.keys() - blake3.keys():
                raise Missing(f"{paths[oid]}: is gone", hint="Run it again.")
            sound = {oid: _ready(path, blake3[oid]) for oid, path in paths.items()}
            whole = self._full(paths.values())
            self._install(paths, lambda: self._blobs.known.remember(sound, legacy=legacy), legacy=legacy, whole=whole)
            self._made.difference_update(whole)
        return bad

    def _full(self, paths: Iterable[str]) -> set[str]:
        """Those of our folders in which nothing else is than these files."""
        parts, folders = f"{self.folder}/parts/", Counter(map(os.path.dirname, paths))
        return {name for name, count in folders.items() if name.startswith(parts) and len(os.listdir(name)) == count}

    def publish_whole(
        self,
        folder: Path,
        found: Mapping[str, Sound],
        *,
        legacy: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Makes everything in a folder of `fresh` objects; the caller has verified each and knows its stamp.

        Args:
            folder: of `fresh`.
            found: all that is in it.
            legacy: names and places are those of DVC before 3.0.
            meanwhile: is done while the disk writes; no object has its name yet.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        top = os.fspath(folder)

        def work() -> None:
            self._blobs.known.remember(found, legacy=legacy)  # of no account until there is an object with that stamp
            if meanwhile is not None:
                meanwhile()

        with told(folder):
            whole = {f"{top}/{oid[:2]}" for oid in found}
            self._install({oid: f"{top}/{oid[:2]}/{oid[2:]}" for oid in found}, work, legacy=legacy, whole=whole)

    def close(self) -> None:
        """Removes what is no beginning of a download, and lets another process take over the rest."""
        if self._lock >= 0:
            _sweep(self.folder)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _install(
        self, paths: Mapping[str, str], meanwhile: Callable[[], None], *, legacy: bool, whole: Set[str]
    ) -> None:
        """Puts the bytes on the disk, gives them their names, and puts the names on the disk.

        Args:
            paths: object and file.
            meanwhile: is done while the disk writes.
            legacy: names and places are those of DVC before 3.0.
            whole: folders in which nothing else is than these files.
        """
        sync = partial(sync_files, paths.values(), os.fspath(self.folder))
        if len(paths) > FEW:
            beside(sync, meanwhile)
        else:
            sync()
            meanwhile()
        prefixes: dict[str, list[str]] = {}
        for oid in sorted(paths):
            prefixes.setdefault(oid[:2], []).append(oid)
        folders = []
        for oids in prefixes.values():
            target = os.path.dirname(self._blobs.place_of(oids[0], legacy=legacy))
            folders.append(target)
            sources = {os.path.dirname(paths[oid]) for oid in oids}
            if len(sources) > 1 or not sources <= whole or not self._rename_folder(sources.pop(), target):
                self._rename_files(paths, oids, target)
        sync_names([*folders, *{os.path.dirname(folder) for folder in folders}])

    def _rename_folder(self, folder: str, target: str) -> bool:
        """Publishes a folder that nobody else writes to; not when the cache has one like it already."""
        if os.path.lexists(target):
            return False
        parent = os.path.dirname(target)
        if parent not in self._made:
            self._blobs.make_folder(Path(parent))
            self._made.add(parent)
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT}:
                return False
            _across(error)
            raise
        return True

    def _rename_files(self, paths: Mapping[str, str], oids: list[str], target: str) -> None:
        self._blobs.make_folder(Path(target))
        for oid in oids:
            try:
                os.rename(paths[oid], f"{target}/{oid[2:]}")
            except FileNotFoundError:  # somebody took the empty folder away
                self._blobs.make_folder(Path(target))
                os.rename(paths[oid], f"{target}/{oid[2:]}")
            except OSError as error:
                _across(error)
                raise


def write_object(path: str, data: bytes) -> Stamp:
    """Writes a new file in an object's mode and gives its stamp.

    Raises:
        OSError: there is one already, or no room.
    """
    fd = os.open(path, CREATE, OBJECT_MODE)
    try:
        write_all(fd, data)
        after = os.fstat(fd)
        if after.st_mode & 0o7777 != OBJECT_MODE:
            os.fchmod(fd, OBJECT_MODE)
    finally:
        os.close(fd)
    return stamp_of(after)


def _across(error: OSError) -> None:
    if error.errno == errno.EXDEV:
        raise BadInput(
            f"{error.filename2}: lies on another file system than the rest of the cache",
            hint="Let cache.dir name a folder on that file system.",
        ) from error


def _ready(path: str, blake3: bytes) -> Sound:
    stat = os.stat(path)
    if stat.st_mode & 0o7777 != OBJECT_MODE:
        os.chmod(path, OBJECT_MODE)
    return Sound(stamp_of(stat), blake3)


def _claim(blobs: Blobs, top: Path) -> tuple[int, Path]:
    while True:
        folder = top / os.urandom(8).hex()
        blobs.make_folder(folder)
        fd = _lock(folder)
        if fd >= 0:
            return fd, folder


def _left(top: Path, own: Path) -> Iterator[Path]:
    """What processes that are gone left; each is held while it is looked at."""
    for name in sorted(os.listdir(top)):
        folder = top / name
        if folder == own:
            continue
        fd = _lock(folder)
        if fd >= 0:
            try:
                yield folder
            finally:
                os.close(fd)


def _lock(folder: Path) -> int:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(folder).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def _merge(source: Path, target: Path) -> None:
    """Moves partial files over; where both have one, the longer stays."""
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        for name in names:
            there.mkdir(parents=True, exist_ok=True)
            old, new = Path(folder) / name, there / name
            if not new.exists() or new.stat().st_size < old.stat().st_size:
                old.replace(new)
            else:
                old.unlink()


def _sweep(folder: Path) -> None:
    """Removes everything but beginnings of downloads, and the folder with the last of them."""
    for name in os.listdir(folder):
        if name != "parts":
            shutil.rmtree(folder / name, ignore_errors=True)
    for inner, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(inner)
