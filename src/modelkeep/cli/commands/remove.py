"""`modelkeep remove`: files and folders stop being tracked."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown


@click.command()
@click.argument("targets", nargs=-1, required=True, type=click.Path())
@click.option("--outs", is_flag=True, help="Take the data away too.")
@click.option("-f", "--force", is_flag=True, help="With --outs: also data with changes that are nowhere else.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def remove(targets: tuple[str, ...], outs: bool, force: bool, quiet: bool, as_json: bool) -> None:
    """Stop tracking: take .dvc files away and git's word about their data. The data stays, and so does the cache.

    TARGETS are .dvc files or the data that they track.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.remove import remove as work

    with shown() as progress:
        done = work(Repository.find(), targets, outs=outs, force=force, progress=progress)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(done))
    elif not quiet:
        for name in (*done.metafiles, *done.outs):
            click.echo(f"Removed {name}.", err=True)


plugin: click.Command = remove
