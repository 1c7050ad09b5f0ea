"""`modelkeep commit`: what is in the workspace now is recorded."""

from __future__ import annotations

import sys

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown
from modelkeep.core.errors import Conflict


@click.command()
@click.argument("targets", nargs=-1, type=click.Path())
@click.option("-f", "--force", is_flag=True, help="Do not ask before a changed output is recorded.")
@click.option("-R", "--recursive", is_flag=True, help="All that is tracked below a folder.")
@click.option("--no-relink", is_flag=True, help="Leave workspace files as they are, whatever cache.type says.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def commit(targets: tuple[str, ...], force: bool, recursive: bool, no_relink: bool, quiet: bool, as_json: bool) -> None:
    """Store what tracked files and folders are now, and record it in their .dvc files.

    Asks before it records a change; where nobody can answer, --force is needed, as with DVC.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.commit import commit as work
    from modelkeep.data.verbs.status import status

    repo = Repository.find()
    with shown() as progress:
        if not force:
            found = status(repo, targets, recursive=recursive, progress=progress)
            changed = [item.path for item in found.items if item.state in {"modified", "new"}]
            for name in changed:
                _ask(name)
        done = work(repo, targets, recursive=recursive, relink=not no_relink, progress=progress)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(done))
    elif not quiet:
        for item in done.items:
            if item.changed:
                click.echo(f"Recorded {item.path} in {item.metafile}.", err=True)


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise Conflict(f"{name}: changed, and nobody is here to ask", hint=f"modelkeep commit --force {name}")
    click.confirm(f"{name} changed. Record it as it is now?", abort=True, err=True)


plugin: click.Command = commit
