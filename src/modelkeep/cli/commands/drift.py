"""`modelkeep drift`: has the input changed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import json_option, names_in, print_json, rows_of, table
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
        print_json(found.json())
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
    names = names_in(rows, "measures")
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
    names = list(dict.fromkeys(name for row in found.rows for name in row.measures))
    rows: list[list[Json]] = [
        [
            row.column,
            row.kind,
            f"{row.reference_missing:.1%}",
            f"{row.current_missing:.1%}",
            *(row.measures[name].value if name in row.measures else None for name in names),
            "drifted" if row.drifted else "",
        ]
        for row in found.rows
    ]
    lines = [table(["column", "kind", "missing", "now", *names, ""], rows, empty="No columns in common.")]
    for word, columns in (
        ("Only in the current file", found.added),
        ("Only in the reference", found.removed),
        ("Of another type now", found.retyped),
        ("Nothing to compare", found.skipped),
    ):
        if columns:
            lines.append(f"{word}: {', '.join(columns)}")
    drifted = sum(row.drifted for row in found.rows)
    sizes = f"{found.reference_rows:,} reference rows, {found.current_rows:,} current rows"
    lines.append(f"{drifted} of {len(found.rows)} columns drifted ({sizes}).")
    return "\n".join(lines)


plugin: click.Command = drift
