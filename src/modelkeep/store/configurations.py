"""What became of the configurations of all processes, as the journal tells it: versions by content, changes by time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.core.layouts import CONFIGURATION
from modelkeep.core.shapes import Entry
from modelkeep.store.tables import configuration as versions
from modelkeep.store.tables import configuration_change as changes
from modelkeep.store.tables import configuration_marks as places
from modelkeep.store.told import Row, Rows, Told

APPLIED: Final = ("applied", "rolled back")
_COLUMNS: Final = tuple(name for name, _ in CONFIGURATION if name not in {"tree", "marks"})
_SHORTEST: Final = 4


@dataclass(frozen=True, slots=True)
class Change:
    """One change in one process; see `core.layouts.CONFIGURATION`.

    Args:
        at: ns.
        differences: a JSON array as text.
        deployer: the name of the token that the process used.
        marks: the digest by which `Configurations.marks` gives where the keys were written.
    """

    id: str
    at: int
    state: str
    hash: str
    previous: str
    name: str
    source: str
    author: str
    reason: str
    error: str
    differences: str
    service: str
    host: str
    process: str
    deployer: str
    marks: str


@dataclass(frozen=True, slots=True)
class Version:
    """One configuration by its content.

    Args:
        hash: of the content, and of secrets through a key only.
        first_ns: when it was applied first anywhere.
        tree: a JSON object as text, secrets masked.
    """

    hash: str
    first_ns: int
    tree: str


class Configurations(Told):
    """A reader of the journal that keeps configurations."""

    name = "configurations"

    def current(self, processes: Collection[str] | None = None, *, name: str = "") -> list[Change]:
        """Gives what holds: the latest applied change of each process and name, newest first.

        Args:
            processes: only these; None for all that ever told.
            name: only configurations of this name.
        """
        order = (changes.c.at.desc(), changes.c.seq.desc(), changes.c.id)
        place = sa.func.row_number().over(partition_by=(changes.c.process, changes.c.name), order_by=order)
        query = sa.select(changes.c.id, place.label("place")).where(changes.c.state.in_(APPLIED))
        if name:
            query = query.where(changes.c.name == name)
        ranked = query.subquery()
        wanted = sa.select(ranked.c.id).where(ranked.c.place == 1)
        found = self._changes(changes.c.id.in_(wanted), limit=None)
        return found if processes is None else [one for one in found if one.process in processes]

    def history(
        self,
        *,
        process: str = "",
        name: str = "",
        state: str = "",
        key: str = "",
        start_ns: int | None = None,
        end_ns: int | None = None,
        limit: int | None = 100,
    ) -> list[Change]:
        """Gives changes, newest first.

        Args:
            process: only of this one.
            name: only of configurations of this name.
            state: only what became so.
            key: only those by which this dotted key, or one below it, differed.
            start_ns: earliest.
            end_ns: latest, exclusive.
            limit: at most so many.
        """
        tests: list[sa.ColumnElement[bool]] = []
        for column, value in ((changes.c.process, process), (changes.c.name, name), (changes.c.state, state)):
            if value:
                tests.append(column == value)
        if start_ns is not None:
            tests.append(changes.c.at >= start_ns)
        if end_ns is not None:
            tests.append(changes.c.at < end_ns)
        if key:
            tests.append(_touches(key))
        return self._changes(*tests, limit=limit)

    def version(self, beginning: str) -> Version:
        """Gives the configuration whose hash begins so.

        Raises:
            BadInput: the beginning is too short, or no hash.
            Missing: there is none.
            Conflict: there are several.
        """
        if len(beginning) < _SHORTEST or set(beginning) - set("0123456789abcdef"):
            raise BadInput(f"{beginning[:80]!r} is no hash", hint=f"Give {_SHORTEST} or more of its hex digits.")
        end = beginning + "g"
        query = sa.select(versions).where(versions.c.hash >= beginning, versions.c.hash < end).limit(2)
        with self._entries.connect() as connection:
            found = [Version(*row) for row in connection.execute(query)]
        if not found:
            raise Missing(f"no configuration {beginning}", hint="`modelkeep config history` lists them.")
        if len(found) > 1:
            raise Conflict(f"several configurations begin with {beginning}", hint="Give more digits.")
        return found[0]

    def trees(self, hashes: Iterable[str]) -> dict[str, str]:
        """Gives the trees of hashes, as JSON; a hash that is not known is left out."""
        query = sa.select(versions.c.hash, versions.c.tree).where(versions.c.hash.in_(set(hashes)))
        with self._entries.connect() as connection:
            return {row.hash: row.tree for row in connection.execute(query)}

    def marks(self, digests: Iterable[str]) -> dict[str, str]:
        """Gives where keys were written, as JSON, by the digests that stand in changes."""
        query = sa.select(places).where(places.c.digest.in_(set(digests)))
        with self._entries.connect() as connection:
            return {row.digest: row.marks for row in connection.execute(query)}

    def applications(self, hash_: str) -> list[Change]:
        """Gives where a configuration was applied, newest first."""
        return self._changes(changes.c.hash == hash_, changes.c.state.in_(APPLIED), limit=1000)

    def counts(self) -> dict[str, int]:
        """Gives how many changes there are of each state."""
        query = sa.select(changes.c.state, sa.func.count()).group_by(changes.c.state)
        with self._entries.connect() as connection:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def expire(self, before_ns: int) -> None:
        """Forgets old changes that hold nowhere, and the versions that nothing names any more."""
        kept = [one.id for one in self.current()]
        with self._entries.begin() as connection:
            old = changes.delete().where(changes.c.at < before_ns, changes.c.id.not_in(kept))
            if connection.execute(old).rowcount:
                connection.execute(versions.delete().where(versions.c.hash.not_in(sa.select(changes.c.hash))))
                connection.execute(places.delete().where(places.c.digest.not_in(sa.select(changes.c.marks))))

    def _changes(self, *tests: sa.ColumnElement[bool], limit: int | None) -> list[Change]:
        query = sa.select(*(changes.c[name] for name in _COLUMNS), changes.c.marks).where(*tests)
        query = query.order_by(changes.c.at.desc(), changes.c.seq.desc(), changes.c.id)
        with self._entries.connect() as connection:
            rows = connection.execute(query.limit(limit) if limit else query).mappings()
            return [Change(**row) for row in rows]

    def _rows(self, entry: Entry) -> Rows:
        found: Rows = []
        for part in entry.parts:
            if part.kind == "configuration":
                found += [row | {"seq": entry.seq} for row in part.batch.to_pylist()]
        return found

    def _write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        for row in rows:
            _keep(connection, row)


def _touches(key: str) -> sa.ColumnElement[bool]:
    """Whether a change has a difference at a key or below it."""
    one = sa.func.json_each(changes.c.differences).table_valued("value", name="one")
    named = sa.func.json_extract(one.c.value, "$.key")
    below = [sa.func.substr(named, 1, len(key) + 1) == key + sign for sign in (".", "[")]
    return sa.select(1).select_from(one).where(sa.or_(named == key, *below)).correlate(changes).exists()


def _keep(connection: sa.Connection, row: Row) -> None:
    tree, marks = str(row.pop("tree") or "{}"), str(row.pop("marks") or "{}")
    if row["state"] in APPLIED and row["hash"]:
        new = insert(versions).values(hash=row["hash"], first_ns=row["at"], tree=tree)
        earliest = sa.func.min(versions.c.first_ns, new.excluded.first_ns)
        connection.execute(new.on_conflict_do_update(index_elements=["hash"], set_={"first_ns": earliest}))
    digest = blake2b(marks.encode(), digest_size=16).hexdigest()
    connection.execute(insert(places).values(digest=digest, marks=marks).on_conflict_do_nothing())
    values = {name: "" if value is None else value for name, value in row.items()}
    connection.execute(insert(changes).values(**values, marks=digest).on_conflict_do_nothing())
