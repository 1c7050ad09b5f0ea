"""`modelkeep config`: what a configuration is, where it comes from, what it was."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from modelkeep.cli.client import Client
from modelkeep.cli.configuration.export import FORMATS, written
from modelkeep.cli.configuration.given import Given, source_options
from modelkeep.cli.output import cell, clean, json_option, print_json, rows_of, table
from modelkeep.cli.sweep import sweep
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json

_NAMED: Final = re.compile(r"[0-9a-f]{4,64}\Z")
_SIDES: Final = ("before", "after")
_SHORT: Final = 12
_LONG: Final = 60


@click.group()
def config() -> None:
    """See, check, compare, export and roll back configurations.

    SOURCE is a file, a pattern, or an address such as consul://127.0.0.1:8500/app; later ones win, KEY=VALUE wins over
    all of them. Nothing given to `show`, `explain`, `validate` and `export` is told to a server.
    """


@config.command()
@source_options(required=False)
@click.option("--server", is_flag=True, help="The settings of a modelkeep server that starts here.")
@click.option("--process", help="Without sources: only this process.")
@json_option
def show(given: Given, server: bool, process: str | None, as_json: bool) -> None:
    """Show every key with its value and where it was written.

    Without sources: what holds in the processes that tell the server of theirs.
    """
    if server:
        _settings(as_json=as_json)
        return
    if not (given.words or given.env):
        _processes(process, as_json=as_json)
        return
    made = given.config()
    found = made.snapshot()
    if as_json:
        marks: dict[str, Json] = {key: str(found.mark(key)) for key in found.names()}
        print_json({"hash": found.hash, "tree": _plain(found.masked), "marks": marks})
        return
    rows: list[list[Json]] = [[key, _value(found.explain(key).value), str(found.mark(key))] for key in found.names()]
    click.echo(table(["key", "value", "written at"], rows, empty="It is empty."))


@config.command()
@click.argument("key")
@source_options(required=False)
@click.option("--server", is_flag=True, help="A setting of a modelkeep server that starts here.")
@json_option
def explain(key: str, given: Given, server: bool, as_json: bool) -> None:
    """Show why KEY has its value: everything that was said of it, in order; the last one won."""
    if server:
        _settings(key, as_json=as_json)
        return
    if not (given.words or given.env or given.schema):
        raise BadInput("there are no sources", hint=f"Name files or addresses; of processes: config blame {key}.")
    found = given.config().explain(key)
    _explanation(key, found.value, found.history, written=found.written, as_json=as_json)


@config.command()
@source_options()
@json_option
def validate(given: Given, as_json: bool) -> None:
    """Check sources; every problem is named with its place. Exits 1 when something is wrong."""
    if given.schema:
        given.kind()
    try:
        made = given.config()
    except BadInput as error:
        problems = error.message.splitlines()
        if as_json:
            print_json({"valid": False, "problems": [*problems]})
        else:
            click.echo("\n".join(clean(line) for line in problems))
        raise click.exceptions.Exit(1) from None
    if as_json:
        print_json({"valid": True, "problems": [], "hash": made.hash})
    else:
        click.echo(f"Fine: {len(made.snapshot().names())} keys, {made.hash[:_SHORT]}.", err=True)


@config.command()
@source_options()
@click.option("--format", "kind", type=click.Choice(FORMATS), default="yaml", show_default=True, help="What to write.")
@click.option("--reveal", is_flag=True, help="Write secrets, too.")
def export(given: Given, kind: str, reveal: bool) -> None:
    """Write the merged configuration to stdout, interpolations resolved, secrets masked.

    With --format env the names begin with the PREFIX of --env.
    """
    found = given.config().snapshot()
    tree = found.get("") if reveal else found.masked
    assert isinstance(tree, dict)
    click.echo(written(tree, kind, prefix=given.env or ""), nl=False)


@config.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--schema", default="", metavar="MODULE:CLASS", help="Pydantic model or dataclass to check both by.")
@json_option
def diff(before: str, after: str, schema: str, as_json: bool) -> None:
    """Compare two configurations: A and B are files or addresses, several with commas between.

    Hashes of applied configurations, or ids of releases, are compared by the server.
    """
    hidden: list[Json] = []
    if _is_named(before) and _is_named(after):
        answer = Client.here().get("/api/v1/configurations/diff", **{"from": before, "to": after})
        told = answer.get("hidden")
        hidden = told if isinstance(told, list) else []
    else:
        old, new = (Given((), schema=schema).config(side.split(",")).snapshot() for side in (before, after))
        rows: list[Json] = [
            {"key": one.key, "before": _plain(one.before), "after": _plain(one.after), "mark": one.mark}
            for one in new.diff(old)
        ]
        answer = {"from": before, "to": after, "same": old.hash == new.hash, "differences": rows}
    if as_json:
        print_json(answer)
        return
    shown: list[list[Json]] = [
        [row.get("key"), *(None if row.get(side) is None else _value(row[side]) for side in _SIDES), row.get("mark")]
        for row in rows_of(answer, "differences")
    ]
    click.echo(table(["key", "before", "after", "written at"], shown, empty="No difference."))
    if hidden:
        click.echo(f"Masked on both sides, so not compared: {', '.join(map(cell, hidden))}", err=True)


@config.command()
@click.option("--process", help="Only this process.")
@click.option("--name", help="Only configurations of this name (that of the schema, unless mk.config was given one).")
@click.option("--key", help="Only changes of this key, or of one below it.")
@click.option(
    "--state",
    type=click.Choice(["applied", "rejected", "rolled back", "unreachable", "recovered"]),
    help="Only what became of it so.",
)
@click.option("--kv", "prefix", metavar="PREFIX", help="Writes of the server's key-value store instead; '' for all.")
@click.option("--from", "start", help="Earliest time.")
@click.option("--to", "end", help="Latest time, exclusive.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def history(
    process: str | None,
    name: str | None,
    key: str | None,
    state: str | None,
    prefix: str | None,
    start: str | None,
    end: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what was applied, refused and rolled back in all processes, newest first."""
    client, path = Client.here(), "/api/v1/configurations"
    if prefix is not None:
        answer = client.get(f"{path}/kv", prefix=prefix, limit=limit)
    else:
        dates = {"from": start, "to": end}
        answer = client.get(f"{path}/history", process=process, name=name, key=key, state=state, limit=limit, **dates)
    if as_json:
        print_json(answer)
    elif prefix is not None:
        writes: list[list[Json]] = [
            [row.get("index"), row.get("at"), row.get("key"), row.get("value"), row.get("author"), row.get("reason")]
            for row in rows_of(answer, "writes")
        ]
        click.echo(table(["index", "at", "key", "value", "author", "reason"], writes, empty="No writes."))
    else:
        rows: list[list[Json]] = [
            [*(row.get(name) for name in ("at", "state", "name", "process")), _hash(row), row.get("author"), _said(row)]
            for row in rows_of(answer, "changes")
        ]
        head = ["at", "state", "name", "process", "hash", "author", "what"]
        click.echo(table(head, rows, empty="No changes."))


