"""A table of a database: `postgresql://user@host/db#settings`, `sqlite:///conf.db#settings`."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import sqlalchemy as sa
from sqlalchemy import exc

from modelkeep.configuration.address import refuse_unknown, seconds, shown
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.secrecy import MASK, is_secret, mask_url
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import Grown, written
from modelkeep.configuration.tree import Mark, Node, Reading
from modelkeep.core.errors import BadInput, Denied, Error, Missing, Unreachable

if TYPE_CHECKING:
    import psycopg

    Rows = list[tuple[str, object]]

_TIMEOUT_S: Final = 10
_TABLE: Final = re.compile(r"(?:([^\W\d]\w*)\.)?([^\W\d]\w*)\Z")
_DENIED: Final = re.compile(
    "password authentication failed|access denied|permission denied|no pg_hba.conf entry|role .* does not exist", re.I
)
_MISSING: Final = re.compile("no such table|database .* does not exist|doesn't exist|unknown database", re.I)
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class Sql(Polled["Rows"]):
    """A table with the columns `key` (dotted) and `value` (text).

    `write` makes the table where there is none, and keeps every change in `TABLE_history` with its author and reason.
    PostgreSQL tells readers at once of what was written so (NOTIFY on the channel named like the table); otherwise, and
    for those who write the table with SQL of their own, it is asked every `poll=` seconds.

    Args:
        where: SQLAlchemy's address with `#table` behind it; `#schema.table`, and `#table?poll=5` to ask every 5 seconds
            instead of 2.

    Raises:
        BadInput: no table is named, or SQLAlchemy cannot read the address.
    """

    def __init__(self, where: str) -> None:
        address, _, rest = where.partition("#")
        table, _, query = rest.partition("?")
        named = _TABLE.match(table)
        plain = shown(address)
        if named is None:
            raise BadInput(f"{plain}#{table} names no table", hint="Write the table's name behind #.")
        options = dict(parse_qsl(query))
        refuse_unknown(options, ("poll",), f"{plain}#{table}")
        super().__init__(f"{plain}#{table}", seconds(options.get("poll", ""), 2.0, f"{plain}#{table}: poll"))
        self._engine = self._made(address)
        data = sa.MetaData(schema=named[1])
        key = sa.String(500)
        self._table = sa.Table(named[2], data, sa.Column("key", key, primary_key=True), sa.Column("value", sa.Text))
        self._history = sa.Table(
            f"{named[2]}_history",
            data,
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("at", sa.BigInteger, nullable=False),
            sa.Column("key", key, nullable=False),
            sa.Column("value", sa.Text),
            sa.Column("author", sa.Text, nullable=False),
            sa.Column("reason", sa.Text, nullable=False),
        )
        self._quoted = self._engine.dialect.identifier_preparer.quote_identifier(named[2])
        self._ear: psycopg.Connection[tuple[object, ...]] | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._hearing = threading.Lock()
        self._using = threading.Lock()

    def fetch(self) -> Found[Rows]:
        """Gives all rows as they are in one transaction.

        Raises:
            Missing: there is no such table or database.
            Denied: the login is wrong, or may not read the table.
            BadInput: the table has other columns.
            Unreachable: nobody answers.
        """
        self._refuse_new_file()
        with self._told(), self._line() as line:
            found = line.execute(self._table.select())
            rows: Rows = sorted(((str(key), value) for key, value in found), key=lambda row: row[0])
        return Found(hashlib.sha256(repr(rows).encode()).hexdigest(), rows)

    def parse(self, found: Found[Rows]) -> Reading:
        """Reads values as texts."""
        grown = Grown()
        for key, value in found.content:
            known = isinstance(value, str | int | float | bool) or value is None
            grown.add(key, value if known else str(value), Mark(f"{self._table.fullname} {key}"))  # type: ignore[arg-type]
        return grown.reading(found.version, Mark(self.name))

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys and keeps their history, all in one transaction; the history does not show secrets.

        Raises:
            Denied: the login may not write the table.
            BadInput: a value that no text stands for.
        """
        texts = {key: None if value is None else written(value, key) for key, value in values.items()}
        with self._told(), self._line() as line, line.begin():
            self._table.metadata.create_all(line)
            for key, text in texts.items():
                line.execute(sa.delete(self._table).where(self._table.c.key == key))
                if text is not None:
                    line.execute(sa.insert(self._table).values(key=key, value=text))
                kept = MASK if text is not None and is_secret(key) else text
                told = {"at": time.time_ns(), "key": key, "value": kept, "author": author, "reason": reason}
                line.execute(sa.insert(self._history).values(**told))
            if self._engine.dialect.name == "postgresql":
                line.execute(sa.text("SELECT pg_notify(:channel, '')"), {"channel": self._table.name})

    def listen(self) -> bool:
        """Hears PostgreSQL's notifications on a connection of its own."""
        if self._ear is not None or self._engine.dialect.driver != "psycopg":
            return False
        with self._told():
            raw = self._engine.raw_connection()
            ear: psycopg.Connection[tuple[object, ...]] = raw.driver_connection  # type: ignore[assignment]
            raw.detach()
        with self._hearing, self._broken():
            if self._closed.is_set():
                ear.close()
                return False
            self._ear = ear
            ear.rollback()
            ear.autocommit = True
            ear.execute(f"LISTEN {self._quoted}".encode())
            self._bell = self._bell or socket.socketpair()
        return True

    def wait(self, wait_s: float) -> bool:
        """Waits for a notification, or for the bell that `close` rings."""
        if self._ear is None or self._bell is None:
            return super().wait(wait_s)
        with self._hearing, self._broken():
            if self._closed.is_set() or self._heard():
                return True
            select.select([self._ear.fileno(), self._bell[1].fileno()], [], [], wait_s)
            return self._closed.is_set() or self._heard()

    def close(self) -> None:
        """Ends a waiting watch at once, and closes the connections."""
        super().close()
        if self._bell is not None:
            with suppress(OSError):
                self._bell[0].send(b"!")
        with self._hearing:
            for one in (self._ear, *(self._bell or ())):
                if one is not None:
                    one.close()
            self._ear = self._bell = None
        self._end()

    @contextmanager
    def _line(self) -> Iterator[sa.Connection]:
        """Lends a connection; when the source was closed meanwhile, all are closed when it comes back."""
        try:
            with self._using, self._engine.connect() as line:
                yield line
        finally:
            if self._closed.is_set():
                self._end()

    def _end(self) -> None:
        if self._using.acquire(blocking=False):
            self._engine.dispose()
            self._using.release()

    def _made(self, address: str) -> sa.Engine:
        scheme, sign, rest = address.partition("://")
        try:
            url = sa.make_url(_DRIVERS.get(scheme, scheme) + sign + rest)
            timeouts = {"connect_timeout": _TIMEOUT_S} if url.get_backend_name() in {"postgresql", "mysql"} else {}
            return sa.create_engine(url, pool_pre_ping=True, connect_args=timeouts, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise BadInput(f"{self.name} needs {error.name}", hint="pip install 'modelkeep[sources]'") from None
        except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
            raise BadInput(f"{self.name}: no such address", hint="Write it as SQLAlchemy does.") from None

    def _refuse_new_file(self) -> None:
        """SQLite would make an empty database where there is none."""
        path = self._engine.url.database or ":memory:"
        file = self._engine.dialect.name == "sqlite" and path != ":memory:" and not path.startswith("file:")
        if file and not Path(path).exists():
            raise Missing(f"{self.name}: there is no such file", hint="Write optional: before it if it may.")

    def _heard(self) -> bool:
        """Takes all notifications that have arrived."""
        assert self._ear is not None
        self._ear.pgconn.consume_input()
        heard = False
        while self._ear.pgconn.notifies() is not None:
            heard = True
        return heard

    @contextmanager
    def _broken(self) -> Iterator[None]:
        """Turns a broken line of the listener into our error; it is made anew by the next `watch`."""
        import psycopg

        try:
            yield
        except (psycopg.Error, OSError, ValueError) as error:
            ear, self._ear = self._ear, None
            if ear is not None:
                ear.close()
            raise Unreachable(f"{self.name}: {type(error).__name__}", hint="Is it running?") from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what SQLAlchemy raises into our errors."""
        try:
            yield
        except exc.DBAPIError as error:
            raise self._judged(error) from None
        except exc.SQLAlchemyError as error:
            raise Unreachable(f"{self.name}: {type(error).__name__}", hint="It is asked again.") from None
        except OSError as error:
            raise Unreachable(f"{self.name}: {error.strerror or error}", hint="Is it running?") from None

    def _judged(self, error: exc.DBAPIError) -> Error:
        orig = error.orig or error
        state = str(getattr(orig, "sqlstate", "") or "")
        text = mask_url(" ".join(str(orig).split("\n")[0].split()))
        if state.startswith("28") or state == "42501" or _DENIED.search(str(orig)):
            return Denied(f"{self.name} refuses", hint="Check user, password and rights.")
        if state in {"42P01", "3D000", "3F000"} or _MISSING.search(str(orig)):
            return Missing(f"{self.name}: there is no such table", hint="Its first write makes it.")
        if isinstance(error, exc.OperationalError) and "no such column" not in text:
            return Unreachable(f"{self.name}: {text}", hint="Is it running, and reachable from here?")
        return BadInput(f"{self.name}: {text}", hint="It needs the columns key and value.")


plugin: type[Source] = Sql
