"""What is decided, kept in one SQLite file: transactions, migrations at open, a copy while it is in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.store.tables import REVISION

_BUSY_MS: Final = 15_000
_WRITE: Final = "modelkeep_write"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Entries:
    """The database of decisions; safe to use from many threads and several processes.

    A commit is on disk when it returns. One writer at a time, readers never wait; a writer waits up to 15 s for
    another before it is refused.

    Args:
        place: the file, or its address as `sqlite:///path`. It is made when it is missing.

    Raises:
        BadInput: the address is not one of SQLite.
        Conflict: a newer modelkeep wrote the file.
        Corrupt: the file is not a database.

    >>> import tempfile
    >>> entries = Entries(Path(tempfile.mkdtemp()) / "entries.db")
    >>> with entries.begin() as connection:
    ...     _ = connection.execute(sa.text("INSERT INTO reader VALUES ('relay', 7)"))
    >>> with entries.connect() as connection:
    ...     connection.execute(sa.text("SELECT seq FROM reader")).scalar()
    7
    >>> entries.close()
    """

    def __init__(self, place: str | Path) -> None:
        self.path: Final = _path(place)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.engine: Final = sa.create_engine(f"sqlite:///{self.path}", connect_args={"timeout": _BUSY_MS / 1000})
        sa.event.listen(self.engine, "connect", _prepare)
        sa.event.listen(self.engine, "begin", _begin)
        try:
            self._migrate()
        except sa.exc.DatabaseError as error:
            self.engine.dispose()
            if isinstance(error.orig, sqlite3.OperationalError):
                raise
            raise Corrupt(f"{self.path} is not a readable database: {error.orig}", hint="Restore a backup.") from error
        except Conflict:
            self.engine.dispose()
            raise

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Gives a connection inside a write transaction; it commits at the end and rolls back on an error."""
        with self.engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
            yield connection

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Gives a connection for reading: everything read on it is of one moment."""
        with self.engine.connect() as connection:
            yield connection

    def backup(self, target: Path) -> None:
        """Writes a consistent copy of the whole database to a new file, while it is in use.

        Raises:
            Conflict: the target exists.
        """
        if target.exists():
            raise Conflict(f"{target} exists already", hint="Name a file that does not exist.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")

    def revision(self) -> str:
        """Gives the migration that the tables stand at."""
        with self.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""

    def close(self) -> None:
        """Lets go of the file."""
        self.engine.dispose()

    def _migrate(self) -> None:
        if self.revision() == REVISION:
            return
        with self.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision() or ""
            if current > REVISION:
                raise Conflict(
                    f"{self.path} stands at revision {current}, this modelkeep knows up to {REVISION}",
                    hint="Run the newer modelkeep that wrote it, or restore a backup.",
                )
            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _path(place: str | Path) -> Path:
    if isinstance(place, Path):
        return place
    if "://" not in place:
        return Path(place)
    if not place.startswith("sqlite:///"):
        scheme = place.partition("://")[0]
        raise BadInput(f"entries cannot be kept in {scheme!r}", hint="Give a file or sqlite:///path.")
    return Path(place.removeprefix("sqlite:///"))


def _prepare(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Takes transactions out of the driver's hands and makes commits durable."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
