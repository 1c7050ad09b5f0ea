"""`modelkeep list`: what another repository holds."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import clean, json_option, print_json


@click.command("list")
@click.argument("url")
@click.argument("path", default="")
@click.option("-R", "--recursive", is_flag=True, help="All files below, instead of what lies right there.")
@click.option("--dvc-only", is_flag=True, help="Only tracked data, not what git holds.")
@click.option("--size", is_flag=True, help="Show sizes.")
@click.option("--rev", default="", help="A branch, tag or commit [default: the workspace of a folder, else HEAD].")
@click.option("--remote", default="", help="The remote there that holds its data [default: its own default].")
@json_option
def list_(
    url: str, path: str, recursive: bool, dvc_only: bool, size: bool, rev: str, remote: str, as_json: bool
) -> None:
    """Show what a repository holds, ours or DVC's, without fetching data.

    URL is a folder or an address of git, PATH a file or folder in it; of a tracked folder only the list of its files
    is fetched.
    """
    need("data", "blake3", "pathspec", "obstore")
    from modelkeep.cli.progress import shown
    from modelkeep.data.verbs.list_ import list_ as listed

    with shown() as progress:
        found = listed(url, path, rev=rev, recursive=recursive, dvc_only=dvc_only, remote=remote, progress=progress)
    if as_json:
        print_json([one.json() for one in found])
        return
    widths = [_human(one.size) for one in found] if size else []
    width = max(map(len, widths), default=0)
    for at, one in enumerate(found):
        name = clean(one.path)
        click.echo(f"{widths[at]:>{width}}  {name}" if size else name)


def _human(size: int | None) -> str:
    if size is None:
        return ""
    amount = float(size)
    for unit in ("", "K", "M", "G", "T", "P"):
        if amount < 1024 or unit == "P":
            return f"{amount:.0f}{unit}" if not unit or amount >= 10 else f"{amount:.1f}{unit}"
        amount /= 1024
    return ""


plugin: click.Command = list_
