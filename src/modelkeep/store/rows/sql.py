"""SQL that strangers write: one SELECT over named views, in a database that can touch nothing else.

Three walls stand one behind the other. The statement must parse as exactly one SELECT whose tables, table functions
and functions are all on lists (`checked`). The database has no access to files, network, extensions or the process
beyond the engine's own folder, and its settings are locked (`Sandbox`). Memory, time and the size of an answer are
limited (`answered`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from modelkeep.core.errors import BadInput, Denied
from modelkeep.core.shapes import Json

Value = None | bool | int | float | str
"""What may be bound to a parameter."""

MOST_BYTES: Final = 256 << 20
_MOST_TEXT: Final = 100_000
_BATCH: Final = 16_384

_SOURCES: Final = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "SHOW_REF", "PIVOT", "SELECT_NODE"}
    | {"SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
)
_TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest"})
_SHOWN: Final = frozenset({"DESCRIBE", "SUMMARY"})
_REFUSED: Final = frozenset(
    {
        "current_setting",
        "current_query",
        "current_query_id",
        "current_connection_id",
        "current_schemas",
        "getvariable",
        "nextval",
        "currval",
        "set_config",
        "sleep_ms",
        "write_log",
        "txid_current",
        "current_transaction_id",
        "repeat",
        "lpad",
        "rpad",
        "printf",
        "format",
        "getenv",
        "__internal_json_copy_to_json",
        "__internal_json_copy_to_geojson",
    }
)
"""Functions that tell of the process, wait, write, or make a text of any size in one call."""
_NAME: Final = re.compile(r"(?!duckdb_|pg_|sqlite_|pragma_|recent_|wanted)[A-Za-z_]\w{0,63}\Z", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"""(?P<kept>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |\b(?P<group>features|scores)\s*\.\s*(?P<name>[A-Za-z_]\w*|"(?:[^"]|"")+"|\*)
    |(?P<at>\bat\b)(?!\s+time\b)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement that may run.

    Args:
        query: with dotted names and `at` quoted.
        tables: the views that it reads.
    """

    query: str
    tables: frozenset[str]


def quoted(query: str) -> str:
    r"""Gives a query in which `at` and the dotted columns `features.x` and `scores.x` are quoted where they are not.

    `features.*` becomes all columns of that group.

    >>> quoted("SELECT at, p.features.age FROM prediction p WHERE at AT TIME ZONE 'UTC' > 'at'")
    'SELECT "at", p."features.age" FROM prediction p WHERE "at" AT TIME ZONE \'UTC\' > \'at\''
    """
    return _TOKEN.sub(_quoted, query)


def _quoted(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    if found["at"]:
        return '"at"'
    group, name = found["group"].lower(), found["name"]
    if name == "*":
        return rf"COLUMNS('^{group}\.')"
    return f'"{group}.{name[1:-1] if name.startswith(chr(34)) else name}"'


class Sandbox:
    """A database in memory that may read Parquet below one folder and nothing else.

    Args:
        folder: the only one that it may touch.
        spill: where it may put what does not fit in memory.
        memory_limit_bytes: for all queries together.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> sandbox = Sandbox(folder, folder / "spill")
    >>> with sandbox.cursor() as cursor:
    ...     answered(cursor, "SELECT 1 AS one", (), timeout_s=5).to_pylist()
    [{'one': 1}]
    >>> sandbox.close()
    """

    def __init__(self, folder: Path, spill: Path, *, memory_limit_bytes: int = 512 << 20) -> None:
        self._database = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_limit_bytes >> 20}MiB",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
                "temp_directory": str(spill),
                "max_temp_directory_size": "4GiB",
            },
        )
        allowed = f"{folder.resolve()}/".replace("'", "''")
        for statement in (
            "SET GLOBAL TimeZone = 'UTC'",
            "SET GLOBAL parquet_metadata_cache = true",
            f"SET allowed_directories = ['{allowed}']",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            self._database.execute(statement).fetchall()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Gives a connection of its own, whose views are seen by nobody else."""
        with closing(self._database.cursor()) as cursor:
            yield cursor

    def close(self) -> None:
        """Ends the database."""
        self._database.close()


