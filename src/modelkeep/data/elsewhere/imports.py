"""Data that came from elsewhere: objects made of it, a metafile that says where from, and the files themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Conflict, Corrupt, Missing
from modelkeep.data.formats import manifest, metafile, side
from modelkeep.data.formats.metafile import Dep, Metafile, Out
from modelkeep.data.formats.side import Side
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.workspace import staging

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.foreign import Foreign
    from modelkeep.data.elsewhere.pieces import Gathered, Piece
    from modelkeep.data.elsewhere.supply import Supply
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was imported.

    Args:
        path: where it is, relative to the root.
        metafile: the file that tracks it, relative to the root.
        oid: the object; "" when it was not fetched.
        size: bytes; None when it was not fetched.
        nfiles: of a folder: how many files.
        commit: of another repository: the commit it was taken from.
        files: what git should take, relative to the root.
        staged: whether git was given them.
    """

    path: str
    metafile: str
    oid: str
    size: int | None
    nfiles: int | None
    commit: str
    files: tuple[str, ...]
    staged: bool


def place_for(repo: Repository, name: str, out: str, *, force: bool) -> Path:
    """Gives where something that is imported goes.

    Args:
        repo: the repository.
        name: its own name.
        out: what people asked for: a place, a folder to put it into, or "" for here.
        force: something may be there.

    Raises:
        Conflict: something is there, or lies in or around something tracked.
        BadInput: it cannot be tracked there.
    """
    from modelkeep.data.targets import walk
    from modelkeep.data.verbs.add import checked

    target = Path(out or name)
    if out and (target.is_dir() or out.endswith("/")):
        target /= name
    place = checked(repo, target)
    file = place.with_name(place.name + metafile.SUFFIX)
    for there in (place, file):
        if os.path.lexists(there) and not force:
            raise Conflict(f"{repo.shown(there)}: is there already", hint="--force takes its place.")
    for one in walk(repo, repo.root):
        if one.metafile == file:
            continue
        if one.path == place or place in one.path.parents or one.path in place.parents:
            raise Conflict(
                f"{repo.shown(place)}: overlaps with {repo.shown(one.path)}, which {repo.shown(one.metafile)} tracks",
                hint="Import it to another place: --out PATH",
            )
    staging.refuse_tracked(repo, [place])
    return place


def settle(
    repo: Repository, place: Path, out: Out, dep: Dep, *, told: Side, download: bool, progress: Progress
) -> Imported:
    """Writes the metafile of an import and brings its files, whose objects are in the cache, to their place."""
    from modelkeep.data.verbs.checkout import checkout

    file = place.with_name(place.name + metafile.SUFFIX)
    written = metafile.sealed(Metafile(path=file, outs=(out,), deps=(dep,), frozen=True))
    with disk_errors(str(file)):
        place.parent.mkdir(parents=True, exist_ok=True)
        files = staging.ignore(repo, place)
        metafile.write(file, written)
        files.append(file)
        if side.write(file, told):
            files.append(side.path_of(file))
    if download:
        checkout(repo, [file], force=True, progress=progress)
    staged = staging.stage(repo, [one for one in files if one.exists()])
    return Imported(
        path=repo.relpath(place),
        metafile=repo.relpath(file),
        oid=out.oid,
        size=out.size,
        nfiles=out.nfiles,
        commit=dep.repo_rev_lock,
        files=tuple(dict.fromkeys(repo.relpath(one) for one in files)),
        staged=staged,
    )


def taken(repo: Repository, foreign: Foreign, supply: Supply, gathered: Gathered, name: str) -> tuple[Out, Side]:
    """Makes what a path of a foreign repository stands for objects of our cache; gives the entry for the metafile.

    Raises:
        Missing: an object is nowhere.
        Corrupt: an object is corrupt wherever it was looked for.
    """
    blobs = repo.blobs
    supply.fetch(gathered.outs)
    if foreign.git is not None:
        foreign.git.prefetch(piece.blob for piece in gathered.pieces if piece.blob)
    entries = [(piece.path, _object(repo, foreign, piece)) for piece in gathered.pieces]
    sizes = {one.out.oid: one.out.size for one, _ in gathered.outs}
    if not gathered.is_dir:
        oid = entries[0][1]
        return Out(path=name, oid=oid, size=_size(repo, oid, sizes)), Side()
    data = manifest.encode(entries)
    oid = blobs.put(data, suffix=".dir")
    if sizes.get(oid) is None:
        sizes[oid] = sum(_size(repo, each, sizes) for _, each in entries)
    out = Out(path=name, oid=oid, size=sizes[oid], nfiles=len(entries))
    told = gathered.side
    runs = tuple(sorted(piece.path for piece in gathered.pieces if piece.executable and piece.path))
    return out, replace(told, executable=runs, chunked=False, other=())


def _object(repo: Repository, foreign: Foreign, piece: Piece) -> str:
    """The object of our cache that holds a piece's bytes."""
    if piece.oid and not piece.legacy:
        return piece.oid
    if piece.oid:  # its name is another hash: DVC 2 read text without carriage returns
        [digest] = repo.blobs.ingest([repo.blobs.path(piece.oid, legacy=True)])
        return digest.md5
    if foreign.git is None:
        raise Missing(f"{piece.path}: neither tracked nor in git in {foreign.where}", hint="Commit it there first.")
    return repo.blobs.put(foreign.git.blob(piece.blob))


def _size(repo: Repository, oid: str, known: dict[str, int | None]) -> int:
    size = known.get(oid)
    if size is None:
        size = known[oid] = repo.blobs.path(oid).stat().st_size
    return size


def refetch(repo: Repository, metafiles: Iterable[Path], *, progress: Progress = SILENT) -> set[str]:
    """Fetches what imports hold from the repositories that they came from, at the commits that they name.

    Args:
        repo: the repository.
        metafiles: of imports; others are passed over.
        progress: hears of bytes.

    Returns:
        The oids that are in the cache now.

    Raises:
        Missing: a repository, commit or object is not there any more.
        Corrupt: what is there now is not what was imported.
    """
    from modelkeep.data.elsewhere.foreign import open_foreign
    from modelkeep.data.elsewhere.pieces import gather
    from modelkeep.data.elsewhere.supply import Supply

    found: set[str] = set()
    for file in metafiles:
        described = metafile.read(file)
        for dep, out in zip(described.deps, described.outs, strict=False):
            if not dep.repo_url:
                continue
            remote = dep.repo_remote if not dep.repo_remote.startswith("{") else ""
            with open_foreign(
                _seen_from(repo, file, dep.repo_url), dep.repo_rev_lock or dep.repo_rev, live=False
            ) as one:
                supply = Supply(one, repo, remote=remote, progress=progress)
                now, _ = taken(repo, one, supply, gather(one, supply, dep.path), out.path)
                if out.oid and now.oid != out.oid:
                    raise Corrupt(
                        f"{repo.shown(file)}: {dep.path} of {one.where} is {now.oid} now, not {out.oid}",
                        hint=f"Import it again: modelkeep import --force {one.name} {dep.path}",
                    )
            found.add(now.oid)
    return found


def _seen_from(repo: Repository, file: Path, url: str) -> str:
    """A relative address counts from the current folder, as in DVC, else from the metafile or the root."""
    if "://" in url or Path(url).is_absolute():
        return url
    for folder in (Path.cwd(), file.parent, repo.root):
        if (folder / url).is_dir():
            return str(folder / url)
    return url
