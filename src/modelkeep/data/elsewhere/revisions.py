"""What is tracked at a git revision, without checking it out."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.code.repository import SYMLINK, File, Git
from modelkeep.core.errors import Error

if TYPE_CHECKING:
    from modelkeep.data.formats.metafile import Metafile, Out

CONFIG: Final = ".dvc/config"
_LOCK: Final = "dvc.lock"
_STAGES: Final = "dvc.yaml"
_NAMES: Final = (".dvc", _LOCK, _STAGES)


class TrackedAt(NamedTuple):
    """One tracked file or folder of a revision.

    Args:
        metafile: the file that names it, relative to git's root: a `.dvc` file or a `dvc.lock`.
        out: what that file says.
        root: the folder that holds `.dvc`, relative to git's root; empty when it is git's root.
        path: where the data belongs, relative to git's root.
    """

    metafile: str
    out: Out
    root: str
    path: str


def tracked_at(git: Git, rev: str, prefix: str = "") -> list[TrackedAt]:
    """Gives what is tracked at a revision, sorted by metafile.

    Args:
        git: the repository.
        rev: the revision.
        prefix: only metafiles in or below this folder of the repository.

    Raises:
        Missing: there is no such revision.
        BadInput: a metafile of that revision cannot be read; the message names revision, file and line.
    """
    return tracked_in(git, rev, git.files(rev, suffixes=(*_NAMES, CONFIG), folder=prefix))


def tracked_in(git: Git, rev: str, files: Sequence[File]) -> list[TrackedAt]:
    """Gives what the metafiles among some files of a revision track, sorted by metafile.

    Raises:
        BadInput: a metafile cannot be read; the message names revision, file and line.
    """
    roots = roots_in(files)
    named = {file.path: file for file in files if is_metafile(file)}
    git.prefetch(file.blob for file in named.values())
    found = [
        TrackedAt(path, out, root_of(path, roots), _place(path, described.wdir, out.path))
        for path, described in _described(git, rev, named)
        for out in described.outs
    ]
    return sorted(found, key=lambda item: (item.metafile, item.out.path))


def tracked_ever(git: Git, prefix: str = "") -> list[TrackedAt]:
    """Gives what was tracked in any commit of any ref, work tree or stash, each version once.

    One walk over the history answers it, however many commits there are. A metafile that cannot be read is left out:
    a commit with conflict markers in it names no data.

    Args:
        git: the repository.
        prefix: only metafiles in or below this folder; it is given as `root`.
    """
    below = prefix.strip("/")
    files = [file for file in git.history((".dvc", _LOCK)) if is_metafile(file) and is_below(file.path, below)]
    git.prefetch(file.blob for file in files)
    found: dict[tuple[str, str, str], TrackedAt] = {}
    for file in sorted(files):
        try:
            described = list(_described(git, "history", {file.path: file}))
        except Error:
            continue
        for path, one in described:
            for out in one.outs:
                place = _place(path, one.wdir, out.path)
                found[(path, place, out.oid)] = TrackedAt(path, out, below, place)
    return list(found.values())


def is_metafile(file: File) -> bool:
    """Says whether a file of a revision is a `.dvc` file or a pipeline's file.

    >>> is_metafile(File("a/f.csv.dvc", "100644", "")), is_metafile(File(".dvc/config", "100644", ""))
    (True, False)
    """
    name = posixpath.basename(file.path)
    return file.mode != SYMLINK and (name in {_LOCK, _STAGES} or (name.endswith(".dvc") and name != ".dvc"))


def is_below(path: str, folder: str) -> bool:
    """Says whether a path is a folder or lies in it; everything lies in the folder "".

    >>> is_below("a/b", "a"), is_below("ab", "a"), is_below("a", "a")
    (True, False, True)
    """
    return not folder or path == folder or path.startswith(folder + "/")


def roots_in(files: Iterable[File]) -> list[str]:
    """Gives the folders that hold a `.dvc/config`, the deepest first."""
    found = [posixpath.dirname(posixpath.dirname(file.path)) for file in files if _is_config(file.path)]
    return sorted(found, key=lambda root: (-len(root), root))


def root_of(path: str, roots: Iterable[str]) -> str:
    """Gives the deepest of some folders that a path lies in; "" when none does."""
    return next((root for root in roots if is_below(path, root)), "")


def _described(git: Git, rev: str, named: dict[str, File]) -> Iterator[tuple[str, Metafile]]:
    from modelkeep.data.formats import metafile

    for path, file in named.items():
        where = Path(f"{rev}:{path}")
        if path.endswith(".dvc"):
            yield path, metafile.parse(git.blob(file.blob), where)
        elif posixpath.basename(path) == _LOCK or posixpath.join(posixpath.dirname(path), _LOCK) not in named:
            folder = posixpath.dirname(path)
            lock, stages = (named.get(posixpath.join(folder, name)) for name in (_LOCK, _STAGES))
            yield from _pipeline(git, path, rev, lock, stages)


def _pipeline(git: Git, path: str, rev: str, lock: File | None, stages: File | None) -> Iterator[tuple[str, Metafile]]:
    from modelkeep.data.formats.lockfile import pipeline_outs

    for one in pipeline_outs(
        Path(f"{rev}:{path}"),
        git.blob(lock.blob) if lock else None,
        git.blob(stages.blob) if stages else None,
    ):
        yield path, one


def _place(metafile: str, wdir: str, out: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(metafile), wdir, out))


def _is_config(path: str) -> bool:
    return path == CONFIG or path.endswith("/" + CONFIG)
