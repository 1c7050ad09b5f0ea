"""Durable sums: (table, group, bucket, day, index) → number. Adding is cheap, merging is addition, sums are exact."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelkeep.core.errors import BadInput
from modelkeep.store.runs.runs import Notes, Runs
from modelkeep.store.runs.sums import EMPTY, Sum, SumFile, above, merged, tidy, write_sums

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_BUCKET_BITS: Final = 27
_DAY_BITS: Final = 16
_INDEX_BITS: Final = 20
_LOW: Final = _DAY_BITS + _INDEX_BITS
_BIAS: Final = 1 << (_BUCKET_BITS - 1)
_MOST_CHUNKS: Final = 64
_CACHED_CELLS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CellRows:
    """Cells of one group, sorted by (bucket, day, index), each once, none zero; all arrays have shape (n,)."""

    bucket: Int64
    day: Int64
    index: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.value)


class _Group:
    __slots__ = ("added", "revision", "sealed")

    def __init__(self, sealed: Sum = EMPTY) -> None:
        self.sealed = sealed
        self.added: list[Sum] = []
        self.revision = 0

    def since_seal(self) -> Sum:
        if not self.added:
            return EMPTY
        if len(self.added) > 1 or not self.added[0].tidy:
            self.added = [tidy(self.added)]
        return self.added[0]


class Cells:
    """Sums that survive a crash up to the last seal; what came later is added again from the journal.

    Everything is held in memory, 9 to 16 bytes a cell. One thread adds and seals; any thread may read.

    Args:
        folder: made when missing.
        at: open the state sealed at this position (see `Runs`).

    >>> import tempfile
    >>> cells = Cells(Path(tempfile.mkdtemp()))
    >>> cells.add("n", "m", np.array([[7, 0, 1], [7, 0, 1], [6, 0, 0]]), np.ones(3))
    >>> rows = cells.rows("n", "m")
    >>> rows.bucket.tolist(), rows.index.tolist(), rows.value.tolist()
    ([6, 7], [0, 1], [1.0, 2.0])
    """

    def __init__(self, folder: Path, *, at: int | None = None) -> None:
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._runs = Runs(folder, kind="cells", merge=_merge_files, at=at)
        self._groups: dict[tuple[str, str], _Group] = {}
        self._documents: dict[str, bytes] = {}
        self._put: set[str] = set()
        self._floors = dict(self._runs.current.notes)
        self._cache: OrderedDict[tuple[str, str], CellRows] = OrderedDict()
        for path in self._runs.paths():
            self._load(SumFile(path))

    def add(self, table: str, group: str, rows: Int64, values: Float64) -> None:
        """Adds numbers to cells; a cell that does not exist is zero.

        Args:
            table: what is counted, e.g. `score`.
            group: whose it is, e.g. JSON of model, version, feature.
            rows: shape (n, 3): bucket (hours or minutes since 1970, may be negative), day (days since 1970,
                0 when there is none), index.
            values: shape (n,).

        Raises:
            BadInput: shapes that do not fit, or a number outside ±2^26 (bucket), 2^16 (day), 2^20 (index).
        """
        keys = _pack(rows)
        if values.shape != keys.shape:
            raise BadInput(f"cells {table}: {len(keys)} rows, {len(values)} values")
        added = Sum(keys, np.array(values, dtype=np.float64), tidy=False)
        with self._writing, self._lock:
            if table in self._floors:
                added = above(added, _floor(self._floors[table]))
            if not len(added.keys):
                return
            found = self._groups.setdefault((table, group), _Group())
            found.added.append(added)
            found.revision += 1
            if len(found.added) > _MOST_CHUNKS:
                found.since_seal()
            self._cache.pop((table, group), None)

    def rows(self, table: str, group: str, start: int | None = None, end: int | None = None) -> CellRows:
        """Gives the cells of a group, all or those of the buckets start ≤ bucket < end; empty when unknown."""
        name = (table, group)
        with self._lock:
            whole = self._cache.get(name)
            if whole is not None:
                self._cache.move_to_end(name)
                return whole if start is None and end is None else _between(whole, start, end)
            found = self._groups.get(name)
            if found is None:
                return _unpack(EMPTY)
            rows = _unpack(merged(_part(found.sealed, start, end), _part(found.since_seal(), start, end)))
            if start is None and end is None:
                self._keep(name, rows)
            return rows

    def revision(self, table: str, group: str) -> int:
        """A number that changes whenever the group's cells change while this object lives; 0 when unknown."""
        found = self._groups.get((table, group))
        return found.revision + 1 if found else 0

    def groups(self, table: str) -> list[str]:
        """The groups that have been added to in a table, sorted."""
        with self._lock:
            return sorted(group for name, group in self._groups if name == table)

    def put(self, name: str, data: bytes) -> None:
        """Keeps a small document, sealed together with the cells; the last one put under a name counts."""
        with self._writing, self._lock:
            self._documents[name] = data
            self._put.add(name)

    def get(self, name: str) -> bytes | None:
        """Gives a document, None when there is none."""
        return self._documents.get(name)

    def drop(self, table: str, before_bucket: int) -> int:
        """Forgets every cell before a bucket, now and in additions to come; durable with the next seal.

        Returns:
            How many cells went.
        """
        gone = 0
        with self._writing, self._lock:
            floor = max(before_bucket, self._floors.get(table, before_bucket))
            key = _floor(floor)
            self._floors[table] = floor
            for name, group in self._groups.items():
                if name[0] != table:
                    continue
                kept, since = above(group.sealed, key), above(group.since_seal(), key)
                fewer = len(group.sealed.keys) - len(kept.keys) + len(group.since_seal().keys) - len(since.keys)
                group.sealed, group.added = kept, [since]
                group.revision += fewer > 0
                gone += fewer
                self._cache.pop(name, None)
        return gone

    def rollup(self, table: str, group: str, before_bucket: int, width: int) -> None:
        """Moves the cells of every bucket before `before_bucket` to the first of its `width` buckets.

        >>> import tempfile
        >>> cells = Cells(Path(tempfile.mkdtemp()))
        >>> cells.add("n", "m", np.array([[25, 0, 0], [47, 0, 0], [50, 0, 0]]), np.ones(3))
        >>> cells.rollup("n", "m", 48, 24)
        >>> cells.rows("n", "m").bucket.tolist()
        [24, 50]
        """
        old = self.rows(table, group, end=before_bucket)
        moved = old.bucket // width * width
        change = moved != old.bucket
        here = np.stack([old.bucket, old.day, old.index], axis=1)[change]
        there = np.stack([moved, old.day, old.index], axis=1)[change]
        value = old.value[change]
        self.add(table, group, np.concatenate([here, there]), np.concatenate([-value, value]))

    def seal(self, seq: int) -> None:
        """Makes everything added and put so far durable as the state at a journal position."""
        with self._writing:
            with self._lock:
                since = {name: group.since_seal() for name, group in self._groups.items() if group.added}
            put = {name: self._documents[name] for name in self._put}
            write = (lambda path: write_sums(path, since, put)) if since or put else None
            self._runs.seal(seq, write, self._floors)
            self._put.clear()
            for name, run in since.items():
                whole = merged(self._groups[name].sealed, run)
                with self._lock:
                    self._groups[name].sealed = whole
                    self._groups[name].added = []

    def sealed(self) -> int:
        """The journal position of the last seal; 0 at the beginning."""
        return self._runs.current.sealed

    def cells(self) -> int:
        """How many cells are held, those that were added since the last seal counted apart."""
        with self._lock:
            return sum(len(one.sealed.keys) + sum(len(run.keys) for run in one.added) for one in self._groups.values())

    def compact(self) -> None:
        """Merges all files into one."""
        with self._writing:
            self._runs.compact()

    def close(self) -> None:
        """Waits for a merge in progress; seals nothing."""
        self._runs.close()

    def _load(self, file: SumFile) -> None:
        self._documents |= file.documents()
        for name in file.groups():
            found = file.read(name)
            if name[0] in self._floors:
                found = above(found, _floor(self._floors[name[0]]))
            group = self._groups.setdefault(name, _Group())
            group.sealed = merged(group.sealed, found)

    def _keep(self, name: tuple[str, str], rows: CellRows) -> None:
        self._cache[name] = rows
        while sum(map(len, self._cache.values())) > _CACHED_CELLS:
            self._cache.popitem(last=False)


