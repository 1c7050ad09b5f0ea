"""A repository: the folder that holds `.dvc`, its settings, its cache and its locks."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Busy, Denied, Missing
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.formats.config import Config
    from modelkeep.data.formats.ignore import Ignore
    from modelkeep.store.blobs.objects import Blobs

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Repository:
    """A workspace with DVC's files, found or given by its root.

    Args:
        root: the folder that holds `.dvc`, absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self.private: Final = root / ".dvc" / "tmp" / "modelkeep"
        self._prefix: Final = os.path.join(root, "")  # noqa: PTH118
        self._held: dict[str, int] = {}

    @classmethod
    def find(cls, start: Path | str = ".") -> Repository:
        """Gives the repository that a path lies in.

        Raises:
            Missing: no folder upwards holds `.dvc`.
        """
        here = Path(os.path.abspath(start))  # noqa: PTH100
        for folder in (here, *here.parents):
            if (folder / ".dvc").is_dir():
                return cls(folder)
        raise Missing(f"{here}: no DVC or modelkeep repository here or above", hint="modelkeep init")

    def __repr__(self) -> str:
        return f"Repository({str(self.root)!r})"

    @cached_property
    def config(self) -> Config:
        """The settings of all levels."""
        from modelkeep.data.formats.config import Config

        return Config.load(self.root)

    @cached_property
    def git(self) -> Path | None:
        """The git work tree around the root; None without one, or when `core.no_scm` says to do without."""
        if self.config.flag("core", "no_scm"):
            return None
        return next((folder for folder in (self.root, *self.root.parents) if (folder / ".git").exists()), None)

    @cached_property
    def ignore(self) -> Ignore:
        """What `.dvcignore` files keep out."""
        from modelkeep.data.formats.ignore import Ignore

        return Ignore.load(self.root)

    @cached_property
    def blobs(self) -> Blobs:
        """The cache."""
        from modelkeep.data.pieced import PiecedBlobs

        config = self.config
        return PiecedBlobs(config.cache_folder, link_types=config.link_types, shared=config.shared)

    def relpath(self, path: Path | str) -> str:
        """Gives a path below the root as POSIX; the root itself is "".

        Raises:
            BadInput: it lies outside.
        """
        text = os.path.abspath(path)  # noqa: PTH100
        if text == str(self.root):
            return ""
        if not text.startswith(self._prefix):  # reached through a link above the root
            real = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))  # noqa: PTH118, PTH119, PTH120
            above = os.path.join(os.path.realpath(self.root), "")  # noqa: PTH118
            if os.path.realpath(text) == os.path.realpath(self.root):
                return ""
            if not real.startswith(above):
                raise BadInput(f"{path}: lies outside of the repository {self.root}")
            return real[len(above) :].replace(os.sep, "/")
        return text[len(self._prefix) :].replace(os.sep, "/")

    def absolute(self, path: Path | str) -> Path:
        """Gives a path as an absolute one below the root, whichever way it was reached.

        Raises:
            BadInput: it lies outside.
        """
        return self.root / self.relpath(path)

    def shown(self, path: Path) -> str:
        """Gives a path as people write it where they stand."""
        try:
            return os.path.relpath(path)
        except (OSError, ValueError):  # the current folder is gone, or on another drive
            return str(path)

    @contextmanager
    def writing(self, *paths: Path | str, progress: Progress = SILENT) -> Iterator[None]:
        """Holds these paths for one process alone, and keeps `dvc` out, while the block runs.

        Waits for others, as long as it takes. Within the block the same thread may take the same paths, or what lies
        below them, again.

        Args:
            paths: what will be changed; none means the whole repository.
            progress: hears for whom we wait.

        Raises:
            BadInput: a path lies outside of the repository, or the file system has no locks.
            Denied: no lock file can be made.
        """
        from modelkeep.data.locks import held

        names = {self.relpath(path) for path in paths} or {""}
        mine = threading.get_ident()
        if all(self._covered(name, mine) for name in names):
            yield
            return
        with held(self.root / ".dvc" / "tmp" / "lock", self.private / "locks", names, progress):
            fresh = {f"{mine}:{name}" for name in names} - self._held.keys()
            self._held.update(dict.fromkeys(fresh, mine))
            try:
                yield
            finally:
                for name in fresh:
                    del self._held[name]

    def _covered(self, name: str, thread: int) -> bool:
        parts = name.split("/") if name else []
        return any(f"{thread}:{'/'.join(parts[:count])}" in self._held for count in range(len(parts) + 1))


@contextmanager
def disk_errors(what: str = "") -> Iterator[None]:
    """Turns what the operating system refuses within the block into errors that say what to do.

    Args:
        what: named where the system names no file.

    Raises:
        Busy: the disk is full.
        Denied: no right, or read-only.
        BadInput: anything else that is wrong with a file.
    """
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else what
        where = f"{name or what}: " if name or what else ""
        if error.errno in _FULL:
            raise Busy(
                f"{where}the disk is full",
                hint="Make room (modelkeep gc shows how much it could free), then run it again.",
            ) from error
        if error.errno in _REFUSED:
            reason = "read-only file system" if error.errno == errno.EROFS else "no right to read or write here"
            raise Denied(f"{where}{reason}", hint=f"ls -ld {name or what}") from error
        raise BadInput(f"{where}{error.strerror or error}") from error
