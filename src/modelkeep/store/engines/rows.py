"""The row engine: predictions, facts, events, logs and references as Arrow tables and Parquet, asked by SQL.

Rows are in memory until they are sealed. `seal` writes them as Parquet and then replaces the manifest; the manifest
alone says which files count and up to which journal entry, so after a crash every row is there once: in a file that
the manifest lists, or again from the journal. Files that no manifest lists are removed at opening.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from modelkeep.core.clock import DAY, Clock, Wall
from modelkeep.core.errors import BadInput, Corrupt
from modelkeep.core.shapes import Entry
from modelkeep.store.disk import Disk
from modelkeep.store.rows import scans, views
from modelkeep.store.rows.columns import FIXED, Stream, Types, shaped
from modelkeep.store.rows.recent import Recent, Run, runs
from modelkeep.store.rows.scans import Moment, Wanted
from modelkeep.store.rows.sql import Sandbox, Unreadable, Value, answered, checked
from modelkeep.store.rows.vault import Vault

RETENTION: Final[Mapping[str, int]] = {"prediction": 180 * DAY, "fact": 180 * DAY, "event": 180 * DAY, "log": 7 * DAY}
"""How long rows of a kind are kept, ns of event time; references stay."""

VIEWS: Final = ("prediction", "fact", "label", "event", "log", "reference")
"""The tables that SQL may read."""

_INSPECT_EVERY_S: Final = 60.0

Kept = TypeVar("Kept", int, str)
Ask = Callable[[duckdb.DuckDBPyConnection, Moment], pa.Table]

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowsStatus:
    """How the row engine stands.

    Args:
        applied: last journal entry taken.
        sealed: last journal entry that is durable here.
        recent_rows: in memory, not sealed.
        recent_bytes: what they take.
        rows: in sealed files, by kind.
        files: live.
        size_bytes: of the live files.
        misfits: (model, column) → values that did not fit the column's type; they stand in `misfits`.
        damaged: files that cannot be read; they are left out of every answer.
        refused_rows: rows that could not be brought into columns; they lie in the folder `refused`.
        expired_rows: taken by retention since the start.
        expiry_refused: runs of retention that would have taken too much at once.
    """

    applied: int
    sealed: int
    recent_rows: int
    recent_bytes: int
    rows: Mapping[str, int]
    files: int
    size_bytes: int
    misfits: Mapping[tuple[str, str], int]
    damaged: tuple[str, ...]
    refused_rows: int
    expired_rows: int
    expiry_refused: int


class Rows:
    """The engine of records; a reader of the journal.

    `apply` and `seal` belong to one thread, everything else may be called by any. A query sees all rows of an
    `apply` or none of them.

    Args:
        folder: made when missing; held against a second process.
        clock: tells what is past retention.
        retention: kind → ns, in place of `RETENTION`; a kind that is not named is kept.
        memory_limit_bytes: for all queries together.
        disk: makes things durable.

    Raises:
        Conflict: another process has the folder, or a newer modelkeep wrote it.
        Corrupt: the manifest and its copy are damaged.

    >>> import tempfile
    >>> from modelkeep.core.shapes import Part
    >>> rows = Rows(Path(tempfile.mkdtemp()))
    >>> batch = pa.record_batch({"id": ["a"], "at": [0], "features.age": [41.0]}).replace_schema_metadata(
    ...     {"model": "churn", "version": "3"})
    >>> rows.apply([Entry(1, "", 0, (Part("prediction", batch),))])
    >>> rows.sql("SELECT id, model, features.age FROM prediction WHERE at < now()").to_pylist()
    [{'id': 'a', 'model': 'churn', 'features.age': 41.0}]
    >>> rows.seal()
    1
    >>> rows.close()
    """

    name = "rows"

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        retention: Mapping[str, int] = RETENTION,
        memory_limit_bytes: int = 512 << 20,
        disk: Disk | None = None,
    ) -> None:
        self._clock: Clock = clock or Wall()
        self._retention = dict(retention)
        self._disk = disk or Disk()
        with ExitStack() as opened:
            self._vault = Vault(folder.resolve(), self._disk)
            opened.callback(self._vault.close)
            self._folder: Final = self._vault.folder
            self._memory_limit_bytes = memory_limit_bytes
            self._sandbox = self._database()
            opened.pop_all()
        manifest = self._vault.manifest
        self._applied = manifest.seq
        self._received_ns = 0
        self._recent: dict[Stream, Recent] = {}
        self._types, self._misfits = _copied(manifest.types), _copied(manifest.misfits)
        self._refused_rows = self._expired_rows = self._expiry_refused = 0
        self._inspected_s = -_INSPECT_EVERY_S

    def sealed(self) -> int:
        return self._vault.manifest.seq

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries in order; those taken before are passed over."""
        new = [entry for entry in entries if entry.seq > self._applied]
        if not new:
            return
        types, misfits = _copied(self._types), _copied(self._misfits)
        tables = [(run.stream, table) for run in runs(new) if (table := self._shaped(run, types, misfits)) is not None]
        with self._vault.lock:
            for stream, table in tables:
                self._recent.setdefault(stream, Recent()).add(table)
            self._types, self._misfits, self._applied = types, misfits, new[-1].seq
            self._received_ns = max(self._received_ns, *(entry.received_ns for entry in new))

    def seal(self) -> int:
        """Makes everything applied durable; on an error nothing has changed and it may be tried again."""
        with self._vault.lock:
            recent = {stream: found.table() for stream, found in self._recent.items()}
            seq = self._applied
        if seq > self.sealed():
            self._vault.seal(
                recent,
                seq,
                received_ns=self._received_ns,
                types=self._types,
                misfits=self._misfits,
                then=self._recent.clear,
            )
        return seq

    def close(self) -> None:
        """Lets go of the folder, without sealing."""
        self._sandbox.close()
        self._vault.close()

    def sql(
        self,
        query: str,
        parameters: Sequence[Value] = (),
        *,
        limit: int | None = None,
        timeout_s: float = 30.0,
    ) -> pa.Table:
        """Gives the answer of one SELECT over the views `prediction`, `fact`, `label`, `event`, `log`, `reference`.

        In a view `at` is a timestamp in UTC (µs) and `at_ns` the same in ns; features are the columns
        `features.<name>`, which need no quotes here. `label` has the label per model and id that arrived last.

        Args:
            query: DuckDB's SQL.
            parameters: for `?` or `$1`.
            limit: at most so many rows; None for all.
            timeout_s: after this it is ended.

        Raises:
            BadInput: the query is wrong, or takes too much time, memory or rows.
            Denied: it asks for files, the network or settings.
        """

        def ask(cursor: duckdb.DuckDBPyConnection, moment: Moment) -> pa.Table:
            statement = checked(cursor, query, VIEWS)
            _show(cursor, moment, statement.tables)
            return answered(cursor, statement.query, parameters, timeout_s=timeout_s, limit=limit)

        return self._asked(ask)

    def scan(
        self,
        kind: str,
        *,
        model: str | None = None,
        version: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        columns: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> pa.Table:
        """Gives rows of one kind in columns as in `core.layouts`, ordered by time.

        Args:
            kind: prediction, fact, event, log or reference.
            model: only rows of this model; facts that do not name a model are of any.
            version: only rows of this version (predictions and references).
            start_ns: the first time.
            end_ns: the first time that is too late.
            columns: names; all without.
            ids: only rows of these ids (predictions and facts).
            limit: at most so many rows.
            newest_first: order by falling time.

        Raises:
            BadInput: an unknown kind, or a column that no row has.
        """
        if kind not in FIXED:
            raise BadInput(f"there are no rows of kind {kind!r}", hint=f"There are: {', '.join(FIXED)}.")
        wanted = Wanted(kind, model, version, start_ns, end_ns, ids, limit, newest_first)
        return self._asked(lambda cursor, moment: scans.scanned(cursor, moment, wanted, columns))

    def latest_facts(self, ids: Sequence[str], model: str) -> pa.Table:
        """Gives of each id, kind and source the fact that arrived last.

        Args:
            ids: of predictions of `model`; facts that do not name a model count too.
            model: whose.

        Returns: columns of `core.layouts.FACT`.
        """
        wanted = Wanted("fact", model, ids=ids)
        return self._asked(lambda cursor, moment: scans.latest(cursor, moment, wanted))

    def compact(self) -> int:
        """Joins small files; gives how many files fewer there are."""
        return self._vault.compact(self._clock.now_ns() // DAY)

    def expire(self, *, confirmed: bool = False) -> int:
        """Deletes rows of days past retention; gives how many rows went.

        A run that would take more than a usual share at once takes nothing, is counted and logged: a clock that
        jumped ahead must not empty the store.

        Args:
            confirmed: take it all the same.
        """
        total = 0
        for kind, span_ns in self._retention.items():
            cutoff_ns = (self._clock.now_ns() - span_ns) // DAY * DAY
            taken = self._vault.expire(kind, cutoff_ns, confirmed=confirmed)
            self._expiry_refused += taken is None
            total += taken or 0
        self._expired_rows += total
        return total

    def verify(self) -> tuple[str, ...]:
        """Reads every live file and gives the names of those that are not as they were written."""
        return self._vault.verify()

    @contextmanager
    def snapshot(self) -> Iterator[list[tuple[str, Path]]]:
        """Gives name and path of every file of one sealed state, kept as they are until the end of the block.

        The names are relative to the engine's folder; copied there into an empty one, they are this engine at the
        journal entry that the manifest names.
        """
        with self._vault.snapshot() as files:
            yield files

    def status(self) -> RowsStatus:
        """Tells how the engine stands."""
        with self._vault.lock:
            manifest, recent = self._vault.manifest, list(self._recent.values())
            misfits, applied = self._misfits, self._applied
            size = sum(found.size_bytes() for found in recent)
        rows = dict.fromkeys(FIXED, 0)
        for file in manifest.files:
            rows[file.kind] += file.rows
        return RowsStatus(
            applied=applied,
            sealed=manifest.seq,
            recent_rows=sum(found.rows for found in recent),
            recent_bytes=size,
            rows=rows,
            files=len(manifest.files),
            size_bytes=sum(file.size_bytes for file in manifest.files),
            misfits={(key.partition("/")[2], name): n for key, found in misfits.items() for name, n in found.items()},
            damaged=tuple(sorted(self._vault.damaged)),
            refused_rows=self._refused_rows,
            expired_rows=self._expired_rows,
            expiry_refused=self._expiry_refused,
        )

    def _shaped(self, run: Run, types: dict[str, Types], misfits: dict[str, dict[str, int]]) -> pa.Table | None:
        key = run.stream.key
        try:
            found = shaped(run.stream.kind, run.table, run.whose, run.places, types.get(key, {}))
        except BadInput as error:
            self._refuse(run, error)
            return None
        types[key] = found.types
        counts = misfits.setdefault(key, {}) if found.misfits else {}
        for column, count in found.misfits.items():
            counts[column] = counts.get(column, 0) + count
        return found.table

    def _refuse(self, run: Run, error: BadInput) -> None:
        """Puts rows that do not fit any column aside, as they came, and counts them."""
        name = f"{run.stream.kind}-{run.places['seq'][0].as_py()}-{zlib.crc32(run.stream.model.encode()):08x}.arrow"
        path = self._folder / "refused" / name
        path.parent.mkdir(exist_ok=True)
        meta = {"model": run.whose.model, "version": run.whose.version, "release": run.whose.release}
        table = run.table.replace_schema_metadata(meta)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        self._refused_rows += table.num_rows
        log.error("%d rows are put aside in %s: %s", table.num_rows, path, error)

    def _database(self) -> Sandbox:
        return Sandbox(self._folder, self._folder / "spill", memory_limit_bytes=self._memory_limit_bytes)

    def _asked(self, ask: Ask) -> pa.Table:
        try:
            return self._once(ask)
        except Unreadable as error:
            if isinstance(error.__cause__, (duckdb.InternalException, duckdb.FatalException)):
                self._sandbox = self._database()
                raise BadInput(f"the database failed at this query: {error}", hint="Write it another way.") from error
            if not self._inspected():
                raise Corrupt(
                    f"a stored file cannot be read: {error}", hint="Look at `damaged` in the status."
                ) from error
        return self._once(ask)

    def _once(self, ask: Ask) -> pa.Table:
        with self._vault.reading(), self._sandbox.cursor() as cursor:
            with self._vault.lock:
                recent = {stream: found.table() for stream, found in self._recent.items()}
                moment = Moment(self._folder, self._vault.readable(), recent, self._types, self._vault.sound)
            return ask(cursor, moment)

    def _inspected(self) -> bool:
        """Looks for damaged files, at most once a minute; tells whether there are more than before."""
        now_s = time.monotonic()
        if now_s - self._inspected_s < _INSPECT_EVERY_S:
            return False
        self._inspected_s = now_s
        before = len(self._vault.damaged)
        return len(self._vault.verify()) > before


def _show(cursor: duckdb.DuckDBPyConnection, moment: Moment, tables: frozenset[str]) -> None:
    for kind in {"fact" if table == "label" else table for table in tables}:
        relation = moment.relation(kind)
        for name, table in relation.tables.items():
            cursor.register(name, table)
        picked = views.shown(kind, relation.columns)
        hidden = f"SELECT {picked}, row FROM ({relation.query})"
        try:
            cursor.execute(f"CREATE TEMP VIEW {kind}_rows AS {hidden}").fetchall()
        except duckdb.Error as error:
            raise Unreadable(str(error).partition("\n")[0]) from error
        cursor.execute(f"CREATE TEMP VIEW {kind} AS SELECT * EXCLUDE (row) FROM {kind}_rows").fetchall()
    if "label" in tables:
        cursor.execute(f"CREATE TEMP VIEW label AS {views.LABEL}").fetchall()


def _copied(found: Mapping[str, Mapping[str, Kept]]) -> dict[str, dict[str, Kept]]:
    return {key: dict(inner) for key, inner in found.items()}
