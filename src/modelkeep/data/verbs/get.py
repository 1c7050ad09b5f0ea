"""`get`: a file or folder of another repository, without tracking it here."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Busy, Conflict, Unreachable
from modelkeep.data.elsewhere.foreign import Foreign, open_foreign
from modelkeep.data.elsewhere.pieces import Gathered, Piece, gather
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import Repository, disk_errors

if TYPE_CHECKING:
    from modelkeep.store.blobs.objects import Blobs

_RESERVED: Final = frozenset({"dvc.yaml", "dvc.lock", ".dvc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What was fetched.

    Args:
        path: where it is now.
        files: how many files.
        size: their bytes.
        commit: the commit they were taken from; "" for a workspace as it stood.
    """

    path: Path
    files: int
    size: int
    commit: str


def get(
    url: str,
    path: str,
    *,
    rev: str = "",
    out: str = "",
    remote: str = "",
    force: bool = False,
    progress: Progress = SILENT,
) -> Got:
    """Fetches a file or folder of another repository; it appears here whole, and verified.

    What a cut transfer has brought is used by the next one.

    Args:
        url: a folder, or an address of git.
        path: a file or folder in it, tracked or in git, or a part of one.
        rev: a revision; "" is the workspace of a folder on this machine, and HEAD elsewhere.
        out: where to put it; a folder that is there takes it under its own name. "" is here.
        remote: the remote there that holds its data; "" is its default one.
        force: overwrite what is there.
        progress: hears of bytes.

    Raises:
        Missing: no such repository, revision or path; an object is nowhere.
        Corrupt: an object is corrupt wherever it was looked for.
        Conflict: something is at that place.
        BadInput: a name in the repository would lead out of the place.
    """
    from modelkeep.data.elsewhere.supply import Supply

    with open_foreign(url, rev) as foreign:
        target = target_of(foreign, path, out, force=force)
        with disk_errors(str(target)):
            part = target.with_name(f".{target.name}.part")
            repo = aside(part)
            kept = False
            try:
                supply = Supply(foreign, repo, remote=remote, progress=progress)
                gathered = gather(foreign, supply, path)
                supply.fetch(gathered.outs)
                size = deliver(foreign, gathered, repo.blobs, part / "out", progress)
                _publish(part / "out", target)
            except (Unreachable, Busy):
                kept = True
                raise
            finally:
                if not kept:
                    shutil.rmtree(part, ignore_errors=True)
        return Got(path=target, files=len(gathered.pieces), size=size, commit=foreign.commit)


def target_of(foreign: Foreign, path: str, out: str, *, force: bool) -> Path:
    """Gives where a path of a repository goes.

    Raises:
        Conflict: something is there.
        BadInput: the name is one of DVC's own.
    """
    name = posixpath.basename(foreign.clean(path)) or posixpath.basename(foreign.name.rstrip("/")) or "repository"
    target = Path(os.path.abspath(out or name))  # noqa: PTH100
    if out and (target.is_dir() or out.endswith("/")):
        target /= name
    if target.name in _RESERVED or target.suffix == ".dvc":
        raise BadInput(
            f"{target.name}: a name that DVC keeps for itself", hint="Name the data, or another place by -o."
        )
    if os.path.lexists(target) and not force:
        raise Conflict(f"{out or target.name}: there already", hint="Overwrite it with --force, or name another by -o.")
    return target


def deliver(foreign: Foreign, gathered: Gathered, blobs: Blobs, target: Path, progress: Progress) -> int:
    """Writes pieces as files that belong to the user, objects by moving them out of the cache; gives their bytes.

    Args:
        foreign: the repository.
        gathered: what is written; its objects are in the cache.
        blobs: a cache of our own, which loses its objects.
        target: where; nothing is there.
        progress: hears of files.

    Raises:
        Conflict: the disk holds two of the names as one.
    """
    _prefetch(foreign, gathered.pieces)
    uses = Counter((piece.oid, piece.legacy) for piece in gathered.pieces if piece.oid)
    mask = _mask()
    shutil.rmtree(target, ignore_errors=True)
    if gathered.is_dir:
        target.mkdir(parents=True)
        _make_empty(target, gathered)
    folders: set[Path] = set()
    size = 0
    with progress.begin("Writing", total=len(gathered.pieces)) as step:
        for piece in gathered.pieces:
            place = target / piece.path if piece.path else target
            if place.parent not in folders:
                place.parent.mkdir(parents=True, exist_ok=True)
                folders.add(place.parent)
            if os.path.lexists(place):
                raise Conflict(f"{piece.path}: this disk holds it and another file of {foreign.where} as one")
            uses[piece.oid, piece.legacy] -= 1
            _write(foreign, blobs, piece, place, last=not uses[piece.oid, piece.legacy])
            place.chmod((0o777 if piece.executable else 0o666) & ~mask)
            size += place.stat().st_size
            step.add(1)
    _make_links(target, gathered)
    return size


def _write(foreign: Foreign, blobs: Blobs, piece: Piece, place: Path, *, last: bool) -> None:
    if piece.oid:
        source = blobs.path(piece.oid, legacy=piece.legacy)
        if last:
            source.rename(place)
        else:
            shutil.copyfile(source, place)
    elif piece.file is not None:
        shutil.copyfile(piece.file, place)
    elif foreign.git is not None:
        place.write_bytes(foreign.git.blob(piece.blob))


def _prefetch(foreign: Foreign, pieces: Iterable[Piece]) -> None:
    if foreign.git is not None:
        foreign.git.prefetch(piece.blob for piece in pieces if piece.blob)


def _make_empty(target: Path, gathered: Gathered) -> None:
    for folder in (*gathered.side.empty, *gathered.empty):
        (target / folder).mkdir(parents=True, exist_ok=True)


def _make_links(target: Path, gathered: Gathered) -> None:
    for link, led in gathered.side.symlinks.items():
        place = target / link
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            continue
        place.unlink(missing_ok=True)
        place.symlink_to(led)


def aside(part: Path) -> Repository:
    """A repository of our own beside the target, whose cache takes what is fetched; nobody's settings count there."""
    from modelkeep.data.formats.config import Config

    part.parent.mkdir(parents=True, exist_ok=True)
    repo = Repository(part)
    repo.config = Config(part, {})
    return repo


def _publish(fresh: Path, target: Path) -> None:
    """Puts a finished file or folder where it belongs; a folder that is there keeps what has no successor."""
    if not target.is_symlink() and target.is_dir() and fresh.is_dir():
        for place, _, files in os.walk(fresh):
            here = target / Path(place).relative_to(fresh)
            here.mkdir(exist_ok=True)
            for name in files:
                (Path(place) / name).replace(here / name)
        return
    if os.path.lexists(target) and (target.is_dir() or fresh.is_dir()):
        target.unlink() if not target.is_dir() or target.is_symlink() else shutil.rmtree(target)
    fresh.replace(target)


def _mask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
