"""Hashing while moving: one pass over a file's bytes gives its md5, its blake3 and, if wanted, its copy."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from modelkeep.store.blobs.digest import SILENT, Digest, Step

PIECE: Final = 1 << 20
_TEXT: Final = bytes(range(32, 127)) + b"\n\r\t\f\b"


def digest_of(data: bytes) -> Digest:
    """The digest of bytes in memory."""
    from blake3 import blake3

    return Digest(hashlib.md5(data, usedforsecurity=False).hexdigest(), blake3(data).digest(), len(data))


def file_digest(path: Path, step: Step = SILENT) -> Digest:
    """The digest of a file, in one pass.

    Raises:
        OSError: the file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _pass(fd, -1, step)
    finally:
        os.close(fd)


def copy_hashed(source: Path, target: Path, step: Step = SILENT, *, mode: int = 0o666) -> Digest:
    """Copies a file into a new one and gives the digest of what was written, in one pass.

    Args:
        source: what is read.
        target: must not exist yet; removed again when the copy fails.
        step: hears of bytes.
        mode: the target's, less the umask.

    Raises:
        OSError: the source cannot be read, the target exists or there is no room.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            return _pass(fd, out, step)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(out)
    finally:
        os.close(fd)


def dos2unix_md5(path: Path) -> str:
    """The name that DVC before 3.0 gave a file: its md5 with CRLF read as LF wherever a MiB begins like text.

    Raises:
        OSError: the file cannot be read.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while data := file.read(PIECE):
            md5.update(data.replace(b"\r\n", b"\n") if _is_text(data[:512]) else data)
    return md5.hexdigest()


def _is_text(data: bytes) -> bool:
    return b"\0" not in data and len(data.translate(None, _TEXT)) <= 0.3 * len(data)


def _pass(fd: int, out: int, step: Step) -> Digest:
    from blake3 import blake3

    md5, second, size = hashlib.md5(usedforsecurity=False), blake3(), 0
    while data := os.read(fd, PIECE):
        md5.update(data)
        second.update(data)
        if out >= 0:
            write_all(out, data)
        size += len(data)
        step.add(len(data))
    return Digest(md5.hexdigest(), second.digest(), size)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes all of it, or raises."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
