"""`modelkeep init`: a folder made ready."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

SETTINGS: Final = """\
# Settings of modelkeep; every line is optional. All of them: docs/reference/settings.md
# port: 7300
# alerts:
#   rules: [rules/*.yaml]          # Prometheus rule files, beside the default rules
#   channels:
#     - {name: team, kind: webhook, url: secret:TEAM_WEBHOOK}
#   route: team
"""


@click.command()
def init() -> None:
    """Write a settings file here and keep the data folder out of git."""
    settings = Path("modelkeep.yaml")
    if settings.exists():
        click.echo(f"{settings} is there already; left as it is.", err=True)
    else:
        settings.write_text(SETTINGS, encoding="utf-8")
        click.echo(f"Wrote {settings}.", err=True)
    if Path(".git").exists():
        _ignore(Path(".gitignore"))
    click.echo("Next: modelkeep serve", err=True)


def _ignore(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if ".modelkeep/" not in lines:
        file.write_text("\n".join([*lines, ".modelkeep/"]) + "\n", encoding="utf-8")
        click.echo(f"Added .modelkeep/ to {file}.", err=True)


plugin: click.Command = init
