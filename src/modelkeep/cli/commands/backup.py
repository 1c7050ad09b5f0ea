"""`modelkeep backup`: a consistent copy while the server runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelkeep.cli.client import Client
from modelkeep.core.errors import Conflict


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
def backup(archive: Path) -> None:
    """Write a copy of everything the server keeps to ARCHIVE (a tar file), while it runs."""
    if archive.exists():
        raise Conflict(f"{archive} exists", hint="Name another file, or remove this one.")
    part = archive.with_name(archive.name + ".part")
    try:
        with part.open("xb") as file:
            size = Client.here(timeout_s=600).download("/api/v1/backup", file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(archive)
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"Wrote {archive}, {size / 1e6:.1f} MB. To bring it back: modelkeep restore {archive} FOLDER", err=True)


plugin: click.Command = backup
