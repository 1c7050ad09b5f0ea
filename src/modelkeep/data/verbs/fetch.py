"""`fetch`: what is tracked comes from its remotes into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.moving.transfer import Kind, Moved, Tally, beside, run
from modelkeep.data.moving.wanted import Wanted, imported, wanted
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


def fetch(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    remote: str = "",
    all_branches: bool = False,
    all_tags: bool = False,
    all_commits: bool = False,
    recursive: bool = False,
    jobs: int | None = None,
    strict: bool = True,
    progress: Progress = SILENT,
) -> Moved:
    """Fetches what the cache lacks; nothing appears there before its bytes were verified.

    Args:
        repo: the repository.
        targets: what is fetched, parts of tracked folders too; none means all that is tracked.
        remote: where from; "" is what each output asks for, else the default remote.
        all_branches: what the tips of all branches track too.
        all_tags: what all tags track too.
        all_commits: what every commit of every ref tracks too.
        recursive: all that is tracked below a folder.
        jobs: how many transfers run side by side.
        strict: raise at the end when something could not be fetched; otherwise the result names it.
        progress: hears of bytes.

    Raises:
        Corrupt: an object is corrupt on the remote; all the rest was fetched.
        Missing: an object is not on the remote; a target is not tracked; a remote is not configured.
        Unreachable: the remote does not answer.
    """
    from modelkeep.data.moving.receiving import lacking, receive

    outs = wanted(
        repo,
        targets,
        recursive=recursive,
        remote=remote,
        pending=True,
        branches=all_branches,
        tags=all_tags,
        commits=all_commits,
    )
    absent = [*lacking(repo, outs), *(one for one in outs if not one.oid)]
    foreign = {one.metafile: one for one in absent if one.metafile and imported(one.metafile)}
    own = [one for one in outs if one.metafile not in foreign]
    moved = run(repo, own, receive, remote=remote, jobs=jobs, progress=progress)
    for metafile, one in foreign.items():
        moved += _imported(repo, metafile, one, progress)
    if strict:
        moved.settle("fetch")
    return moved


def _imported(repo: Repository, metafile: Path, one: Wanted, progress: Progress) -> Moved:
    """Fetches what another repository keeps from where that repository keeps it."""
    from modelkeep.data.elsewhere.imports import refetch

    tally = Tally()
    try:
        with beside(repo, progress):
            found = refetch(repo, [metafile], progress=progress)
            tally.objects = len(found)
            if not one.oid and found:
                _complete(repo, metafile, found.pop())
    except Error as error:
        kind: Kind = "corrupt" if isinstance(error, Corrupt) else "missing" if isinstance(error, Missing) else "failed"
        tally.fault(kind, one.oid, one.name, error.message)
        tally.error = error
    return replace(tally.moved(""), remotes=())


def _complete(repo: Repository, file: Path, oid: str) -> None:
    """Writes into an import's metafile what was left open until its data was downloaded."""
    from modelkeep.data.formats import manifest, metafile

    before = metafile.read(file)
    blobs = repo.blobs
    if oid.endswith(".dir"):
        members = [member for _, member in manifest.decode(blobs.read(oid), oid)]
        size, count = sum(blobs.path(member).stat().st_size for member in members), len(members)
        out = replace(before.outs[0], oid=oid, size=size, nfiles=count)
    else:
        out = replace(before.outs[0], oid=oid, size=blobs.path(oid).stat().st_size)
    metafile.write(file, metafile.sealed(replace(before, outs=(out, *before.outs[1:]))))
