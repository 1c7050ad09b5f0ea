"""`modelkeep verify`: read every byte again, and replace what is bad."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json, table
from modelkeep.cli.progress import shown
from modelkeep.cli.transfers import repository, size
from modelkeep.core.shapes import Json


@click.command()
@click.argument("targets", nargs=-1, type=click.Path())
@click.option("-r", "--remote", metavar="NAME", help="Read what this remote holds instead of the cache.")
@click.option("--all", "everything", is_flag=True, help="All objects of the cache, whoever needs them.")
@click.option("--heal/--no-heal", default=True, show_default=True, help="Replace bad objects by sound ones.")
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="How many transfers run side by side.")
@json_option
def verify(
    targets: tuple[str, ...], remote: str | None, everything: bool, heal: bool, jobs: int | None, as_json: bool
) -> None:
    """Read tracked data again, every byte, and name what is bad.

    In the cache a bad object goes into quarantine, and a sound copy is taken from the workspace or a remote. On a
    remote it is sent again from here. Exit code 1 when something bad is left.
    """
    need("data", "blake3")
    from modelkeep.data.verbs.verify import verify as work

    with shown() as progress:
        found = work(repository(), targets, remote=remote, all=everything, heal=heal, jobs=jobs, progress=progress)
    if as_json:
        print_json(
            {
                "checked": found.checked,
                "bytes": found.bytes,
                "sound": found.sound,
                "bad": [
                    {"path": one.path, "oid": one.oid, "where": one.where, "reason": one.reason, "healed": one.healed}
                    for one in found.bad
                ],
            }
        )
    else:
        if found.bad:
            rows: list[list[Json]] = [[one.path, one.oid, one.where, one.reason, one.healed] for one in found.bad]
            click.echo(table(["path", "object", "where", "reason", "healed"], rows))
        left = len(found.bad) - len(found.healed)
        verdict = f"{left} bad" if left else "all sound" if not found.bad else "all sound again"
        click.echo(f"Read {found.checked:,} objects, {size(found.bytes)}: {verdict}.", err=bool(found.bad))
    if not found.sound:
        raise SystemExit(1)


plugin: click.Command = verify
