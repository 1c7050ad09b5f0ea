"""`modelkeep quality`: how good predictions were, as far as the truth is known."""

from __future__ import annotations

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, json_option, names_in, print_json, rows_of, table
from modelkeep.core.shapes import Json


@click.group()
def quality() -> None:
    """See prediction quality over time."""


@quality.command()
@click.argument("model", required=False)
@click.option("--version", help="Only this model version.")
@click.option("--from", "start", help="Earliest prediction.")
@click.option("--to", "end", help="Latest prediction, exclusive.")
@click.option("--by", type=click.Choice(["hour", "day", "week", "month", "all"]), default="all", show_default=True)
@click.option(
    "--timezone", default="UTC", show_default=True, help="Where days and months begin, for example Europe/Berlin."
)
@click.option("--as-of", help="What was known at this moment.  [default: now]")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Score from which a row counts as positive.  [default: 0.5]"
)
@click.option("--intervals", is_flag=True, help="Print each figure with its 95 % interval.")
@json_option
def show(
    model: str | None,
    version: str | None,
    start: str | None,
    end: str | None,
    by: str,
    timezone: str,
    as_of: str | None,
    threshold: float | None,
    intervals: bool,
    as_json: bool,
) -> None:
    """Show figures of MODEL with how many predictions have a label yet; without MODEL, list the models."""
    client = Client.here()
    if model is None:
        _models(client.get("/api/v1/models"), as_json)
        return
    window: dict[str, str | None] = {"from": start, "to": end}
    answer = client.get(
        "/api/v1/quality",
        model=model,
        version=version,
        by=by,
        timezone=timezone,
        as_of=as_of,
        threshold=threshold,
        **window,
    )
    if as_json:
        print_json(answer)
        return
    rows = rows_of(answer, "rows")
    names = names_in(rows, "metrics")
    lines: list[list[Json]] = [
        [row.get("from"), row.get("version"), row.get("predictions"), row.get("labels"), _percent(row.get("coverage"))]
        + [_figure(row.get("metrics"), name, intervals) for name in names]
        for row in rows
    ]
    click.echo(table(["from", "version", "predictions", "labels", "coverage", *names], lines, empty="No predictions."))


def _models(answer: dict[str, Json], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [model.get("model"), one.get("version"), one.get("predictions"), one.get("first_at"), one.get("last_at")]
        for model in rows_of(answer, "models")
        for one in rows_of(model, "versions")
    ]
    click.echo(table(["model", "version", "predictions", "first", "last"], rows, empty="No predictions yet."))


def _percent(value: Json) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _figure(metrics: Json, name: str, intervals: bool) -> Json:
    found = metrics.get(name) if isinstance(metrics, dict) else None
    if not isinstance(found, dict):
        return None
    if not intervals or found.get("low") is None:
        return found.get("value")
    return f"{cell(found.get('value'))} [{cell(found['low'])}, {cell(found.get('high'))}]"


plugin: click.Command = quality
