"""`modelkeep prediction`: what was predicted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import json_option, print_json, rows_of, table
from modelkeep.core.errors import Busy
from modelkeep.core.shapes import Json


@click.group()
def prediction() -> None:
    """List predictions, or import their history."""


@prediction.command(name="list")
@click.option("--model", help="Only this model.")
@click.option("--version", help="Only this version.")
@click.option("--id", "id_", help="Only the prediction with this id.")
@click.option("--from", "start", help="Earliest time, for example now-1h.")
@click.option("--to", "end", help="Latest time, exclusive.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
def list_(
    model: str | None,
    version: str | None,
    id_: str | None,
    start: str | None,
    end: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List predictions, newest first, with the facts known about each."""
    window: dict[str, str | None] = {"from": start, "to": end}
    answer = Client.here().get("/api/v1/predictions", model=model, version=version, id=id_, limit=limit, **window)
    if as_json:
        print_json(answer)
        return
    rows: list[list[Json]] = [
        [row.get(name) for name in ("at", "id", "model", "version", "prediction", "score", "error")] + [_facts(row)]
        for row in rows_of(answer, "predictions")
    ]
    head = ["at", "id", "model", "version", "prediction", "score", "error", "facts"]
    click.echo(table(head, rows, empty="No predictions."))


@prediction.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="The model that predicted.")
@click.option("--version", default="unversioned", show_default=True, help="Its version.")
@click.option("--id", "id_", default="id", show_default=True, help="Column with the prediction's id.")
@click.option(
    "--at", default="at", show_default=True, help="Column with the time: timestamps, ISO 8601 or unix seconds."
)
@click.option("--prediction", "prediction_", default="prediction", show_default=True, help="Column with the output.")
@click.option("--score", default="", help="Column with the probability of the positive class.")
@click.option("--label", default="", help="Column with the truth; empty where it is not known.")
@click.option(
    "--label-at", default="", help="Column with the time at which the truth was known.  [default: the prediction's]"
)
@click.option("--feature", "features", multiple=True, help="Feature column; repeatable.  [default: all other columns]")
@json_option
def import_(
    file: Path,
    model: str,
    version: str,
    id_: str,
    at: str,
    prediction_: str,
    score: str,
    label: str,
    label_at: str,
    features: tuple[str, ...],
    as_json: bool,
) -> None:
    """Back-fill predictions and labels from a Parquet or CSV FILE. Doing it twice changes nothing."""
    from modelkeep.cli.extra import need

    need("server", "pyarrow")
    from modelkeep.cli.backfill import Columns, count_rows, envelopes
    from modelkeep.core.encoding import MEDIA_TYPE, encode

    client = Client.here()
    columns = Columns(id_, at, prediction_, score, label, label_at, features)
    sent = repeated = 0
    with click.progressbar(
        length=count_rows(file), label=file.name, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        for envelope, rows in envelopes(file, model, version, columns):
            answer = _send(client, encode(envelope), MEDIA_TYPE)
            sent += rows
            repeated += rows if answer.get("repeated") else 0
            bar.update(rows)
    if as_json:
        print_json({"rows": sent, "repeated": repeated})
    else:
        again = f", {repeated} of them known already" if repeated else ""
        click.echo(f"Imported {sent} predictions of {model} {version}{again}.", err=True)


def _send(client: Client, body: bytes, media_type: str) -> dict[str, Json]:
    """Sends one envelope, waiting as long as the server says that it is busy."""
    while True:
        try:
            return client.ingest(body, media_type)
        except Busy as busy:
            time.sleep(busy.retry_after_s)


def _facts(row: dict[str, Json]) -> str:
    return " ".join(f"{fact.get('kind')}={fact.get('value')}" for fact in rows_of(row, "facts"))


plugin: click.Command = prediction
