"""`modelkeep model timeline, share, lineage, trainings`: what served when, asked of a running server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import cell, json_option, print_json, rows_of, table
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

_ORDER: Final = ("data", "code", "configuration", "training", "model", "release", "predictions", "alert")
_SHORT: Final = 10


@click.command()
@click.argument("model", required=False)
@click.option("--version", help="Only this version.")
@click.option("--from", "start", help="Only what served at this time or later.")
@click.option("--to", "end", help="Only what began before.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@json_option
def timeline(
    model: str | None, version: str | None, start: str | None, end: str | None, limit: int, as_json: bool
) -> None:
    """Show what served when: version, code, data and configuration, where, and who put it there.

    Processes that ran the same thing are one row, in the order in which they told it; dates of commits move nothing.
    """
    answer = Client.here().get(
        "/api/v1/models/timeline", model=model, version=version, limit=limit, **{"from": start, "to": end}
    )
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [
            _minute(row.get("announced")),
            _minute(row.get("last_prediction")),
            f"{row.get('model')} {row.get('version')}",
            row.get("role"),
            row.get("predictions"),
            _code(row),
            _hash(row.get("data_version")),
            _hash(row.get("config_version")),
            _places(row),
            _people(row),
        ]
        for row in rows_of(answer, "timeline")
    ]
    head = ["from", "last prediction", "model", "role", "predictions", "code", "data", "config", "where", "who"]
    click.echo(table(head, rows, empty="Nothing served."))
    if answer.get("truncated"):
        click.echo("There is more: --limit", err=True)


@click.command()
@click.argument("model")
@click.option("--from", "start", help="Earliest time.")
@click.option("--to", "end", help="Latest time, exclusive.")
@click.option("--by", type=click.Choice(["hour", "day", "week", "month", "all"]), default="day", show_default=True)
@json_option
def share(model: str, start: str | None, end: str | None, by: str, as_json: bool) -> None:
    """Show which share of MODEL's answers each version gave; a shadow's count apart."""
    answer = Client.here().get("/api/v1/models/share", model=model, by=by, **{"from": start, "to": end})
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [
            _minute(row.get("from")) if row.get("from") else "all",
            row.get("version"),
            row.get("role"),
            row.get("predictions"),
            _percent(row.get("share")),
        ]
        for row in rows_of(answer, "rows")
    ]
    click.echo(table(["from", "version", "role", "predictions", "share"], rows, empty="No predictions."))


@click.command()
@click.argument("model", required=False, metavar="[MODEL[@VERSION]]")
@click.option("--data", help="A version of data, or the beginning of its hash: which releases used it.")
@click.option("--code", help="A commit, or the beginning of it.")
@click.option("--release", help="Id of a release.")
@click.option("--alert", help="An alert's id, or the name of its rule.")
@json_option
def lineage(
    model: str | None, data: str | None, code: str | None, release: str | None, alert: str | None, as_json: bool
) -> None:
    """Show the way from data and code to predictions and alerts, of whatever is named."""
    if not any((model, data, code, release, alert)):
        raise BadInput("what of?", hint="Name a model, or give --data, --code, --release or --alert.")
    name, _, version = (model or "").partition("@")
    answer = Client.here().get(
        "/api/v1/lineage",
        model=name or None,
        version=version or None,
        data=data,
        code=code,
        release=release,
        alert=alert,
    )
    if as_json:
        print_json(answer)
        return
    for line in drawn(rows_of(answer, "nodes"), rows_of(answer, "edges")):
        click.echo(line)
    if answer.get("truncated"):
        click.echo("Older releases are left out; ask for a version.", err=True)


@click.command()
@click.argument("model", required=False)
@click.option("--status", type=click.Choice(["running", "finished", "failed"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option(
    "--from-mlflow", metavar="PLACE", help="First tell the server of MLflow's runs: an mlruns folder, or http(s)://…"
)
@click.option("--from-dvc", is_flag=True, help="First tell it of the stages in this repository's history of dvc.lock.")
@click.option("--from-tags", is_flag=True, help="First tell it of the versions registered by this repository's tags.")
@json_option
def trainings(
    model: str | None,
    status: str | None,
    limit: int,
    from_mlflow: str | None,
    from_dvc: bool,
    from_tags: bool,
    as_json: bool,
) -> None:
    """Show who trained what when, from what, and how it went.

    With a --from option, runs that are kept elsewhere are told to the server first; telling them again changes nothing.
    MODEL then names those that do not say of which model they are.
    """
    client = Client.here()
    if from_mlflow or from_dvc or from_tags:
        _tell(client, model or "", from_mlflow=from_mlflow, from_dvc=from_dvc, from_tags=from_tags)
    answer = client.get("/api/v1/trainings", model=model, status=status, limit=limit)
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [
            _minute(row.get("start")),
            _span(row.get("seconds")),
            f"{row.get('model')} {row.get('version')}".rstrip(),
            row.get("error") or row.get("status"),
            _metrics(row.get("metrics")),
            _code(row),
            _hash(row.get("data_version")),
            row.get("source"),
            row.get("by"),
        ]
        for row in rows_of(answer, "trainings")
    ]
    head = ["start", "took", "model", "status", "metrics", "code", "data", "from", "by"]
    click.echo(table(head, rows, empty="No trainings."))


def _tell(client: Client, model: str, *, from_mlflow: str | None, from_dvc: bool, from_tags: bool) -> None:
    from modelkeep.core.encoding import MEDIA_TYPE
    from modelkeep.models import runs
    from modelkeep.models.mlflow import mlflow

    here = Path.cwd()
    found = mlflow(from_mlflow, model) if from_mlflow else []
    found += runs.pipelines(here, model) if from_dvc else []
    found += runs.registrations(here, model) if from_tags else []
    for body in runs.bodies(found):
        client.ingest(body, MEDIA_TYPE)
    click.echo(f"Told of {len(found)} trainings.", err=True)


def drawn(nodes: list[dict[str, Json]], edges: list[dict[str, Json]]) -> list[str]:
    """Gives a lineage as lines: each kind with its nodes, and of each node what it came from.

    >>> drawn([{"id": "code:a", "kind": "code", "name": "a"}, {"id": "model:m@1", "kind": "model", "name": "m@1"}],
    ...       [{"source": "code:a", "target": "model:m@1"}])
    ['code', '  a', 'model', '  m@1  ← code a']
    """
    names = {str(one.get("id")): f"{one.get('kind')} {cell(one.get('name'))}" for one in nodes}
    sources: dict[str, list[str]] = {}
    for edge in edges:
        sources.setdefault(str(edge.get("target")), []).append(names.get(str(edge.get("source")), "?"))
    lines: list[str] = []
    for kind in _ORDER:
        members = [one for one in nodes if one.get("kind") == kind]
        lines += [kind] if members else []
        for one in members:
            came = ", ".join(dict.fromkeys(sources.get(str(one.get("id")), [])))
            said = "  ".join(filter(None, (_minute(one.get("at")) if one.get("at") else "", _details(one))))
            lines.append("  " + "  ".join(filter(None, (cell(one.get("name")), said, f"← {came}" if came else ""))))
    return lines


def _details(node: dict[str, Json]) -> str:
    found = node.get("details")
    details = found if isinstance(found, dict) else {}
    shown = [cell(details[name]) for name in ("status", "state", "metrics", "hosts", "who", "by") if details.get(name)]
    return "  ".join([*shown, *(["uncommitted changes"] if details.get("dirty") else [])])


def _code(row: dict[str, Json]) -> str:
    code = _hash(row.get("code") or row.get("files"))
    return f"{code}+" if row.get("dirty") and code else code


def _hash(value: Json) -> str:
    from modelkeep.models.changes import short

    return cell(short(str(value or "")))


def _places(row: dict[str, Json]) -> str:
    hosts, processes = row.get("hosts"), row.get("processes")
    names = [cell(one) for one in hosts] if isinstance(hosts, list) else []
    where = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    return f"{where} ({processes})" if isinstance(processes, int) and processes > 1 else where


def _people(row: dict[str, Json]) -> str:
    return ", ".join(map(cell, _texts(row.get("deployers")) or _texts(row.get("authors"))))


def _texts(value: Json) -> Iterable[Json]:
    return value if isinstance(value, list) else []


def _metrics(value: Json) -> str:
    return ", ".join(f"{name} {cell(number)}" for name, number in value.items()) if isinstance(value, dict) else ""


def _minute(at: Json) -> str:
    return f"{str(at)[:16].replace('T', ' ')}" if at else "-"


def _span(seconds: Json) -> str:
    from modelkeep.models.changes import ago

    return ago(round(float(seconds) * 1e9)) if isinstance(seconds, int | float) else "-"


def _percent(value: Json) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"
