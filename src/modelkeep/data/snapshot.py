"""The hashed state of what is tracked: computed once, kept in the index, compared at the speed of a listing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.data import manifest as manifests
from modelkeep.data.hashing import dos2unix_md5, file_md5, many
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.scan import Stamp, kind_of, refusal, scan, stamp_of
from modelkeep.data.scan import EXECUTABLE, FOLDER
from modelkeep.store.blobs.digest import Digest

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.data.side import Side


class Snapshot:
    """The hashed state of a file or folder."""

    def __init__(self, path: Path, oid: str, size: int, *, nfiles=None, executable=False, names=(), digests=(), stamps=(), tree=None):
        self.path = path
        self.oid = oid
        self.size = size
        self.nfiles = nfiles
        self.executable = executable
        self.is_dir = nfiles is not None
        self._names, self._digests, self._stamps, self._tree = names, digests, stamps, tree

    @cached_property
    def side(self) -> Side:
        from modelkeep.data.side import Side

        if self._tree is None:
            return Side()
        return Side(executable=tuple(self._tree.executable), empty=tuple(self._tree.empty), symlinks=self._tree.symlinks)

    def entries(self) -> list[tuple[str, str]]:
        """Gives (path, object id) of a folder's files, sorted by path; nothing for a file."""
        return [(name, digest.md5) for name, digest in zip(self._names, self._digests)] if self.is_dir else []

    def digests(self) -> Iterator[tuple[str, Digest]]:
        """Gives (path, hashes) of the files; a file by itself has the path ""."""
        return zip(self._names, self._digests)

    def manifest(self) -> bytes:
        """Gives a folder's manifest; nothing for a file."""
        return manifests.encode(self.entries()) if self.is_dir else b""

    def stamps(self) -> list[tuple[str, Stamp]]:
        """Gives (path, stamp) of the files; a file by itself has the path ""."""
        return list(zip(self._names, self._stamps))


def snapshot(repo: Repository, path: Path, *, hash: str = "md5", progress: Progress = SILENT) -> Snapshot | None:
    """Gives the hashed state of a file or folder; None when nothing is there."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise refusal(OSError(0, "this link leads nowhere"), str(path))
        return None
    kind = kind_of(there.st_mode)
    if kind != FOLDER:
        with progress.begin(f"Hashing {path.name}", total=there.st_size, unit="bytes") as step:
            digest = file_md5(path, step) if hash == "md5" else Digest(dos2unix_md5(path), b"", there.st_size)
        return Snapshot(path, digest.md5, digest.size, executable=kind == EXECUTABLE, names=[""], digests=[digest], stamps=[stamp_of(there)])
    tree = scan(path, repo.ignore, repo.relpath(path))
    total = sum(stamp[1] for stamp in tree.stamps)
    with progress.begin(f"Hashing {path.name}", total=total, unit="bytes") as step:
        digests = many(path, tree.paths, tree.stamps, hash=hash, step=step)
    data = manifests.encode((name, digest.md5) for name, digest in zip(tree.paths, digests))
    return Snapshot(path, manifests.oid_of(data), total, nfiles=len(digests), names=tree.paths, digests=digests, stamps=tree.stamps, tree=tree)


def remember(repo: Repository, path: Path, oid: str, entries: Sequence[tuple[str, str]] | None = None, *, hash: str = "md5") -> None:
    """Notes that what is there now is this object, without hashing it.

    Args:
        repo: the repository.
        path: the file or folder, just placed or stored.
        oid: what it is.
        entries: of a folder: (path, object id) of its files.
        hash: the kind of the ids.
    """


def peek(repo: Repository, path: Path, *, hash: str = "md5") -> str:
    """Gives the object id when the index knows that nothing changed, else ""."""
    return ""
