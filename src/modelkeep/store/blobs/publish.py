"""How objects come to be: written aside, verified, then renamed into place; nobody ever sees half of one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelkeep.store.blobs.digest import Bad, Digest
from modelkeep.store.blobs.hashed import dos2unix_md5, file_digest
from modelkeep.store.blobs.known import Sound, stamp_of

if TYPE_CHECKING:
    from modelkeep.store.blobs.objects import Blobs


class Incoming:
    """A folder of this process for files on their way into the cache; what an earlier run left is taken over.

    Args:
        blobs: the cache.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        top = blobs.folder / "modelkeep" / "incoming"
        blobs.make_folder(top)
        self._lock, self.folder = _claim(blobs, top)

    def path(self, oid: str, *, legacy: bool = False) -> Path:
        """Where the bytes of an object are to be written; the file there may hold the beginning of them already."""
        folder = self.folder / ("old" if legacy else "md5") / oid[:2]
        self._blobs.make_folder(folder)
        return folder / oid[2:]

    def publish(
        self, items: Iterable[tuple[str, Path]], digests: Mapping[str, Digest] | None = None, *, legacy: bool = False
    ) -> list[Bad]:
        """Makes complete files objects, and gives those whose bytes are not what their name says; these are removed.

        Args:
            items: object and file; the file lies on the cache's file system.
            digests: what the caller found while writing the bytes; a file without one is hashed here.
            legacy: names and places are those of DVC before 3.0.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        digests, bad, found = digests or {}, [], {}
        for oid, path in sorted(items):
            digest = digests.get(oid)
            if digest is None:
                digest = file_digest(path)
                if legacy and digest.md5 != oid[:32]:
                    digest = Digest(dos2unix_md5(path), digest.blake3, digest.size)
            if digest.md5 != oid[:32]:
                bad.append(Bad(oid, f"its bytes have the md5 {digest.md5}"))
                path.unlink(missing_ok=True)
                continue
            path.chmod(self._blobs.object_mode)
            target = self._blobs.path(oid, legacy=legacy)
            self._blobs.make_folder(target.parent)
            found[oid] = Sound(stamp_of(path.stat()), digest.blake3)
            path.rename(target)
        self._blobs.known.remember(found, legacy=legacy)
        return bad

    def close(self) -> None:
        """Lets another process take over what is left, and removes the folder when nothing is."""
        if self._lock >= 0:
            if not any(files for _, _, files in os.walk(self.folder)):
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _claim(blobs: Blobs, top: Path) -> tuple[int, Path]:
    for folder in sorted(top.iterdir()):
        fd = _lock(folder)
        if fd >= 0:
            return fd, folder
    while True:
        folder = top / os.urandom(8).hex()
        blobs.make_folder(folder)
        fd = _lock(folder)
        if fd >= 0:
            return fd, folder


def _lock(folder: Path) -> int:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == folder.stat().st_ino:
            return fd
    except OSError:
        os.close(fd)
        return -1
    os.close(fd)
    return -1
