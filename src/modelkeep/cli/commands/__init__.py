"""Commands, one file each; the file's name is the command's, its last line `plugin = …` registers it."""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module

import click

from modelkeep._version import __version__


class Commands(click.Group):
    """The group of all commands; it imports the file of the one that runs, and all of them only for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        file = _files().get(cmd_name)
        if file is None:
            return None
        plugin = import_module(f"{__name__}.{file}").plugin
        return plugin if isinstance(plugin, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


def _files() -> dict[str, str]:
    """Maps each command to its file: `import_.py` is `import`, `import_url.py` is `import-url`."""
    return {module.name.rstrip("_").replace("_", "-"): module.name for module in pkgutil.iter_modules(__path__)}


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": None},
)
@click.version_option(__version__, prog_name="modelkeep")
def modelkeep() -> None:
    """Look after machine-learning models in production.

    Start with `modelkeep demo` (a real example), or `modelkeep serve` and three lines in your code.
    Every command that asks a running server finds it by MODELKEEP_URL, or in the .modelkeep folder here.
    """
