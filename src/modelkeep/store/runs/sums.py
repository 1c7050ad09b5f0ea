"""Sorted runs of (key, sum) in memory and on disk: the parts that `Cells` is made of."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from modelkeep.core.errors import Corrupt

_MAGIC: Final = b"MKSUMS01"
_DTYPES: Final = ("<f8", "u1", "<u2", "<u4")

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sum:
    """Keys and what each adds up to.

    Args:
        keys: shape (n,), int64, not negative.
        values: shape (n,), float64 or the smallest unsigned type that holds them exactly.
        tidy: keys are strictly increasing and no value is zero.
    """

    keys: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    tidy: bool = True


EMPTY: Final = Sum(np.empty(0, np.int64), np.empty(0, np.float64))


def tidy(parts: Sequence[Sum]) -> Sum:
    """Gives the sum of parts in any order.

    >>> tidy([Sum(np.array([5, 1, 5]), np.array([1.0, 2.0, 3.0]), tidy=False)]).values.tolist()
    [2, 4]
    """
    keys = np.concatenate([part.keys for part in parts])
    values = np.concatenate([part.values for part in parts]).astype(np.float64, copy=False)
    if not len(keys):
        return EMPTY
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return _narrow(keys[first], np.add.reduceat(values[order], first))


def merged(base: Sum, added: Sum) -> Sum:
    """Gives the sum of two tidy sums in time linear in their sizes.

    >>> left, right = Sum(np.array([1, 3]), np.array([1.0, 1.0])), Sum(np.array([2, 3]), np.array([5.0, -1.0]))
    >>> merged(left, right).keys.tolist()
    [1, 2]
    """
    if not len(added.keys) or not len(base.keys):
        return added if not len(base.keys) else base
    at = np.searchsorted(base.keys, added.keys)
    hit = base.keys[np.minimum(at, len(base.keys) - 1)] == added.keys
    keys, values = base.keys, base.values.astype(np.float64)
    values[at[hit]] += added.values[hit]
    if not hit.all():
        fresh = ~hit
        keys = np.insert(keys, at[fresh], added.keys[fresh])
        values = np.insert(values, at[fresh], added.values[fresh])
    return _narrow(keys, values)


def above(run: Sum, key: int) -> Sum:
    """Gives the part of a sum whose keys are at least `key`."""
    keep = run.keys >= key
    return run if keep.all() else Sum(run.keys[keep], run.values[keep], run.tidy)


def _narrow(keys: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Sum:
    keep = values != 0
    if not keep.all():
        keys, values = keys[keep], values[keep]
    if not len(values):
        return EMPTY
    low, high = values.min(), values.max()
    if low > 0 and high < 2**32 and (np.floor(values) == values).all():
        size = "u1" if high < 2**8 else "<u2" if high < 2**16 else "<u4"
        values = values.astype(size)
    return Sum(keys, values)


class _Place(msgspec.Struct, array_like=True, frozen=True):
    name: Name
    offset: int
    length: int
    rows: int
    dtype: int
    checksum: int


class _Directory(msgspec.Struct, array_like=True, frozen=True):
    groups: list[_Place]
    documents: dict[str, bytes]


def write_sums(path: Path, groups: Mapping[Name, Sum], documents: Mapping[str, bytes]) -> None:
    """Writes tidy sums and documents to a file and fsyncs it."""
    compressor = zstandard.ZstdCompressor(level=3)
    places: list[_Place] = []
    with path.open("wb") as file:
        file.write(_MAGIC)
        for name, run in groups.items():
            if not len(run.keys):
                continue
            block = compressor.compress(np.diff(run.keys, prepend=np.int64(0)).tobytes() + run.values.tobytes())
            kind = _DTYPES.index(run.values.dtype.str.replace("|", ""))
            places.append(_Place(name, file.tell(), len(block), len(run.keys), kind, zlib.crc32(block)))
            file.write(block)
        directory = msgspec.msgpack.encode(_Directory(places, dict(documents)))
        file.write(directory)
        file.write(len(directory).to_bytes(8, "little") + zlib.crc32(directory).to_bytes(4, "little") + _MAGIC)
        file.flush()
        os.fsync(file.fileno())


class SumFile:
    """A file that `write_sums` wrote.

    Raises:
        Corrupt: the file is cut, or its bytes have changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 20))
            tail = file.read()
            length = int.from_bytes(tail[:8], "little")
            if len(tail) != 20 or tail[12:] != _MAGIC or length > size - 28:
                raise Corrupt(f"{path}: cut or not a file of sums")
            file.seek(size - 20 - length)
            data = file.read(length)
        if zlib.crc32(data) != int.from_bytes(tail[8:12], "little"):
            raise Corrupt(f"{path}: the directory at byte {size - 20 - length} does not match its checksum")
        self._directory = msgspec.msgpack.decode(data, type=_Directory)
        self._places = {place.name: place for place in self._directory.groups}

    def groups(self) -> list[Name]:
        """The (table, group) pairs in the file."""
        return list(self._places)

    def documents(self) -> dict[str, bytes]:
        """The documents in the file."""
        return self._directory.documents

    def read(self, name: Name) -> Sum:
        """Gives one group's sum, empty when it is not in the file."""
        place = self._places.get(name)
        if place is None:
            return EMPTY
        with self._path.open("rb") as file:
            file.seek(place.offset)
            block = file.read(place.length)
        if zlib.crc32(block) != place.checksum:
            raise Corrupt(f"{self._path}: {name} at byte {place.offset} does not match its checksum")
        data = zstandard.ZstdDecompressor().decompress(block)
        keys = np.cumsum(np.frombuffer(data, np.int64, place.rows))
        values = np.frombuffer(data, _DTYPES[place.dtype], place.rows, offset=8 * place.rows)
        return Sum(keys, values)
