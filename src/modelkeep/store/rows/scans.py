"""Questions that the house itself asks the row engine: rows of one kind, by model, time and ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from modelkeep.core.errors import BadInput
from modelkeep.store.rows import views
from modelkeep.store.rows.columns import PER_MODEL, Stream, Types, whole
from modelkeep.store.rows.manifest import Sealed
from modelkeep.store.rows.sql import Value, answered

_TIMEOUT_S: Final = 600.0
_UNSHOWN: Final = frozenset({"time", "seq", "row"})
_BY_ID: Final = frozenset({"prediction", "fact"})

_PLACE: Final = '"at" AS "at ", seq AS "seq ", row AS "row "'

LATEST: Final = (
    "SELECT * EXCLUDE (seq, row, time) FROM ({rows}) QUALIFY row_number() OVER"
    ' (PARTITION BY id, kind, source ORDER BY seq DESC, row DESC) = 1 ORDER BY "at", id'
)
"""Of each id, kind and source the fact that arrived last."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is to read at one moment.

    Args:
        folder: the engine's.
        files: sealed.
        recent: not sealed.
        types: of loose columns, by stream.
        sound: tells whether a file may be read.
    """

    folder: Path
    files: Sequence[Sealed]
    recent: Mapping[Stream, pa.Table]
    types: Mapping[str, Types]
    sound: Callable[[Sealed], bool]

    def relation(
        self, kind: str, model: str | None = None, keep: Callable[[Sealed], bool] | None = None
    ) -> views.Relation:
        """Gives the relation of one kind, over the files that `keep` wants."""
        found: dict[Stream, list[Sealed]] = {stream: [] for stream in self.recent if stream.kind == kind}
        for file in sorted(self.files, key=lambda file: (file.from_ns, file.from_seq)):
            if file.kind == kind:
                kept = found.setdefault(Stream(kind, file.model), [])
                if (keep is None or keep(file)) and self.sound(file):
                    kept.append(file)
        sources = [
            views.Source(stream, self.types.get(stream.key, {}), files, self.recent.get(stream))
            for stream, files in found.items()
            if kind not in PER_MODEL or model is None or stream.model == model
        ]
        return views.relation(self.folder, kind, sources)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; see `Rows.scan`."""

    kind: str
    model: str | None = None
    version: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    ids: Sequence[str] | None = None
    limit: int | None = None
    newest_first: bool = False

    def within(self, file: Sealed) -> bool:
        """Tells whether a file may have wanted rows."""
        early = self.end_ns is not None and file.from_ns >= self.end_ns
        late = self.start_ns is not None and file.to_ns < self.start_ns
        other = self.kind in PER_MODEL and self.model is not None and file.model != self.model
        return file.kind == self.kind and not early and not late and not other

    def condition(self) -> tuple[str, list[Value]]:
        """Gives the WHERE clause and its parameters."""
        parts: list[tuple[str, Value]] = []
        if self.model is not None:
            parts.append(("model = ?" if self.kind in PER_MODEL else "(model = ? OR model IS NULL)", self.model))
        if self.version is not None:
            parts.append(("version = ?", self.version))
        if self.start_ns is not None:
            parts.append(('"at" >= ?', self.start_ns))
        if self.end_ns is not None:
            parts.append(('"at" < ?', self.end_ns))
        texts = [text for text, _ in parts]
        if self.ids is not None:
            texts.append("id IN (SELECT id FROM wanted)")
        return (" WHERE " + " AND ".join(texts) if texts else ""), [value for _, value in parts]


def scanned(
    cursor: duckdb.DuckDBPyConnection, moment: Moment, wanted: Wanted, columns: Sequence[str] | None
) -> pa.Table:
    """Gives the wanted rows; see `Rows.scan`."""
    relation, rows, parameters = _rows(cursor, moment, wanted)
    shown = [column for column in relation.columns if column not in _UNSHOWN] if columns is None else columns
    if unknown := [column for column in shown if column not in relation.columns]:
        raise BadInput(
            f"no {wanted.kind} has a column {unknown[0]!r}", hint=f"There are: {', '.join(relation.columns)}."
        )
    picked = ", ".join(map(views.name, shown)) or "NULL"
    if wanted.limit is None:
        found = answered(
            cursor, f"SELECT {picked}, {_PLACE} FROM ({rows})", parameters, timeout_s=_TIMEOUT_S, most_bytes=None
        )
        return _ordered(found, newest_first=wanted.newest_first).select(range(found.num_columns - 3))
    order = ", ".join(f"{column} {'DESC' if wanted.newest_first else 'ASC'}" for column in ('"at"', "seq", "row"))
    query = f"SELECT {picked} FROM ({rows}) ORDER BY {order} LIMIT {max(0, int(wanted.limit))}"
    return answered(cursor, query, parameters, timeout_s=_TIMEOUT_S, most_bytes=None)


def _ordered(found: pa.Table, *, newest_first: bool) -> pa.Table:
    """Gives rows by their last three columns, time, entry and row; files mostly have them in order already."""
    at, seq, row = (whole(found.column(found.num_columns - left)) for left in (3, 2, 1))
    later = np.diff(at)
    if newest_first or np.any(later < 0) or np.any(np.diff(seq)[later == 0] < 0):
        order = np.lexsort((row, seq, at))
        return found.take(order[::-1] if newest_first else order)
    return found


def latest(cursor: duckdb.DuckDBPyConnection, moment: Moment, wanted: Wanted) -> pa.Table:
    """Gives the latest of the wanted facts; see `Rows.latest_facts`."""
    _, rows, parameters = _rows(cursor, moment, wanted)
    return answered(cursor, LATEST.format(rows=rows), parameters, timeout_s=_TIMEOUT_S, most_bytes=None)


def _rows(cursor: duckdb.DuckDBPyConnection, moment: Moment, wanted: Wanted) -> tuple[views.Relation, str, list[Value]]:
    if wanted.ids is not None:
        if wanted.kind not in _BY_ID:
            raise BadInput(f"rows of kind {wanted.kind} have no id")
        cursor.register("wanted", pa.table({"id": pa.array(list(wanted.ids), pa.string())}))
    files = newest(moment.files, wanted)
    relation = moment.relation(wanted.kind, wanted.model, files.__contains__)
    for name, table in relation.tables.items():
        cursor.register(name, table)
    condition, parameters = wanted.condition()
    return relation, f"SELECT * FROM ({relation.query}){condition}", parameters


def newest(files: Sequence[Sealed], wanted: Wanted) -> set[Sealed]:
    """Gives the files that must be read: for the newest few rows of a model, only files that reach that far.

    Args:
        files: live.
        wanted: which rows.
    """
    near = [file for file in files if wanted.within(file)]
    exact = wanted.kind in PER_MODEL or wanted.model is None
    if wanted.limit is None or not wanted.newest_first or wanted.ids is not None or wanted.version or not exact:
        return set(near)
    counted, since = 0, None
    for file in sorted(near, key=lambda file: file.from_ns, reverse=True):
        inside = wanted.end_ns is None or file.to_ns < wanted.end_ns
        counted += file.rows if inside else 0
        if counted >= wanted.limit:
            since = file.from_ns
            break
    return {file for file in near if since is None or file.to_ns >= since}
