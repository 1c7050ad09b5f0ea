"""What DuckDB sees of the row engine: one relation per kind over sealed files and recent tables."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from modelkeep.store.rows.columns import FIXED, LOOSE, Stream
from modelkeep.store.rows.manifest import Sealed

KINDS: Final = tuple(FIXED)
_SQL: Final = {"string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "time": "TIMESTAMPTZ"}
_HIDDEN: Final = frozenset({"at", "time", "row", "misfits", "seq"})

LABEL: Final = (
    "SELECT * EXCLUDE (kind, row) FROM fact_rows WHERE kind = 'label' QUALIFY row_number() OVER"
    " (PARTITION BY model, id ORDER BY seq DESC, row DESC) = 1"
)
"""The label of a model and id that arrived last."""


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of one stream at one moment.

    Args:
        stream: whose.
        types: loose column → `double` or `string`.
        files: sealed.
        recent: not sealed yet; None when there are none.
    """

    stream: Stream
    types: Mapping[str, str]
    files: Sequence[Sealed] = ()
    recent: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A query over everything of one kind, with the tables to register for it.

    Args:
        query: SELECT of `columns`.
        columns: name → type as in `columns.ARROW`.
        tables: name → recent table.
    """

    query: str
    columns: Mapping[str, str]
    tables: Mapping[str, pa.Table]


def name(column: str) -> str:
    """Gives a column's name quoted for SQL.

    >>> name('a"b')
    '"a""b"'
    """
    return '"' + column.replace('"', '""') + '"'


def relation(folder: Path, kind: str, sources: Sequence[Source]) -> Relation:
    """Gives the relation of one kind.

    A loose column that is text for one model and a number for another is text.

    Args:
        folder: the engine's, absolute.
        kind: one of `KINDS`.
        sources: of this kind.
    """
    columns = dict(FIXED[kind])
    if kind == LOOSE and not any(LOOSE in source.types for source in sources):
        columns[LOOSE] = "double"
    for source in sources:
        for column, form in source.types.items():
            columns[column] = "string" if "string" in (form, columns.get(column)) else form
    selects, tables = [], dict[str, pa.Table]()
    for source in sources:
        for held, files in _alike(source.files):
            paths = ", ".join(_text(glob.escape(str(folder / file.name))) for file in files)
            selects.append(_select(columns, {*held, *dict(FIXED[kind])}, f"read_parquet([{paths}])"))
        if source.recent is not None and source.recent.num_rows:
            table = f"recent_{kind}_{len(tables)}"
            tables[table] = source.recent
            selects.append(_select(columns, set(source.recent.column_names), table))
    query = " UNION ALL ".join(selects) or f"{_select(columns, set(), '(SELECT 1)')} WHERE false"
    return Relation(query, columns, tables)


def _alike(files: Sequence[Sealed]) -> Iterator[tuple[tuple[str, ...], list[Sealed]]]:
    groups: dict[tuple[str, ...], list[Sealed]] = {}
    for file in files:
        groups.setdefault(tuple(sorted(file.columns)), []).append(file)
    yield from groups.items()


def _select(columns: Mapping[str, str], held: set[str], source: str) -> str:
    picked = []
    for column, form in columns.items():
        value = name(column) if column in held else "NULL"
        picked.append(f"CAST({value} AS {_SQL[form]}) AS {name(column)}")
    return f"SELECT {', '.join(picked)} FROM {source}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def shown(kind: str, columns: Mapping[str, str]) -> str:
    """Gives the select list of the view that people see: `at` as a timestamp, `at_ns` as it is kept.

    >>> shown("event", dict(FIXED["event"])).partition(", ")[0]
    'time AS "at"'
    """
    fixed = [column for column, _ in FIXED[kind] if column not in _HIDDEN]
    first = [column for column in ("id",) if column in fixed]
    loose = [column for column in columns if column not in dict(FIXED[kind]) and column != LOOSE]
    result = [LOOSE] if kind == LOOSE and LOOSE in columns else []
    rest = [column for column in fixed if column not in first]
    picked = [*map(name, first), 'time AS "at"', *map(name, (*rest, *result, *loose))]
    tail = ["misfits"] if "misfits" in columns else []
    return ", ".join([*picked, *tail, '"at" AS at_ns', "seq"])
