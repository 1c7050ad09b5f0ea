"""Where packs and recipes lie in a cache, and who may change them meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True)
class Place:
    """The chunk store of one cache.

    Args:
        folder: `<cache>/modelkeep/chunks`.
        shared: whether the group may write too (`cache.shared = group`).
    """

    folder: Path
    shared: bool = False

    @classmethod
    def of(cls, repo: Repository) -> Place:
        """Gives the store of a repository's cache."""
        return cls(Path(repo.config.cache_folder) / "modelkeep" / "chunks", repo.config.shared)

    def recipe(self, oid: str) -> Path:
        """Where the recipe of an oid lies."""
        return self.folder / "recipes" / oid[:2] / oid[2:]

    def pack(self, name: str) -> Path:
        """Where a pack lies."""
        return self.folder / "packs" / name[:2] / name[2:]

    def incoming(self, name: str) -> Path:
        """Where a pack or recipe grows before it appears."""
        return self.folder / "incoming" / name

    def recipes(self) -> Iterator[tuple[str, Path]]:
        """All recipes: (oid, path), sorted."""
        return _names(self.folder / "recipes", 32)

    def packs(self) -> Iterator[tuple[str, Path]]:
        """All packs: (name, path), sorted."""
        return _names(self.folder / "packs", 64)

    def prepare(self, path: Path) -> None:
        """Makes the folder in which a file is going to lie."""
        if path.parent.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.shared:
            path.parent.chmod(0o2775)

    def publish(self, grown: Path, path: Path) -> None:
        """Makes a complete file appear under its name, durably; it is never written again."""
        self.prepare(path)
        grown.chmod(0o664 if self.shared else 0o444)
        grown.replace(path)
        sync_folder(path.parent)

    def write(self, path: Path, data: bytes) -> None:
        """Makes a small file appear whole and durably, in place of what was there."""
        grown = self.incoming(f"{os.getpid()}-{os.urandom(6).hex()}")
        self.prepare(grown)
        try:
            with grown.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self.publish(grown, path)
        finally:
            grown.unlink(missing_ok=True)

    def quarantine(self, path: Path) -> Path:
        """Moves a pack or recipe that is not what was written out of the way; gives where it lies now."""
        away = self.folder.parent / "quarantine" / f"{path.parent.parent.name}-{path.parent.name}{path.name}"
        self.prepare(away)
        path.replace(away)
        return away

    @contextmanager
    def using(self, *, alone: bool = False) -> Iterator[None]:
        """Holds the store: many stores and fetches side by side, or one collection alone; waits."""
        import fcntl

        from modelkeep.data.repository import disk_errors

        with disk_errors(str(self.folder)):
            lock = self.folder / "lock"
            self.prepare(lock)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664 if self.shared else 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
                yield
            finally:
                os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _names(folder: Path, length: int) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        return
    for prefix in sorted(folder.iterdir()):
        if len(prefix.name) == 2 and prefix.is_dir():
            for path in sorted(prefix.iterdir()):
                if len(prefix.name + path.name) == length:
                    yield prefix.name + path.name, path
