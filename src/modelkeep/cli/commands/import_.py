"""`modelkeep import`: a file or folder of another repository becomes tracked here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.imports import Imported


@click.command("import")
@click.argument("url")
@click.argument("path")
@click.option("-o", "--out", default="", help="Where to put it [default: here, under its own name].")
@click.option("--rev", default="", help="A branch, tag or commit [default: HEAD].")
@click.option("--remote", default="", help="The remote there that holds its data [default: its own default].")
@click.option("-f", "--force", is_flag=True, help="Take the place of what is there; an import is brought up to date.")
@click.option(
    "--no-download", is_flag=True, help="Only write the .dvc file; the same with --force fetches the data later."
)
@json_option
def import_(
    url: str, path: str, out: str, rev: str, remote: str, force: bool, no_download: bool, as_json: bool
) -> None:
    """Track a file or folder of another repository, ours or DVC's, here.

    The .dvc file says which repository and commit it came from. URL is a folder or an address of git, PATH a file or
    folder in it, tracked or in git.
    """
    need("data", "blake3", "pathspec", "obstore")
    from modelkeep.cli.progress import shown
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.import_ import import_ as imported

    with shown() as progress:
        found = imported(
            Repository.find(),
            url,
            path,
            rev=rev,
            out=out,
            remote=remote,
            force=force,
            no_download=no_download,
            progress=progress,
        )
    tell(found, as_json)


def tell(found: Imported, as_json: bool) -> None:
    """Prints what was imported, and what git should take."""
    if as_json:
        print_json(
            {
                "path": found.path,
                "metafile": found.metafile,
                "md5": found.oid or None,
                "size": found.size,
                "nfiles": found.nfiles,
                "commit": found.commit or None,
                "staged": found.staged,
            }
        )
        return
    click.echo(f"{found.path}: {found.metafile} says where it came from.", err=True)
    if not found.staged:
        click.echo(f"Next: git add {' '.join(found.files)}", err=True)


plugin: click.Command = import_
