"""The columns of one record batch as numpy arrays and texts; a column that is not there is all null."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from modelkeep.quality.pair import Arrow, Floats, Ints


class Columns:
    """Reads a record batch.

    >>> columns = Columns(pa.record_batch({"x": [1.5, None]}))
    >>> columns.numbers("x").tolist(), columns.texts("gone"), columns.present("x").tolist()
    ([1.5, nan], ['', ''], [True, False])
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return self._batch.num_rows

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self._batch.schema.names)}

    def take(self, at: Ints) -> Columns:
        """The rows at some places."""
        return self if len(at) == len(self) else Columns(self._batch.take(at))

    def names(self, start: str) -> list[str]:
        """What follows `start` in the names of the columns that begin with it."""
        return [name[len(start) :] for name in self._batch.schema.names if name.startswith(start)]

    def column(self, name: str) -> Arrow:
        """One column; dictionaries of texts as texts."""
        at = self._places.get(name)
        if at is None:
            return pa.nulls(len(self))
        values = self._batch.column(at)
        kind = values.type
        if pa.types.is_dictionary(kind):
            values = values.cast(kind.value_type)
        return values.cast(pa.string()) if pa.types.is_large_string(values.type) else values

    def present(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which rows are not null."""
        return np.asarray(self.column(name).is_valid().to_numpy(zero_copy_only=False), np.bool_)

    def texts(self, name: str) -> list[str]:
        """Texts, null as empty."""
        return [one or "" for one in self.column(name).cast(pa.string()).to_pylist()]

    def names_of(self, name: str) -> list[str | None]:
        """Texts, or None where there is none."""
        return list(self.column(name).cast(pa.string()).to_pylist())

    def numbers(self, name: str) -> Floats:
        """Numbers, NaN for null and for a column that holds none."""
        values = self.column(name)
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            return np.full(len(self), np.nan)
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)

    def times(self, name: str) -> Ints:
        """Times in ns, 0 for null."""
        values = self.column(name).cast(pa.int64())
        return np.asarray(values.fill_null(0).to_numpy(zero_copy_only=False), np.int64)
