"""`modelkeep fetch`: tracked data comes into the cache."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown
from modelkeep.cli.transfers import moved_json, repository, told, transfer_options


@click.command()
@transfer_options
@json_option
def fetch(
    targets: tuple[str, ...],
    remote: str,
    jobs: int | None,
    all_branches: bool,
    all_tags: bool,
    all_commits: bool,
    recursive: bool,
    as_json: bool,
) -> None:
    """Get tracked data from its remote into the cache.

    TARGETS are data, parts of tracked folders, .dvc files or folders; without them all that is tracked. Every object
    is verified before the cache shows it; a transfer that was cut goes on where it was.
    """
    need("data", "blake3")
    from modelkeep.data.verbs.fetch import fetch as work

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
            strict=False,
            progress=progress,
        )
    if as_json:
        print_json(moved_json(moved))
    elif text := told(moved, "Fetched", "Everything is up to date"):
        click.echo(text)
    moved.settle("fetch")


plugin: click.Command = fetch
