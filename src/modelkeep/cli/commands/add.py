"""`modelkeep add`: files and folders become tracked."""

from __future__ import annotations

from pathlib import Path

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown


@click.command()
@click.argument("targets", nargs=-1, required=True, type=click.Path())
@click.option("--glob", "is_glob", is_flag=True, help="TARGETS may hold the wildcards *, ?, [] and **.")
@click.option("--no-commit", is_flag=True, help="Write the metafile, store nothing in the cache.")
@click.option("-o", "--out", metavar="PATH", help="Copy TARGET, from anywhere, to PATH in the repository and add that.")
@click.option("-f", "--force", is_flag=True, help="Take over a metafile, or with --out a file, that is in the way.")
@click.option("--no-relink", is_flag=True, help="Leave workspace files as they are, whatever cache.type says.")
@click.option("--to-git", is_flag=True, help="Stage what git should take, as core.autostage does.")
@click.option("--chunked", is_flag=True, help="Keep it as chunks on remotes, so that a small change moves little.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@json_option
def add(
    targets: tuple[str, ...],
    is_glob: bool,
    no_commit: bool,
    out: str | None,
    force: bool,
    no_relink: bool,
    to_git: bool,
    chunked: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Track files and folders: store them, write a .dvc file beside each and keep git away from them.

    A path inside a tracked folder changes that folder's record only there.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.add import add as work
    from modelkeep.data.verbs.add import brought, matching

    repo = Repository.find()
    with shown() as progress:
        paths: list[str | Path] = [*matching(targets)] if is_glob else [*targets]
        if out is not None:
            paths = [brought(repo, paths, out, force=force, progress=progress)]
        added = work(
            repo,
            paths,
            store=not no_commit,
            relink=not no_relink,
            force=force,
            to_git=to_git,
            chunked=chunked,
            progress=progress,
        )
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(added))
    elif added.files and not quiet and not added.staged and repo.git is not None:
        names = " ".join(_quoted(repo.shown(repo.root / name)) for name in added.files)
        click.echo(f"\nTo track the changes with git, run:\n\n\tgit add {names}\n", err=True)
        click.echo("--to-git does that; autostage = true under [core] in .dvc/config does it always.", err=True)


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)


plugin: click.Command = add
