r"""Packs: many blobs in one file that is written once and named by the blake3 of its bytes.

magic `MKPACK\0\1` · blobs, one after the other · ids 32 each · offsets u32 · lengths u32 · count u32 · magic
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.chunks.place import Place

if TYPE_CHECKING:
    from blake3 import blake3

PACK_BYTES: Final = 32 << 20
"""A pack is closed when it reaches this."""
_MAGIC: Final = b"MKPACK\0\1"
_TAIL: Final = struct.Struct("<I8s")
_ENTRY: Final = 40


@dataclass(frozen=True, slots=True)
class PackIndex:
    """Which blobs a pack holds.

    Args:
        ids: 32 bytes each.
        offsets: where each begins.
        lengths: their bytes.
    """

    ids: bytes
    offsets: array[int]
    lengths: array[int]


class PackWriter:
    """Writes blobs into packs that appear when they are full, or when `finish` is called.

    Args:
        place: the chunk store.

    A blob's place is final when `add` returns, but the pack's name is known only when it is full: blobs carry the
    pack's number, and `names` gives the names after `finish`.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.names: list[str] = []
        self.bytes = 0
        self._open: _Growing | None = None

    def add(self, name: bytes, data: memoryview | bytes) -> tuple[int, int]:
        """Writes one blob; gives (number of the pack, offset in it)."""
        if self._open is None:
            self._open = _Growing(self._place)
        where = len(self.names), self._open.add(name, data)
        if self._open.size >= PACK_BYTES:
            self.finish()
        return where

    def finish(self) -> None:
        """Closes the pack under way."""
        if self._open is not None:
            self.bytes += self._open.finish()
            self.names.append(self._open.name)
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.drop()


class _Growing:
    def __init__(self, place: Place) -> None:
        from blake3 import blake3

        self._place = place
        self._path = place.incoming(f"{os.getpid()}-{os.urandom(6).hex()}.pack")
        place.prepare(self._path)
        self._file: BinaryIO = self._path.open("wb", buffering=1 << 20)
        self._hash: blake3 = blake3()
        self._ids = bytearray()
        self._offsets, self._lengths = array("I"), array("I")
        self.size, self.name = 0, ""
        self._write(_MAGIC)

    def add(self, name: bytes, data: memoryview | bytes) -> int:
        offset = self.size
        self._ids += name
        self._offsets.append(offset)
        self._lengths.append(len(data))
        self._write(data)
        return offset

    def finish(self) -> int:
        self._write(bytes(self._ids) + _little(self._offsets) + _little(self._lengths))
        self._write(_TAIL.pack(len(self._offsets), _MAGIC))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.name = self._hash.hexdigest()
        self._place.publish(self._path, self._place.pack(self.name))
        return self.size

    def drop(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, data: memoryview | bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def read_index(path: Path) -> PackIndex:
    """Reads which blobs a pack holds, from its end.

    Raises:
        Missing: there is no such pack.
        Corrupt: its end is not that of a pack.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return _index(file, size, path)
    except FileNotFoundError:
        raise missing(path) from None


def _index(file: BinaryIO, size: int, path: Path) -> PackIndex:
    if size < len(_MAGIC) + _TAIL.size:
        raise corrupt(path, "is cut")
    file.seek(size - _TAIL.size)
    count, magic = _TAIL.unpack(file.read(_TAIL.size))
    start = size - _TAIL.size - _ENTRY * count
    if magic != _MAGIC or start < len(_MAGIC):
        raise corrupt(path, "has no index at its end")
    file.seek(start)
    raw = file.read(_ENTRY * count)
    ids, rest = raw[: 32 * count], raw[32 * count :]
    offsets, lengths = _array(rest[: 4 * count]), _array(rest[4 * count :])
    if any(offset + length > start for offset, length in zip(offsets, lengths, strict=True)):
        raise corrupt(path, "has an index that reaches behind its end")
    return PackIndex(ids, offsets, lengths)


def is_sound(path: Path, name: str, read: Callable[[int], None] = lambda _: None) -> bool:
    """Tells whether a pack's bytes are those that its name promises; `read` hears of every piece read."""
    from blake3 import blake3

    found = blake3()
    buffer = bytearray(4 << 20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(view[:count])
            read(count)
    return found.hexdigest() == name


def missing(path: Path) -> Missing:
    """The error for a pack that is not in the cache."""
    return Missing(f"pack {path.parent.name}{path.name} is not in the cache", hint="modelkeep fetch")


def corrupt(path: Path, what: str) -> Corrupt:
    """The error for a pack whose bytes are not what was written."""
    return Corrupt(f"{path}: this pack {what}", hint="modelkeep verify, then modelkeep fetch to bring it again.")


def _array(data: bytes) -> array[int]:
    found = array("I")
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array("I", column)
        column.byteswap()
    return column.tobytes()
