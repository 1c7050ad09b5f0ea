"""`modelkeep token`: who may ask the server what."""

from __future__ import annotations

from urllib.parse import quote

import click

from modelkeep.cli.client import Client
from modelkeep.cli.output import json_option, print_json, rows_of, table
from modelkeep.core.shapes import Json

SCOPES = ["ingest", "read", "write", "admin"]


@click.group()
def token() -> None:
    """Create, list and revoke tokens.

    As soon as one token exists, every request needs one; this command line and the SDK take it from MODELKEEP_TOKEN.
    """


@token.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), required=True, help="What it allows; repeatable."
)
@click.option("--expires", help="When it ends, for example 2027-01-31.  [default: never]")
@json_option
def create(name: str, scopes: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Make a token called NAME; it is shown this once."""
    body: dict[str, Json] = {"name": name, "scopes": list(scopes)}
    if expires:
        body["expires"] = expires
    answer = Client.here().post("/api/v1/tokens", body)
    if as_json:
        print_json(answer)
        return
    click.echo(answer["token"])
    click.echo("Keep it now: it is stored as a hash and cannot be shown again.", err=True)


@token.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List tokens; never their secrets."""
    answer = Client.here().get("/api/v1/tokens")
    if as_json:
        print_json(answer)
        return
    columns = ["id", "name", "scopes", "created", "expires", "last_used"]
    rows = [
        [" ".join(map(str, value)) if isinstance(value := row.get(column), list) else value for column in columns]
        for row in rows_of(answer, "tokens")
    ]
    click.echo(table(columns, rows, empty="No tokens: every request from this machine is let in."))


@token.command()
@click.argument("id")
def revoke(id: str) -> None:  # noqa: A002 - the argument's name is what people read
    """End a token at once."""
    Client.here().delete(f"/api/v1/tokens/{quote(id, safe='')}")
    click.echo(f"Revoked {id}.", err=True)


plugin: click.Command = token
