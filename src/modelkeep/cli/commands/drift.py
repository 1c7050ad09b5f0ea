"""`modelkeep drift`: has the input changed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, json_option, print_json, rows_of, table
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    import pyarrow as pa

    from modelkeep.quality.compare import Comparison


@click.group()
def drift() -> None:
    """Compare inputs with a reference."""


@drift.command()
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("current", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--measure", "measures", multiple=True, help="Only this measure; repeatable.  [default: all that apply]")
@click.option("--column", "columns", multiple=True, help="Only this column; repeatable.  [default: all]")
@json_option
def check(reference: Path, current: Path, measures: tuple[str, ...], columns: tuple[str, ...], as_json: bool) -> None:
    """Compare two Parquet or CSV files column by column; needs no server. Exits 1 when something drifted."""
    from modelkeep.cli.extra import need

    need("server", "numpy", "pyarrow")
    from modelkeep.quality.compare import compare

    found = compare(_read(reference, columns), _read(current, columns), measures=measures or None)
    if as_json:
        print_json(found.as_json())
    else:
        click.echo(_comparison(found))
    raise click.exceptions.Exit(1 if found.drifted else 0)


@drift.command()
@click.argument("model")
@click.option("--version", help="Only this model version.")
@click.option("--feature", help="Only this feature.")
@click.option("--measure", help="Only this measure.")
@click.option("--from", "start", help="Earliest prediction.")
@click.option("--to", "end", help="Latest prediction, exclusive.")
@click.option("--by", type=click.Choice(["hour", "day", "week", "month", "all"]), default="all", show_default=True)
@click.option("--timezone", default="UTC", show_default=True, help="Where days and months begin.")
@json_option
def show(
    model: str,
    version: str | None,
    feature: str | None,
    measure: str | None,
    start: str | None,
    end: str | None,
    by: str,
    timezone: str,
    as_json: bool,
) -> None:
    """Show how far MODEL's features are from its reference."""
    window: dict[str, str | None] = {"from": start, "to": end}
    answer = Client.here().get(
        "/api/v1/drift",
        model=model,
        version=version,
        feature=feature,
        measure=measure,
        by=by,
        timezone=timezone,
        **window,
    )
    if as_json:
        print_json(answer)
        return
    rows = rows_of(answer, "rows")
    names: list[str] = []
    for row in rows:
        measured = row.get("measures")
        names += [name for name in measured if name not in names] if isinstance(measured, dict) else []
    lines: list[list[Json]] = [
        [row.get("from"), row.get("version"), row.get("feature"), row.get("missing_ratio")]
        + [_value(row.get("measures"), name) for name in names]
        + ["drifted" if row.get("drifted") else ""]
        for row in rows
    ]
    click.echo(
        table(["from", "version", "feature", "missing", *names, ""], lines, empty="No reference or no predictions.")
    )


def _value(measures: Json, name: str) -> Json:
    found = measures.get(name) if isinstance(measures, dict) else None
    return found.get("value") if isinstance(found, dict) else None


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        found = csv.read_csv(path) if path.suffix in {".csv", ".gz"} else parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: {error}", hint="Give Parquet, or CSV with a head line.") from None
    if missing := set(columns) - set(found.column_names):
        raise BadInput(
            f"{path}: no column {', '.join(sorted(missing))}", hint=f"There are: {', '.join(found.column_names)}."
        )
    return found.select(list(columns)) if columns else found


def _comparison(found: Comparison) -> str:
    names: list[str] = []
    for column in found.columns:
        names += [name for name in column.measures if name not in names]
    rows: list[list[Json]] = [
        [column.name, column.kind, _missing(column.missing_reference), _missing(column.missing_current)]
        + [column.measures[name].value if name in column.measures else None for name in names]
        + [column.note or ("drifted" if column.drifted else "")]
        for column in found.columns
    ]
    head = ["column", "kind", "missing", "now", *names, ""]
    drifted = sum(column.drifted for column in found.columns)
    sizes = f"{cell(found.rows_reference)} and {cell(found.rows_current)} rows"
    summary = f"{drifted} of {len(found.columns)} columns drifted ({sizes})."
    return f"{table(head, rows, empty='No columns.')}\n{summary}"


def _missing(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


plugin: click.Command = drift
