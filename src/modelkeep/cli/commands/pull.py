"""`modelkeep pull`: tracked data comes into the workspace."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown
from modelkeep.cli.transfers import moved_json, repository, told, transfer_options


@click.command()
@transfer_options
@click.option("-f", "--force", is_flag=True, help="Overwrite local changes.")
@click.option("--allow-missing", is_flag=True, help="What is nowhere is no error.")
@json_option
def pull(
    targets: tuple[str, ...],
    remote: str,
    jobs: int | None,
    all_branches: bool,
    all_tags: bool,
    all_commits: bool,
    recursive: bool,
    force: bool,
    allow_missing: bool,
    as_json: bool,
) -> None:
    """Get tracked data from its remote into the workspace.

    Fetches what the cache lacks, then brings the workspace up to date; what is corrupt or missing on the remote is
    named, and all the rest is delivered. TARGETS are data, parts of tracked folders, .dvc files or folders; without
    them all that is tracked.
    """
    need("data", "blake3")
    from modelkeep.data.verbs.checkout import settle
    from modelkeep.data.verbs.pull import pull as work

    with shown() as progress:
        pulled = work(
            repository(),
            targets,
            remote=remote,
            jobs=jobs,
            all_branches=all_branches,
            all_tags=all_tags,
            all_commits=all_commits,
            recursive=recursive,
            force=force,
            allow_missing=allow_missing,
            strict=False,
            progress=progress,
        )
    moved = pulled.moved
    if as_json:
        from dataclasses import asdict

        from modelkeep.core.shapes import Json

        checked_out: Json = asdict(pulled.checked_out)
        print_json(moved_json(moved) | {"checked_out": checked_out})
    elif text := told(moved, "Fetched", "Everything is up to date"):
        click.echo(text)
    moved.settle("pull")
    settle(pulled.checked_out, allow_missing=allow_missing)


plugin: click.Command = pull
