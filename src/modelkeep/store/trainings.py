"""Who trained which model when, from what, and how it went, as the journal tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.core.shapes import Entry
from modelkeep.store.tables import training as table
from modelkeep.store.told import Row, Rows, Told

_TEXTS: Final = ("version", "status", "code", "data_version", "config_version", "metrics", "parameters", "by")
_MORE: Final = ("source", "run", "error", "url", "host", "process", "deployer")
_EMPTY: Final = dict.fromkeys((*_TEXTS, *_MORE), "") | {"metrics": "{}", "parameters": "{}"}
ENDED: Final = ("finished", "failed")


class Training(msgspec.Struct, frozen=True, gc=False):
    """One training; see `core.layouts.TRAINING`.

    Args:
        at_ns: its start.
        end_ns: None while it runs.
        metrics: a JSON object of numbers as text.
        parameters: a JSON object as text.
        by: who ran it.
        deployer: the name of the token that told of it.
    """

    id: str
    model: str
    at_ns: int
    end_ns: int | None = None
    status: str = "finished"
    version: str = ""
    code: str = ""
    dirty: bool = False
    data_version: str = ""
    config_version: str = ""
    metrics: str = "{}"
    parameters: str = "{}"
    by: str = ""
    source: str = "train"
    run: str = ""
    error: str = ""
    url: str = ""
    host: str = ""
    process: str = ""
    deployer: str = ""


_COLUMNS: Final = Training.__struct_fields__


class Trainings(Told):
    """A reader of the journal that keeps trainings.

    A training told again changes its row only where something was said; one that has ended never runs again.
    """

    name = "trainings"

    def list(
        self,
        model: str | None = None,
        *,
        status: str = "",
        start_ns: int | None = None,
        end_ns: int | None = None,
        limit: int | None = None,
    ) -> list[Training]:
        """Gives trainings, the one that began last first.

        Args:
            model: only of this one.
            status: only what stands so.
            start_ns: those that began at this time or later.
            end_ns: those that began before.
            limit: at most so many.
        """
        query = sa.select(*(table.c[name] for name in _COLUMNS)).order_by(table.c.at_ns.desc(), table.c.id)
        for column, value in ((table.c.model, model), (table.c.status, status or None)):
            if value is not None:
                query = query.where(column == value)
        if start_ns is not None:
            query = query.where(table.c.at_ns >= start_ns)
        if end_ns is not None:
            query = query.where(table.c.at_ns < end_ns)
        with self._entries.connect() as connection:
            rows = connection.execute(query.limit(limit) if limit is not None else query)
            return [Training(*row) for row in rows]

    def _rows(self, entry: Entry) -> Rows:
        found: Rows = []
        for part in entry.parts:
            if part.kind == "training":
                for told in part.batch.to_pylist():
                    row = {name: _EMPTY[name] if told.get(name) is None else told[name] for name in _EMPTY}
                    row |= {"id": told["id"], "model": told["model"], "dirty": bool(told.get("dirty"))}
                    found.append(row | {"at_ns": told["at"], "end_ns": told.get("end") or None, "seq": entry.seq})
        return found

    def _write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        connection.execute(_UPSERT, rows)


def _upsert() -> sa.Insert:
    new = insert(table)
    over = sa.and_(table.c.end_ns.is_not(None), new.excluded.end_ns.is_(None))
    changed = {
        name: sa.case((sa.or_(over, new.excluded[name] == empty), table.c[name]), else_=new.excluded[name])
        for name, empty in _EMPTY.items()
    }
    fixed = {
        "at_ns": sa.func.min(table.c.at_ns, new.excluded.at_ns),
        "end_ns": sa.func.coalesce(new.excluded.end_ns, table.c.end_ns),
        "dirty": sa.or_(table.c.dirty, new.excluded.dirty),
        "seq": new.excluded.seq,
    }
    return new.on_conflict_do_update(index_elements=["id"], set_=changed | fixed)


_UPSERT: Final = _upsert()
