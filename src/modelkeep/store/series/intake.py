"""Batches of samples to sorted arrays, and what of them cannot be taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modelkeep.store.series.codec import Times, Values
from modelkeep.store.series.head import HOLE_BITS
from modelkeep.store.series.postings import Ids, Postings


@dataclass(frozen=True, slots=True)
class Intake:
    """Samples of known series, sorted by time, then series; each pair once.

    Args:
        ids: shape (n,).
        at: shape (n,), ns.
        values: shape (n,), no hole bits.
    """

    ids: Ids
    at: Times
    values: Values

    def columns(self) -> Iterator[tuple[int, Ids, Values]]:
        """Gives the samples time by time."""
        starts = np.flatnonzero(np.concatenate(([True], self.at[1:] != self.at[:-1])))
        stops = np.append(starts[1:], len(self.at))
        for begin, end in zip(starts.tolist(), stops.tolist(), strict=True):
            yield int(self.at[begin]), self.ids[begin:end], self.values[begin:end]

    def runs(self) -> Iterator[tuple[int, Times, Values]]:
        """Gives the samples series by series."""
        order = np.lexsort((self.at, self.ids))
        ids, at, values = self.ids[order], self.at[order], self.values[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        stops = np.append(starts[1:], len(ids))
        for begin, end in zip(starts.tolist(), stops.tolist(), strict=True):
            yield int(ids[begin]), at[begin:end], values[begin:end]


def taken(batch: pa.RecordBatch, postings: Postings, refused: Counter[str]) -> Intake:
    """Gives the samples of one batch; series that are new get their numbers here.

    Args:
        batch: columns of `core.layouts.SAMPLE`.
        postings: numbers the series.
        refused: is added to, by reason: `malformed`, `series_limit`, `duplicate`.
    """
    complete = batch.select(["series", "at", "value"]).drop_null()
    if complete.num_rows < batch.num_rows:
        refused["malformed"] += batch.num_rows - complete.num_rows
        batch = complete
    ids = _numbers(batch.column("series"), postings, refused)
    at = batch.column("at").to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    values = np.array(batch.column("value").to_numpy(zero_copy_only=False), np.float64)
    bits = values.view(np.int64)
    bits[bits == HOLE_BITS] = np.array([np.nan]).view(np.int64)
    good = ids >= 0
    if not good.all():
        ids, at, values = ids[good], at[good], values[good]
    return _sorted(ids, at, values, refused)


def _numbers(series: pa.Array[pa.Scalar[pa.DataType]], postings: Postings, refused: Counter[str]) -> Ids:
    column = series if isinstance(series, pa.DictionaryArray) else series.dictionary_encode()
    texts = [str(text) for text in column.dictionary.to_pylist()]
    numbers, malformed, over = postings.numbers(texts)
    indices: Ids = column.indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    found = numbers[indices]
    if malformed or over:
        lost = int((found < 0).sum())
        refused["series_limit" if over else "malformed"] += lost
    return found


def _sorted(ids: Ids, at: Times, values: Values, refused: Counter[str]) -> Intake:
    """Sorts, and keeps the first of several samples of one series and time; another value is refused."""
    later = at[1:] > at[:-1]
    if not (later | ((at[1:] == at[:-1]) & (ids[1:] > ids[:-1]))).all():
        order = np.lexsort((ids, at))
        ids, at, values = ids[order], at[order], values[order]
        again = (at[1:] == at[:-1]) & (ids[1:] == ids[:-1])
        if again.any():
            bits = values.view(np.int64)
            first = np.maximum.accumulate(np.where(np.concatenate(([True], ~again)), np.arange(len(ids)), 0))
            refused["duplicate"] += int((bits != bits[first]).sum())
            kept = np.concatenate(([True], ~again))
            ids, at, values = ids[kept], at[kept], values[kept]
    return Intake(ids, at, values)
