"""Sorted runs of hashed keys with their rows, in memory and on disk: the parts that `Keys` is made of."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from modelkeep.core.errors import Corrupt

_MAGIC: Final = b"MKKEYS01"
_HEAD: Final = 4096
_PART_ROWS: Final = 1 << 20

Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Hashed:
    """Keys, sorted and each once, as two words (high, low), with one row each; all of shape (n,)."""

    high: Words
    low: Words
    rows: Rows

    def __len__(self) -> int:
        return len(self.high)

    def find(self, high: Words, low: Words) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Gives whether each key is here, and where."""
        last = len(self) - 1
        where = np.searchsorted(self.high, high).astype(np.int64)
        if last < 0:
            return np.zeros(len(high), np.bool_), where
        np.minimum(where, last, out=where)
        hit = (self.high[where] == high) & (self.low[where] == low)
        doubt = np.flatnonzero(~hit & (self.high[where] == high))
        while len(doubt):
            where[doubt] = np.minimum(where[doubt] + 1, last)
            same = self.high[where[doubt]] == high[doubt]
            hit[doubt] = same & (self.low[where[doubt]] == low[doubt])
            doubt = doubt[same & ~hit[doubt] & (where[doubt] < last)]
        return hit, where

    def between(self, first: int, last: int) -> Hashed:
        """Gives the part whose high words lie in the closed range."""
        start = int(np.searchsorted(self.high, np.uint64(first)))
        end = int(np.searchsorted(self.high, np.uint64(last), side="right"))
        return Hashed(self.high[start:end], self.low[start:end], self.rows[start:end])


def sort(keys: bytes, rows: Rows) -> Hashed:
    """Gives distinct keys, 16 bytes each, and their rows as a run."""
    words = np.frombuffer(keys, ">u8").astype(np.uint64).reshape(-1, 2)
    order = np.lexsort((words[:, 1], words[:, 0]))
    words = words[order]
    return Hashed(words[:, 0].copy(), words[:, 1].copy(), rows[order])


def union(runs: Sequence[Hashed]) -> Hashed:
    """Gives all keys of some runs, oldest first; of equal keys the newest row.

    >>> old, new = (Hashed(np.array([1], "u8"), np.array([2], "u8"), np.array([(n,)], [("n", "i4")])) for n in (3, 4))
    >>> union([old, new]).rows.tolist()
    [(4,)]
    """
    if len(runs) == 1:
        return runs[0]
    high = np.concatenate([run.high for run in runs])
    low = np.concatenate([run.low for run in runs])
    order = np.argsort(high, kind="stable")
    high, low = high[order], low[order]
    same = high[1:] == high[:-1]
    if (same & (low[1:] != low[:-1])).any():
        again = np.lexsort((low, high))
        order, high, low = order[again], high[again], low[again]
        same = high[1:] == high[:-1]
    keep = np.ones(len(high), np.bool_)
    keep[:-1] = ~(same & (low[1:] == low[:-1]))
    rows = np.concatenate([run.rows for run in runs])[order[keep]]
    return Hashed(high[keep], low[keep], rows)


class _Head(msgspec.Struct, frozen=True):
    capacity: int
    rows: int
    fields: list[tuple[str, str]]


def write_hashed(
    path: Path,
    runs: Sequence[Hashed],
    fields: np.dtype[np.void],
    gone: Callable[[Rows], npt.NDArray[np.bool_]] | None = None,
) -> None:
    """Writes the union of runs, oldest first, without the rows that are `gone`, to a file and fsyncs it.

    Memory stays bounded: the keys are hashes, so equal ranges of them hold about equal numbers.
    """
    capacity = sum(map(len, runs))
    offsets = _offsets(capacity)
    used = 0
    with path.open("wb") as file:
        file.truncate(offsets[2] + capacity * fields.itemsize)
        for part in _parts(runs, capacity):
            kept = part
            if gone is not None:
                keep = ~gone(part.rows)
                kept = Hashed(part.high[keep], part.low[keep], part.rows[keep])
            for offset, column in zip(offsets, (kept.high, kept.low, kept.rows), strict=True):
                file.seek(offset + used * column.dtype.itemsize)
                file.write(column.tobytes())
            used += len(kept)
        names = [(name, fields[name].str) for name in fields.names or ()]
        head = msgspec.msgpack.encode(_Head(capacity, used, names))
        file.seek(0)
        file.write(_MAGIC + len(head).to_bytes(4, "little") + zlib.crc32(head).to_bytes(4, "little") + head)
        file.flush()
        os.fsync(file.fileno())


def stored(path: Path) -> Hashed:
    """Opens a file that `write_hashed` wrote, without reading it.

    Raises:
        Corrupt: it is cut or not such a file.
    """
    with path.open("rb") as file:
        start = file.read(_HEAD)
        size = file.seek(0, os.SEEK_END)
    data = start[16 : 16 + int.from_bytes(start[8:12], "little")]
    if start[:8] != _MAGIC or zlib.crc32(data) != int.from_bytes(start[12:16], "little"):
        raise Corrupt(f"{path}: the head at byte 0 is not that of a file of keys")
    head = msgspec.msgpack.decode(data, type=_Head)
    fields = np.dtype(head.fields)
    offsets = _offsets(head.capacity)
    if size != offsets[2] + head.capacity * fields.itemsize:
        raise Corrupt(f"{path}: has {size} bytes, expected {offsets[2] + head.capacity * fields.itemsize}")
    if not head.rows:
        return Hashed(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, fields))
    kinds = (np.dtype(np.uint64), np.dtype(np.uint64), fields)
    high, low, rows = (
        np.memmap(path, kind, "r", offset, head.rows).view(np.ndarray)
        for kind, offset in zip(kinds, offsets, strict=True)
    )
    return Hashed(high, low, rows)


def _offsets(capacity: int) -> tuple[int, int, int]:
    return _HEAD, _HEAD + 8 * capacity, _HEAD + 16 * capacity


def _parts(runs: Sequence[Hashed], capacity: int) -> Iterator[Hashed]:
    count = capacity // _PART_ROWS + 1
    bounds = [(part << 64) // count for part in range(count + 1)]
    for first, after in pairwise(bounds):
        yield union([run.between(first, after - 1) for run in runs])
