"""Files and folders stop being tracked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.formats import metafile, side
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.snapshot import snapshot
from modelkeep.data.targets import Tracked, tracked
from modelkeep.data.verbs.unprotect import unprotect_path
from modelkeep.data.workspace import staging
from modelkeep.data.workspace.placed import Note, note

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What is tracked no more.

    Args:
        metafiles: the files that went, relative to the root.
        outs: the data that went with them.
        staged: whether git was told.
    """

    metafiles: tuple[str, ...]
    outs: tuple[str, ...]
    staged: bool


def remove(
    repo: Repository,
    targets: Sequence[str | Path],
    *,
    outs: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> Removed:
    """Takes metafiles away, and what git was told of their data.

    Args:
        repo: the repository.
        targets: `.dvc` files, or the data that they track.
        outs: take the data away too.
        force: also when the data has changes that are nowhere else.
        progress: hears of the work.

    Raises:
        Missing: a target is not tracked.
        BadInput: it is an output of a pipeline, or only a part of what is tracked.
        Conflict: the data has changes that are nowhere else; nothing was touched.
    """
    found = tracked(repo, targets)
    for one in found:
        _check(repo, one)
    with repo.writing(*(one.path for one in found), progress=progress):
        if outs and not force:
            for one in found:
                refuse_loss(repo, one, progress)
        files: list[Path] = []
        for one in found:
            with disk_errors(str(one.metafile)):
                files += _untrack(repo, one)
                if outs:
                    discard(one.path)
                else:
                    unprotect_path(repo, one.path)
        staged = staging.stage(repo, files)
    return Removed(
        metafiles=tuple(dict.fromkeys(repo.relpath(one.metafile) for one in found)),
        outs=tuple(repo.relpath(one.path) for one in found) if outs else (),
        staged=staged,
    )


def refuse_loss(repo: Repository, one: Tracked, progress: Progress = SILENT) -> None:
    """Makes sure that the cache has all that lies at an output's place.

    Raises:
        Conflict: it has not; names the first files.
    """
    shot = snapshot(repo, one.path, hash=one.out.hash, progress=progress) if os.path.lexists(one.path) else None
    if shot is None:
        return
    entries = shot.entries() if shot.is_dir else [("", shot.oid)]
    gone = repo.blobs.missing({oid for _, oid in entries}, legacy=one.out.legacy)
    names = [repo.shown(one.path / name if name else one.path) for name, oid in entries if oid in gone]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise Conflict(
            f"{', '.join(names[:5])}{more}: changed here, and nowhere else; nothing was touched",
            hint="modelkeep commit keeps the changes, --force drops them.",
        )


def discard(path: Path) -> None:
    """Takes a file or folder away."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check(repo: Repository, one: Tracked) -> None:
    if one.kind == "lock":
        raise BadInput(
            f"{repo.shown(one.path)}: is an output of the pipeline in {repo.shown(one.metafile)}",
            hint="Take the stage out of dvc.yaml.",
        )
    if one.filter:
        path = repo.shown(one.path / one.filter)
        raise BadInput(
            f"{path}: is a part of {repo.shown(one.path)}, which is tracked as one",
            hint=f"rm -r {path} && modelkeep add {path} takes it out of the folder's record.",
        )


def _untrack(repo: Repository, one: Tracked) -> list[Path]:
    """Takes one output out of its metafile, which goes when it has no other."""
    files = staging.unignore(repo, one.path)
    whole = metafile.read(one.metafile)
    left = tuple(out for out in whole.outs if out.path != one.out.path)
    if left:
        metafile.write(one.metafile, replace(whole, outs=left))
    else:
        beside = side.path_of(one.metafile)
        if beside.exists():
            beside.unlink()
            files.append(beside)
        one.metafile.unlink(missing_ok=True)
    note(repo, [Note(repo.relpath(one.path), "")])
    return [*files, one.metafile]
