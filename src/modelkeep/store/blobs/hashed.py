"""Hashing while moving: one pass over a file's bytes gives its md5, its blake3 and, if wanted, its copy.

md5 is the bound, some 0.6 GB/s on a core. So beside the thread that does nothing but md5 another one reads, writes and
computes blake3, which all together take less. Small files have no blake3: what it saves when they are checked again is
less than opening them costs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from modelkeep.store.blobs.digest import SILENT, Digest, Step
from modelkeep.store.blobs.durable import begin_writing

if TYPE_CHECKING:
    from queue import SimpleQueue

    from blake3 import blake3

LARGE: Final = 1 << 20
"""Files of this size and more have a blake3 beside their md5 and are worked on by threads."""
_PIECE: Final = 1 << 20
_BUFFER: Final = 4 << 20
_BUFFERS: Final = 3
_BESIDE: Final = 32 << 20
_BEHIND: Final = 64 << 20
_TEXT: Final = bytes(range(32, 127)) + b"\n\r\t\f\b"
READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def beginning(source: Path | str, target: Path | str, mode: int) -> Iterator[tuple[int, int]]:
    """Opens a file for reading and a new one for writing, which is removed again when what is done with them fails.

    Args:
        source: what is read.
        target: must not exist yet.
        mode: the target's, less the umask.

    Raises:
        OSError: the source cannot be read, or the target exists.
    """
    fd = os.open(source, READ)
    try:
        out = os.open(target, CREATE, mode)
        try:
            yield fd, out
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(out)
    finally:
        os.close(fd)


def md5_of(data: bytes | memoryview) -> str:
    """The md5 of bytes, 32 hex digits.

    >>> md5_of(b"")
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def file_digest(path: Path | str, step: Step = SILENT, *, alone: bool = True) -> Digest:
    """The digest of a file, in one pass; without a blake3 when the file is small.

    Args:
        path: what is read.
        step: hears of bytes.
        alone: a second thread may help; False where several files are read at once anyway.

    Raises:
        OSError: the file cannot be read.
    """
    fd = os.open(path, READ)
    try:
        return _digest(fd, -1, step, alone)
    finally:
        os.close(fd)


def copy_hashed(
    source: Path | str, target: Path | str, step: Step = SILENT, *, mode: int = 0o666, alone: bool = True
) -> Digest:
    """Copies a file into a new one and gives the digest of what was written, in one pass.

    Args:
        source: what is read.
        target: must not exist yet; removed again when the copy fails.
        step: hears of bytes.
        mode: the target's, less the umask.
        alone: a second thread may help.

    Raises:
        OSError: the source cannot be read, the target exists or there is no room.
    """
    with beginning(source, target, mode) as (fd, out):
        return _digest(fd, out, step, alone)


def digest_of(fd: int, step: Step = SILENT, *, alone: bool = True, out: int = -1) -> Digest:
    """The digest of an open file, from where it stands; what is read is written to `out`, if that is one too."""
    return _digest(fd, out, step, alone)


def file_blake3(path: Path | str, step: Step = SILENT) -> bytes:
    """The blake3 of a file, 32 bytes.

    Raises:
        OSError: the file cannot be read.
    """
    fd = os.open(path, READ)
    try:
        return _blake3(fd, -1, step)
    finally:
        os.close(fd)


def copy_blake3(source: Path | str, target: Path | str, step: Step = SILENT, *, mode: int = 0o666) -> bytes:
    """Copies a file into a new one and gives the blake3 of what was written; arguments and errors as `copy_hashed`."""
    with beginning(source, target, mode) as (fd, out):
        return _blake3(fd, out, step)


def _blake3(fd: int, out: int, step: Step) -> bytes:
    from blake3 import blake3

    second, buffer, total = blake3(), memoryview(bytearray(_PIECE)), 0
    if out >= 0 and os.fstat(fd).st_size >= _BESIDE:
        _beside(fd, out, step, second)
        return second.digest()
    while size := os.readv(fd, [buffer]):
        second.update(buffer[:size])
        if out >= 0:
            write_all(out, buffer[:size])
            total += size
            if total % _BEHIND < size:
                begin_writing(out, max(0, total - _BEHIND), _BEHIND)
        step.add(size)
    return second.digest()


def dos2unix_md5(path: Path | str) -> str:
    """The name that DVC before 3.0 gave a file: its md5 with CRLF read as LF wherever a MiB begins like text.

    Raises:
        OSError: the file cannot be read.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            md5.update(data.replace(b"\r\n", b"\n") if _is_text(data[:512]) else data)
    return md5.hexdigest()


def dos2unix_md5_of(data: bytes) -> str:
    """The same name for bytes of at most a MiB."""
    return md5_of(data.replace(b"\r\n", b"\n") if _is_text(data[:512]) else data)


def _is_text(data: bytes) -> bool:
    return b"\0" not in data and len(data.translate(None, _TEXT)) <= 0.3 * len(data)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes all of it, or raises."""
    done = os.write(fd, data)
    if done < len(data):
        view = memoryview(data)[done:]
        while view:
            view = view[os.write(fd, view) :]


def _digest(fd: int, out: int, step: Step, alone: bool) -> Digest:
    size = os.fstat(fd).st_size
    md5, second, total = hashlib.md5(usedforsecurity=False), _second(size), 0
    if alone and size >= _BESIDE:
        total = _beside(fd, out, step, md5, second)
    while data := os.read(fd, _PIECE):
        md5.update(data)
        if second is not None:
            second.update(data)
        if out >= 0:
            write_all(out, data)
        total += len(data)
        step.add(len(data))
    return Digest(md5.hexdigest(), b"" if second is None else second.digest(), total)


def _second(size: int) -> blake3 | None:
    if size < LARGE:
        return None
    from blake3 import blake3

    return blake3()


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...


def _beside(fd: int, out: int, step: Step, here: _Hash, there: _Hash | None = None) -> int:
    """Reads to the end, and writes if `out` is a file; gives how many bytes. One hash is computed in either thread."""
    from queue import SimpleQueue
    from threading import Thread

    free: SimpleQueue[memoryview | None] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int] | BaseException] = SimpleQueue()
    for _ in range(_BUFFERS):
        free.put(memoryview(bytearray(_BUFFER)))
    total = 0
    reader = Thread(target=_feed, args=(fd, out, there, free, full), daemon=True)
    reader.start()
    try:
        while True:
            piece = full.get()
            if isinstance(piece, BaseException):
                raise piece
            buffer, size = piece
            if not size:
                break
            here.update(buffer[:size])
            free.put(buffer)
            total += size
            step.add(size)
    finally:
        free.put(None)
        reader.join()
    return total


def _feed(
    fd: int,
    out: int,
    there: _Hash | None,
    free: SimpleQueue[memoryview | None],
    full: SimpleQueue[tuple[memoryview, int] | BaseException],
) -> None:
    """Reads; a buffer is filled again only by this thread, so it may be hashed here and there at once."""
    try:
        total = begun = 0
        while (buffer := free.get()) is not None:
            size = os.readv(fd, [buffer])
            if not size:
                break
            if out >= 0:
                write_all(out, buffer[:size])
            full.put((buffer, size))
            if there is not None:
                there.update(buffer[:size])
            total += size
            if out >= 0 and total - begun >= _BEHIND:
                begin_writing(out, begun, total - begun)
                begun = total
        full.put((memoryview(b""), 0))
    except BaseException as error:  # noqa: BLE001 raised again by the thread that waits
        full.put(error)
