"""`modelkeep checkout`: the workspace as the metafiles say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import clean, json_option, print_json
from modelkeep.cli.progress import shown

if TYPE_CHECKING:
    from modelkeep.data.verbs.checkout import CheckedOut


@click.command()
@click.argument("targets", nargs=-1, type=click.Path())
@click.option("--summary", is_flag=True, help="Show how many files changed, not which outputs.")
@click.option("-f", "--force", is_flag=True, help="Overwrite local changes that are nowhere else.")
@click.option("--relink", is_flag=True, help="Make all files anew, as cache.type says.")
@click.option("-R", "--recursive", is_flag=True, help="All that is tracked below a folder.")
@click.option("--allow-missing", is_flag=True, help="Bring what the cache has and do not mind the rest.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def checkout(
    targets: tuple[str, ...],
    summary: bool,
    force: bool,
    relink: bool,
    recursive: bool,
    allow_missing: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring the workspace to what the .dvc files say, from the cache.

    Local changes that are nowhere else are not overwritten without --force. Without TARGETS all that is tracked is
    brought, and what is tracked no more is taken away if the cache has it. Fetches nothing: see `modelkeep pull`.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.checkout import checkout as work
    from modelkeep.data.verbs.checkout import settle

    repo = Repository.find()
    with shown() as progress:
        result = work(
            repo,
            targets,
            force=force,
            relink=relink,
            recursive=recursive,
            allow_missing=allow_missing,
            strict=False,
            progress=progress,
        )
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(result))
    elif not quiet:
        for line in _summary(result) if summary else _lines(result):
            click.echo(line)
    settle(result, allow_missing=allow_missing)
    if relink and not as_json and not quiet:
        click.echo("Relinked successfully")


def _lines(result: CheckedOut) -> list[str]:
    from modelkeep.data.repository import Repository

    repo = Repository.find()
    lines = []
    for letter, names in (("M", result.modified), ("A", result.added), ("D", result.deleted)):
        for name in names:
            slash = "/" if name.endswith("/") else ""
            lines.append(f"{letter}\t{clean(repo.shown(repo.root / name))}{slash}")
    return lines


def _summary(result: CheckedOut) -> list[str]:
    counts = (
        (result.files_modified, "modified"),
        (result.files_added, "added"),
        (result.files_deleted, "deleted"),
    )
    parts = [f"{count} file{'s' * (count != 1)} {word}" for count, word in counts if count]
    return [" and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "No changes."]


plugin: click.Command = checkout
