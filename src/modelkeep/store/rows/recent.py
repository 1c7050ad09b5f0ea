"""Rows between the journal and the sealed files: entries sorted by stream, and what is in memory of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from modelkeep.core.shapes import Entry, Part
from modelkeep.store.rows.columns import FIXED, PER_MODEL, Stream, Whose, table_of

_SMALL: Final = 8_192


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive rows of one stream that have one schema.

    Args:
        stream: whose.
        whose: model, version and release of all rows.
        table: the rows as they arrived.
        places: `seq`, `row` and `received` of each.
    """

    stream: Stream
    whose: Whose
    table: pa.Table
    places: pa.Table


@dataclass(slots=True)
class _Open:
    whose: Whose
    schema: pa.Schema
    batches: list[pa.RecordBatch] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)


def runs(entries: Iterable[Entry]) -> Iterator[Run]:
    """Gives the rows of entries by stream; those of one stream stay in their order.

    >>> batch = pa.record_batch({"id": ["a"], "at": [1]})
    >>> entries = [Entry(seq, "", 0, (Part("fact", batch),)) for seq in (1, 2)]
    >>> [(run.stream.kind, run.places["seq"].to_pylist()) for run in runs(entries)]
    [('fact', [1, 2])]
    """
    opened: dict[Stream, _Open] = {}
    for entry in entries:
        row = 0
        for part in entry.parts:
            if part.kind in FIXED and part.batch.num_rows:
                stream, whose = _owner(part)
                found = opened.get(stream)
                if found is not None and not (found.whose == whose and found.schema.equals(part.batch.schema)):
                    yield _closed(stream, opened.pop(stream))
                    found = None
                if found is None:
                    found = opened[stream] = _Open(whose, part.batch.schema)
                found.batches.append(part.batch)
                found.places.append((entry.seq, row, entry.received_ns))
            row += part.batch.num_rows
    for stream, rest in opened.items():
        yield _closed(stream, rest)


def _owner(part: Part) -> tuple[Stream, Whose]:
    if part.kind not in PER_MODEL:
        return Stream(part.kind, ""), Whose()
    whose = Whose(part.meta("model"), part.meta("version"), part.meta("release"))
    return Stream(part.kind, whose.model), whose


def _closed(stream: Stream, opened: _Open) -> Run:
    plain = opened.schema.remove_metadata()
    table = pa.Table.from_batches([batch.replace_schema_metadata(None) for batch in opened.batches], schema=plain)
    lengths = np.array([batch.num_rows for batch in opened.batches])
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    seqs, rows, received = (
        np.repeat(np.array(values, np.int64), lengths) for values in zip(*opened.places, strict=True)
    )
    within = rows + np.arange(len(firsts)) - firsts
    places = {"seq": pa.array(seqs), "row": pa.array(within), "received": pa.array(received)}
    return Run(stream, opened.whose, table, table_of(places))


class Recent:
    """Tables of one stream in memory, joined when somebody asks.

    >>> recent = Recent()
    >>> recent.add(pa.table({"a": [1]}))
    >>> recent.add(pa.table({"b": [2.0]}))
    >>> recent.table().to_pylist()
    [{'a': 1, 'b': None}, {'a': None, 'b': 2.0}]
    """

    def __init__(self, tables: Sequence[pa.Table] = ()) -> None:
        self._tables: list[pa.Table] = list(tables)
        self.rows = sum(table.num_rows for table in tables)

    def add(self, table: pa.Table) -> None:
        """Takes rows; small tables of like size are joined, so that many small batches do not make many chunks."""
        self.rows += table.num_rows
        self._tables.append(table)
        while len(self._tables) > 1 and self._tables[-2].num_rows <= min(_SMALL, 2 * self._tables[-1].num_rows):
            last = [self._tables.pop(), self._tables.pop()]
            self._tables.append(joined(last[::-1]).combine_chunks())

    def table(self) -> pa.Table:
        """Gives all rows."""
        if len(self._tables) > 1:
            self._tables = [joined(self._tables)]
        return self._tables[0]

    def size_bytes(self) -> int:
        """What the rows take in memory."""
        return sum(table.nbytes for table in self._tables)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Gives tables one behind the other; a column that one lacks is null there.

    >>> joined([pa.table({"a": [1]}), pa.table({"b": [2]})]).column_names
    ['a', 'b']
    """
    return pa.concat_tables(tables, promote_options="default")
