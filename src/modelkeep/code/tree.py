"""The files of a commit in an empty folder, byte for byte as git would check them out, and without its `.git`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelkeep.code.command import attempt, explained
from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Conflict, Denied, Error

_OURS: Final = (
    "-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", f"core.attributesFile={os.devnull}",
    "-c", "core.sparseCheckout=false",
)  # fmt: skip
"""What this machine's settings would do to the bytes is left out; what the repository's own attributes say is done."""
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Submodule:
    """A place where another repository belongs; only an empty folder is made there.

    Args:
        path: relative to the root.
        commit: the one that is wanted.
    """

    path: str
    commit: str


@dataclass(frozen=True, slots=True)
class Tree:
    """What was made.

    Args:
        commit: its full id.
        files: how many.
        submodules: what is not here because it lies in repositories of its own.
        pointers: files that hold the address of their content only, because Git LFS is not installed.
    """

    commit: str
    files: int
    submodules: tuple[Submodule, ...]
    pointers: tuple[str, ...]


def materialise(git: Git, commit: str, folder: Path) -> Tree:
    """Writes the files of a commit: bytes, executable bits and symbolic links.

    What `.gitattributes` says of line ends, encodings and filters holds, as in a fresh clone on Linux; the settings and
    the work tree of whoever asks play no part. Where it fails, nothing stays behind.

    Args:
        git: the repository, with a work tree or bare.
        commit: a revision.
        folder: empty, or not there yet.

    Raises:
        Conflict: the folder is not empty.
        Denied: the folder cannot be written.
        Missing: there is no such revision.
        BadInput: this file system cannot hold these names.
    """
    found = git.resolve(commit)
    files = git.files(found)
    git.prefetch(file.blob for file in files)
    with cleared(folder), private(git, folder) as around:
        _git(folder, around, "read-tree", found)
        _git(folder, around, "checkout-index", "--all", "--quiet")
        links = _git(folder, around, "ls-files", "--stage", "-z").split(b"\0")
        submodules = tuple(_submodule(line) for line in links if line.startswith(b"160000 "))
    attributes = [file.path for file in files if file.path.rpartition("/")[2] == ".gitattributes"]
    lfs = any(b"filter=lfs" in _bytes(folder / path) for path in attributes)
    pointers = tuple(file.path for file in files if lfs and _is_pointer(folder / file.path))
    return Tree(found, len(files), submodules, pointers)


@contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Makes an empty folder for what is done inside, and empties it again when that fails."""
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Conflict(f"{folder} is not empty", hint="Name a folder that is empty or not there yet.")
    except OSError as error:
        raise Denied(f"{folder}: {error.strerror}", hint="Name a folder that you may write.") from None
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not there:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def private(git: Git, folder: Path) -> Iterator[dict[str, str]]:
    """Gives the environment of git commands that work on a folder with an index and objects of their own.

    Args:
        git: the repository; it is read only.
        folder: the work tree.
    """
    with tempfile.TemporaryDirectory(prefix="modelkeep-") as made:
        objects = Path(made) / "objects"
        (objects / "info").mkdir(parents=True)
        common = git.folder
        (objects / "info" / "alternates").write_bytes(os.fsencode(common / "objects") + b"\n")
        yield {
            "GIT_DIR": str(common),
            "GIT_WORK_TREE": str(folder.absolute()),
            "GIT_INDEX_FILE": str(Path(made) / "index"),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ATTR_NOSYSTEM": "1",
        }


def _git(folder: Path, around: Mapping[str, str], *words: str) -> bytes:
    code, out, complaint = attempt((*_OURS, *words), folder.absolute(), extra=around)
    if code:
        raise _refused(complaint, folder)
    return out


def _refused(complaint: str, folder: Path) -> Error:
    if "already exists, no checkout" in complaint:
        name = complaint.partition(" already exists")[0].removeprefix("error: ").strip()
        return BadInput(
            f"{folder}: {name} and another file of the commit have the same name on this file system",
            hint="Use a file system that tells upper and lower case apart.",
        )
    if "No space left" in complaint:
        return Denied(f"{folder}: the disk is full", hint="Make room, or name a folder on another disk.")
    if "File name too long" in complaint:
        return BadInput(f"{folder}: a name of the commit is too long here", hint="Name a folder with a shorter path.")
    return explained(complaint, folder)


def _submodule(line: bytes) -> Submodule:
    head, _, path = line.partition(b"\t")
    return Submodule(os.fsdecode(path), head.split()[1].decode())


def _is_pointer(path: Path) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size > _POINTER_BYTES:
            return False
    except OSError:
        return False
    return _bytes(path).startswith(_POINTER)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""
