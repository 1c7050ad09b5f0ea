"""`modelkeep dataset`: data that only grows, and what it was at any snapshot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, TypeVar

import click

from modelkeep.cli.output import json_option, print_json, table
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    import pyarrow as pa

    from modelkeep.data.datasets.stream import Appended, Snapshot, Stream
    from modelkeep.data.progress import Progress

Format = Literal["jsonl", "csv", "parquet"]
F = TypeVar("F", bound=Callable[..., object])
_READ: Final = 1 << 20
_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def _limits(command: F) -> F:
    """Adds the options that say when rows become a snapshot."""
    rows = click.option(
        "--every-rows",
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="Take a snapshot when so many rows wait.",
    )
    minutes = click.option(
        "--every-minutes",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="Or when the first of them is so old.",
    )
    return rows(minutes(command))


@click.group()
def dataset() -> None:
    """Append rows for ever; snapshot and restore what was there."""


@dataset.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), default="-")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    help="What FILE holds.  [default: by its name; jsonl for stdin]",
)
@_limits
@click.option("--snapshot", "snapshot_after", is_flag=True, help="Take a snapshot at the end, whatever waits.")
@json_option
def append(
    name: Path,
    file: Path,
    form: Format | None,
    every_rows: int,
    every_minutes: float,
    snapshot_after: bool,
    as_json: bool,
) -> None:
    """Append rows from FILE or stdin to the dataset in folder NAME.

    JSON lines stay JSON lines; CSV (with a head line) and Parquet become Parquet. Each batch is on disk before the next
    is read, so `tail -f events.jsonl | modelkeep dataset append events` can run for ever.
    """
    from modelkeep.cli.progress import shown

    stream = _stream(name, every_rows, every_minutes * 60)
    rows, parts = 0, 0
    last: Snapshot | None = None
    with shown() as progress:
        for done in _append(stream, file, form or _SUFFIXES.get(file.suffix.lower(), "jsonl"), progress):
            rows, parts, last = rows + done.rows, parts + len(done.sealed), done.snapshot or last
        if snapshot_after:
            taken = stream.snapshot(progress=progress)
            if taken is not None and (last is None or taken.oid != last.oid):
                parts, last = parts + len(taken.new), taken
    if as_json:
        print_json({"rows": rows, "parts": parts, "waiting": stream.waiting(), "snapshot": _json(last)})
        return
    click.echo(f"{rows:,} rows appended to {name}; {stream.waiting():,} wait for the next snapshot.")
    if last is not None:
        click.echo(_said(last))


@dataset.command()
@click.argument("name", type=click.Path(path_type=Path))
@json_option
def snapshot(name: Path, as_json: bool) -> None:
    """Record what the dataset in folder NAME holds now, waiting rows included."""
    from modelkeep.cli.progress import shown

    with shown() as progress:
        found = _stream(name).snapshot(progress=progress)
    if as_json:
        print_json({"snapshot": _json(found)})
    else:
        click.echo(_said(found) if found is not None else f"{name} has no rows yet.")


@dataset.command("list")
@click.argument("name", type=click.Path(path_type=Path))
@json_option
def list_(name: Path, as_json: bool) -> None:
    """List the snapshots of the dataset in folder NAME, oldest first."""
    stream = _stream(name)
    found = [one.json() for one in stream.snapshots()]
    if as_json:
        print_json({"snapshots": [*found], "waiting": stream.waiting()})
        return
    lines: list[list[Json]] = [
        [number, one["at"], one["rows"], one["parts"], one["bytes"], str(one["oid"])[:12]]
        for number, one in enumerate(found, 1)
    ]
    click.echo(table(["#", "at", "rows", "parts", "bytes", "oid"], lines, empty=f"{name} has no snapshot."))
    if waiting := stream.waiting():
        click.echo(f"{waiting:,} rows wait for the next snapshot.", err=True)


@dataset.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.argument("which")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def restore(name: Path, which: str, folder: Path, as_json: bool) -> None:
    """Put snapshot WHICH of the dataset in folder NAME into a new FOLDER.

    WHICH is its number, the beginning of its oid, a time (the newest snapshot not after it) or `last`.
    """
    from modelkeep.cli.progress import shown

    stream = _stream(name)
    found = stream.find(which)
    with shown() as progress:
        count = stream.restore(found, folder, progress=progress)
    if as_json:
        print_json({"snapshot": found.json(), "folder": str(folder), "files": count})
    else:
        click.echo(f"{count:,} parts, {found.rows:,} rows as of {found.json()['at']} in {folder}")


def _stream(name: Path, every_rows: int = 100_000, every_s: float = 600.0) -> Stream:
    from modelkeep.cli.extra import need

    need("data", "blake3")
    from modelkeep.data.datasets.stream import Stream
    from modelkeep.data.repository import Repository

    return Stream(Repository.find(), Path(os.path.abspath(name)), every_rows=every_rows, every_s=every_s)  # noqa: PTH100


def _append(stream: Stream, file: Path, form: Format, progress: Progress) -> Iterator[Appended]:
    if form == "jsonl":
        yield from _lines(stream, file, progress)
        return
    from modelkeep.cli.extra import need

    need("server", "pyarrow")
    for batch in _batches(file, form):
        yield stream.append(batch, progress=progress)


def _lines(stream: Stream, file: Path, progress: Progress) -> Iterator[Appended]:
    """Whole lines as they come, so that a slow source is on disk line by line and a fast one in large batches."""
    where = _shown(file)
    handle = 0 if str(file) == "-" else os.open(file, os.O_RDONLY)
    rest, before = b"", 0
    try:
        while data := os.read(handle, _READ):
            whole, line_end, rest = (rest + data).rpartition(b"\n")
            if line_end:
                yield _numbered(stream, whole, where, before, progress)
                before += whole.count(b"\n") + 1
        if rest.strip():
            yield _numbered(stream, rest, where, before, progress)
    finally:
        if handle:
            os.close(handle)


def _numbered(stream: Stream, lines: bytes, where: str, before: int, progress: Progress) -> Appended:
    """Appends lines; an error names the line of the file, not of the batch."""
    try:
        return stream.append_lines(lines, where=where, progress=progress)
    except BadInput as error:
        found = error.message.removeprefix(f"{where}:").partition(":")
        if not before or not found[0].isdigit():
            raise
        raise BadInput(f"{where}:{int(found[0]) + before}:{found[2]}", hint=error.hint) from None


def _batches(file: Path, form: Format) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    source: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    wrong: list[csv.InvalidRow] = []

    def refuse(row: csv.InvalidRow) -> Literal["skip", "error"]:
        wrong.append(row)
        return "error"

    try:
        with closing(source):
            if form == "csv":
                whole = csv.ReadOptions(use_threads=False)  # with threads rows have no numbers
                yield from csv.open_csv(source, whole, csv.ParseOptions(invalid_row_handler=refuse))
            else:
                yield from parquet.ParquetFile(_seekable(source)).iter_batches()
    except (pa.ArrowInvalid, OSError) as error:
        if wrong and wrong[0].number is not None:
            row = wrong[0]
            raise BadInput(
                f"{_shown(file)}:{row.number}: {row.actual_columns} fields, expected {row.expected_columns}",
                hint="Mend this line; rows before it may be in the dataset already.",
            ) from None
        raise BadInput(f"{_shown(file)}: {error}", hint=f"Is it {form}? Say so with --format.") from None


def _seekable(source: IO[bytes]) -> IO[bytes]:
    if source.seekable():
        return source
    import io

    return io.BytesIO(source.read())


def _shown(file: Path) -> str:
    return "stdin" if str(file) == "-" else str(file)


def _json(found: Snapshot | None) -> Json:
    return found.json() if found is not None else None


def _said(found: Snapshot) -> str:
    return f"Snapshot {found.oid[:12]}: {found.rows:,} rows in {found.parts:,} parts, {len(found.new):,} new."


plugin: click.Command = dataset
