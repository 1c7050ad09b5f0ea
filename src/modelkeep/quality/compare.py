"""Drift between two tables, exactly and without a server: what `modelkeep drift check` prints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.quality.answers import Verdict
from modelkeep.quality.measure import Measure, applicable, family_alpha, threshold
from modelkeep.quality.pair import Arrow, Chunked, Pair

MISSING_EFFECT: Final = 0.05
"""The least change of the missing ratio worth anybody's attention."""


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How one column of the current table differs from the reference's.

    Args:
        column: its name.
        kind: numeric or categorical.
        reference_missing: null or NaN in the reference, 0 to 1.
        current_missing: the same in the current table.
        missing: the change of the two, judged.
        measures: name → verdict.
        drifted: some measure exceeds its threshold, or the missing ratio changed.
    """

    column: str
    kind: str
    reference_missing: float
    current_missing: float
    missing: Verdict
    measures: Mapping[str, Verdict]
    drifted: bool

    def json(self) -> dict[str, Json]:
        """The row in plain JSON types."""
        return {
            "column": self.column,
            "kind": self.kind,
            "reference_missing": self.reference_missing,
            "current_missing": self.current_missing,
            "missing": self.missing.json(),
            "measures": {name: verdict.json() for name, verdict in self.measures.items()},
            "drifted": self.drifted,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two tables.

    Args:
        reference_rows: rows of the reference.
        current_rows: rows of the current table.
        rows: one per column that both tables have with the same kind, in the reference's order.
        added: columns that only the current table has.
        removed: columns that only the reference has.
        retyped: columns that are numeric in one table and categorical in the other.
        skipped: columns with nothing to compare: no value in one table, or a nested type.
    """

    reference_rows: int
    current_rows: int
    rows: tuple[ColumnDrift, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def drifted(self) -> bool:
        """Some column drifted, was removed or changed its type."""
        return bool(self.removed or self.retyped) or any(row.drifted for row in self.rows)

    def json(self) -> dict[str, Json]:
        """The comparison in plain JSON types."""
        return {
            "drifted": self.drifted,
            "reference_rows": self.reference_rows,
            "current_rows": self.current_rows,
            "rows": [row.json() for row in self.rows],
            "added": list(self.added),
            "removed": list(self.removed),
            "retyped": list(self.retyped),
            "skipped": list(self.skipped),
        }


def compare(
    reference: pa.Table, current: pa.Table, *, measures: Sequence[str] | None = None, threads: int | None = None
) -> Comparison:
    """Gives what differs between two tables, measured on all rows; see `measure` for when a value counts as drift.

    Args:
        reference: columns of numbers, bools, times, texts or dictionaries of texts.
        current: the same columns; others are named, not compared.
        measures: names of the measures to compute; None for all.
        threads: columns at a time; None for one per core.

    Raises:
        BadInput: the two tables have no column in common.
        Missing: a measure that does not exist.

    >>> left, right = pa.table({"x": range(100), "y": ["a"] * 100}), pa.table({"x": range(50, 150), "y": ["a"] * 100})
    >>> for row in compare(left, right, measures=["ks", "chi_square"]).rows:
    ...     print(row.column, row.kind, {name: found.value for name, found in row.measures.items()}, row.drifted)
    x numeric {'ks': 0.5} True
    y categorical {'chi_square': 0.0} False
    """
    kinds = [{name: _kind(table.schema.field(name).type) for name in _unique(table)} for table in (reference, current)]
    common = [name for name in kinds[0] if name in kinds[1]]
    if not common:
        raise BadInput("the two tables have no column in common", hint="Compare tables with the same column names.")
    judge = _Judge(measures, kinds[0], common)
    for one, other in ((kinds[0], kinds[1]), (kinds[1], kinds[0])):
        one |= {name: other[name] for name in common if one[name] == "null"}
    alike = [name for name in common if kinds[0][name] == kinds[1][name] and kinds[0][name] not in ("", "null")]
    with ThreadPoolExecutor(threads or min(len(alike) or 1, os.cpu_count() or 1)) as pool:
        rows = list(pool.map(lambda name: judge.row(name, reference[name], current[name]), alike))
    found = tuple(row for row in rows if row is not None)
    compared = {row.column for row in found}
    retyped = tuple(name for name in common if kinds[0][name] != kinds[1][name])
    return Comparison(
        reference.num_rows,
        current.num_rows,
        found,
        added=tuple(name for name in kinds[1] if name not in kinds[0]),
        removed=tuple(name for name in kinds[0] if name not in kinds[1]),
        retyped=retyped,
        skipped=tuple(name for name in common if name not in compared and name not in retyped),
    )


class _Judge:
    def __init__(self, wanted: Sequence[str] | None, kinds: Mapping[str, str], common: Sequence[str]) -> None:
        self._measures = {kind: applicable(kind == "numeric", wanted) for kind in ("numeric", "categorical")}
        pairs = sum(len(self._measures.get(kinds[name], ())) + 1 for name in common)
        self._alpha = family_alpha(pairs)
        self._kinds = kinds

    def row(self, name: str, reference: Chunked, current: Chunked) -> ColumnDrift | None:
        kind = self._kinds[name]
        left, right = _plain(reference), _plain(current)
        shares = [_missing_ratio(one) for one in (left, right)]
        missing = self._missing(shares[0], shares[1], len(left), len(right))
        try:
            pair = Pair(left, right)
            verdicts = {one: self._verdict(measure, pair) for one, measure in self._measures[kind].items()}
        except BadInput:
            if shares[0] == shares[1]:
                return None
            verdicts = {}
        drifted = missing.drifted or any(verdict.drifted for verdict in verdicts.values())
        return ColumnDrift(name, kind, shares[0], shares[1], missing, verdicts, drifted)

    def _verdict(self, measure: Measure, pair: Pair) -> Verdict:
        value = measure.columns(pair)
        bound = float(threshold(measure, pair.sample, self._alpha))
        return Verdict(value, bound, value > bound, float(measure.chance(np.asarray(value), pair.sample)))

    def _missing(self, reference: float, current: float, n: int, m: int) -> Verdict:
        share = (reference * n + current * m) / max(n + m, 1)
        noise = math.sqrt(share * (1 - share) * (1 / max(n, 1) + 1 / max(m, 1)))
        bound = max(MISSING_EFFECT, NormalDist().inv_cdf(1 - self._alpha / 2) * noise)
        change = abs(current - reference)
        return Verdict(change, bound, change > bound, math.erfc(change / noise / math.sqrt(2)) if noise else 1.0)


def _unique(table: pa.Table) -> list[str]:
    if len(set(table.column_names)) < table.num_columns:
        double = next(name for name in table.column_names if table.column_names.count(name) > 1)
        raise BadInput(f"column {double!r} occurs twice", hint="Give every column its own name.")
    return list(table.column_names)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "categorical"
    numeric = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_temporal,
    )
    if any(test(kind) for test in numeric) and not pa.types.is_interval(kind):
        return "numeric"
    return "null" if pa.types.is_null(kind) else ""


def _plain(column: Chunked) -> Arrow:
    """One array of doubles or texts; a time counts in its own unit since 1970 or midnight."""
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
    kind = values.type
    if pa.types.is_temporal(kind):
        return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.float64(), safe=False)
    return values.cast(pa.float64(), safe=False) if pa.types.is_decimal(kind) else values


def _missing_ratio(values: Arrow) -> float:
    gone = values.null_count
    if pa.types.is_floating(values.type):
        gone = pc.is_null(values, nan_is_null=True).true_count
    return gone / len(values) if len(values) else 0.0
