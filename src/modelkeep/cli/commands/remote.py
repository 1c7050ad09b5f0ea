"""`modelkeep remote`: where data is kept besides this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from modelkeep.cli.output import clean, json_option, print_json, table
from modelkeep.cli.transfers import warn
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.data.formats.config import Config

F = TypeVar("F", bound=Callable[..., object])
_LEVELS = {
    "system": "Settings of this machine.",
    "global": "Your own settings, for all repositories.",
    "project": "The repository's settings, .dvc/config, which git publishes.  [default]",
    "local": "The repository's settings on this machine alone, .dvc/config.local: the place for secrets.",
}


def level_options(command: F) -> F:
    """Adds `--local`, `--project`, `--global` and `--system` to a command; the last one given counts."""
    for name, text in _LEVELS.items():
        command = click.option(f"--{name}", "level", flag_value=name, help=text)(command)
    return command


@click.group()
def remote() -> None:
    """Say where data is kept: a folder, S3, Azure, GCS, http, ssh or WebDAV.

    The settings are DVC's own: `dvc remote list` reads what is written here.
    """


@remote.command()
@click.argument("name")
@click.argument("url")
@click.option("-d", "--default", is_flag=True, help="Use it when no remote is named.")
@click.option("-f", "--force", is_flag=True, help="Take the place of a remote of this name.")
@level_options
def add(name: str, url: str, default: bool, force: bool, level: str | None) -> None:
    """Add the remote NAME at URL, which may be a path."""
    with _editing() as config:
        config.add_remote(name, url, default=default, force=force, level=level or "repo")
    if default:
        click.echo(f"Setting {clean(name.lower())!r} as a default remote.", err=True)
    warn(config)


@remote.command(name="list")
@level_options
@json_option
def list_(level: str | None, as_json: bool) -> None:
    """List the remotes and their options; secrets are masked."""
    from modelkeep.data.formats.masking import masked, masked_url

    config = _config()
    main = config.get("core", "remote").lower()
    rows: list[dict[str, Json]] = [
        {
            "name": one.name,
            "url": masked_url(one.url),
            "default": one.name == main,
            "options": {key: masked(key, text) for key, text in one.options.items()},
        }
        for one in config.remotes(level).values()
    ]
    if as_json:
        print_json({"remotes": [*rows]})
    else:
        cells = [
            [row["name"], row["url"], "(default)" if row["default"] else "", _options(row["options"])] for row in rows
        ]
        click.echo(table(["name", "url", "", "options"], cells, empty="No remote: modelkeep remote add -d NAME URL"))
    warn(config)


@remote.command()
@click.argument("name")
@click.argument("option")
@click.argument("value", required=False)
@click.option("-u", "--unset", is_flag=True, help="Take the option away.")
@level_options
def modify(name: str, option: str, value: str | None, unset: bool, level: str | None) -> None:
    """Give OPTION of the remote NAME a VALUE.

    Without VALUE it is asked for, without an echo: so a secret gets into no history.
    """
    level = level or "repo"
    if value is None and not unset:
        value = click.prompt(option, hide_input=True)
    with _editing() as config:
        if value is not None and not unset:
            config.modify(name, option, value, level=level)
        elif not config.modify_unset(name, option, level=level):
            click.echo(f"{clean(name)} has no {clean(option)} on the level {level}.", err=True)
    warn(config)


@remote.command()
@click.argument("name")
@level_options
def remove(name: str, level: str | None) -> None:
    """Remove the remote NAME; what is stored there stays."""
    with _editing() as config:
        config.remove(name, level=level or "repo")


@remote.command()
@click.argument("name")
@click.argument("new")
@level_options
def rename(name: str, new: str, level: str | None) -> None:
    """Call the remote NAME by a NEW name."""
    with _editing() as config:
        config.rename(name, new, level=level or "repo")


@remote.command()
@click.argument("name", required=False)
@click.option("-u", "--unset", is_flag=True, help="Have no default any more.")
@level_options
def default(name: str | None, unset: bool, level: str | None) -> None:
    """Make NAME the remote that is used when none is named; without NAME, print it."""
    if name or unset:
        with _editing() as config:
            config.default(None if unset else name, level=level or "repo")
        return
    config = _config()
    current = config.get("core", "remote") if level is None else config.value(level, "core", "remote")
    if not current:
        click.echo("No default remote set", err=True)
        raise click.exceptions.Exit(1)
    click.echo(clean(current))


def _options(options: Json) -> str:
    return " ".join(f"{key}={text}" for key, text in options.items()) if isinstance(options, dict) else ""


def _config() -> Config:
    from modelkeep.data.repository import Repository

    return Repository.find().config


@contextmanager
def _editing() -> Iterator[Config]:
    """The settings while nobody else writes them."""
    from modelkeep.data.repository import Repository

    repo = Repository.find()
    with repo.writing(repo.root / ".dvc" / "config"):
        yield repo.config


plugin: click.Command = remote
