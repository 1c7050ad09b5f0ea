"""Storing what nobody has hashed yet: read once, hashed and written in the same pass."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

from modelkeep.data.formats.names import safe_relpaths
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.index import place_of
from modelkeep.data.snapshots.looking import Job
from modelkeep.data.snapshots.scan import FOLDER, kind_of, scan, stamp_of
from modelkeep.data.snapshots.snapshot import remember

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.store.blobs.digest import Digest


_TICK_NS: Final = 50_000_000
"""Longer than any kernel's tick: a file that was written within it may change again and keep its stamp."""


def absorb(repo: Repository, path: Path, *, link: bool = False, progress: Progress = SILENT) -> int:
    """Stores a file that the index does not know as it is, or a folder that it does not know at all.

    What it knows is left to a snapshot, which reads only what changed. Afterwards the index knows what was stored.

    Args:
        repo: the repository.
        path: the file or folder.
        link: workspace files may become one with their objects.
        progress: hears of bytes.

    Returns: how many different objects were stored, or found in the cache already after reading; 0 for what is known.

    Raises:
        BadInput: something cannot be tracked.
        Conflict: a file changed while it was read.
        Busy: the disk is full.
        Denied: the cache may not be written.
    """
    try:
        there = path.stat()
    except OSError:  # whoever takes the snapshot says what is wrong
        return 0
    if kind_of(there.st_mode) == FOLDER:
        return _folder(repo, path, link, progress)
    job = Job(repo, path, "md5", False)
    seen = job.seen()
    if seen is not None and not job.changes(seen, there):
        return 0
    there = _ripe(path, there)
    with disk_errors(str(path)), progress.begin(f"Adding {path.name}", total=there.st_size, unit="bytes") as step:
        (digest,) = repo.blobs.ingest([path], keep="link" if link else "copy", step=step)
    remember(repo, path, digest.md5, seen=None if link else {"": stamp_of(there)})
    return 1


def _folder(repo: Repository, path: Path, link: bool, progress: Progress) -> int:
    if place_of(repo.private, Job(repo, path, "md5", True).key).exists():
        return 0
    tree = scan(path, repo.ignore, repo.relpath(path))
    if max((max(stamp[2], stamp[3]) for stamp in tree.stamps), default=0) > time.time_ns() - _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
        tree = scan(path, repo.ignore, repo.relpath(path))
    safe_relpaths(tree.paths, repo.shown(path))
    oids: set[str] = set()

    def note(digests: Sequence[Digest]) -> None:
        entries = [(name, digest.md5) for name, digest in zip(tree.paths, digests, strict=True)]
        stamps = None if link else dict(zip(tree.paths, tree.stamps, strict=True))
        remember(repo, path, "", entries, seen=stamps)
        oids.update(digest.md5 for digest in digests)

    total = sum(stamp[1] for stamp in tree.stamps)
    with disk_errors(str(path)), progress.begin(f"Adding {path.name}", total=total, unit="bytes") as step:
        paths = _Below(str(path), tree.paths)
        if link:  # whose metadata change until the last object has its name
            note(repo.blobs.ingest(paths, keep="link", step=step))
        else:
            repo.blobs.ingest(paths, step=step, meanwhile=note)
    return len(oids)


class _Below(Sequence[str]):
    """Paths below a folder, joined only when they are asked for: there may be millions."""

    def __init__(self, top: str, names: Sequence[str]) -> None:
        self._top, self._names = top, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...
    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return _Below(self._top, self._names[number])
        return f"{self._top}/{self._names[number]}"


def _ripe(path: Path, there: os.stat_result) -> os.stat_result:
    """Waits until a change would leave another stamp behind."""
    if max(there.st_mtime_ns, there.st_ctime_ns) > time.time_ns() - _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
        return path.stat()
    return there
