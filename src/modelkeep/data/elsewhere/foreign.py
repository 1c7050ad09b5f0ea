"""Another repository, ours or DVC's, looked at from outside: as its workspace stands, or at one of its commits."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from modelkeep.code.clones import clone
from modelkeep.code.command import without_user
from modelkeep.code.repository import EXECUTABLE, SYMLINK, Git
from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.elsewhere.revisions import TrackedAt, is_below, tracked_at
from modelkeep.data.formats.names import safe_relpath

if TYPE_CHECKING:
    from modelkeep.data.formats.ignore import Ignore

_HIDDEN: Final = frozenset({".dvc", ".git", ".hg"})
_MOST_LINKS: Final = 32


class Plain(NamedTuple):
    """A file or folder that lies in the repository itself: in git, or in the workspace.

    Args:
        is_dir: whether it is a folder.
        executable: whether it may be run.
        link: where a symbolic link leads, as it is written; "" for others.
        size: bytes; -1 while unknown.
        blob: git's id of its content, or of a folder's listing.
        file: where the workspace has it.
    """

    is_dir: bool
    executable: bool = False
    link: str = ""
    size: int = -1
    blob: str = ""
    file: Path | None = None


class View(Protocol):
    """The files and folders of a repository, one folder at a time."""

    def children(self, folder: str) -> dict[str, Plain]:
        """Gives what lies in a folder by name; nothing when there is no such folder."""


class Foreign:
    """An opened repository; paths are relative to its root, POSIX.

    Args:
        url: as it was given.
        git: its git repository; None for a workspace without one.
        commit: what is looked at; "" for the workspace as it stands.
        folder: where it lies on this machine; None for one elsewhere.
        base: the folder of git's tree that paths start from.
    """

    def __init__(self, url: str, git: Git | None, commit: str, folder: Path | None, base: str) -> None:
        self.url: Final = url
        self.name: Final = without_user(url)
        self.git: Final = git
        self.commit: Final = commit
        self.folder: Final = folder
        self.base: Final = base

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.git is not None:
            self.git.close()

    @property
    def where(self) -> str:
        """The repository and its commit, for a message."""
        return f"{self.name}@{self.commit[:10]}" if self.commit else self.name

    @cached_property
    def view(self) -> View:
        """What lies in it besides tracked data."""
        if self.commit and self.git is not None:
            return _AtCommit(self.git, self.commit, self.base)
        return Live(self.folder or Path(), self.tracked)

    @cached_property
    def tracked(self) -> list[TrackedAt]:
        """What is tracked in it, sorted by path; what would lie outside of it is left out."""
        if self.commit and self.git is not None:
            found = [_below(one, self.base) for one in tracked_at(self.git, self.commit, self.base)]
        else:
            found = list(live_tracked(self.folder or Path()))
        kept = [one for one in found if not one.path.startswith("../") and one.path not in {"..", "."}]
        return sorted(kept, key=lambda one: one.path)

    def file(self, path: str) -> bytes | None:
        """Gives the bytes of a file that lies in the repository itself; None when there is none."""
        if self.commit and self.git is not None:
            try:
                return self.git.read(self.commit, posixpath.join(self.base, path))
            except (Missing, BadInput):
                return None
        place = (self.folder or Path()) / path
        return place.read_bytes() if place.is_file() else None

    def clean(self, path: str) -> str:
        """Gives a path as people wrote it in the form of this room: relative to the root, "" for the root itself.

        Raises:
            BadInput: it leads out of the repository.
        """
        text = path
        if self.folder is not None and Path(path).is_absolute() and Path(path).is_relative_to(self.folder):
            text = Path(path).relative_to(self.folder).as_posix()
        tidy = posixpath.normpath(text.replace(os.sep, "/") or ".")
        return "" if tidy == "." else safe_relpath(tidy, self.name)

    def resolve(self, path: str) -> str:
        """Gives where a path leads when symbolic links on its way are followed.

        Raises:
            BadInput: a link leads out of the repository, or in circles.
        """
        for _ in range(_MOST_LINKS):
            parts = path.split("/") if path else []
            for at in range(len(parts)):
                place = self.view.children("/".join(parts[:at])).get(parts[at])
                if place is not None and place.link:
                    path = self._led("/".join(parts[: at + 1]), place.link, parts[at + 1 :])
                    break
            else:
                return path
        raise BadInput(f"{path}: symbolic links lead in circles in {self.where}")

    def unknown(self, path: str) -> Missing:
        """Gives the error for a path that is not there; it names near ones."""
        from difflib import get_close_matches

        names = {one.path: None for one in self.tracked} | dict.fromkeys(self._names(posixpath.dirname(path)))
        near = get_close_matches(path, names, n=3, cutoff=0.5)
        hint = f"Near: {', '.join(near)}" if near else f"See what there is: modelkeep list {self.name}"
        return Missing(f"{path}: not in {self.where}", hint=hint)

    def _names(self, folder: str) -> list[str]:
        return [posixpath.join(folder, name) for name in self.view.children(folder)]

    def _led(self, path: str, link: str, rest: list[str]) -> str:
        led = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        if link.startswith("/") or led == ".." or led.startswith("../"):
            raise BadInput(
                f"{path}: a symbolic link out of {self.where}", hint="Name what it leads to in the repository it is in."
            )
        return posixpath.normpath(posixpath.join(led, *rest))


def open_foreign(url: str, rev: str = "", *, live: bool = True) -> Foreign:
    """Opens another repository.

    Args:
        url: a folder, or an address of git.
        rev: a revision; "" is the workspace of a folder on this machine, and HEAD elsewhere.
        live: a folder on this machine may be looked at as its workspace stands; otherwise at its HEAD.

    Raises:
        Missing: there is no such repository or revision.
        Unreachable: it does not answer.
        BadInput: the address is of a kind that git may not use.
    """
    folder = Path(url).expanduser()
    if "://" not in url and folder.is_dir():
        return _near(url, folder.absolute(), rev, live)
    git = clone(url, rev=rev)
    place = Path(url.removeprefix("file://")) if url.startswith("file://") else None
    return Foreign(url, git, git.resolve(rev or "HEAD"), place, "")


def _near(url: str, folder: Path, rev: str, live: bool) -> Foreign:
    folder = Path(os.path.normpath(folder))
    root = next((place for place in (folder, *folder.parents) if (place / ".dvc").is_dir()), None)
    if root is not None and live and not rev:
        return Foreign(url, None, "", root, "")
    git = Git(folder)
    start = root if root is not None else git.root
    above = git.root.resolve()
    base = start.resolve().relative_to(above).as_posix() if start.resolve().is_relative_to(above) else ""
    return Foreign(url, git, git.resolve(rev or "HEAD"), start, "" if base == "." else base)


class _AtCommit:
    """A commit's files; read once, then answered from memory."""

    def __init__(self, git: Git, commit: str, base: str) -> None:
        self._git = git
        self._commit = commit
        self._base = base

    @cached_property
    def _folders(self) -> dict[str, dict[str, Plain]]:
        found: dict[str, dict[str, Plain]] = {"": {}}
        cut = len(self._base) + 1 if self._base else 0
        files = self._git.files(self._commit, folder=self._base)
        self._git.prefetch(file.blob for file in files if file.mode == SYMLINK)
        for file in files:
            path = file.path[cut:]
            if not _HIDDEN.isdisjoint(path.split("/")):
                continue
            link = os.fsdecode(self._git.blob(file.blob)) if file.mode == SYMLINK else ""
            folder, _, name = path.rpartition("/")
            _make(found, folder)[name] = Plain(False, file.mode == EXECUTABLE, link, -1, file.blob)
        return found

    def children(self, folder: str) -> dict[str, Plain]:
        return self._folders.get(folder, {})


