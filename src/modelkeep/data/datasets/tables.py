"""What differs between two versions of a table: columns, types, rows, missing values, and drift when asked for.

CSV and Parquet, by DuckDB, within a bounded memory: what does not fit goes to a temporary folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json
from modelkeep.data.datasets.tabular import Cell, Version, integer, opened, quoted

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY: Final = "1GB"
_MOST_ROWS: Final = 1_000_000
_MOST_CELLS: Final = 20_000_000
_NUMBER: Final = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\))")


class Drift(Protocol):
    """What a comparison of distributions answers; `modelkeep.quality.compare.Comparison` is one."""

    @property
    def drifted(self) -> bool:
        """Some column's distribution changed."""

    def json(self) -> dict[str, Json]:
        """The answer in plain JSON types."""


Measures = Callable[["pa.Table", "pa.Table"], Drift]


@dataclass(frozen=True, slots=True)
class Retyped:
    """A column whose type changed.

    Args:
        column: its name.
        old: its type before.
        new: its type now.
        cell: in a CSV, the first value because of which it is no longer (or was not yet) of the narrower type.
    """

    column: str
    old: str
    new: str
    cell: Cell | None = None


@dataclass(frozen=True, slots=True)
class Nulls:
    """How much of a column is missing: shares of the rows, 0 to 1."""

    column: str
    old: float
    new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDifference:
    """What differs between two versions of a table.

    Args:
        old_rows: rows before.
        new_rows: rows now.
        columns_added: (name, type) of columns that only the new version has.
        columns_removed: (name, type) of columns that only the old version has.
        retyped: columns whose type changed.
        rows_added: rows that the new version has and the old one has not, or not as often; by the common columns.
        rows_removed: the same the other way round.
        rows_changed: rows whose key is in both and whose other common columns differ; None without a key. With a key,
            `rows_added` and `rows_removed` count keys.
        nulls: missing values of the common columns where their share changed.
        drift: what the measures found on the common columns; None when none were passed in.
        sampled: how many rows of each version the measures saw at most; None for all.
    """

    old_rows: int
    new_rows: int
    columns_added: tuple[tuple[str, str], ...] = ()
    columns_removed: tuple[tuple[str, str], ...] = ()
    retyped: tuple[Retyped, ...] = ()
    rows_added: int = 0
    rows_removed: int = 0
    rows_changed: int | None = None
    nulls: tuple[Nulls, ...] = ()
    drift: Drift | None = None
    sampled: int | None = None

    @property
    def same(self) -> bool:
        """No column and no row differs."""
        columns = self.columns_added or self.columns_removed or self.retyped
        return not columns and not self.rows_added and not self.rows_removed and not self.rows_changed

    def json(self) -> dict[str, Json]:
        """The difference in plain JSON types."""
        return {
            "old_rows": self.old_rows,
            "new_rows": self.new_rows,
            "columns_added": [{"column": name, "type": kind} for name, kind in self.columns_added],
            "columns_removed": [{"column": name, "type": kind} for name, kind in self.columns_removed],
            "retyped": [
                {"column": one.column, "old": one.old, "new": one.new, "cell": str(one.cell) if one.cell else None}
                for one in self.retyped
            ],
            "rows_added": self.rows_added,
            "rows_removed": self.rows_removed,
            "rows_changed": self.rows_changed,
            "nulls": [{"column": one.column, "old": one.old, "new": one.new} for one in self.nulls],
            "drift": self.drift.json() if self.drift is not None else None,
            "sampled": self.sampled,
        }


def is_table(path: Path) -> bool:
    """Tells by its name whether a file is one that `compare` reads.

    >>> is_table(Path("a/b.parquet")), is_table(Path("b.CSV.gz")), is_table(Path("model.pkl"))
    (True, True, False)
    """
    return bool(re.search(r"\.(csv|tsv|parquet|pq)(\.gz)?$", path.name, re.IGNORECASE))


def compare(
    old: Path,
    new: Path,
    *,
    measures: Measures | None = None,
    key: Sequence[str] = (),
    names: tuple[str, str] | None = None,
    memory: str = MEMORY,
) -> TableDifference:
    """Gives what differs between two tables. A CSV's first line names its columns.

    Rows are compared as multisets of 64-bit hashes over the columns that both have: their order plays no part, and
    among n different rows about n² / 2⁶⁵ are taken for another.

    Args:
        old: CSV (also `;`, tab or `|` between fields, also gzip) or Parquet; told apart by their bytes, not by name.
        new: the same; the two need not have the same format.
        measures: compares the distributions of the common columns, such as `modelkeep.quality.compare.compare`; sees
            a repeatable sample where a table has more than a million rows.
        key: columns that identify a row; rows whose other columns differ are then counted as changed.
        names: what to call the two files in the answer and in errors, when their paths mean nothing to people.
        memory: how much DuckDB may use before it writes to a temporary folder.

    Raises:
        BadInput: a file is neither, is malformed (the message names file and line), or a key is not unique.
        Missing: a key column or a file is not there.
    """
    if lacking := [name for name in ("duckdb", "pyarrow") if find_spec(name) is None]:
        raise BadInput(f"comparing tables needs {' and '.join(lacking)}", hint="pip install 'modelkeep[server]'")
    labels = names or (str(old), str(new))
    with opened(memory) as (database, folder):
        left = Version(database, folder / "old", old, labels[0])
        right = Version(database, folder / "new", new, labels[1])
        common = [name for name in left.types if name in right.types]
        found = _rows(left, right, common, key)
        drift, sampled = _drift(left, right, common, measures)
        return TableDifference(
            old_rows=left.rows,
            new_rows=right.rows,
            columns_added=tuple((name, kind) for name, kind in right.types.items() if name not in left.types),
            columns_removed=tuple((name, kind) for name, kind in left.types.items() if name not in right.types),
            retyped=tuple(_retyped(left, right, common)),
            rows_added=found.added,
            rows_removed=found.removed,
            rows_changed=found.changed,
            nulls=tuple(_nulls(left, right, common)),
            drift=drift,
            sampled=sampled,
        )


