"""`list`: what another repository holds, in git and tracked, without fetching data."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelkeep.core.errors import Missing
from modelkeep.core.shapes import Json
from modelkeep.data.elsewhere.foreign import Foreign, Plain, open_foreign
from modelkeep.data.elsewhere.revisions import TrackedAt, is_below
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.supply import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file or folder of a repository.

    Args:
        path: relative to the folder that was asked for.
        is_out: tracked data, or a part of it.
        is_dir: a folder.
        executable: may be run.
        size: bytes; None when nobody has written it down.
        oid: the tracked object; None for others.
    """

    path: str
    is_out: bool = False
    is_dir: bool = False
    executable: bool = False
    size: int | None = None
    oid: str | None = None

    def json(self) -> dict[str, Json]:
        """The entry as DVC prints it."""
        return {
            "isout": self.is_out,
            "isdir": self.is_dir,
            "isexec": self.executable,
            "size": self.size,
            "md5": self.oid,
            "path": self.path,
        }


def list_(
    url: str,
    path: str = "",
    *,
    rev: str = "",
    recursive: bool = False,
    dvc_only: bool = False,
    remote: str = "",
    progress: Progress = SILENT,
) -> list[Listed]:
    """Gives what a repository holds, sorted by path; of tracked folders only the lists of their files are fetched.

    Args:
        url: a folder, or an address of git.
        path: a file or folder in it; "" is its root.
        rev: a revision; "" is the workspace of a folder on this machine, and HEAD elsewhere.
        recursive: all files below, instead of the files and folders right there.
        dvc_only: only tracked data.
        remote: the remote there that holds its data; "" is its default one.
        progress: hears of what is done.

    Raises:
        Missing: no such repository, revision or path.
        Unreachable: the repository or its remote does not answer.
    """
    from modelkeep.data.elsewhere.supply import Supply

    with open_foreign(url, rev) as foreign, progress.begin(f"Listing {foreign.name}"):
        walk = _Walk(foreign, Supply(foreign, remote=remote, progress=progress), dvc_only)
        above, _, name = foreign.clean(path).rpartition("/")
        above = foreign.resolve(above)
        single = walk.single(above, name)
        if single is not None:
            return walk.measured([replace(single, path=name)], above)
        asked = foreign.resolve(posixpath.join(above, name))
        found = list(walk.below(asked) if recursive else walk.children(asked).values())
        if not found and asked and not walk.is_folder(asked):
            raise foreign.unknown(asked)
        cut = len(asked) + 1 if asked else 0
        ordered = sorted((replace(one, path=one.path[cut:]) for one in found), key=lambda one: one.path)
        return walk.measured(ordered, asked)


class _Walk:
    """A repository's files and its tracked data as one tree."""

    def __init__(self, foreign: Foreign, supply: Supply, dvc_only: bool) -> None:
        self._foreign = foreign
        self._supply = supply
        self._dvc_only = dvc_only
        self._blobs: dict[str, str] = {}
        self._inside: dict[str, dict[str, dict[str, str]]] = {}

    def single(self, folder: str, name: str) -> Listed | None:
        """Gives a file; None for a folder, or when there is nothing."""
        found = self.children(folder).get(name)
        return found if found is not None and not found.is_dir else None

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there."""
        above, _, name = path.rpartition("/")
        return name in self.children(above)

    def below(self, folder: str) -> Iterator[Listed]:
        """Gives all files below a folder."""
        waiting = [folder]
        while waiting:
            for one in self.children(waiting.pop()).values():
                if one.is_dir:
                    waiting.append(one.path)
                else:
                    yield one

    def children(self, folder: str) -> dict[str, Listed]:
        """Gives what lies in a folder by name."""
        found: dict[str, Listed] = {}
        for one in self._foreign.tracked:
            found |= self._of_tracked(one, folder, found)
        plain = self._foreign.view.children(folder)
        if self._dvc_only:
            return found
        for name, place in plain.items():
            path = posixpath.join(folder, name)
            found[name] = self._merged(path, place, found.get(name))
        return found

    def measured(self, found: list[Listed], folder: str) -> list[Listed]:
        """Gives entries with the sizes that git knows."""
        git = self._foreign.git
        if git is None or not self._foreign.commit:
            return found
        self._learn(found, folder)
        sizes = git.sizes(self._blobs.get(posixpath.join(folder, one.path), "") for one in found if one.size == -1)
        return [
            replace(one, size=sizes.get(self._blobs.get(posixpath.join(folder, one.path), "")))
            if one.size == -1
            else one
            for one in found
        ]

    def _learn(self, found: list[Listed], folder: str) -> None:
        if self._foreign.git is not None and any(one.is_dir and one.size == -1 for one in found):
            base = self._foreign.base
            cut = len(base) + 1 if base else 0
            folders = self._foreign.git.folders(self._foreign.commit)
            self._blobs |= {path[cut:]: name for path, name in folders.items() if is_below(path, base)}

    def _merged(self, path: str, place: Plain, out: Listed | None) -> Listed:
        if place.blob:
            self._blobs[path] = place.blob
        if place.link and place.file is None:
            return Listed(path=path, size=-1)
        return Listed(
            path=path,
            is_out=out is not None and out.is_out,
            is_dir=place.is_dir,
            executable=place.executable,
            size=place.size,
            oid=out.oid if out is not None else None,
        )

    def _of_tracked(self, one: TrackedAt, folder: str, known: dict[str, Listed]) -> dict[str, Listed]:
        """What one output puts into a folder."""
        if one.path == folder or is_below(folder, one.path):
            return self._members(one, folder) if one.out.is_dir else {}
        if not is_below(one.path, folder):
            return {}
        name, _, deeper = one.path[len(folder) + 1 if folder else 0 :].partition("/")
        path = posixpath.join(folder, name)
        if deeper:
            return {} if name in known else {name: Listed(path=path, is_dir=True)}
        return {name: Listed(path=path, is_out=True, is_dir=one.out.is_dir, size=one.out.size, oid=one.out.oid or None)}

    def _members(self, one: TrackedAt, folder: str) -> dict[str, Listed]:
        below = folder[len(one.path) + 1 :]
        listing = self._listing(one, folder).get(below, {})
        return {
            name: Listed(path=posixpath.join(folder, name), is_out=True, is_dir=not oid, oid=oid or None)
            for name, oid in listing.items()
        }

    def _listing(self, one: TrackedAt, folder: str) -> dict[str, dict[str, str]]:
        """A tracked folder's manifest by folder: names, with the oid of files and "" for folders."""
        if one.out.oid not in self._inside:
            found: dict[str, dict[str, str]] = {"": {}}
            try:
                entries = self._supply.entries(one)
            except Missing:
                if not self._foreign.view.children(folder):
                    raise
                entries = []  # the workspace has it, the cache has not: what lies there is what there is
            for path, oid in entries:
                above, _, name = path.rpartition("/")
                _make(found, above)[name] = oid
            self._inside[one.out.oid] = found
        return self._inside[one.out.oid]


def _make(folders: dict[str, dict[str, str]], folder: str) -> dict[str, str]:
    if folder not in folders:
        above, _, name = folder.rpartition("/")
        _make(folders, above)[name] = ""
        folders[folder] = {}
    return folders[folder]
