"""`modelkeep import-url`: a file or folder from a path or an address becomes tracked here."""

from __future__ import annotations

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option


@click.command("import-url")
@click.argument("url")
@click.argument("place", metavar="[OUT]", default="")
@click.option("-o", "--out", default="", help="Where to put it [default: here, under its own name].")
@click.option("-f", "--force", is_flag=True, help="Take the place of what is there; an import is brought up to date.")
@click.option("--no-download", is_flag=True, help="Only write the .dvc file.")
@json_option
def import_url(url: str, place: str, out: str, force: bool, no_download: bool, as_json: bool) -> None:
    """Track a file or folder from a path or an address here.

    The .dvc file says where it came from and which version it was. URL is a path, remote://NAME/path, or an address
    of http, https, s3, gs, azure, ssh or webdav.
    """
    need("data", "blake3", "pathspec", "obstore")
    from modelkeep.cli.commands.import_ import tell
    from modelkeep.cli.progress import shown
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.import_url import import_url as imported

    with shown() as progress:
        found = imported(Repository.find(), url, out or place, force=force, no_download=no_download, progress=progress)
    tell(found, as_json)


plugin: click.Command = import_url
