"""What waits on disk while the server is away: per process a folder of append-only files of framed packages.

A frame is magic, length, checksum, rows and coding, then the package's body. A file cut in the middle is read up to
the cut. The folder's lock tells whether its process lives; whoever finds an unlocked one takes it over.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Final, Protocol

from modelkeep.sdk.packages import CODINGS, Package

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HEADER: Final = struct.Struct("<4sIIIB3x")
_MAGIC: Final = b"MKSP"
_SEGMENT_BYTES: Final = 8_000_000
_LARGEST: Final = 256_000_000
Dropped = Callable[[str, int], None]


class Waiting(Protocol):
    """Packages in order, oldest first."""

    def append(self, package: Package) -> None:
        """Adds the newest."""
        ...

    def head(self) -> Package | None:
        """Gives the oldest, or None when nothing waits."""
        ...

    def advance(self) -> None:
        """Forgets the oldest."""
        ...

    def adopt(self) -> None:
        """Takes over what dead processes left."""
        ...

    def close(self) -> None:
        """Lets go of files; what waits stays."""
        ...

    def abandon(self) -> None:
        """Lets go of files in a forked child; they stay the parent's."""
        ...


@dataclass(slots=True)
class Segment:
    """One file, read from `offset` on."""

    path: Path
    offset: int = 0


def server_folder(root: Path, url: str) -> Path:
    """Gives the folder of everything that waits for one server: what was meant for one never reaches another."""
    return root / blake2b(url.encode(), digest_size=6).hexdigest()


class DiskSpool:
    """Packages on disk.

    Args:
        folder: of this server, shared with other processes; made when the first package comes.
        process: name of this process, unique.
        quota_bytes: of the shared folder; beyond it the oldest file of this process goes.
        dropped: called with (reason, rows).
    """

    def __init__(self, folder: Path, process: str, *, quota_bytes: int, dropped: Dropped) -> None:
        self._folder = folder
        self._own = folder / process.replace("/", "_").replace(":", "_")
        self._quota = quota_bytes
        self._dropped = dropped
        self._segments: deque[Segment] = deque()
        self._locks: dict[Path, IO[bytes]] = {}
        self._file: IO[bytes] | None = None
        self._number = 0
        self._given: tuple[Segment, int] | None = None

    def append(self, package: Package) -> None:
        """Adds the newest package; it survives the process from here on.

        Raises:
            OSError: the disk takes nothing.
        """
        package = package.smaller()
        frame = _frame(package)
        if not self._room(len(frame)):
            self._dropped("spool_quota", package.rows)
            return
        file = self._writable(len(frame))
        start = file.tell()
        try:
            file.write(frame)
        except OSError:
            file.truncate(start)
            file.seek(start)
            raise

    def head(self) -> Package | None:
        """Gives the oldest package, or None when nothing waits; what is cut or damaged is counted and skipped."""
        while self._segments:
            segment = self._segments[0]
            try:
                found = _read(segment.path, segment.offset)
            except FileNotFoundError:
                found = None
            except (OSError, ValueError) as error:
                self._dropped("spool_cut", getattr(error, "rows", 1))
                found = None
            if found is not None:
                self._given = (segment, segment.offset)
                return found
            self._forget(segment)
        return None

    def advance(self) -> None:
        """Forgets the package that `head` gave last, unless the quota has taken it meanwhile."""
        given, self._given = self._given, None
        if given is None or not self._segments or given != (self._segments[0], self._segments[0].offset):
            return
        segment = given[0]
        size = _frame_bytes(segment.path, segment.offset)
        segment.offset += size
        if segment.offset >= _size(segment.path):
            self._forget(segment)

    def adopt(self) -> None:
        """Takes over the folders of dead processes, before what this process has."""
        try:
            others = sorted(path for path in self._folder.iterdir() if path.is_dir() and path not in self._locks)
        except OSError:
            return
        for folder in reversed([path for path in others if path != self._own]):
            lock = _lock(folder)
            if lock is None:
                continue
            self._locks[folder] = lock
            segments = sorted(folder.glob("*.spool"))
            self._segments.extendleft(Segment(path) for path in reversed(segments))
            if not segments:
                self._release(folder)

    def close(self) -> None:
        """Lets go of the files; the next process takes over what waits."""
        self._end_file()
        waiting = {segment.path.parent for segment in self._segments}
        for folder in list(self._locks):
            if folder in waiting:
                self._locks.pop(folder).close()
            else:
                self._release(folder)
        self._segments.clear()

    def abandon(self) -> None:
        """Closes what a fork inherited; files and locks stay the parent's."""
        self._end_file()
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()
        self._segments.clear()

    def _writable(self, size: int) -> IO[bytes]:
        if self._own not in self._locks:
            self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _lock(self._own)
            if lock is None:
                raise OSError(f"{self._own} is locked by another process")
            self._locks[self._own] = lock
        if self._file is not None and self._file.tell() + size > _SEGMENT_BYTES:
            self._end_file()
        if self._file is None:
            self._number += 1
            path = self._own / f"{self._number:010d}.spool"
            self._file = path.open("ab", buffering=0)
            self._segments.append(Segment(path))
        return self._file

    def _room(self, size: int) -> bool:
        held = sum(_size(path) for path in self._folder.glob("*/*.spool"))
        while held + size > self._quota and self._segments:
            oldest = self._segments[0]
            held -= _size(oldest.path)
            self._dropped("spool_quota", _rows(oldest.path, oldest.offset))
            self._forget(oldest)
        return held + size <= self._quota

    def _forget(self, segment: Segment) -> None:
        self._segments.remove(segment)
        folder = segment.path.parent
        if folder == self._own and self._file is not None and Path(str(self._file.name)) == segment.path:
            self._end_file()
        segment.path.unlink(missing_ok=True)
        if not any(other.path.parent == folder for other in self._segments):
            self._release(folder)

    def _release(self, folder: Path) -> None:
        if folder == self._own:
            self._end_file()
        lock = self._locks.pop(folder, None)
        with suppress(OSError):
            (folder / "lock").unlink(missing_ok=True)
            folder.rmdir()
        if lock is not None:
            lock.close()

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class MemorySpool:
    """The same in memory, for where no folder can be written; lost with the process.

    Args:
        quota_bytes: beyond it the oldest package goes.
        dropped: called with (reason, rows).

    >>> spool = MemorySpool(10, lambda reason, rows: print(reason, rows))
    >>> spool.append(Package(b"12345678", "identity", 3)); spool.append(Package(b"1234", "identity", 1))
    spool_quota 3
    >>> spool.head().rows
    1
    """

    def __init__(self, quota_bytes: int, dropped: Dropped) -> None:
        self._quota = quota_bytes
        self._dropped = dropped
        self._packages: deque[Package] = deque()
        self._held = 0

    def append(self, package: Package) -> None:
        """Adds the newest package."""
        self._packages.append(package)
        self._held += len(package.body)
        while self._held > self._quota and self._packages:
            self._dropped("spool_quota", self._packages[0].rows)
            self.advance()

    def head(self) -> Package | None:
        """Gives the oldest package, or None."""
        return self._packages[0] if self._packages else None

    def advance(self) -> None:
        """Forgets the oldest package."""
        if self._packages:
            self._held -= len(self._packages.popleft().body)

    def adopt(self) -> None:
        """Memory of other processes cannot be taken over."""

    def close(self) -> None:
        """Counts what waits as lost: memory ends with the process."""
        for package in self._packages:
            self._dropped("exit", package.rows)
        self._packages.clear()

    def abandon(self) -> None:
        """Forgets what a fork inherited."""
        self._packages.clear()


