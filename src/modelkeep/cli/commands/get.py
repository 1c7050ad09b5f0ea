"""`modelkeep get`: a file or folder of another repository."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json


@click.command()
@click.argument("url")
@click.argument("path")
@click.option("-o", "--out", default="", help="Where to put it [default: here, under its own name].")
@click.option("--rev", default="", help="A branch, tag or commit [default: the workspace of a folder, else HEAD].")
@click.option("--remote", default="", help="The remote there that holds its data [default: its own default].")
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
@json_option
def get(url: str, path: str, out: str, rev: str, remote: str, force: bool, as_json: bool) -> None:
    """Fetch a file or folder of another repository, ours or DVC's, without tracking it here.

    URL is a folder or an address of git, PATH a file or folder in it, tracked or in git. It appears here whole, and
    verified; a transfer that was cut goes on where it stopped.
    """
    need("data", "blake3", "pathspec", "obstore")
    from modelkeep.cli.progress import shown
    from modelkeep.data.verbs.get import get as fetched

    with shown() as progress:
        got = fetched(url, path, rev=rev, out=out, remote=remote, force=force, progress=progress)
    if as_json:
        print_json({"path": str(got.path), "files": got.files, "bytes": got.size, "commit": got.commit})
        return
    click.echo(f"{got.path}: {got.files} file{'' if got.files == 1 else 's'}, {got.size} bytes", err=True)


plugin: click.Command = get
