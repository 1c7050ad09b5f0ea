"""`pull`: what is tracked comes from its remotes into the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.data.moving.transfer import Moved
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.verbs.fetch import fetch

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.checkout import CheckedOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did: what came into the cache, and what became of the workspace."""

    moved: Moved
    checked_out: CheckedOut


def pull(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    remote: str = "",
    all_branches: bool = False,
    all_tags: bool = False,
    all_commits: bool = False,
    recursive: bool = False,
    force: bool = False,
    allow_missing: bool = False,
    jobs: int | None = None,
    strict: bool = True,
    progress: Progress = SILENT,
) -> Pulled:
    """Fetches what the cache lacks and brings the workspace up to date with all that is there.

    Args:
        repo: the repository.
        targets: what is pulled, parts of tracked folders too; none means all that is tracked.
        remote: where from; "" is what each output asks for, else the default remote.
        all_branches: fetch what the tips of all branches track too.
        all_tags: fetch what all tags track too.
        all_commits: fetch what every commit of every ref tracks too.
        recursive: all that is tracked below a folder.
        force: overwrite local changes.
        allow_missing: what is nowhere is no error.
        jobs: how many transfers run side by side.
        strict: raise at the end when something is not there; otherwise the result names it.
        progress: hears of bytes and files.

    Raises:
        Corrupt: an object is corrupt on the remote; all the rest was delivered.
        Missing: an object is not on the remote; all the rest was delivered.
        Conflict: local changes would be overwritten.
        Unreachable: the remote does not answer.
    """
    from modelkeep.data.verbs.checkout import checkout, settle

    def fetched(**chosen: bool) -> Moved:
        return fetch(
            repo, targets, remote=remote, recursive=recursive, jobs=jobs, strict=False, progress=progress, **chosen
        )

    def checked_out() -> CheckedOut:
        return checkout(
            repo, targets, force=force, recursive=recursive, allow_missing=True, strict=False, progress=progress
        )

    moved = fetched(all_branches=all_branches, all_tags=all_tags, all_commits=all_commits)
    done = checked_out()
    if done.corrupt:  # what was corrupt in the cache is in quarantine now, so a second round replaces it
        moved += replace(fetched(), skipped=0)
        moved = replace(moved, healed=moved.healed + done.corrupt, faults=tuple(dict.fromkeys(moved.faults)))
        done = checked_out()
    if allow_missing:
        moved = replace(moved, faults=tuple(fault for fault in moved.faults if fault.kind != "missing"))
    if strict:
        moved.settle("pull")
        settle(done, allow_missing=allow_missing)
    return Pulled(moved=moved, checked_out=done)