def checked(cursor: duckdb.DuckDBPyConnection, query: str, tables: Collection[str]) -> Checked:
    """Gives a statement that is one SELECT over the given tables.

    Raises:
        BadInput: it does not parse, is not one SELECT, or names a table that does not exist.
        Denied: it asks for files, settings or functions that are closed.

    >>> checked(duckdb.connect(), "SELECT count(*) FROM Fact", ["fact", "event"]).tables
    frozenset({'fact'})
    >>> checked(duckdb.connect(), "SELECT * FROM read_csv('/etc/passwd')", ["fact"])
    Traceback (most recent call last):
    modelkeep.core.errors.Denied: the table function read_csv is closed
    """
    if len(query) > _MOST_TEXT:
        raise BadInput(f"the statement has {len(query)} characters, at most {_MOST_TEXT} are read")
    if "\x00" in query:
        raise BadInput("the statement has a NUL character")
    text = quoted(query)
    statements = _parsed(cursor, text)
    if len(statements) != 1:
        raise BadInput(f"{len(statements)} statements, expected one", hint="Send one SELECT at a time.")
    walk = _Walk({name.lower() for name in tables}, set(_ctes(statements)))
    walk.visit(statements)
    return Checked(text, frozenset(walk.used))


def _parsed(cursor: duckdb.DuckDBPyConnection, text: str) -> list[Json]:
    try:
        rows = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise BadInput(f"the statement cannot be read: {error}") from None
    found = json.loads(rows[0][0])
    if found.get("error"):
        message = str(found.get("error_message", "")).splitlines()
        if found.get("error_type") == "not implemented":
            raise BadInput("only SELECT is answered here", hint="Nothing can be changed, loaded or attached by SQL.")
        raise BadInput(f"the statement does not parse: {message[0] if message else 'no reason given'}")
    statements: list[Json] = found["statements"]
    return statements


def _ctes(node: Json) -> Iterator[str]:
    if isinstance(node, dict):
        ctes = node.get("cte_map")
        if isinstance(ctes, dict) and isinstance(entries := ctes.get("map"), list):
            for entry in entries:
                if isinstance(entry, dict):
                    yield _plain(str(entry.get("key")))
        if node.get("type") == "RECURSIVE_CTE_NODE" or "cte_name" in node:
            yield _plain(str(node.get("cte_name", "")))
        for value in node.values():
            yield from _ctes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _ctes(value)


def _plain(name: str) -> str:
    if name and not _NAME.match(name):
        raise BadInput(f"WITH {name!r}: this name cannot be used", hint="Use letters, digits and _.")
    return name.lower()


class _Walk:
    """Goes through a parsed statement and refuses what is not on the lists."""

    def __init__(self, tables: set[str], ctes: set[str]) -> None:
        self._tables = tables
        self._ctes = ctes
        self.used: set[str] = set()

    def visit(self, node: Json) -> None:
        if isinstance(node, list):
            for value in node:
                self.visit(value)
        if isinstance(node, dict):
            self._judge(node)
            for value in node.values():
                self.visit(value)

    def _judge(self, node: dict[str, Json]) -> None:
        kind = node.get("type")
        if "class" in node:
            if "function_name" in node:
                self._function(node)
        elif "sample" in node:
            self._source(str(kind), node)

    def _source(self, kind: str, node: dict[str, Json]) -> None:
        if kind not in _SOURCES:
            raise Denied(f"{kind} is closed", hint="Read the views by SELECT.")
        if kind == "BASE_TABLE":
            self._table(node)
        elif kind == "TABLE_FUNCTION":
            function = node.get("function")
            name = _path(function)
            if name not in {(allowed,) for allowed in _TABLE_FUNCTIONS}:
                raise Denied(f"the table function {'.'.join(name)} is closed", hint="Read the views by SELECT.")
        elif kind == "SHOW_REF" and node.get("show_type") not in _SHOWN:
            raise Denied("SHOW is closed", hint=f"There are: {', '.join(sorted(self._tables))}. Use DESCRIBE on one.")

    def _table(self, node: dict[str, Json]) -> None:
        path = _path(node)
        if node.get("at_clause") is not None:
            raise BadInput("the views have no past versions", hint='Quote the column "at".')
        if len(path) == 1 and path[0] in self._tables:
            self.used.add(path[0])
        elif len(path) != 1 or path[0] not in self._ctes:
            raise BadInput(
                f"there is no table {'.'.join(path)!r}", hint=f"There are: {', '.join(sorted(self._tables))}."
            )

    @staticmethod
    def _function(node: dict[str, Json]) -> None:
        path = _path(node)
        if path[-1] in _REFUSED or len(path) > 1:
            raise Denied(f"the function {'.'.join(path)} is closed")


