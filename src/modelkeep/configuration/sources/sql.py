"""A table of a database: `postgresql+psycopg://user@host/db#settings`, `sqlite:///conf.db#settings`."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import exc

from modelkeep.configuration.scalars import assign, scalar
from modelkeep.configuration.secrecy import mask_url
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable

_REFUSED: Final = ("28", "42501")  # SQLSTATE: invalid authorization, insufficient privilege
_TIMEOUT_S: Final = 10


class Sql:
    """A table with the columns `key` (dotted) and `value` (text).

    `write` makes the table where there is none, and keeps every change in `TABLE_history` with its author and reason.
    PostgreSQL tells readers at once (NOTIFY on the channel named like the table); otherwise, and for those who write
    the table with SQL of their own, it is asked every `poll=` seconds.

    Args:
        where: SQLAlchemy's address, `#table` behind it, and `#table?poll=5` to ask every 5 seconds instead of 2.

    Raises:
        BadInput: no table is named, or SQLAlchemy cannot read the address.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address, _, rest = where.partition("#")
        table, _, query = rest.partition("?")
        self.name: Final = f"{mask_url(address)}#{table}"
        if not table.replace("_", "").isalnum():
            raise BadInput(f"{mask_url(where)} names no table", hint="Write the table's name behind #.")
        self._poll_s = float(query.removeprefix("poll=") or 2)
        if urlsplit(address).scheme == "postgresql":
            address = address.replace("postgresql:", "postgresql+psycopg:", 1)
        try:
            self._engine = sa.create_engine(address, pool_pre_ping=True, pool_size=2)
        except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError) as error:
            reason = "its driver is not installed" if isinstance(error, ModuleNotFoundError) else "no such address"
            raise BadInput(f"{self.name}: {reason}", hint="pip install 'modelkeep[sources]'") from None
        data = sa.MetaData()
        self._table = sa.Table(
            table, data, sa.Column("key", sa.String(500), primary_key=True), sa.Column("value", sa.Text)
        )
        self._history = sa.Table(
            f"{table}_history",
            data,
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("at", sa.BigInteger, nullable=False),
            sa.Column("key", sa.String(500), nullable=False),
            sa.Column("value", sa.Text),
            sa.Column("author", sa.Text, nullable=False),
            sa.Column("reason", sa.Text, nullable=False),
        )
        self._ear: sa.Connection | None = None
        self._closed = threading.Event()

    def read(self) -> Reading:
        with self._told(), self._engine.connect() as line:
            rows = [tuple(row) for row in line.execute(sa.select(self._table).order_by(self._table.c.key))]
        tree: Tree = {}
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        for key, text in rows:
            mark = Mark(f"{self._table.name} {key}")
            assign(tree, key, None if text is None else scalar(text, mark), mark)
            marks[key] = mark
            if text is not None:
                texts[key] = text
        version = hashlib.sha256(repr(rows).encode()).hexdigest()
        return Reading(tree, marks, version, time.time_ns(), Mark(self.name), texts=texts)

    def watch(self, seen: str, wait_s: float) -> bool:
        """Listens where the database can tell, and asks now and then."""
        until = time.monotonic() + wait_s
        while not self._closed.is_set():
            if self._engine.dialect.name == "postgresql":
                self._listen()
            if self.read().version != seen:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._wait(min(left, self._poll_s))
        return False

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys and keeps their history, all in one transaction."""
        with self._told(), self._engine.begin() as line:
            self._table.metadata.create_all(line)
            for key, value in values.items():
                text = value if value is None or isinstance(value, str) else json.dumps(value)
                line.execute(sa.delete(self._table).where(self._table.c.key == key))
                if text is not None:
                    line.execute(sa.insert(self._table).values(key=key, value=text))
                kept = {"at": time.time_ns(), "key": key, "value": text, "author": author, "reason": reason}
                line.execute(sa.insert(self._history).values(**kept))
            if self._engine.dialect.name == "postgresql":
                line.execute(sa.select(sa.func.pg_notify(self._table.name, author)))

    def close(self) -> None:
        """Closes the connections."""
        self._closed.set()
        if self._ear is not None:
            self._ear.close()
        self._engine.dispose()

    def _listen(self) -> None:
        if self._ear is None:
            with self._told():
                self._ear = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._ear.execute(sa.text(f'LISTEN "{self._table.name}"'))

    def _wait(self, wait_s: float) -> None:
        if self._ear is None:
            self._closed.wait(wait_s)
            return
        try:
            line = self._ear.connection.driver_connection
            for _ in line.notifies(timeout=wait_s, stop_after=1):  # type: ignore[union-attr]
                return
        except Exception as error:  # noqa: BLE001 - whatever the driver raises when the line breaks
            self._ear.invalidate()
            self._ear = None
            raise Unreachable(f"{self.name}: {type(error).__name__}", hint="Is it running?") from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (exc.ProgrammingError, exc.OperationalError) as error:
            state = str(getattr(error.orig, "sqlstate", "") or "")
            text = str(error.orig).partition("\n")[0]
            if state.startswith(_REFUSED) or "password authentication failed" in text:
                raise Denied(f"{self.name} refuses", hint="Check user, password and rights.") from None
            if state == "42P01" or "no such table" in text:
                raise Missing(
                    f"{self.name}: there is no such table", hint="modelkeep can make it: source.write"
                ) from None
            if isinstance(error, exc.ProgrammingError):
                raise BadInput(f"{self.name}: {text}", hint="It needs the columns key and value.") from None
            raise Unreachable(f"{self.name}: {mask_url(text)}", hint="Is it running?") from None
        except exc.DBAPIError as error:
            raise Unreachable(f"{self.name}: {type(error.orig).__name__}", hint="Is it running?") from None


plugin: type[Source] = Sql
