"""`modelkeep status`: what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import clean, json_option, print_json
from modelkeep.cli.progress import shown

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.status import Change, Status, StatusItem

_CHANGES = ("added", "modified", "deleted", "uncached", "attributes")
_WORDS = {
    "added": "new file",
    "modified": "changed",
    "deleted": "gone",
    "uncached": "not in cache",
    "attributes": "mode or link",
}


@click.command()
@click.argument("targets", nargs=-1, type=click.Path())
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; exit with 1 when something differs.")
@click.option("-c", "--cloud", is_flag=True, help="Compare the cache with the remote instead.")
@click.option("-r", "--remote", default="", metavar="NAME", help="Compare the cache with this remote.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Questions to the remote side by side.")
@click.option("-R", "--recursive", is_flag=True, help="All that is tracked below a folder.")
@json_option
def status(
    targets: tuple[str, ...], quiet: bool, cloud: bool, remote: str, jobs: int | None, recursive: bool, as_json: bool
) -> None:
    """Show what differs between metafiles, workspace and cache, or between cache and remote.

    Exits 0 whatever it finds, but for --quiet. --json prints what `dvc status --json` prints, with `files` beside.
    """
    need("data", "blake3")
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.status import status as work

    repo = Repository.find()
    with shown() as progress:
        found = work(repo, targets, recursive=recursive, cloud=cloud, remote=remote, jobs=jobs, progress=progress)
    if as_json:
        print_json(_json(repo, found))
    elif not quiet:
        click.echo(_text(repo, found, cloud=cloud or bool(remote)))
    if quiet and not found.clean:
        raise click.exceptions.Exit(1)


def _json(repo: Repository, found: Status) -> dict[str, Json]:
    if found.cloud:
        return dict(found.cloud)
    answer: dict[str, Json] = {}
    for metafile, items in _changed(repo, found).items():
        entry: dict[str, Json] = {"changed outs": {_path(repo, item): item.state for item in items}}
        files: dict[str, Json] = {_path(repo, item): shown for item in items if (shown := _counts(item))}
        answer[metafile] = [entry, {"files": files}] if files else [entry]
    return answer


def _counts(item: StatusItem) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name in _CHANGES:
        change: Change = getattr(item, name)
        if change.count:
            found[name] = {"count": change.count, "first": list(change.names)}
    return found


def _text(repo: Repository, found: Status, *, cloud: bool) -> str:
    if cloud:
        lines = [f"\t{state + ':':<20}{clean(name)}" for name, state in found.cloud.items()]
        return "\n".join(lines) if lines else f"Cache and remote '{found.remote}' are in sync."
    if not found.items:
        return "There are no data or pipelines tracked in this project yet.\nStart with: modelkeep add FILE"
    lines = []
    for metafile, items in _changed(repo, found).items():
        lines += [f"{metafile}:", "\tchanged outs:"]
        for item in items:
            lines.append(f"\t\t{item.state + ':':<20}{_path(repo, item)}")
            lines += _lines(item)
    return "\n".join(lines) if lines else "Data and pipelines are up to date."


def _lines(item: StatusItem) -> list[str]:
    """One line for each kind of change inside a folder."""
    lines = []
    for name in _CHANGES:
        change: Change = getattr(item, name)
        if change.count and (change.names != (item.path.rpartition("/")[2],)):
            more = f" and {change.count - len(change.names):,} more" if change.count > len(change.names) else ""
            lines.append(f"\t\t\t{_WORDS[name] + ':':<16}{', '.join(clean(one) for one in change.names)}{more}")
    return lines


def _changed(repo: Repository, found: Status) -> dict[str, list[StatusItem]]:
    groups: dict[str, list[StatusItem]] = {}
    for item in found.items:
        if item.state != "up to date":
            groups.setdefault(clean(repo.shown(repo.root / item.metafile)), []).append(item)
    return groups


def _path(repo: Repository, item: StatusItem) -> str:
    return clean(repo.shown(repo.root / item.path))


plugin: click.Command = status
