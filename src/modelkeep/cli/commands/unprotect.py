"""`modelkeep unprotect`: linked files become copies that may be edited."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown


@click.command()
@click.argument("targets", nargs=-1, required=True, type=click.Path())
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def unprotect(targets: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Make tracked files copies of their own, so that editing them cannot change the cache.

    Needed only where cache.type is hardlink or symlink.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.unprotect import unprotect as work

    with shown() as progress:
        done = work(Repository.find(), targets, progress=progress)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(done))
    elif not quiet:
        for name, count in done.outs.items():
            click.echo(f"{name}: {count:,} file{'s' * (count != 1)} made writable.", err=True)


plugin: click.Command = unprotect