def _make(folders: dict[str, dict[str, Plain]], folder: str) -> dict[str, Plain]:
    """Gives a folder's listing, made with those above it when it was not there."""
    if folder not in folders:
        above, _, name = folder.rpartition("/")
        _make(folders, above)[name] = Plain(True)
        folders[folder] = {}
    return folders[folder]


class Live:
    """A workspace's files, without what its `.dvcignore` files keep out."""

    def __init__(self, root: Path, tracked: list[TrackedAt]) -> None:
        self._root = root
        self._tracked = [one.path for one in tracked]
        self._seen: dict[str, dict[str, Plain]] = {}

    @cached_property
    def _ignore(self) -> Ignore:
        from modelkeep.data.formats.ignore import Ignore

        return Ignore.load(self._root)

    def children(self, folder: str) -> dict[str, Plain]:
        if folder not in self._seen:
            self._seen[folder] = dict(self._listed(folder))
        return self._seen[folder]

    def _listed(self, folder: str) -> Iterator[tuple[str, Plain]]:
        inside = any(is_below(folder, path) for path in self._tracked)
        try:
            entries = sorted(os.scandir(self._root / folder), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in _HIDDEN or (not inside and self._ignore.ignores(path, entry.is_dir())):
                continue
            try:
                told = entry.stat()
            except OSError:  # a broken link
                continue
            link = "" if inside or not entry.is_symlink() else self._link(Path(entry.path))
            runs = stat.S_ISREG(told.st_mode) and bool(told.st_mode & stat.S_IXUSR) and not entry.is_symlink()
            yield entry.name, Plain(stat.S_ISDIR(told.st_mode), runs, link, told.st_size, "", Path(entry.path))

    def _link(self, path: Path) -> str:
        """A link as one from its folder, when it stays inside: an absolute one may do that, too."""
        target = path.readlink()
        if target.is_absolute() and target.is_relative_to(self._root):
            return Path(os.path.relpath(target, path.parent)).as_posix()
        return target.as_posix()


def _below(one: TrackedAt, base: str) -> TrackedAt:
    if not base:
        return one
    root = posixpath.relpath(one.root or ".", base)
    return one._replace(
        metafile=posixpath.relpath(one.metafile, base),
        root="" if root == "." or root.startswith("..") else root,
        path=posixpath.relpath(one.path, base),
    )


def live_tracked(root: Path) -> Iterator[TrackedAt]:
    """Gives what the metafiles in a folder track, those of repositories inside of it, too."""
    from modelkeep.data.repository import Repository
    from modelkeep.data.targets import tracked

    for place in _live_roots(root):
        repo = Repository(place)
        prefix = place.relative_to(root).as_posix() if place != root else ""
        for one in tracked(repo):
            metafile, path = (posixpath.join(prefix, repo.relpath(item)) for item in (one.metafile, one.path))
            yield TrackedAt(metafile, one.out, prefix, path)


def _live_roots(root: Path) -> Iterator[Path]:
    """The repository and those inside of it, found beside metafiles; tracked folders are not entered."""
    for place, folders, files in os.walk(root):
        here = Path(place)
        if here == root or ".dvc" in folders:
            yield here
        data = {name.removesuffix(".dvc") for name in files if name.endswith(".dvc")}
        folders[:] = [name for name in folders if name not in _HIDDEN and name not in data]
