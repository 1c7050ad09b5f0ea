"""What the commands that move data share: their options, and how they tell what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.data.formats.config import Config
    from modelkeep.data.moving.transfer import Moved
    from modelkeep.data.repository import Repository

F = TypeVar("F", bound=Callable[..., object])


def transfer_options(command: F) -> F:
    """Adds DVC's options of push, fetch and pull."""
    for option in reversed(
        (
            click.argument("targets", nargs=-1, type=click.Path()),
            click.option("-r", "--remote", default="", metavar="NAME", help="The remote; without it the default one."),
            click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="How many transfers run side by side."),
            click.option("-a", "--all-branches", is_flag=True, help="What the tips of all branches track too."),
            click.option("-T", "--all-tags", is_flag=True, help="What all tags track too."),
            click.option("-A", "--all-commits", is_flag=True, help="What every commit of every ref tracks too."),
            click.option("-R", "--recursive", is_flag=True, help="All that is tracked below a folder."),
        )
    ):
        command = option(command)
    return command


def repository() -> Repository:
    """Gives the repository of this folder, after saying what is doubtful in its settings."""
    from modelkeep.data.repository import Repository

    repo = Repository.find()
    warn(repo.config)
    return repo


def warn(config: Config) -> None:
    """Says what is doubtful in a repository's settings, such as a secret that git would publish."""
    for warning in config.warnings():
        click.secho(f"Warning: {warning}", fg="yellow", err=True)


def moved_json(moved: Moved) -> dict[str, Json]:
    """Gives a transfer as the object that `--json` prints."""
    return {
        "remotes": list(moved.remotes),
        "objects": moved.objects,
        "bytes": moved.bytes,
        "already_there": moved.skipped,
        "healed": list(moved.healed),
        "faults": [
            {"kind": fault.kind, "path": fault.path, "oid": fault.oid, "reason": fault.reason} for fault in moved.faults
        ],
    }


def told(moved: Moved, verb: str, idle: str) -> str:
    """Gives a transfer as one sentence.

    >>> from modelkeep.data.moving.transfer import Moved
    >>> told(Moved(remotes=("origin",), objects=2, bytes=4096), "Pushed", "Everything is up to date")
    'Pushed 2 objects, 4.0 KiB (origin).'
    """
    remotes = f" ({', '.join(moved.remotes)})" if moved.remotes else ""
    healed = f" {len(moved.healed)} corrupt or lost objects were replaced by sound ones." if moved.healed else ""
    if not moved.objects:
        return f"{idle}{remotes}.{healed}" if not moved.faults else healed.strip()
    count = "1 object" if moved.objects == 1 else f"{moved.objects:,} objects"
    return f"{verb} {count}, {size(moved.bytes)}{remotes}.{healed}"


def size(amount: float) -> str:
    """Gives bytes as people read them.

    >>> size(10), size(2048), size(3 * 2**40)
    ('10 B', '2.0 KiB', '3.0 TiB')
    """
    if amount < 1024:
        return f"{amount:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"
