"""Workspace files become files of their own that may be edited."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Missing
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.snapshot import peek, remember, snapshot
from modelkeep.data.targets import tracked

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotected:
    """How many files were links or read-only, by the output they belong to."""

    outs: dict[str, int]


def unprotect(repo: Repository, targets: Sequence[str | Path], *, progress: Progress = SILENT) -> Unprotected:
    """Replaces links to the cache by copies, so that the files may be edited.

    Args:
        repo: the repository.
        targets: tracked files and folders, or parts of folders.
        progress: hears of bytes.

    Raises:
        Missing: a target is not tracked, or is not there.
        Busy: the disk is full; each file is either its old or its new self.
    """
    found = tracked(repo, targets)
    done: dict[str, int] = {}
    with repo.writing(*(one.path for one in found), progress=progress):
        for one in found:
            path = one.path / one.filter if one.filter else one.path
            if not os.path.lexists(path):
                raise Missing(f"{repo.shown(path)}: is not there", hint=f"modelkeep checkout {repo.shown(path)}")
            oid = peek(repo, one.path, hash=one.out.hash)
            shot = snapshot(repo, one.path, hash=one.out.hash, progress=progress) if oid else None
            with disk_errors(str(path)):
                done[repo.relpath(path)] = unprotect_path(repo, path, progress)
            if shot is not None:
                remember(repo, one.path, shot.oid, shot.entries() if shot.is_dir else None, hash=one.out.hash)
    return Unprotected(outs=done)


def unprotect_path(repo: Repository, path: Path, progress: Progress = SILENT) -> int:
    """Makes everything at a path a file of its own; gives how many files that took."""
    cache = os.path.join(os.path.realpath(repo.blobs.folder), "")  # noqa: PTH118
    count = 0
    with progress.begin(f"Unprotecting {repo.shown(path)}") as step:
        for file in _files(path):
            if _is_protected(file, cache):
                _own(file)
                count += 1
            step.add(1)
    return count


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        if os.path.lexists(path):
            yield path
        return
    for top, _, names in os.walk(path):
        yield from (Path(top, name) for name in names)


def _is_protected(file: Path, cache: str) -> bool:
    if file.is_symlink():  # only what leads into the cache is ours
        return os.path.realpath(file).startswith(cache)
    there = file.stat()
    return there.st_nlink > 1 or not there.st_mode & 0o200


def _own(file: Path) -> None:
    """Puts a copy into a file's place; one that has no other name only becomes writable."""
    from modelkeep.store.blobs.links import make

    there = file.stat()
    runs = there.st_mode & 0o111
    if not file.is_symlink() and there.st_nlink == 1:
        file.chmod((there.st_mode & 0o7777) | 0o200)
        return
    aside = file.with_name(f".{file.name[:100]}.{os.urandom(4).hex()}")
    try:
        make("copy", os.path.realpath(file), os.fspath(aside), mode=0o777 if runs else 0o666)
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
