"""Keys and values that people write: as they stand, and every write with its author."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from modelkeep.core.clock import Clock, Wall
from modelkeep.core.errors import BadInput, Missing
from modelkeep.store.entries import Entries
from modelkeep.store.tables import pair as table
from modelkeep.store.tables import pair_write as writes

LARGEST_KEY: Final = 1024
LARGEST_BYTES: Final = 512 << 10
_By = tuple[str, str]
_EMPTY: Final = 1
"""The index of a store that was never written; the first write is another, so that who waits for it is told."""
_MOST_FLAGS: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and its value.

    Args:
        key: any text; slashes are folders to those who want it so.
        value: its bytes.
        flags: a number for the writer's own use, 64 bits.
        created: the write that made it.
        modified: the latest write.
    """

    key: str
    value: bytes
    flags: int
    created: int
    modified: int


@dataclass(frozen=True, slots=True)
class Write:
    """One write.

    Args:
        seq: counts all writes, from 2.
        at_ns: when, wall time.
        key: which key.
        value: what was written; None: the key was taken away.
        flags: as in `Pair`.
        author: who wrote.
        reason: why, where somebody said.
    """

    seq: int
    at_ns: int
    key: str
    value: bytes | None
    flags: int
    author: str
    reason: str


class Pairs:
    """The key-value store of one server; safe from many threads.

    Args:
        entries: where it is kept.
        clock: dates the writes.

    >>> import tempfile
    >>> pairs = Pairs(Entries(f"{tempfile.mkdtemp()}/entries.db"))
    >>> pairs.put("app/pool", b"5", author="ann"), pairs.put("app/pool", b"9", author="bob", expected=7)
    (True, False)
    >>> pairs.look("app/", below=True)
    (2, [Pair(key='app/pool', value=b'5', flags=0, created=2, modified=2)])
    """

    def __init__(self, entries: Entries, clock: Clock | None = None) -> None:
        self._entries = entries
        self._clock: Clock = clock or Wall()
        self.listeners: Final[list[Callable[[], None]]] = []
        """Called after every write, in the writer's thread."""

    def look(self, key: str, *, below: bool = False) -> tuple[int, list[Pair]]:
        """Gives the latest write of a key and the key, of one moment.

        Args:
            key: the key, or how keys begin.
            below: give all that begin so, in order.

        Returns:
            The write: of this key or of those, removals too; the latest of all where there was none, at least 1.
        """
        with self._entries.connect() as connection:
            rows = connection.execute(sa.select(table).where(_is(table, key, below=below)).order_by(table.c.key))
            found = [Pair(row.key, row.value, int(row.flags), row.created, row.modified) for row in rows]
            own = sa.select(sa.func.max(writes.c.seq)).where(_is(writes, key, below=below))
            index = connection.execute(own).scalar()
            if index is None:
                index = connection.execute(sa.select(sa.func.max(writes.c.seq))).scalar()
        return index or _EMPTY, found

    def put(
        self, key: str, value: bytes, *, flags: int = 0, author: str = "", reason: str = "", expected: int | None = None
    ) -> bool:
        """Writes a key; one that holds the same already is left as it is.

        Args:
            key: 1 to 1,024 characters.
            value: at most 512 kB.
            flags: 64 bits.
            author: who writes.
            reason: why.
            expected: write only if the key's latest write is this one; 0: only if there is no such key.

        Returns:
            Whether it was written, or stood so already.

        Raises:
            BadInput: the key, the value or the flags are beyond their bounds.
        """
        _check(key, value, flags)
        with self._entries.begin() as connection:
            row = connection.execute(sa.select(table).where(table.c.key == key)).first()
            if expected is not None and expected != (row.modified if row else 0):
                return False
            if row is not None and (row.value, int(row.flags)) == (value, flags):
                return True
            self._write(connection, key, value, flags=flags, by=(author, reason))
        self._tell()
        return True

    def delete(
        self, key: str, *, below: bool = False, author: str = "", reason: str = "", expected: int | None = None
    ) -> bool:
        """Takes a key away, or all keys that begin so; none is no error.

        Returns:
            Whether that was done; False only where `expected` is another write than the key's latest.
        """
        with self._entries.begin() as connection:
            rows = connection.execute(sa.select(table).where(_is(table, key, below=below)).order_by(table.c.key)).all()
            if expected is not None and expected != (rows[0].modified if rows else 0):
                return False
            for row in rows:
                self._write(connection, row.key, None, by=(author, reason))
        if rows:
            self._tell()
        return True

    def history(self, key: str = "", *, limit: int = 100) -> list[Write]:
        """Gives the writes of keys that begin so, newest first."""
        query = sa.select(writes).where(_is(writes, key, below=True)).order_by(writes.c.seq.desc()).limit(limit)
        with self._entries.connect() as connection:
            return [_written(row) for row in connection.execute(query)]

    def rollback(self, key: str, seq: int, *, author: str = "", reason: str = "", dry: bool = False) -> list[str]:
        """Puts the keys that begin so back to what they were after a write; this is written like any change.

        Args:
            key: how the keys begin.
            seq: the write; 0 for before the first one.
            author: who does it.
            reason: why.
            dry: change nothing.

        Returns:
            The keys that changed, or would.

        Raises:
            Missing: there was no such write.
        """
        with self._entries.begin() as connection:
            latest = connection.execute(sa.select(sa.func.max(writes.c.seq))).scalar() or 0
            if not 0 <= seq <= latest:
                raise Missing(f"there is no write {seq}; the latest is {latest}", hint="The history lists them.")
            last = sa.select(sa.func.max(writes.c.seq)).where(_is(writes, key, below=True), writes.c.seq <= seq)
            query = sa.select(writes).where(writes.c.seq.in_(last.group_by(writes.c.key)))
            then = {row.key: _written(row) for row in connection.execute(query) if row.value is not None}
            now = connection.execute(sa.select(table).where(_is(table, key, below=True))).all()
            held = {row.key: (row.value, int(row.flags)) for row in now}
            changed, by = [], (author, reason)
            for name in sorted({*then, *held}):
                old = then.get(name)
                if old is not None and held.get(name) == (old.value, old.flags):
                    continue
                changed.append(name)
                if not dry:
                    value, flags = (old.value, old.flags) if old is not None else (None, 0)
                    self._write(connection, name, value, flags=flags, by=by)
        if changed and not dry:
            self._tell()
        return changed

    def _write(self, connection: sa.Connection, key: str, value: bytes | None, *, flags: int = 0, by: _By) -> None:
        at_ns = self._clock.now_ns()
        seq = (connection.execute(sa.select(sa.func.max(writes.c.seq))).scalar() or _EMPTY) + 1
        row = {
            "seq": seq,
            "at_ns": at_ns,
            "key": key,
            "value": value,
            "flags": str(flags),
            "author": by[0],
            "reason": by[1],
        }
        connection.execute(writes.insert().values(**row))
        if value is None:
            connection.execute(table.delete().where(table.c.key == key))
            return
        same = table.c.key == key
        held = {"value": value, "flags": str(flags), "modified": seq}
        if not connection.execute(table.update().where(same).values(**held)).rowcount:
            connection.execute(table.insert().values(key=key, created=seq, **held))

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()


def _is(where: sa.Table, key: str, *, below: bool) -> sa.ColumnElement[bool]:
    if not below:
        return where.c.key == key
    begins = sa.func.substr(where.c.key, 1, len(key)) == key
    return sa.and_(where.c.key >= key, begins)


def _written(row: sa.Row[tuple[object, ...]]) -> Write:
    return Write(row.seq, row.at_ns, row.key, row.value, int(row.flags), row.author, row.reason)


def _check(key: str, value: bytes, flags: int) -> None:
    if not key or len(key) > LARGEST_KEY:
        raise BadInput(f"key: {len(key)} characters, expected 1 to {LARGEST_KEY}")
    if len(value) > LARGEST_BYTES:
        raise BadInput(f"{key}: a value of {len(value)} bytes, at most {LARGEST_BYTES} are kept", status=413)
    if not 0 <= flags <= _MOST_FLAGS:
        raise BadInput(f"flags: {flags}, expected 0 to {_MOST_FLAGS}")