def _path(node: Json) -> tuple[str, ...]:
    name = node.get("qualified_name") if isinstance(node, dict) else None
    path = name.get("path") if isinstance(name, dict) else None
    return tuple(str(step).lower() for step in path) if isinstance(path, list) and path else ("",)


class _Alarm:
    """Interrupts a query that takes too long."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, timeout_s: float) -> None:
        self.rang = False
        self._cursor = cursor
        self._timer = threading.Timer(timeout_s, self._ring)
        self._timer.daemon = True

    def _ring(self) -> None:
        self.rang = True
        self._cursor.interrupt()

    def __enter__(self) -> _Alarm:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


class Unreadable(Exception):
    """The database could not read one of its own files; the engine finds out which."""


def answered(
    cursor: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Value],
    *,
    timeout_s: float,
    limit: int | None = None,
    most_bytes: int | None = MOST_BYTES,
) -> pa.Table:
    """Gives the answer of a query.

    Args:
        cursor: of a `Sandbox`.
        query: as `checked` gave it.
        parameters: for `?` or `$1`.
        timeout_s: after this it is interrupted.
        limit: at most so many rows; None for all.
        most_bytes: an answer larger than this is refused; None for no bound.

    Raises:
        BadInput: the query is wrong, takes too long, too much memory, or answers too much.
        Unreadable: a stored file cannot be read.
    """
    with _Alarm(cursor, timeout_s) as alarm:
        try:
            return _fetched(cursor, query, parameters, limit, most_bytes)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if alarm.rang:
                late = f"the query took longer than {timeout_s:g} s"
                raise BadInput(late, hint="Ask for a shorter time or fewer columns.") from None
            raise _mapped(error) from error


def _fetched(
    cursor: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Value],
    limit: int | None,
    most_bytes: int | None,
) -> pa.Table:
    relation = cursor.sql(query, params=list(parameters)) if parameters else cursor.sql(query)
    if relation is None:
        raise BadInput("only SELECT is answered here")
    reader = relation.to_arrow_reader(_BATCH)
    batches: list[pa.RecordBatch] = []
    left, size = limit, 0
    for batch in reader:
        kept = batch if left is None else batch.slice(0, left)
        batches.append(kept)
        size += kept.get_total_buffer_size() if left is None else kept.nbytes
        if most_bytes is not None and size > most_bytes:
            raise BadInput(f"the answer is larger than {most_bytes >> 20} MiB", hint="Add LIMIT, or aggregate.")
        if left is not None and (left := left - kept.num_rows) <= 0:
            break
    schema = reader.schema
    reader.close()
    return pa.Table.from_batches(batches, schema=schema)


def _mapped(error: Exception) -> Exception:
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, duckdb.OutOfMemoryException):
        return BadInput(f"the query needs more memory than it may have: {first}", hint="Aggregate, or ask for less.")
    if isinstance(error, duckdb.PermissionException):
        return Denied(f"closed: {first}")
    broken = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, OSError, pa.ArrowException)
    if isinstance(error, broken) or type(error) is duckdb.Error or "Failed to read file" in first:
        return Unreadable(first)
    return BadInput(f"the query cannot be answered: {first}")
