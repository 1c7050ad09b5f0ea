"""`modelkeep restore`: a data folder from a backup."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def restore(archive: Path, folder: Path) -> None:
    """Unpack the backup ARCHIVE into the new data folder FOLDER; serve it with `modelkeep serve --data FOLDER`."""
    from modelkeep.cli.extra import need

    need("server", "sqlalchemy", "pyarrow")
    from modelkeep.server.backup import restore as unpack

    files = unpack(archive, folder)
    click.echo(f"Restored {files} files. Next: modelkeep serve --data {folder}", err=True)


plugin: click.Command = restore
