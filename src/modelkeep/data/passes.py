"""One pass over a large file: md5 here, reading and blake3 on a second thread. And several large files at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import md5
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.data.workers import cores
from modelkeep.store.blobs.digest import SILENT, Digest, Step

if TYPE_CHECKING:
    from blake3 import blake3

CHUNK: Final = 1 << 20
"""Fits the processor's own memory, so that what one hash has read is still near for the next."""
_BUFFERS: Final = 4
Mend = Callable[[bytes], bytes]


class Stopped(Exception):
    """Somebody else's error ended this work."""


def one_pass(
    file: int,
    step: Step = SILENT,
    *,
    aside: bool = False,
    copy: int | None = None,
    mend: Mend | None = None,
) -> Digest:
    """Gives the hashes of an open file, from its beginning.

    Args:
        file: its descriptor.
        step: hears how many bytes are done.
        aside: read, hash by blake3 and copy on a second thread.
        copy: a descriptor of a file that becomes the same.
        mend: what md5 sees instead of a part of 1 MiB; then there is no blake3.

    Raises:
        OSError: it cannot be read, or the copy not be written.
    """
    os.lseek(file, 0, os.SEEK_SET)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    if copy is not None:
        os.ftruncate(copy, 0)
        os.lseek(copy, 0, os.SEEK_SET)
    second = _second(mend)
    name = md5(usedforsecurity=False)
    size = 0
    for part in (_ahead if aside else _direct)(file, second, copy):
        name.update(part if mend is None else mend(bytes(part)))
        size += len(part)
        step.add(len(part))
    return Digest(name.hexdigest(), second.digest() if second is not None else b"", size)


def _second(mend: Mend | None) -> blake3 | None:
    if mend is not None:
        return None
    from blake3 import blake3

    return blake3()


def _direct(file: int, second: blake3 | None, copy: int | None) -> Iterator[memoryview]:
    """Gives the file's parts, all in this thread."""
    buffer = memoryview(bytearray(CHUNK))
    while part := _filled(file, buffer):
        if second is not None:
            second.update(part)
        _write(copy, part)
        yield part


def _ahead(file: int, second: blake3 | None, copy: int | None) -> Iterator[memoryview]:
    """Gives the file's parts, which another thread has read and hashed and copied."""
    reader = _Reader(file, second, copy)
    thread = threading.Thread(target=reader.run, name="modelkeep-read", daemon=True)
    thread.start()
    try:
        while (part := reader.full.get()) is not None:
            yield part
            reader.free.put(reader.spent.get())
    finally:
        reader.stopped = True
        reader.free.put(memoryview(bytearray(0)))
        thread.join()
    if reader.error is not None:
        raise reader.error


class _Reader:
    """Reads ahead into a few buffers."""

    def __init__(self, file: int, second: blake3 | None, copy: int | None) -> None:
        self.file: Final = file
        self.second: Final = second
        self.copy: Final = copy
        self.free: Final[SimpleQueue[memoryview]] = SimpleQueue()
        self.full: Final[SimpleQueue[memoryview | None]] = SimpleQueue()
        self.spent: Final[SimpleQueue[memoryview]] = SimpleQueue()
        """Buffers that this thread no longer needs."""
        self.stopped = False
        self.error: BaseException | None = None
        for _ in range(_BUFFERS):
            self.free.put(memoryview(bytearray(CHUNK)))

    def run(self) -> None:
        try:
            while not self.stopped:
                buffer = self.free.get()
                part = _filled(self.file, buffer)
                if not part:
                    break
                self.full.put(part)
                if self.second is not None:
                    self.second.update(part)
                _write(self.copy, part)
                self.spent.put(buffer)
        except BaseException as error:  # noqa: BLE001
            self.error = error
            self.spent.put(memoryview(bytearray(0)))
        finally:
            self.full.put(None)


def _filled(file: int, buffer: memoryview) -> memoryview:
    """Reads until the buffer is full or the file ends: parts are of 1 MiB whatever the file system gives at once."""
    size = 0
    while size < len(buffer):
        count = os.readv(file, [buffer[size:]])
        if not count:
            break
        size += count
    return buffer[:size]


def _write(copy: int | None, part: memoryview) -> None:
    while copy is not None and part:
        part = part[os.write(copy, part) :]


class _Told(NamedTuple):
    """What a thread says: so many bytes done; or that a file is done; or what went wrong."""

    moved: int = 0
    number: int = -1
    digest: Digest | None = None
    error: BaseException | None = None


def side_by_side(
    paths: Sequence[str], hashed: Callable[[str, Step, bool], Digest], step: Step
) -> Iterator[tuple[int, Digest]]:
    """Gives (number, hashes) of large files as they are done, as many at once as there are cores.

    No thread outlives the iteration, however it ends; the first error ends it.

    Args:
        paths: of the files.
        hashed: hashes one; its arguments are path, who hears of bytes done, and whether to use a second thread.
        step: hears how many bytes are done, in the caller's thread.
    """
    if len(paths) == 1:
        yield 0, hashed(paths[0], step, True)
        return
    crew = _Crew(paths, hashed)
    threads = [
        threading.Thread(target=crew.run, name="modelkeep-hash", daemon=True) for _ in range(min(cores(), len(paths)))
    ]
    for thread in threads:
        thread.start()
    try:
        missing = len(paths)
        while missing:
            told = crew.told.get()
            if told.error is not None:
                raise told.error
            if told.digest is not None:
                missing -= 1
                yield told.number, told.digest
            else:
                step.add(told.moved)
    finally:
        crew.stopped = True
        for thread in threads:
            thread.join()


class _Crew:
    """Threads that take one file after the other; also the `Step` that each reports to."""

    def __init__(self, paths: Sequence[str], hashed: Callable[[str, Step, bool], Digest]) -> None:
        self.paths: Final = paths
        self.hashed: Final = hashed
        self.numbers: Final = iter(range(len(paths)))
        self.told: Final[SimpleQueue[_Told]] = SimpleQueue()
        self.aside: Final = len(paths) < cores()
        self.stopped = False

    def add(self, amount: int) -> None:
        if self.stopped:
            raise Stopped
        self.told.put(_Told(moved=amount))

    def run(self) -> None:
        try:
            while not self.stopped and (number := next(self.numbers, None)) is not None:
                self.told.put(_Told(number=number, digest=self.hashed(self.paths[number], self, self.aside)))
        except BaseException as error:  # noqa: BLE001
            self.told.put(_Told(error=error))