@dataclass(frozen=True, slots=True)
class _Counts:
    added: int
    removed: int
    changed: int | None = None


def _rows(left: Version, right: Version, common: Sequence[str], key: Sequence[str]) -> _Counts:
    if unknown := [name for name in key if name not in common]:
        raise Missing(f"no column {unknown[0]!r} in both tables", hint=f"There are: {', '.join(common) or 'none'}.")
    if not common:
        return _Counts(right.rows, left.rows)
    sides = [_values(side, other, common) for side, other in ((left, right), (right, left))]
    if key:
        return _by_key(left, right, sides, common, key)
    whole = ", ".join(quoted(name) for name in common)
    union = " UNION ALL ".join(
        f"SELECT hash({whole}) AS h, {sign} AS n FROM ({side})" for side, sign in zip(sides, (-1, 1), strict=True)
    )
    query = f"SELECT sum(greatest(n, 0)), sum(greatest(-n, 0)) FROM (SELECT sum(n) AS n FROM ({union}) GROUP BY h)"
    added, removed = right.ask(query)[0]
    return _Counts(integer(added), integer(removed))


def _by_key(left: Version, right: Version, sides: Sequence[str], common: Sequence[str], key: Sequence[str]) -> _Counts:
    keys = ", ".join(quoted(name) for name in key)
    rest = ", ".join(quoted(name) for name in common if name not in key) or "0"
    for side, values in zip((left, right), sides, strict=True):
        double = side.ask(f"SELECT {keys}, count(*) FROM ({values}) GROUP BY {keys} HAVING count(*) > 1 LIMIT 1")
        if double:
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(key, double[0], strict=False))
            raise BadInput(
                f"{side.label}: {shown} stands in {integer(double[0][-1]):,} rows, so it is no key",
                hint="Name more columns that identify a row together, or none.",
            )
    union = " UNION ALL ".join(
        f"SELECT hash({keys}) AS k, hash({rest}) AS h, {new} AS new FROM ({values})"
        for values, new in zip(sides, ("false", "true"), strict=True)
    )
    grouped = f"SELECT count(*) AS n, bool_or(new) AS new, min(h) <> max(h) AS differs FROM ({union}) GROUP BY k"
    query = (
        "SELECT count(*) FILTER (n = 1 AND new), count(*) FILTER (n = 1 AND NOT new), "
        f"count(*) FILTER (n > 1 AND differs) FROM ({grouped})"
    )
    added, removed, changed = right.ask(query)[0]
    return _Counts(integer(added), integer(removed), integer(changed))


def _values(side: Version, other: Version, common: Sequence[str]) -> str:
    """A query for the common columns in types in which both sides can be compared."""
    wanted: list[str] = []
    for name in common:
        mine, theirs = side.types[name], other.types[name]
        column = quoted(name)
        if mine == theirs or "NULL" in {mine, theirs}:
            kind = mine if mine != "NULL" else theirs if theirs != "NULL" else "VARCHAR"
        else:
            kind = "DOUBLE" if _NUMBER.fullmatch(mine) and _NUMBER.fullmatch(theirs) else "VARCHAR"
        wanted.append(f"CAST({column} AS {kind}) AS {column}")
    return f"SELECT {', '.join(wanted)} FROM {side.name}{'_text' if side.text else ''}"


def _retyped(left: Version, right: Version, common: Sequence[str]) -> Iterator[Retyped]:
    for name in common:
        old, new = left.types[name], right.types[name]
        if old != new and "NULL" not in {old, new}:
            yield Retyped(name, old, new, right.misfit(name, old) or left.misfit(name, new))


def _nulls(left: Version, right: Version, common: Sequence[str]) -> Iterator[Nulls]:
    for name in common:
        old, new = (1 - side.present[name] / side.rows if side.rows else 0.0 for side in (left, right))
        if old != new:
            yield Nulls(name, old, new)


def _drift(
    left: Version, right: Version, common: Sequence[str], measures: Measures | None
) -> tuple[Drift | None, int | None]:
    if measures is None or not common or not left.rows or not right.rows:
        return None, None
    most = min(_MOST_ROWS, max(_MOST_CELLS // len(common), 1))
    tables = [_sample(side, common, most) for side in (left, right)]
    return measures(tables[0], tables[1]), most if max(left.rows, right.rows) > most else None


def _sample(side: Version, common: Sequence[str], most: int) -> pa.Table:
    columns = ", ".join(quoted(name) for name in common)
    chosen = f" USING SAMPLE reservoir({most} ROWS) REPEATABLE (1)" if side.rows > most else ""
    return side.arrow(f"SELECT {columns} FROM {side.name}{chosen}")