@config.command()
@click.argument("key")
@click.option("--process", help="Only in this process.")
@click.option("--name", help="Only in configurations of this name.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def blame(key: str, process: str | None, name: str | None, limit: int, as_json: bool) -> None:
    """Tell who gave KEY its values, when, where and why, newest first."""
    answer = Client.here().get("/api/v1/configurations/blame", key=key, process=process, name=name, limit=limit)
    if as_json:
        print_json(answer)
        return
    told = ("mark", "author", "reason", "process")
    rows: list[list[Json]] = [
        [row.get("at"), _value(row.get("value")), *(row.get(name) for name in told), _hash(row)]
        for row in rows_of(answer, "blame")
    ]
    click.echo(table(["at", "value", "written at", "author", "reason", "process", "hash"], rows))


@config.command()
@click.option("--process", help="Have this live process go back.")
@click.option("--name", help="Have every live process go back that has a configuration of this name.")
@click.option("--hash", "digest", help="What a process goes back to.  [default: what it had before]")
@click.option("--prefix", default="", help="Of the key-value store: keys that begin so, such as app/.  [default: all]")
@click.option("--to", "index", type=click.IntRange(0), help="The write to go back to.  [default: before the latest]")
@click.option("--reason", required=True, help="Why; others will ask.")
@click.option("--dry-run", is_flag=True, help="Only list what would change.")
@json_option
def rollback(
    process: str | None,
    name: str | None,
    digest: str | None,
    prefix: str,
    index: int | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put running processes, or keys of the server's key-value store, back to an earlier state.

    With --process or --name: processes that follow their configuration by cfg.watch() hear of it with what they send
    next, within ten seconds. What becomes of it is in `modelkeep config history`; it holds until a source changes.

    Otherwise: keys. Processes that watch them by a consul:// source follow at once. `modelkeep config history --kv
    PREFIX` lists the writes; the rollback is a write itself, with author and reason, and can be rolled back.
    """
    client = Client.here()
    if process or name or digest:
        if prefix or index is not None:
            raise BadInput("--prefix and --to are for keys", hint="A process goes back to a --hash.")
        said: dict[str, Json] = {"process": process or "", "name": name or "", "hash": digest or ""}
        said |= {"reason": reason, "author": getpass.getuser(), "dry": dry_run}
        _wished(client.post("/api/v1/configurations/rollback", said), dry_run, as_json=as_json)
        return
    if index is None:
        latest = rows_of(client.get("/api/v1/configurations/kv", prefix=prefix, limit=1), "writes")
        number = latest[0].get("index") if latest else None
        if not isinstance(number, int):
            raise Missing(
                f"nobody ever wrote a key that begins with {prefix!r}", hint="Look at config history --kv ''."
            )
        index = number - 1
    body: dict[str, Json] = {
        "prefix": prefix,
        "index": index,
        "reason": reason,
        "author": getpass.getuser(),
        "dry": dry_run,
    }
    answer = client.post("/api/v1/configurations/kv/rollback", body)
    if as_json:
        print_json(answer)
        return
    keys = answer.get("keys")
    for key in keys if isinstance(keys, list) else []:
        click.echo(cell(key))
    count = len(keys) if isinstance(keys, list) else 0
    verb = "would go" if dry_run else "went"
    click.echo(f"{count} {'key' if count == 1 else 'keys'} {verb} back to write {index}.", err=True)


def _wished(answer: dict[str, Json], dry: bool, *, as_json: bool) -> None:
    """Prints which processes are told to go back."""
    if as_json:
        print_json(answer)
        return
    found = rows_of(answer, "wishes")
    rows: list[list[Json]] = [
        [row.get("process"), row.get("name"), *(str(row.get(side))[:_SHORT] for side in ("before", "hash"))]
        for row in found
    ]
    click.echo(table(["process", "name", "has", "goes back to"], rows))
    verb = "would be told" if dry else "told; see config history"
    click.echo(f"{len(rows)} {'process' if len(rows) == 1 else 'processes'} {verb}.", err=True)


def _is_named(side: str) -> bool:
    return bool(_NAMED.match(side)) and not Path(side).exists()


def _processes(process: str | None, *, as_json: bool) -> None:
    """Prints what holds in live processes."""
    answer = Client.here().get("/api/v1/configurations", process=process, brief=None if process else "true")
    found = rows_of(answer, "configurations")
    if as_json:
        print_json(answer)
    elif process:
        for row in found:
            marks = row.get("marks")
            click.echo(f"{cell(row.get('name'))} {_hash(row)}, applied {cell(row.get('applied'))} by {_by(row)}")
            click.echo(_keys(row.get("tree"), marks if isinstance(marks, dict) else {}))
    else:
        rows: list[list[Json]] = [
            [row.get("process"), row.get("service"), row.get("name"), _hash(row), row.get("applied"), _by(row)]
            for row in found
        ]
        head = ["process", "service", "name", "hash", "applied", "by"]
        click.echo(table(head, rows, empty="No process has told of its configuration within a minute."))


def _keys(tree: Json, marks: dict[str, Json]) -> str:
    from modelkeep.configuration.tree import leaves

    rows: list[list[Json]] = [[key, _value(value), marks.get(key)] for key, value in leaves(tree)]
    return table(["key", "value", "written at"], rows, empty="It is empty.")


def _settings(key: str = "", *, as_json: bool) -> None:
    """Prints the settings of a server that starts here, with their places; with a key, everything said of it."""
    from modelkeep.cli.extra import need

    need("server", "omegaconf", "yaml")
    from modelkeep.server.settings import explained

    found = [one for one in explained(os.environ) if key in {"", one.key}]
    if not found:
        raise Missing(f"{key!r} is no setting", hint="modelkeep config show --server lists all.")
    if key:
        said: list[tuple[str, object]] = [(mark, _shielded(key, value)) for mark, value in found[0].history]
        _explanation(key, _shielded(key, found[0].value), said, as_json=as_json)
    elif as_json:
        rows: list[Json] = [{"key": one.key, "value": _shielded(one.key, one.value), "mark": one.mark} for one in found]
        print_json({"settings": rows})
    else:
        shown: list[list[Json]] = [[one.key, _value(_shielded(one.key, one.value)), one.mark] for one in found]
        click.echo(table(["key", "value", "written at"], shown))


def _explanation(
    key: str, value: object, said: Sequence[tuple[str, object]], *, written: str = "", as_json: bool
) -> None:
    if as_json:
        history: list[Json] = [{"mark": mark, "value": _plain(one)} for mark, one in said]
        mark = said[-1][0] if said else ""
        print_json({"key": key, "value": _plain(value), "mark": mark, "written": written, "history": history})
        return
    click.echo(f"{clean(key)} = {_value(value)}")
    if written:
        click.echo(f"written as {clean(written)}")
    rows: list[list[Json]] = [
        ["won" if place == len(said) - 1 else "", mark, _value(one)] for place, (mark, one) in enumerate(said)
    ]
    click.echo(table(["", "written at", "value"], rows, empty="It is a default."))


def _shielded(key: str, value: Json) -> Json:
    """Gives a setting without what the settings of a channel or a webhook may hold; a name of a secret is none."""
    if key not in {"alerts.channels", "code.webhooks"}:
        return value
    if not isinstance(value, list):
        return "***"  # the steps of a list are told as text
    plain = {"name", "kind"}
    return [
        {name: one if name in plain or str(one).startswith("secret:") else "***" for name, one in channel.items()}
        for channel in value
        if isinstance(channel, dict)
    ]


def _said(row: dict[str, Json]) -> str:
    """What a change was, in one cell."""
    if error := row.get("error"):
        return clean(str(error).partition("\n")[0])
    reason = f" ({row['reason']})" if row.get("reason") else ""
    changes = [
        f"{one.get('key')}: {_value(one.get('before'))} → {_value(one.get('after'))}"
        for one in rows_of(row, "differences")
    ]
    if not changes:
        return clean(f"{row.get('source')}{reason}")
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return clean(f"{changes[0]}{more}{reason}")


def _by(row: dict[str, Json]) -> str:
    reason = f" ({row['reason']})" if row.get("reason") else ""
    return clean(f"{row.get('author')}{reason}")


def _hash(row: dict[str, Json]) -> str:
    return str(row.get("hash") or "")[:_SHORT]


def _plain(value: object) -> Any:
    return json.loads(json.dumps(value, default=str))


def _value(value: object) -> str:
    """Gives a value in one cell, as YAML would have it on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(text if len(text) <= _LONG else f"{text[:_LONG]}…")


config.add_command(sweep)
plugin: click.Command = config
