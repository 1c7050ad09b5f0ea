"""`modelkeep log`: what was said."""

from __future__ import annotations

import time

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, json_option, print_json, rows_of
from modelkeep.core.shapes import Json


@click.group()
def log() -> None:
    """Search and follow log records."""


@log.command()
@click.argument("text", default="")
@click.option("--from", "start", help="Earliest time, for example now-1h.")
@click.option("--to", "end", help="Latest time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
def search(text: str, start: str | None, end: str | None, limit: int, as_json: bool) -> None:
    """Search log records, newest first.

    \b
    modelkeep log search 'level:ERROR "connection refused"'
    modelkeep log search 'service:ranker AND (timeout OR retry*)' --from now-6h
    """
    answer = Client.here().get("/api/v1/logs", q=text or None, limit=limit, **{"from": start, "to": end})
    if as_json:
        print_json(answer)
        return
    rows = rows_of(answer, "logs")
    for row in reversed(rows):
        click.echo(_line(row))
    click.echo(f"{len(rows)} of {answer.get('count')} records.", err=True)


@log.command()
@click.argument("text", default="")
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between looks."
)
def tail(text: str, interval: float) -> None:
    """Print new log records as they arrive, until Ctrl-C."""
    client, seen, start = Client.here(), set[str](), "now-10s"
    while True:
        rows = rows_of(client.get("/api/v1/logs", q=text or None, limit=1000, **{"from": start}), "logs")
        for row in reversed(rows):
            if (identity := str(row.get("seq") or row)) not in seen:
                click.echo(_line(row))
                seen.add(identity)
        seen = {str(row.get("seq") or row) for row in rows}
        time.sleep(interval)


def _line(row: dict[str, Json]) -> str:
    words = [cell(row.get(name)) for name in ("at", "level", "service", "logger", "message") if row.get(name)]
    if row.get("attributes") not in (None, "{}", {}):
        words.append(cell(row["attributes"]))
    return " ".join(words)


plugin: click.Command = log
