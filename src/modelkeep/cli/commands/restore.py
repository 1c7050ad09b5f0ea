"""`modelkeep restore`: what ran, into an empty folder; or a data folder from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import clean, json_option, print_json

if TYPE_CHECKING:
    from modelkeep.models.restore import Restored


@click.command()
@click.argument("what")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--repo", default="", help="The git repository: a folder or an address.  [default: here]")
@click.option("--release", default="", metavar="ID", help="Which release, where several ran the same version.")
@click.option("--clean", "without", is_flag=True, help="Leave out what was never committed.")
@click.option("--no-data", is_flag=True, help="Only code and configuration.")
@json_option
def restore(what: str, folder: Path, repo: str, release: str, without: bool, no_data: bool, as_json: bool) -> None:
    """Bring back what ran: code, data, model and configuration, byte for byte, into the empty FOLDER.

    WHAT is a version of a model (churn@v1.2.0, churn@production), what served at a time (churn@2026-03-01T12:00),
    or the id of a release. Changes that were never committed, and configurations, come from the server of
    MODELKEEP_URL or of this folder. Beside the code, .restored/ holds the record of what it is.

    WHAT may also be the file of a backup: then FOLDER becomes a data folder for modelkeep serve --data FOLDER.
    """
    if Path(what).is_file():
        _unpack(Path(what), folder)
        return
    need("data", "blake3")
    from modelkeep.cli.model.shared import opened
    from modelkeep.cli.progress import shown
    from modelkeep.cli.restoring import wish
    from modelkeep.models.restore import restore as build

    with opened(repo) as registry, shown() as progress:
        asked = wish(registry, what, release=release, clean=without)
        made = build(registry.git, asked.ran, folder, version=asked.version, data=not no_data, progress=progress)
    for note in asked.notes:
        click.echo(clean(note), err=True)
    if as_json:
        print_json({**made.json(), "release": asked.ran.release or None, "notes": [*asked.notes]})
        return
    _tell(made)


def _tell(made: Restored) -> None:
    files = sum(count for _, count, _ in made.data.values())
    patched = f", {len(made.patched)} of them with changes that were never committed" if made.patched else ""
    click.echo(f"{made.folder}")
    click.echo(f"  code           {made.commit[:12]}, {made.files:,} files{patched}")
    click.echo(f"  data           {len(made.data)} tracked outputs, {files:,} files")
    click.echo(f"  model          {clean(made.model) or '-'}")
    click.echo(f"  configuration  {', '.join(made.configurations) or '-'}")
    for lack in made.lacking:
        click.secho(f"  not as it was: {clean(lack)}", fg="yellow", err=True)


def _unpack(archive: Path, folder: Path) -> None:
    need("server", "sqlalchemy", "pyarrow")
    from modelkeep.server.backup import restore as unpack

    files = unpack(archive, folder)
    click.echo(f"Restored {files} files. Next: modelkeep serve --data {folder}", err=True)


plugin: click.Command = restore