class Cut(ValueError):
    """A frame that is not whole; `rows` it would have held, 1 when not even that can be read."""

    def __init__(self, path: Path, offset: int, rows: int) -> None:
        super().__init__(f"{path}: cut or damaged at byte {offset}")
        self.rows = rows


def _frame(package: Package) -> bytes:
    head = _HEADER.pack(
        _MAGIC, len(package.body), zlib.crc32(package.body), package.rows, CODINGS.index(package.coding)
    )
    return head + package.body


def _read(path: Path, offset: int) -> Package | None:
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(_HEADER.size)
        if not head:
            return None
        if len(head) < _HEADER.size:
            raise Cut(path, offset, 1)
        magic, size, checksum, rows, coding = _HEADER.unpack(head)
        if magic != _MAGIC or size > _LARGEST or coding >= len(CODINGS):
            raise Cut(path, offset, 1)
        body = file.read(size)
        if len(body) < size or zlib.crc32(body) != checksum:
            raise Cut(path, offset, rows)
    return Package(body, CODINGS[coding], rows)


def _frame_bytes(path: Path, offset: int) -> int:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return _HEADER.size + int(_HEADER.unpack(file.read(_HEADER.size))[1])
    except (OSError, struct.error):
        return _LARGEST


def _rows(path: Path, offset: int) -> int:
    total = 0
    while True:
        try:
            found = _read(path, offset)
        except (OSError, ValueError):
            return total
        if found is None:
            return total
        total += found.rows
        offset += _HEADER.size + len(found.body)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lock(folder: Path) -> IO[bytes] | None:
    """Opens and locks a folder's lock file, or gives None while a living process holds it."""
    try:
        file = (folder / "lock").open("ab", buffering=0)
    except OSError:
        return None
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    if os.name != "nt" and not (folder / "lock").exists():
        file.close()
        return None
    return file
