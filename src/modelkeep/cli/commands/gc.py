"""`modelkeep gc`: take away what nothing needs; first only tell, then to a trash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json
from modelkeep.cli.progress import shown
from modelkeep.cli.transfers import repository, size
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.gc import Collected

_OBJECT: Final = re.compile(r"[0-9a-f]{32}(\.dir)?")


@click.command()
@click.option("-w", "--workspace", is_flag=True, help="Keep only what the workspace needs.")
@click.option("-a", "--all-branches", is_flag=True, help="Keep what the tips of all branches need.")
@click.option("-T", "--all-tags", is_flag=True, help="Keep what all tags need.")
@click.option("-A", "--all-commits", is_flag=True, help="Keep what any commit needs; so it is without any choice.")
@click.option("--rev", "revisions", multiple=True, metavar="REV", help="Keep what this revision needs; repeatable.")
@click.option("-c", "--cloud", is_flag=True, help="On the remote too.")
@click.option("-r", "--remote", default="", metavar="NAME", help="Which remote; without it the default one.")
@click.option(
    "-p", "--projects", multiple=True, type=click.Path(), help="Another repository with this cache; repeatable."
)
@click.option("-y", "--yes", "-f", "--force", "yes", is_flag=True, help="Do it; without this only tell.")
@click.option("--dry", is_flag=True, help="Only tell, whatever else is said.")
@click.option("--grace", default=3600.0, show_default=True, metavar="SECONDS", help="What is younger stays.")
@click.option("--skip-failed", is_flag=True, help="Go on although a folder's manifest is nowhere to be found.")
@click.option("--no-trash", is_flag=True, help="Delete for good.")
@click.option("--undo", is_flag=True, help="Bring back what the last run took away; see --when.")
@click.option("--when", default="", metavar="NAME", help="With --undo: which run, as it named itself.")
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="How many questions to the remote run side by side.")
@json_option
def gc(
    workspace: bool,
    all_branches: bool,
    all_tags: bool,
    all_commits: bool,
    revisions: tuple[str, ...],
    cloud: bool,
    remote: str,
    projects: tuple[str, ...],
    yes: bool,
    dry: bool,
    grace: float,
    skip_failed: bool,
    no_trash: bool,
    undo: bool,
    when: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Take objects out of the cache that nothing needs any more.

    Without --yes it only tells what would go. Everything stays that any commit of any branch, tag, stash or work tree
    names, unless a choice (-w, -a, -T, -A, --rev) says what is to stay, and the data of every release that the server
    of this folder or of MODELKEEP_URL knows. What goes lies in a trash for 7 days: modelkeep gc --undo.
    """
    need("data", "blake3")
    from modelkeep.data.verbs.gc import gc as work

    repo = repository()
    if remote and not cloud:
        raise BadInput("--remote says on which remote, but --cloud does not say that a remote is meant", hint="Add -c.")
    if undo:
        _undo(repo, when, cloud, remote, as_json)
        return
    with shown() as progress:
        answers = work(
            repo,
            workspace=workspace,
            all_branches=all_branches,
            all_tags=all_tags,
            all_commits=all_commits,
            revisions=revisions,
            cloud=cloud,
            remote=remote,
            projects=projects,
            dry_run=dry or not yes,
            grace_s=grace,
            skip_failed=skip_failed,
            keep_in_trash=not no_trash,
            jobs=jobs,
            keep=_released,
            progress=progress,
        )
    if as_json:
        print_json({"collected": [_json(one) for one in answers]})
        return
    for one in answers:
        click.echo(_told(one))
    if any(one.objects and not one.done for one in answers):
        click.echo("Nothing was changed. To do it: add --yes", err=True)


def _released() -> list[str]:
    """Gives the objects that releases name, if this folder or the environment has a server; it must answer then."""
    import os

    from modelkeep.cli.client import Client
    from modelkeep.cli.output import rows_of

    if not os.environ.get("MODELKEEP_URL") and not Path(".modelkeep", "server.json").exists():
        return []
    versions = [str(row.get("data_version", "")) for row in rows_of(Client.here().get("/api/v1/releases"), "releases")]
    return sorted({version for version in versions if _OBJECT.fullmatch(version)})


def _undo(repo: Repository, when: str, cloud: bool, remote: str, as_json: bool) -> None:
    from modelkeep.data.verbs.gc import undo

    restored = undo(repo, when, cloud=cloud, remote=remote)
    if as_json:
        print_json({"when": restored.when, "objects": restored.objects, "where": restored.where})
    else:
        click.echo(f"{restored.where}: {restored.objects:,} objects are back from the run of {restored.when}.")


def _json(one: Collected) -> Json:
    return {
        "where": one.where,
        "done": one.done,
        "objects": one.objects,
        "bytes": one.bytes,
        "kept": one.kept,
        "young": one.young,
        "trash": one.when,
        "expired": list(one.expired),
        "sources": list(one.sources),
    }


def _told(one: Collected) -> str:
    """Says in a few lines what goes, or would go."""
    verb = "took away" if one.done else "would take away"
    lines = [f"{one.where}: {verb} {one.objects:,} objects, {size(one.bytes)}; {one.kept:,} are needed."]
    if one.young:
        lines.append(f"  {one.young:,} more are not needed, but not for long enough (--grace).")
    if one.when:
        cloud = "" if one.where == "cache" else f" -c -r {one.where}"
        lines.append(f"  For 7 days they can be brought back: modelkeep gc --undo --when {one.when}{cloud}")
    if one.expired:
        lines.append(f"  Deleted for good, older than 7 days: {', '.join(one.expired)}")
    return "\n".join(lines)


plugin: click.Command = gc
