"""Bytes that survive a power loss: asked for once for many files, singly for few.

DVC trusts an object that it finds in the cache with mode 0444, and after `add` the cache may hold the only copy of a
version. So the bytes of objects are on the disk before their names appear, and the names are before the verb returns.

One syncfs for 20,000 files of 4 KB took 0.2 s where writing them took 0.5 to 0.9 s (ext4); it also waits for what
everybody else has written, so while there is much of that, files are synced singly: the disk begins with all of them
before the first is waited for, and the first one's commit carries the others. A large file is sent to the disk while it
is being written: of the 0.65 s that fdatasync took after 2 GB nothing was left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

FEW: Final = 64
_MUCH: Final = 512 << 20
_START: Final = 2
"""SYNC_FILE_RANGE_WRITE: begin to write, wait for nothing."""


def sync_files(paths: Collection[str], folder: str) -> None:
    """Returns when the bytes of these files survive a power loss.

    Args:
        paths: all on one file system.
        folder: one on that file system.

    Raises:
        OSError: the disk failed.
    """
    if len(paths) > FEW and sys.platform == "linux" and _dirty() < _MUCH:
        _sync_all(folder)
        return
    if len(paths) > 1:
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            begin_writing(fd, 0, 0)
            os.close(fd)
    for path in paths:
        _synced(path, data_only=True)


def beside(sync: Callable[[], None], work: Callable[[], None]) -> None:
    """Does some work while another thread waits for the disk; returns when both are done.

    Raises:
        OSError: the disk failed.
        Exception: the work did.
    """
    from threading import Thread

    failed: list[BaseException] = []

    def wait() -> None:
        try:
            sync()
        except BaseException as error:  # noqa: BLE001 it is raised again where the caller sees it
            failed.append(error)

    thread = Thread(target=wait)
    thread.start()
    try:
        work()
    finally:
        thread.join()
    if failed:
        raise failed[0]


def sync_names(folders: Collection[str]) -> None:
    """Returns when the names in these folders survive a power loss.

    For many it is one syncfs again: each fsync asks the disk to empty its cache, though the first one's commit has
    carried all the others.

    Args:
        folders: all on one file system.

    Raises:
        OSError: the disk failed.
    """
    if len(folders) > FEW and sys.platform == "linux" and _dirty() < _MUCH:
        _sync_all(next(iter(folders)))
        return
    for path in folders:
        _synced(path, data_only=False)


def _sync_all(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc().syncfs(fd):
            _raise(folder)
    finally:
        os.close(fd)


def _dirty() -> int:
    """How many bytes wait to be written on this machine; as good as endless when it does not tell."""
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"Dirty:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return sys.maxsize


def begin_writing(fd: int, offset: int, size: int) -> None:
    """Lets the disk begin with a part of a file that was just written; this is advice, so it cannot fail."""
    if sys.platform == "linux":
        import ctypes

        _libc().sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), ctypes.c_uint(_START))


def _synced(path: str, *, data_only: bool) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif data_only:
            os.fdatasync(fd)
        else:
            os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(fd)


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _raise(path: str) -> None:
    import ctypes

    number = ctypes.get_errno()
    if number != errno.ENOSYS:
        raise OSError(number, os.strerror(number), path)
    os.sync()  # a sandbox that does not let syncfs through
