"""Reading objects to see whether they are what their names say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from modelkeep.store.blobs.digest import SILENT, Step
from modelkeep.store.blobs.hashed import (
    LARGE,
    READ,
    dos2unix_md5,
    dos2unix_md5_of,
    file_blake3,
    file_digest,
    md5_of,
)
from modelkeep.store.blobs.known import Stamp, stamp_of
from modelkeep.store.forked import parted

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 4


class Checking(NamedTuple):
    """A file that is to be read.

    Args:
        oid: what its bytes should be.
        path: where it is.
        legacy: the name is one of DVC before 3.0.
        blake3: if known, what large files are compared with.
    """

    oid: str
    path: str
    legacy: bool = False
    blake3: bytes = b""


class Checked(NamedTuple):
    """What reading a file found.

    Args:
        oid: what its bytes should be.
        problem: what is wrong with it, for people; empty when it is sound.
        stamp: of the file, as it was before it was read.
        blake3: of a large file; empty otherwise.
        legacy: as asked.
    """

    oid: str
    problem: str
    stamp: Stamp
    blake3: bytes = b""
    legacy: bool = False


_NOTHING = Stamp(0, 0, 0)
_LATER = "large"


def check(items: Sequence[Checking], step: Step = SILENT) -> Iterator[Checked]:
    """Reads files and gives what was found, in any order; a file that is gone is not among them.

    Small files are read by several processes, large ones by several threads. Where a blake3 is known it stands for the
    md5: if it is the same the bytes are the same. If it is not, the md5 is asked before anything is called bad.

    Raises:
        OSError: a file cannot be read, for another reason than a failing disk.
    """
    by_path = {item.path: item for item in items}
    large = []
    for found in parted(_check_small, items, list[tuple[str, Checked]]):
        moved = 0
        for path, one in found:
            if one.problem == _LATER:
                large.append(by_path[path])
            elif one.stamp != _NOTHING or one.problem:
                moved += one.stamp.size
                yield one
        step.add(moved)
    for other in threaded(lambda item, part: _check_large(item, part, alone=len(large) == 1), large, step):
        if other is not None:
            yield other


def _check_small(items: Sequence[Checking]) -> list[tuple[str, Checked]]:
    return [(item.path, _small(item)) for item in items]


def _small(item: Checking) -> Checked:
    try:
        stat, data = read_up_to(item.path, LARGE)
    except FileNotFoundError:
        return Checked(item.oid, "", _NOTHING)
    except OSError as error:
        return Checked(item.oid, unreadable(error), _NOTHING, legacy=item.legacy)
    if data is None:
        return Checked(item.oid, _LATER, _NOTHING)
    return Checked(item.oid, judged(item.oid, data, legacy=item.legacy), stamp_of(stat), legacy=item.legacy)


def read_up_to(path: str, limit: int) -> tuple[os.stat_result, bytes | None]:
    """What the system tells of a file, and all of its bytes; None when there are as many as the limit or more.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(path, READ)
    try:
        stat = os.fstat(fd)
        return stat, read_small(fd, stat.st_size) if stat.st_size < limit else None
    finally:
        os.close(fd)


def read_small(fd: int, size: int) -> bytes:
    """All of a file of about this size."""
    data = os.read(fd, size + 1)
    if len(data) != size:
        while more := os.read(fd, 1 << 20):
            data += more
    return data


def judged(oid: str, data: bytes, *, legacy: bool = False) -> str:
    """What is wrong with the bytes of an object, for people; empty when nothing is.

    >>> judged("d41d8cd98f00b204e9800998ecf8427e", b"")
    ''
    """
    found = md5_of(data)
    if found == oid[:32] or (legacy and dos2unix_md5_of(data) == oid[:32]):
        return ""
    return wrong(found, len(data))


def wrong(md5: str, size: int) -> str:
    """What people are told of an object whose md5 is another."""
    return f"the {size:,} bytes have the md5 {md5}"


def _check_large(item: Checking, step: Step, *, alone: bool) -> Checked | None:
    try:
        stamp = stamp_of(os.stat(item.path))
        if item.blake3 and file_blake3(item.path, step) == item.blake3:
            return Checked(item.oid, "", stamp, item.blake3, item.legacy)
        digest = file_digest(item.path, SILENT if item.blake3 else step, alone=alone)
        sound = digest.md5 == item.oid[:32] or (item.legacy and dos2unix_md5(item.path) == item.oid[:32])
    except FileNotFoundError:
        return None
    except OSError as error:
        return Checked(item.oid, unreadable(error), _NOTHING, legacy=item.legacy)
    return Checked(item.oid, "" if sound else wrong(digest.md5, digest.size), stamp, digest.blake3, item.legacy)


def unreadable(error: OSError) -> str:
    """What people are told of an object on a failing disk.

    Raises:
        OSError: it is the error itself, which says something else.
    """
    if error.errno != errno.EIO:
        raise error
    return f"cannot be read: {error.strerror}"


class _Counted:
    """A step for one of several threads: the amounts go to one step, one at a time."""

    def __init__(self, step: Step, lock: object) -> None:
        self._step, self._lock = step, lock

    def add(self, amount: int) -> None:
        with self._lock:  # type: ignore[attr-defined]
            self._step.add(amount)


def threaded(work: Callable[[T, Step], R], items: Iterable[T], step: Step) -> list[R]:
    """What the work makes of each item, in order, on as many threads as there are cores.

    Raises:
        BaseException: the first thing that any of it raised; all threads are done by then.
    """
    items = list(items)
    if len(items) < 2:
        return [work(item, step) for item in items]
    from concurrent.futures import ThreadPoolExecutor
    from threading import Lock

    counted = _Counted(step, Lock())
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1, len(items))) as pool:
        futures = [pool.submit(work, item, counted) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
