"""`modelkeep model`: the registry of models, and who served what when."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

_PLACES: Final = {
    "annotate": "doing",
    "deprecate": "doing",
    "deregister": "doing",
    "diff": "asking",
    "get": "asking",
    "history": "asking",
    "lineage": "serving",
    "list": "asking",
    "promote": "doing",
    "register": "doing",
    "rollback": "doing",
    "share": "serving",
    "show": "asking",
    "timeline": "serving",
    "trainings": "serving",
    "unassign": "doing",
}
"""Each command's file in `cli/model`; the function has the command's name, `list_` where that is Python's own."""


class Models(click.Group):
    """The group of all commands about models; it imports the file of the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module = import_module(f"modelkeep.cli.model.{place}")
        found = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return found if isinstance(found, click.Command) else None


@click.group(cls=Models)
def model() -> None:
    """Keep versions of models: register, promote, roll back, and see what each was made of.

    The registry is git's tags, in the form of GTO; no server is needed. A version is asked for as churn@v1.2.0,
    churn@5 (the fifth), churn@production (a stage), churn@latest, or churn@v1 (the highest of these).
    """


plugin: click.Command = model
