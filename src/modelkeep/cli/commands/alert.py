"""`modelkeep alert`: what fires, what fired, and who has seen it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, json_option, print_json, rows_of, table, texts_of
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json


@click.group()
def alert() -> None:
    """See, acknowledge, silence, test and replay alerts."""


@alert.command(name="list")
@click.option("--state", type=click.Choice(["pending", "firing", "acknowledged", "resolved"]), help="Only this state.")
@click.option("--history", is_flag=True, help="Every change of state instead of what is now.")
@click.option("--from", "start", help="History: earliest time.")
@click.option("--to", "end", help="History: latest time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True)
@json_option
def list_(state: str | None, history: bool, start: str | None, end: str | None, limit: int, as_json: bool) -> None:
    """List alerts with their value, or their history."""
    client = Client.here()
    if history:
        answer = client.get("/api/v1/alerts/history", limit=limit, **{"from": start, "to": end})
    else:
        answer = client.get("/api/v1/alerts", state=state)
    if as_json:
        print_json(answer)
    elif history:
        click.echo(_changes(rows_of(answer, "transitions")))
    else:
        rows: list[list[Json]] = [
            [row.get("id"), row.get("state"), row.get("rule"), _labels(row), row.get("value"), row.get("since")]
            + (["silenced"] if row.get("silenced") else [""])
            for row in rows_of(answer, "alerts")
        ]
        click.echo(table(["id", "state", "rule", "labels", "value", "since", ""], rows, empty="No alerts."))
        for row in rows_of(answer, "alerts"):
            if said := _changed(row):
                click.echo(f"\n{cell(row.get('rule'))}, changed {said}\n  modelkeep why {cell(row.get('id'))}")


@alert.command()
@click.argument("id")
@click.option("--note", default="", help="What you know so far.")
@click.option("--by", default=getpass.getuser, show_default="your login", help="Who acknowledges.")
def ack(id: str, note: str, by: str) -> None:  # noqa: A002 - the argument's name is what people read
    """Say that you have seen the alert ID: it stops repeating."""
    Client.here().post(f"/api/v1/alerts/{quote(id, safe='')}/ack", {"by": by, "note": note})
    click.echo(f"Acknowledged {id}.", err=True)


@alert.command()
@click.argument("matchers", nargs=-1, required=True, metavar="LABEL=VALUE...")
@click.option("--for", "duration", default="1h", show_default=True, help="How long, for example 30m or 2d.")
@click.option("--reason", required=True, help="Why; others will ask.")
@click.option("--by", default=getpass.getuser, show_default="your login", help="Who silences.")
@json_option
def silence(matchers: tuple[str, ...], duration: str, reason: str, by: str, as_json: bool) -> None:
    """Mute alerts whose labels equal all LABEL=VALUE pairs; `alertname` is the rule."""
    pairs: dict[str, Json] = {}
    for text in matchers:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"{text!r} is not LABEL=VALUE", hint="For example: alertname=ModelCalibration model=churn")
        pairs[name] = value
    answer = Client.here().post(
        "/api/v1/silences", {"matchers": pairs, "duration": duration, "reason": reason, "by": by}
    )
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["id"])


@alert.command()
@click.argument("id")
def unsilence(id: str) -> None:  # noqa: A002 - the argument's name is what people read
    """End the silence ID now."""
    Client.here().delete(f"/api/v1/silences/{quote(id, safe='')}")
    click.echo(f"Ended {id}.", err=True)


@alert.command()
@json_option
def silences(as_json: bool) -> None:
    """List silences."""
    answer = Client.here().get("/api/v1/silences")
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [row.get("id"), _pairs(row.get("matchers"), ()), row.get("to"), row.get("by"), row.get("reason")]
        for row in rows_of(answer, "silences")
    ]
    click.echo(table(["id", "matchers", "until", "by", "reason"], rows, empty="No silences."))


@alert.command()
@click.argument("channel", required=False)
def test(channel: str | None) -> None:
    """Send a marked test notification through CHANNEL, or through the default route."""
    answer = Client.here().post("/api/v1/alerts/test", {"channel": channel} if channel else {})
    click.echo(f"{answer.get('channel')} took it after {cell(answer.get('latency_s'))} s.", err=True)


@alert.command()
@click.option("--from", "start", required=True, help="Where the replay begins.")
@click.option("--to", "end", default="now", show_default=True, help="Where it ends.")
@click.option(
    "--rules", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A rule file; default: today's rules."
)
@json_option
def replay(start: str, end: str, rules: Path | None, as_json: bool) -> None:
    """Tell when rules would have fired over stored history; nothing is stored or sent."""
    body: dict[str, Json] = {"from": start, "to": end}
    if rules:
        body["rules"] = rules.read_text(encoding="utf-8")
    answer = Client.here(timeout_s=600).post("/api/v1/alerts/replay", body)
    if as_json:
        print_json(answer)
        return
    changes = rows_of(answer, "transitions")
    click.echo(_changes(changes))
    fired = sum(change.get("to") == "firing" for change in changes)
    click.echo(f"Would have fired {fired} times.", err=True)


def _changes(changes: list[dict[str, Json]]) -> str:
    rows: list[list[Json]] = [
        [row.get("at"), row.get("rule"), _labels(row), row.get("from"), row.get("to"), row.get("value")]
        for row in changes
    ]
    return table(["at", "rule", "labels", "from", "to", "value"], rows, empty="No changes.")


def _changed(row: dict[str, Json]) -> str:
    """Gives what changed before an alert."""
    said = row.get("annotations")
    return cell(said.get("changed") or "") if isinstance(said, dict) else ""


def _labels(row: dict[str, Json]) -> str:
    return _pairs(row.get("labels"))


def _pairs(value: Json, hidden: Sequence[str] = ("alertname",)) -> str:
    return texts_of({key: text for key, text in value.items() if key not in hidden}) if isinstance(value, dict) else ""


plugin: click.Command = alert