def _pack(rows: Int64) -> Int64:
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise BadInput(f"cells: rows have shape {rows.shape}, expected (n, 3)")
    whole = np.asarray(rows, dtype=np.int64)
    bucket, day, index = whole[:, 0] + _BIAS, whole[:, 1], whole[:, 2]
    for name, column, bits in (
        ("bucket", bucket, _BUCKET_BITS),
        ("day", day, _DAY_BITS),
        ("index", index, _INDEX_BITS),
    ):
        if len(column) and np.bitwise_or.reduce(column) >> bits:
            raise BadInput(f"cells: a {name} is out of range", hint="See Cells.add for the ranges.")
    packed: Int64 = (bucket << _LOW) | (day << _INDEX_BITS) | index
    return packed


def _unpack(run: Sum) -> CellRows:
    keys = run.keys
    rows = CellRows(
        (keys >> _LOW) - _BIAS,
        (keys >> _INDEX_BITS) & ((1 << _DAY_BITS) - 1),
        keys & ((1 << _INDEX_BITS) - 1),
        run.values.astype(np.float64),
    )
    for column in (rows.bucket, rows.day, rows.index, rows.value):
        column.flags.writeable = False
    return rows


def _floor(bucket: int) -> int:
    return min(max(bucket + _BIAS, 0), 1 << _BUCKET_BITS) << _LOW


def _part(run: Sum, start: int | None, end: int | None) -> Sum:
    first = 0 if start is None else int(np.searchsorted(run.keys, _floor(start)))
    last = len(run.keys) if end is None else int(np.searchsorted(run.keys, _floor(end)))
    return Sum(run.keys[first:last], run.values[first:last])


def _between(rows: CellRows, start: int | None, end: int | None) -> CellRows:
    first = 0 if start is None else int(np.searchsorted(rows.bucket, start))
    last = len(rows) if end is None else int(np.searchsorted(rows.bucket, end))
    part = slice(first, last)
    return CellRows(rows.bucket[part], rows.day[part], rows.index[part], rows.value[part])


def _merge_files(paths: Sequence[Path], target: Path, notes: Notes) -> None:
    files = [SumFile(path) for path in paths]
    documents: dict[str, bytes] = {}
    for file in files:
        documents |= file.documents()

    def whole(name: tuple[str, str]) -> Sum:
        total = EMPTY
        for file in files:
            total = merged(total, file.read(name))
        return above(total, _floor(notes[name[0]])) if name[0] in notes else total

    names = {name for file in files for name in file.groups()}
    write_sums(target, {name: whole(name) for name in sorted(names)}, documents)
