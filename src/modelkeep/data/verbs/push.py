"""`push`: what is tracked goes to its remotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.data.moving.transfer import Moved, run
from modelkeep.data.moving.wanted import wanted
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


def push(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    remote: str = "",
    all_branches: bool = False,
    all_tags: bool = False,
    all_commits: bool = False,
    recursive: bool = False,
    whole: bool = False,
    jobs: int | None = None,
    strict: bool = True,
    progress: Progress = SILENT,
) -> Moved:
    """Sends what the remotes lack; every object is verified before it leaves, a folder's manifest goes last.

    Args:
        repo: the repository.
        targets: what is pushed; none means all that is tracked.
        remote: where to; "" is what each output asks for, else the default remote.
        all_branches: what the tips of all branches track too.
        all_tags: what all tags track too.
        all_commits: what every commit of every ref tracks too.
        recursive: all that is tracked below a folder.
        whole: send chunked files as ordinary objects, for colleagues who use DVC.
        jobs: how many transfers run side by side.
        strict: raise at the end when something could not be sent; otherwise the result names it.
        progress: hears of bytes.

    Raises:
        Corrupt: an object is corrupt in the cache and there is no sound copy; all the rest was sent.
        Missing: an object is neither here nor there; a target is not tracked; a remote is not configured.
        Unreachable: the remote does not answer.
    """
    from modelkeep.data.moving.sending import send

    outs = wanted(
        repo,
        targets,
        recursive=recursive,
        remote=remote,
        pushing=True,
        branches=all_branches,
        tags=all_tags,
        commits=all_commits,
    )
    if whole:
        outs = [replace(one, chunked=False) for one in outs]
    moved = run(repo, outs, send, remote=remote, jobs=jobs, progress=progress)
    if strict:
        moved.settle("push")
    return moved
