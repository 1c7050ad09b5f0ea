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
@click.option(
    "--data/--no-data", default=None, help="Prepare for versions of data, too [default: in a git repository]."
)
@click.option("--hooks", is_flag=True, help="Install git hooks: checkout brings back the data, push pushes them.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
def init(data: bool | None, hooks: bool, quiet: bool) -> None:
    """Write a settings file here and prepare the folder for versions of data.

    The data part is what `dvc init` writes; a DVC repository is taken as it is. The data folder of a server
    that runs here is kept out of git.
    """

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    settings = Path("modelkeep.yaml")
    if settings.exists():
        say(f"{settings} is there already; left as it is.")
    else:
        settings.write_text(SETTINGS, encoding="utf-8")
        say(f"Wrote {settings}.")
    git = Path(".git").exists()
    if git and _ignore(Path(".gitignore")):
        say("Added .modelkeep/ to .gitignore.")
    if data or hooks or (data is None and git):
        from modelkeep.data.verbs.initialise import initialise

        done = initialise(Path.cwd(), hooks=hooks)
        say("Prepared for data: .dvc/ as DVC writes it." if done.created else ".dvc/ is there already; left as it is.")
        for name in done.hooks:
            say(f"Installed the git hook {name}.")
        say("Next: modelkeep add FILE, or modelkeep serve")
    else:
        say("Next: modelkeep serve")


def _ignore(file: Path) -> bool:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if ".modelkeep/" in lines:
        return False
    file.write_text("\n".join([*lines, ".modelkeep/"]) + "\n", encoding="utf-8")
    return True


plugin: click.Command = init
