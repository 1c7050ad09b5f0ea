"""`modelkeep push`: tracked data goes to its remotes."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown
from modelkeep.cli.transfers import moved_json, repository, told, transfer_options


@click.command()
@transfer_options
@click.option("--whole", is_flag=True, help="Send chunked files as ordinary objects, for colleagues who use DVC.")
@json_option
def push(
    targets: tuple[str, ...],
    remote: str,
    jobs: int | None,
    all_branches: bool,
    all_tags: bool,
    all_commits: bool,
    recursive: bool,
    whole: bool,
    as_json: bool,
) -> None:
    """Send tracked data to its remote.

    TARGETS are data, .dvc files or folders; without them all that is tracked. Every object is verified before it
    leaves; what the remote has already is not sent again.
    """
    need("data", "blake3")
    from modelkeep.data.verbs.push import push as work

    with shown() as progress:
        moved = work(
            repository(),
            targets,
            remote=remote,
            jobs=jobs,
            all_branches=all_branches,
            all_tags=all_tags,
            all_commits=all_commits,
            recursive=recursive,
            whole=whole,
            strict=False,
            progress=progress,
        )
    if as_json:
        print_json(moved_json(moved))
    elif text := told(moved, "Pushed", "Everything is up to date"):
        click.echo(text)
    moved.settle("push")


plugin: click.Command = push
