"""The bytes of a version's file, where this machine has them, so that its format can be told without fetching it."""

from __future__ import annotations

import posixpath
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Error
from modelkeep.models.formats import Format, by_name, format_of, format_of_files

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.data.repository import Repository
    from modelkeep.models.tree import Piece

_MOST_BYTES: Final = 64_000_000
"""Of a file that lies in git and is put aside to be looked at."""


def format_here(git: Git, piece: Piece) -> Format:
    """Gives the format of a file or folder, from its bytes when they are here, else from its name.

    Args:
        git: the repository.
        piece: of one of its commits.
    """
    name = posixpath.basename(piece.path)
    kind, _, oid = piece.oid.partition(":")
    try:
        found = _in_git(git, name, oid, piece.size) if kind == "git" else _in_cache(git, piece, name, oid)
    except (Error, OSError):
        found = None
    return found or by_name(piece.path)


def _in_git(git: Git, name: str, oid: str, size: int | None) -> Format | None:
    if size is None or size > _MOST_BYTES:
        return None
    data = git.blob(oid)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        place.write_bytes(data)
        return format_of(place, name)


def _in_cache(git: Git, piece: Piece, name: str, oid: str) -> Format | None:
    repo = None if git.bare or not oid else _repository(git, piece)
    if repo is None or not repo.blobs.has(oid):
        return None
    if not oid.endswith(".dir"):
        return format_of(repo.blobs.path(oid), name)
    from modelkeep.data.formats import manifest

    members = manifest.decode(repo.blobs.read(oid), piece.path)
    if not all(repo.blobs.has(one) for _, one in members):
        return None
    return format_of_files({path: repo.blobs.path(one) for path, one in members})


def _repository(git: Git, piece: Piece) -> Repository | None:
    from modelkeep.data.repository import Repository

    folder = git.root / posixpath.dirname(piece.path)
    for place in (folder, *folder.parents):
        if (place / ".dvc").is_dir():
            return Repository(place)
        if place == git.root:
            break
    return None
