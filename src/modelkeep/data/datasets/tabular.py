"""One version of a table in DuckDB: CSV or Parquet, its types, its missing values, and the cell that breaks a type."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from modelkeep.core.errors import BadInput, Missing

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_GUESS_ROWS: Final = 10_000
_LINE_BYTES: Final = 16 << 20
_COUNTED_ROWS: Final = 2_000_000
"""Up to this row the line of a bad cell is looked up; lines and rows differ where a value holds a line break."""
_LADDER: Final[Mapping[str, str]] = {
    "BOOLEAN": "lower({c}) IN ('true', 'false')",
    "BIGINT": "TRY_CAST({c} AS BIGINT)::VARCHAR = {c}",
    "DOUBLE": "TRY_CAST({c} AS DOUBLE) IS NOT NULL AND NOT regexp_full_match({c}, '[+-]?0[0-9]+|[0-9]{{18,}}')",
    "DATE": "{c} LIKE '____-__-__' AND TRY_CAST({c} AS DATE) IS NOT NULL",
    "TIMESTAMP": "{c} LIKE '____-__-__%' AND TRY_CAST({c} AS TIMESTAMP) IS NOT NULL",
}
"""What a text must satisfy to be of a type; `007` and numbers that a double would round stay text."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The first value that does not fit its column's other type.

    Args:
        file: the file's name.
        row: which row of data, from 1.
        line: which line of the file, from 1; None when it was too far down to count.
        value: the text there.
        count: how many values do not fit.
    """

    file: str
    row: int
    line: int | None
    value: str
    count: int

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}, row {self.row:,}"
        more = f" and {self.count - 1:,} more" if self.count > 1 else ""
        return f"{where}: {self.value!r}{more}"


@contextmanager
def opened(memory: str) -> Iterator[tuple[DuckDBPyConnection, Path]]:
    """Gives a database that spills to a temporary folder, and that folder.

    Args:
        memory: what it may use before, such as `1GB`.
    """
    import tempfile

    import duckdb

    with tempfile.TemporaryDirectory(prefix="modelkeep-tables-") as name:
        settings = {
            "memory_limit": memory,
            "temp_directory": str(Path(name) / "spill"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        with duckdb.connect(config=cast("dict[str, str | bool | int | float | list[str]]", settings)) as database:
            yield database, Path(name)


@dataclass(slots=True)
class Version:
    """One version: two views named after it, `…_text` (CSV only, all columns as texts) and `…` (typed).

    Args:
        database: where the views are made.
        link: a plain name for the file, so that no character of its real one means anything to DuckDB.
        path: the file.
        label: what people call it.
    """

    database: DuckDBPyConnection
    link: Path
    path: Path
    label: str
    rows: int = 0
    text: bool = False
    separator: str = ","
    types: dict[str, str] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            with self.path.open("rb") as file:
                magic = file.read(4)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise Missing(f"{self.label}: {error.strerror}") from None
        self.link.symlink_to(self.path.absolute())
        if magic == b"PAR1":
            self._open_parquet()
        else:
            self._open_csv(gz=magic[:2] == b"\x1f\x8b")

    @property
    def name(self) -> str:
        """The name of the typed view."""
        return self.link.name

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Gives a query's rows; what is wrong with the file is told as such."""
        import duckdb

        try:
            return cast("list[tuple[object, ...]]", self.database.execute(query).fetchall())
        except duckdb.Error as error:
            raise self._explained(error) from None

    def arrow(self, query: str) -> pa.Table:
        """Gives a query's rows as a table."""
        import duckdb

        try:
            return cast("pa.Table", self.database.sql(query).to_arrow_table())
        except duckdb.Error as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> BadInput:
        text = str(error)
        if line := re.search(r"CSV Error on Line: (\d+)", text):
            what = next(
                (found for found in text.split("\n")[2:] if found and not found.startswith("Possible")), "is malformed"
            )
            if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
                what = f"{counts[2]} fields, expected {counts[1]}"
            return BadInput(f"{self.label}:{line[1]}: {what}", hint="Mend this line, or quote what belongs together.")
        first = text.replace(str(self.link), self.label).split("\n")[0]
        return BadInput(f"{self.label}: {first}", hint="Give CSV with a head line, or Parquet.")

    def _open_parquet(self) -> None:
        self.ask(f"CREATE VIEW {self.name} AS SELECT * FROM read_parquet('{self.link}')")
        self.types = {str(row[0]): str(row[1]) for row in self.ask(f"DESCRIBE {self.name}")}
        counts = ", ".join(f"count({quoted(name)})" for name in self.types)
        row = self.ask(f"SELECT count(*), {counts} FROM {self.name}")[0]
        self.rows, self.present = integer(row[0]), dict(zip(self.types, map(integer, row[1:]), strict=True))

    def _open_csv(self, *, gz: bool) -> None:
        self.text = True
        columns = self._head(gz=gz)
        listed = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in columns)
        self.ask(
            f"CREATE VIEW {self.name}_text AS SELECT * FROM read_csv('{self.link}', auto_detect=false, header=true, "
            f"delim={_text(self.separator)}, quote='\"', escape='\"', strict_mode=true, columns={{{listed}}}, "
            f"max_line_size={_LINE_BYTES}, compression='{'gzip' if gz else 'none'}')"
        )
        guess = self._types_of(columns, f"(SELECT * FROM {self.name}_text LIMIT {_GUESS_ROWS})")
        checks = [self._misfits(name, kind) for name, kind in guess.items()]
        counts = ", ".join(f"count({quoted(name)})" for name in columns)
        row = [
            integer(one) for one in self.ask(f"SELECT count(*), {counts}, {', '.join(checks)} FROM {self.name}_text")[0]
        ]
        self.rows, self.present = row[0], dict(zip(columns, row[1:], strict=False))
        wrong = [name for name, misfits in zip(columns, row[1 + len(columns) :], strict=True) if misfits]
        self.types = guess | (self._types_of(wrong, f"{self.name}_text") if wrong else {})
        typed = ", ".join(
            f"CAST({quoted(name)} AS {'VARCHAR' if kind == 'NULL' else kind}) AS {quoted(name)}"
            for name, kind in self.types.items()
        )
        self.ask(f"CREATE VIEW {self.name} AS SELECT {typed} FROM {self.name}_text")

    def _head(self, *, gz: bool) -> list[str]:
        """The column names of a CSV; sets the separator."""
        try:
            with gzip.open(self.path) if gz else self.path.open("rb") as file:
                raw = file.readline(_LINE_BYTES)
                while raw.count(b'"') % 2 and len(raw) < _LINE_BYTES and (more := file.readline(_LINE_BYTES)):
                    raw += more
            line = raw.decode("utf-8-sig")
            head = re.sub(r'"[^"]*"', "", line)
            self.separator = max(",;\t|", key=head.count)
            columns = next(csv.reader(io.StringIO(line, newline=""), delimiter=self.separator, strict=True), [])
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error, csv.Error) as error:
            raise BadInput(f"{self.label}:1: {error}", hint="Give CSV in UTF-8, or Parquet.") from None
        if not columns or "\0" in line:
            raise BadInput(f"{self.label}:1: no head line", hint="Give CSV with a head line, or Parquet.")
        if double := [name for at, name in enumerate(columns) if name.lower() in map(str.lower, columns[:at])]:
            raise BadInput(f"{self.label}:1: column {double[0]!r} occurs twice", hint="Give every column its own name.")
        return columns

    def _lines(self, *, gz: bool) -> IO[str]:
        opened = gzip.open if gz else open
        return cast("IO[str]", opened(self.path, "rt", encoding="utf-8-sig", newline=""))

    def _misfits(self, name: str, kind: str) -> str:
        column = quoted(name)
        if kind == "NULL":
            return f"count({column})"
        return f"count(*) FILTER ({_misfit(column, kind)})" if kind in _LADDER else "0"

    def _types_of(self, columns: Sequence[str], source: str) -> dict[str, str]:
        """The narrowest type that all values of each column have."""
        checks = [
            f"count({quoted(name)}), " + ", ".join(self._misfits(name, kind) for kind in _LADDER) for name in columns
        ]
        row = self.ask(f"SELECT {', '.join(checks)} FROM {source}")[0]
        found: dict[str, str] = {}
        for at, name in enumerate(columns):
            there, *misfits = row[at * (len(_LADDER) + 1) : (at + 1) * (len(_LADDER) + 1)]
            fitting = (kind for kind, count in zip(_LADDER, misfits, strict=True) if not count)
            found[name] = next(fitting, "VARCHAR") if there else "NULL"
        return found

    def misfit(self, name: str, kind: str) -> Cell | None:
        """The first value of a CSV column that is not of a type."""
        if not self.text or kind not in _LADDER:
            return None
        column = quoted(name)
        condition = _misfit(column, kind)
        numbered = f"(SELECT row_number() OVER () AS number, {column} FROM {self.name}_text)"
        rows = self.ask(f"SELECT number, {column} FROM {numbered} WHERE {condition} ORDER BY number LIMIT 1")
        if not rows:
            return None
        count = integer(self.ask(f"SELECT count(*) FROM {self.name}_text WHERE {condition}")[0][0])
        row = integer(rows[0][0])
        return Cell(self.label, row, self._line_of(row), str(rows[0][1]), count)

    def _line_of(self, row: int) -> int | None:
        if row > _COUNTED_ROWS:
            return None
        with self.path.open("rb") as raw:
            gz = raw.read(2) == b"\x1f\x8b"
        try:
            with self._lines(gz=gz) as file:
                reader = csv.reader(file, delimiter=self.separator)
                before = reader.line_num
                seen = -1  # the head
                for fields in reader:
                    seen += bool(fields)
                    if seen == row:
                        return before + 1
                    before = reader.line_num
        except csv.Error:
            return None
        return None


def _misfit(column: str, kind: str) -> str:
    return f"{column} IS NOT NULL AND NOT coalesce({_LADDER[kind].format(c=column)}, false)"


def quoted(name: str) -> str:
    """Gives a column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def integer(value: object) -> int:
    """Gives what a count answered; nothing counts as 0."""
    return int(cast("int", value)) if value is not None else 0
