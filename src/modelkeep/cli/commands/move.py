"""`modelkeep move`: a tracked file or folder gets another name or place."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown


@click.command()
@click.argument("source", type=click.Path())
@click.argument("destination", type=click.Path())
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def move(source: str, destination: str, quiet: bool, as_json: bool) -> None:
    """Rename tracked data with its .dvc file; a DESTINATION that is a folder takes it in."""
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.move import move as work

    with shown() as progress:
        done = work(Repository.find(), source, destination, progress=progress)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(done))
    elif not quiet:
        click.echo(f"Moved {done.source} to {done.destination}.", err=True)


plugin: click.Command = move
