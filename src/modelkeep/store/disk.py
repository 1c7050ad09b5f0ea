"""The disk as the stores see it: few verbs, so that a test can make each of them fail."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Buffer

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The error numbers that mean: no room here now, there may be some later."""

_VECTOR: Final = 512


class Disk:
    """Reads, writes and makes durable; every method raises `OSError` when the machine says no.

    >>> import tempfile
    >>> disk, folder = Disk(), Path(tempfile.mkdtemp())
    >>> disk.keep(folder / "note", b"hello")
    >>> disk.names(folder)
    ['note']
    >>> fd = disk.open(folder / "note")
    >>> disk.read(fd, 1, 3), disk.size(fd)
    (b'ell', 5)
    >>> disk.close(fd)
    """

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        """Gives a descriptor; `create` insists that the file is new."""
        flags = os.O_RDWR if write or create else os.O_RDONLY
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0) | os.O_CLOEXEC, 0o600)

    def close(self, fd: int) -> None:
        """Gives the descriptor back."""
        os.close(fd)

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """Gives up to `size` bytes; fewer only at the end of the file."""
        data = os.pread(fd, size, offset)
        if len(data) == size or not data:
            return data
        pieces = [data]
        offset, size = offset + len(data), size - len(data)
        while size and (data := os.pread(fd, size, offset)):
            pieces.append(data)
            offset, size = offset + len(data), size - len(data)
        return b"".join(pieces)

    def map(self, path: Path) -> mmap.mmap:
        """Gives a whole file as memory, to be read only; it must not be empty."""
        fd = self.open(path)
        try:
            return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        finally:
            self.close(fd)

    def write(self, fd: int, offset: int, pieces: Sequence[Buffer]) -> None:
        """Puts the pieces one behind the other at `offset`, all of them or an error."""
        rest = [view for piece in pieces if (view := memoryview(piece).cast("B"))]
        while rest:
            done = os.pwritev(fd, rest[:_VECTOR], offset)
            offset += done
            while rest and done >= len(rest[0]):
                done -= len(rest.pop(0))
            if done:
                rest[0] = rest[0][done:]

    def truncate(self, fd: int, size: int) -> None:
        """Cuts the file, or makes it longer with zeros."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Returns when the file's bytes and length survive a power loss."""
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Returns when the folder's list of names survives a power loss."""
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def size(self, fd: int) -> int:
        """The file's length in bytes."""
        return os.fstat(fd).st_size

    def rename(self, path: Path, to: Path) -> None:
        """Renames, replacing what was there."""
        path.replace(to)

    def remove(self, path: Path) -> None:
        """Removes a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted; none when there is no such folder."""
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def free(self, folder: Path) -> int:
        """Bytes that this process may still write on the folder's disk."""
        return shutil.disk_usage(folder).free

    def keep(self, path: Path, data: Buffer) -> None:
        """Writes a small file whole: after a crash there is the old one or the new one."""
        fresh = path.with_name(path.name + ".new")
        self.remove(fresh)
        fd = self.open(fresh, create=True)
        try:
            self.write(fd, 0, [data])
            self.sync(fd)
        finally:
            self.close(fd)
        self.rename(fresh, path)
        self.sync_folder(path.parent)
