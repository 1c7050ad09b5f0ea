"""`modelkeep why`: what changed before an alert, what most likely mattered first."""

from __future__ import annotations

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, clean, json_option, print_json, rows_of, texts_of
from modelkeep.core.errors import Missing
from modelkeep.core.shapes import Json


@click.command()
@click.argument("what", metavar="[ALERT|MODEL]", required=False)
@click.option("--at", "moment", help="What changed before this moment.  [default: when the alert's condition began]")
@click.option("--since", help="How far back.  [default: 90 days before]")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="At most so many changes.")
@json_option
def why(what: str | None, moment: str | None, since: str | None, limit: int, as_json: bool) -> None:
    """Tell what changed before ALERT, or before now for MODEL, what most likely mattered first.

    ALERT is an alert's id, the beginning of one, or the name of its rule; without it, the alert that fired last.
    Releases, configurations, deploys and trainings are looked at; each with who did it and how to see it.
    """
    client = Client.here()
    words: dict[str, str | int | None] = {"at": moment, "from": since, "limit": limit}
    answer = _asked(client, what or _newest(client), words)
    if as_json:
        print_json(answer)
        return
    for line in _head(answer):
        click.echo(line)
    found = rows_of(answer, "changes")
    if not found:
        click.echo(f"\nNothing is known to have changed since {_day(answer.get('since'))}.")
        if answer.get("model"):
            click.echo(f"Look at the data: modelkeep drift show {answer['model']}")
        return
    _list(found, str(answer.get("model") or ""))
    count = answer.get("count")
    if isinstance(count, int) and count > len(found):
        click.echo(f"\n{count - len(found)} more: --limit {count}")


def _newest(client: Client) -> str:
    for state in ("firing", "acknowledged", "pending"):
        if found := rows_of(client.get("/api/v1/alerts", state=state), "alerts"):
            return str(found[0].get("id"))
    raise Missing("no alert fires now", hint="Name one that did (modelkeep alert list --history), or a model.")


def _asked(client: Client, what: str, words: dict[str, str | int | None]) -> dict[str, Json]:
    try:
        return client.get("/api/v1/changes", alert=what, **words)
    except Missing as no_alert:
        try:
            return client.get("/api/v1/changes", model=what, **words)
        except Missing:
            raise Missing(f"{what!r} is neither an alert nor a model", hint=no_alert.hint) from None


def _head(answer: dict[str, Json]) -> list[str]:
    alert, moment = answer.get("alert"), _minute(answer.get("moment"))
    if not isinstance(alert, dict):
        return [click.style(f"{cell(answer.get('model'))}, before {moment}", bold=True)]
    labels = alert.get("labels")
    shown = {name: text for name, text in labels.items() if name != "alertname"} if isinstance(labels, dict) else {}
    lines = [click.style(f"{cell(alert.get('rule'))}  {texts_of(shown)}".rstrip(), bold=True)]
    if alert.get("summary"):
        lines.append(cell(alert.get("summary")))
    lines.append(f"{cell(alert.get('state'))}, its condition holds since {_minute(alert.get('since'))}")
    return lines


def _list(found: list[dict[str, Json]], model: str) -> None:
    titles = {
        "own": "What changed before it:" if model else "What changed before:",
        "maybe": "What may have led to that:",
        "other": "Elsewhere:",
    }
    near = ""
    ages = [f"{_ago(row.get('before_s'))} before" for row in found]
    width = max(map(len, ages))
    for number, (row, age) in enumerate(zip(found, ages, strict=True), 1):
        if row.get("near") != near:
            near = str(row.get("near"))
            click.echo(f"\n{titles.get(near, near)}")
        who = f"  by {clean(str(row['who']))}" if row.get("who") else ""
        title = click.style(clean(str(row.get("title"))), bold=near == "own")
        click.echo(f"{number:>3}  {age:<{width}}  {title}{who}")
        for way in (row.get("link"), row.get("command")):
            if way:
                click.echo(f"{'':>{width + 7}}{clean(str(way))}")


def _ago(seconds: Json) -> str:
    from modelkeep.models.changes import ago

    return ago(round(float(seconds) * 1e9) if isinstance(seconds, int | float) else 0)


def _minute(at: Json) -> str:
    """Gives `2013-04-01 05:00 UTC` for `2013-04-01T05:00:12.500Z`."""
    return f"{str(at)[:16].replace('T', ' ')} UTC"


def _day(at: Json) -> str:
    return str(at)[:10]


plugin: click.Command = why
