"""What commands about models have in common: the repository, sending tags, warnings, names and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from modelkeep.cli.output import clean

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.models.registry import Registry

F = TypeVar("F", bound=Callable[..., object])
_MOST_WARNINGS = 5


def repo_option(command: F) -> F:
    """Adds `--repo` to a command."""
    return click.option("--repo", default="", help="The git repository: a folder or an address.  [default: here]")(
        command
    )


def push_option(command: F) -> F:
    """Adds `--push` to a command that makes tags."""
    return click.option(
        "--push", is_flag=False, flag_value="origin", default="", metavar="[REMOTE]",
        help="Send the tag and the remarks to this remote of git; origin when none is named.",
    )(command)  # fmt: skip


def message_option(command: F) -> F:
    """Adds `-m` to a command that makes tags."""
    return click.option("-m", "--message", default="", help="Why; kept in the tag.")(command)


@contextmanager
def opened(repo: str) -> Iterator[Registry]:
    """Gives the registry of a repository."""
    from modelkeep.models.load import open_repository
    from modelkeep.models.registry import Registry

    with open_repository(repo) as git:
        yield Registry(git)


@contextmanager
def writable(repo: str) -> Iterator[Registry]:
    """Gives the registry of a repository on this machine, to be written to."""
    from modelkeep.core.errors import BadInput

    if "://" in repo:
        raise BadInput(
            f"{clean(repo)}: tags are made in a clone",
            hint="Clone it, do it there, and send the tag with --push.",
        )
    with opened(repo) as registry:
        yield registry


def sent(registry: Registry, tags: Sequence[str], push: str) -> None:
    """Sends tags when that was asked for, and else says how."""
    if push:
        from modelkeep.models.register import send

        send(registry, tags, push)
    elif tags:
        names = " ".join(f"'{tag}'" for tag in tags)
        click.echo(f"Only here so far; send it: git push origin {names}", err=True)


def warn(registry: Registry, model: str = "") -> None:
    """Says on stderr what the tags say in contradiction."""
    found = registry.problems(model)
    for one in found[:_MOST_WARNINGS]:
        click.echo(f"{clean(one.tag)} {clean(one.what)}. {clean(one.hint)}", err=True)
    if len(found) > _MOST_WARNINGS:
        click.echo(f"{len(found) - _MOST_WARNINGS} more tags like these", err=True)


def print_long(value: Json) -> None:
    """Prints a value as `print_json` does, a long one ten times as fast."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def day(at_ns: int) -> str:
    """Gives a time as people read it, in UTC to the minute."""
    from modelkeep.core.times import iso

    return iso(at_ns)[:16].replace("T", " ")


def person(by: str) -> str:
    """Gives somebody's name without the address.

    >>> person("Ann Lee <ann@example.org>"), person("<ann@example.org>")
    ('Ann Lee', 'ann@example.org')
    """
    name, _, mail = by.partition("<")
    return clean(name.strip() or mail.rstrip("> "))
