"""Readers of the journal that keep what it tells as rows; these and how far it was read change in one transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.core.shapes import Entry
from modelkeep.store.entries import Entries
from modelkeep.store.tables import reader

Row = dict[str, object]
Rows = list[Row]


def reached(entries: Entries, name: str) -> int:
    """Gives the last seq of the journal that a reader has stored; 0 at the beginning."""
    with entries.connect() as connection:
        return connection.execute(sa.select(reader.c.seq).where(reader.c.name == name)).scalar() or 0


def reach(connection: sa.Connection, name: str, seq: int) -> None:
    """Writes down how far a reader has come, in the transaction that stores what it read."""
    mark = insert(reader).values(name=name, seq=seq)
    connection.execute(mark.on_conflict_do_update(index_elements=["name"], set_={"seq": mark.excluded.seq}))


class Told(ABC):
    """A reader that is rare enough to write at once: what an entry tells is durable when `apply` returns.

    Args:
        entries: where the rows are.

    Attributes:
        revision: grows whenever something was told.
    """

    name: ClassVar[str]

    def __init__(self, entries: Entries) -> None:
        self._entries: Final = entries
        self._applied = self._sealed = reached(entries, self.name)
        self.revision = 0

    @abstractmethod
    def _rows(self, entry: Entry) -> Rows:
        """Gives the rows that an entry tells."""

    @abstractmethod
    def _write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Stores rows, at least one."""

    def sealed(self) -> int:
        return self._sealed

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries; what they tell is durable on return."""
        new = [entry for entry in entries if entry.seq > self._applied]
        if not new:
            return
        rows = [row for entry in new for row in self._rows(entry)]
        if rows:
            self._store(rows, new[-1].seq)
            self.revision += 1
        self._applied = new[-1].seq

    def seal(self) -> int:
        if self._sealed < self._applied:
            self._store([], self._applied)
        return self._sealed

    def close(self) -> None:
        """Nothing is held."""
        return

    def _store(self, rows: Sequence[Row], seq: int) -> None:
        with self._entries.begin() as connection:
            if rows:
                self._write(connection, rows)
            reach(connection, self.name, seq)
        self._sealed = seq
