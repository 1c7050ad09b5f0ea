"""The hashes of files: md5, which names them, and blake3 beside it, by which they are checked later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.scan import Stamp, refusal, stamp_of
from modelkeep.store.blobs.digest import SILENT, Digest, Step

if TYPE_CHECKING:
    from blake3 import blake3

_TRIES: Final = 3
_CHUNK: Final = 1 << 20
LARGE: Final = 1 << 20
"""From this size on a file is hashed on threads of its own, and by blake3 too."""


def file_md5(path: Path, step: Step = SILENT) -> Digest:
    """Gives a file's hashes after one pass over it.

    Args:
        path: of the file.
        step: hears how many bytes are done.

    Raises:
        Conflict: somebody wrote to the file all the while.
        Denied, Missing, BadInput: it cannot be read.
    """
    name = os.fspath(path)
    for _ in range(_TRIES):
        found = _once(name, step)
        if found is not None:
            return found
    raise changing(name)


def changing(name: str) -> Conflict:
    """Gives what to raise when a file is written to while it is hashed."""
    return Conflict(f"{name}: changed while it was read", hint="Run it again when nothing writes to the file.")


def _once(name: str, step: Step) -> Digest | None:
    from blake3 import blake3

    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise refusal(error, name) from error
    try:
        before = stamp_of(os.fstat(file))
        first, second, size = md5(usedforsecurity=False), blake3(), 0
        while data := os.read(file, _CHUNK):
            first.update(data)
            second.update(data)
            size += len(data)
            step.add(len(data))
        if stamp_of(os.fstat(file)) != before or size != before[1]:
            return None
    except OSError as error:
        raise refusal(error, name) from error
    finally:
        os.close(file)
    return Digest(first.hexdigest(), second.digest(), size)


_TEXT: Final = bytes(range(32, 127)) + b"\n\r\t\f\b"


def dos2unix_md5(path: Path) -> str:
    """Gives the md5 by which DVC 2 names a file: of a text, as if its lines ended as on Unix.

    Whether a part of 1 MiB is text is judged by its first 512 bytes, and lines are mended within a part only.

    Raises:
        Conflict: somebody wrote to the file all the while.
        Denied, Missing, BadInput: it cannot be read.
    """
    name = os.fspath(path)
    for _ in range(_TRIES):
        try:
            with open(name, "rb") as file:  # noqa: PTH123
                before = stamp_of(os.fstat(file.fileno()))
                found = md5(usedforsecurity=False)
                while data := file.read(_CHUNK):
                    found.update(data.replace(b"\r\n", b"\n") if is_text(data[:512]) else data)
                if stamp_of(os.fstat(file.fileno())) == before:
                    return found.hexdigest()
        except OSError as error:
            raise refusal(error, name) from error
    raise changing(name)


def is_text(start: bytes) -> bool:
    r"""Whether DVC takes a file that starts so for text: no zero byte and at most 30 % that is not ASCII text.

    >>> is_text(b"a,b\r\n1,2\r\n"), is_text(b"\x00\x01"), is_text(b"")
    (True, False, True)
    """
    return b"\0" not in start and len(start.translate(None, _TEXT)) <= 0.3 * len(start)


def many(
    folder: Path,
    relpaths: Sequence[str],
    stamps: Sequence[Stamp] | None = None,
    *,
    hash: str = "md5",  # noqa: A002
    step: Step = SILENT,
) -> list[Digest]:
    """Gives the hashes of files in a folder, in their order.

    Args:
        folder: where the paths start.
        relpaths: POSIX.
        stamps: what the files looked like; one that looks otherwise now is a conflict.
        hash: `md5` or `md5-dos2unix`.
        step: hears how many bytes are done.

    Raises:
        Conflict: somebody wrote to a file all the while.
        Denied, Missing, BadInput: a file cannot be read.
    """
    if hash not in {"md5", "md5-dos2unix"}:
        raise BadInput(f"unknown hash {hash!r}", hint="md5 or md5-dos2unix")
    top = os.path.join(folder, "")  # noqa: PTH118
    if hash == "md5":
        return [file_md5(Path(top + name), step) for name in relpaths]
    return [Digest(dos2unix_md5(Path(top + name)), b"", os.stat(top + name).st_size) for name in relpaths]
