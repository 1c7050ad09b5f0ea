"""`modelkeep query`: SQL over records, PromQL over series."""

from __future__ import annotations

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import json_option, print_json, rows_of, table
from modelkeep.core.shapes import Json


@click.command()
@click.argument("text")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Most rows to print.")
@click.option("--time", "at", help="PromQL: the moment asked about.  [default: now]")
@click.option("--as-of", help="PromQL: what was known at this moment.  [default: now]")
@json_option
def query(text: str, limit: int, at: str | None, as_of: str | None, as_json: bool) -> None:
    """Ask the server in SQL (a text that begins with select, with or from) or in PromQL.

    \b
    modelkeep query "select model, version, count(*) from prediction group by all"
    modelkeep query 'model_quality{metric="auc"}'
    """
    client = Client.here()
    if text.split(maxsplit=1)[:1] and text.split(maxsplit=1)[0].lower() in {
        "select",
        "with",
        "from",
        "describe",
        "summarize",
    }:
        answer = client.post("/api/v1/sql", {"sql": text, "limit": limit})
        if as_json:
            print_json(answer)
            return
        rows = answer.get("rows")
        click.echo(
            table(
                [str(column.get("name")) for column in rows_of(answer, "columns")],
                [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else [],
                empty="No rows.",
            )
        )
        if answer.get("truncated"):
            click.echo(f"Only the first {limit} rows; --limit shows more.", err=True)
        return
    answer = client.get("/api/v1/query", query=text, time=at, as_of=as_of)
    if as_json:
        print_json(answer)
        return
    click.echo(table(["series", "value"], _samples(answer.get("data")), empty="No series."))


def _samples(data: Json) -> list[list[Json]]:
    """Gives (series, newest value) of a PromQL answer."""
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, list):
        return []
    if result and not isinstance(result[0], dict):
        return [["", result[-1]]]
    rows: list[list[Json]] = []
    for one in result:
        if isinstance(one, dict):
            pairs = one.get("metric")
            named = dict(pairs) if isinstance(pairs, dict) else {}
            name = str(named.pop("__name__", ""))
            inner = ", ".join(f'{key}="{value}"' for key, value in named.items())
            point = one.get("value") or (one.get("values") or [[None, None]])[-1]  # type: ignore[index]
            rows.append(
                [f"{name}{{{inner}}}" if inner else name or "{}", point[1] if isinstance(point, list) else None]
            )
    return rows


plugin: click.Command = query
