"""Files and folders become tracked: stored in the cache, named by a metafile, kept out of git."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.formats import manifest, metafile, side
from modelkeep.data.formats.metafile import Metafile, Out
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.snapshot import Snapshot, snapshot
from modelkeep.data.targets import Tracked, walk
from modelkeep.data.verbs.commit import (
    absorbed,
    current,
    described,
    keep,
    left_to_link,
    metafile_of,
    noted,
    record_side,
)
from modelkeep.data.workspace import staging
from modelkeep.data.workspace.present import absent

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

_RESERVED: Final = frozenset({".dvc", ".git", ".hg"})
_METAFILES: Final = frozenset({"dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedItem:
    """One file or folder as it is tracked now.

    Args:
        path: relative to the root.
        metafile: the file that tracks it, relative to the root.
        oid: the object.
        size: bytes; None when nobody counted all of them.
        nfiles: of a folder: how many files.
        changed: whether anything was written for git to see.
        new_files: how many objects were stored, or were found in the cache only after their files had been read.
    """

    path: str
    metafile: str
    oid: str
    size: int | None
    nfiles: int | None
    changed: bool
    new_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added.

    Args:
        items: one for each path.
        files: what git should take, relative to the root.
        staged: whether git was given them.
    """

    items: tuple[AddedItem, ...]
    files: tuple[str, ...]
    staged: bool


@dataclass(frozen=True, slots=True)
class _How:
    store: bool
    relink: bool
    chunked: bool
    force: bool
    progress: Progress


def add(
    repo: Repository,
    paths: Sequence[str | Path],
    *,
    store: bool = True,
    relink: bool = True,
    force: bool = False,
    to_git: bool = False,
    chunked: bool = False,
    progress: Progress = SILENT,
) -> Added:
    """Tracks files and folders, or brings their metafiles up to date.

    A path inside a tracked folder changes that folder's manifest, even when the rest of the folder is not here; one
    that is gone is taken out of it.

    Args:
        repo: the repository.
        paths: what to track.
        store: put the data into the cache; otherwise only the metafile is written.
        relink: make workspace files links to the cache where `cache.type` says so.
        force: take over a metafile of that name that tracks something else.
        to_git: stage what git should take, as `core.autostage` does.
        chunked: keep it as chunks on remotes, so that a small change moves little.
        progress: hears of the work.

    Raises:
        Missing: there is nothing at a path.
        BadInput: it cannot be tracked: outside, git has it already, ignored, a link that leads nowhere …
        Conflict: it overlaps with something tracked, or changed while it was read.
        Busy: the disk is full.
    """
    how = _How(store, relink, chunked, force, progress)
    places = list(dict.fromkeys(checked(repo, path) for path in paths))
    plans = _plan(repo, places, force)
    while True:
        locked = [one.path if one is not None else path for path, one in plans.items()]
        with repo.writing(*locked, progress=progress):
            before, plans = plans, _plan(repo, places, force)
            if plans != before:  # somebody else tracked something here just now: other locks are needed
                continue
            items, files = [], []
            for path, one in plans.items():
                item, changed = _add(repo, path, one, how)
                items.append(item)
                files += changed
            break
    staged = staging.stage(repo, files, asked=to_git)
    return Added(items=tuple(items), files=tuple(dict.fromkeys(repo.relpath(file) for file in files)), staged=staged)


def add_inside(
    repo: Repository, one: Tracked, *, relink: bool = True, progress: Progress = SILENT
) -> tuple[AddedItem, list[Path]]:
    """Records one path inside a tracked folder; the rest of the folder stays as its manifest says."""
    return _inside(repo, one, _How(store=True, relink=relink, chunked=False, force=False, progress=progress))


def checked(repo: Repository, path: str | Path) -> Path:
    """Gives a path that may be tracked, absolute.

    Raises:
        BadInput: it may not.
    """
    relpath = repo.relpath(path)
    place = repo.root / relpath
    if not relpath:
        raise BadInput(f"{path}: the repository's root itself cannot be tracked", hint="Name a file or folder in it.")
    if _RESERVED & set(relpath.split("/")):
        raise BadInput(f"{path}: belongs to git or to the repository itself")
    if place.name in _METAFILES or (place.name.endswith(metafile.SUFFIX) and place.is_file()):
        raise BadInput(f"{path}: is a metafile, not data", hint=f"git add {path}")
    for folder in place.parents:
        if folder == repo.root:
            break
        if folder.is_symlink():
            raise BadInput(
                f"{path}: lies behind the link {repo.shown(folder)}",
                hint=f"Name where it leads: {repo.shown(Path(os.path.realpath(place)))}",
            )
    if repo.ignore.ignores(relpath, place.is_dir()):
        raise BadInput(f"{path}: .dvcignore keeps it out", hint="Take the pattern out of .dvcignore.")
    return place


def _plan(repo: Repository, places: Sequence[Path], force: bool) -> dict[Path, Tracked | None]:
    """Finds what tracks each path; only paths without a metafile beside them need a look at the whole repository."""
    plans = {path: _known(path) for path in places}
    fresh = [path for path, one in plans.items() if one is None]
    return plans | (_placed(repo, fresh, force) if fresh else {})


def _known(path: Path) -> Tracked | None:
    return next((one for one in metafile_of(path) if one.path == path), None)


def _placed(repo: Repository, paths: Sequence[Path], force: bool) -> dict[Path, Tracked | None]:
    """Finds for each new path what tracks it already, itself or as part of a folder; None: nobody does.

    Raises:
        Missing: there is nothing.
        Conflict: what is tracked already lies inside of it.
        BadInput: git tracks it.
    """
    everything = list(walk(repo, repo.root))
    by_path = {one.path: one for one in everything}
    plans: dict[Path, Tracked | None] = {}
    for path in paths:
        here = by_path.get(path)
        over = next((by_path[folder] for folder in path.parents if folder in by_path), None)
        below = next((one for one in everything if path in one.path.parents), None)
        if here is None and over is not None:
            here = replace(over, filter=path.relative_to(over.path).as_posix())
        if here is not None and here.kind == "lock":
            raise Conflict(
                f"{repo.shown(path)}: is an output of the pipeline in {repo.shown(here.metafile)}",
                hint="Run the pipeline again, or dvc commit.",
            )
        if not os.path.lexists(path) and (here is None or not here.filter):
            raise _nothing(repo, path)
        if below is not None:
            raise Conflict(
                f"{repo.shown(path)}: {repo.shown(below.path)} in it is tracked by {repo.shown(below.metafile)}",
                hint=f"modelkeep remove {repo.shown(below.metafile)}, then modelkeep add {repo.shown(path)}",
            )
        if here is None:
            _refuse_foreign(repo, path, force)
        plans[path] = here
    _refuse_each_other(repo, paths)
    staging.refuse_tracked(repo, [path for path, here in plans.items() if here is None])
    return plans


def _nothing(repo: Repository, path: Path) -> Missing:
    from difflib import get_close_matches

    near = get_close_matches(path.name, [other.name for other in path.parent.glob("*")], n=3)
    hint = f"Near: {', '.join(near)}." if near else "Look at the path."
    return Missing(f"{repo.shown(path)}: no such file or folder", hint=hint)


def _refuse_foreign(repo: Repository, path: Path, force: bool) -> None:
    file = path.with_name(path.name + metafile.SUFFIX)
    if not force and os.path.lexists(file):
        raise Conflict(
            f"{repo.shown(file)}: is there already and tracks something else",
            hint="Look into it; --force takes it over.",
        )


def _refuse_each_other(repo: Repository, paths: Sequence[Path]) -> None:
    names = set(paths)
    for path in paths:
        for folder in path.parents:
            if folder in names:
                raise Conflict(f"{repo.shown(path)}: lies inside of {repo.shown(folder)}, which is added too")


def _add(repo: Repository, path: Path, one: Tracked | None, how: _How) -> tuple[AddedItem, list[Path]]:
    if one is None:
        return _first(repo, path, how)
    if one.filter:
        return _inside(repo, one, how)
    return _again(repo, one, how)


def _first(repo: Repository, path: Path, how: _How) -> tuple[AddedItem, list[Path]]:
    new = absorbed(repo, path, relink=how.relink, progress=how.progress) if how.store and not how.chunked else 0
    shot = snapshot(repo, path, progress=how.progress)
    if shot is None:
        raise _nothing(repo, path)
    if how.store:
        relink = left_to_link(repo, how.relink, new)
        new += keep(repo, shot, relink=relink, chunked=how.chunked, progress=how.progress)
    file = path.with_name(path.name + metafile.SUFFIX)
    out = described(Out(path=path.name), shot)
    with disk_errors(str(file)):
        ignored = staging.ignore(repo, path)
        if how.force:
            file.unlink(missing_ok=True)
        metafile.write(file, Metafile(path=file, outs=(out,)))
        sides = record_side(file, shot, chunked=how.chunked)
        noted(repo, file, path, shot.oid)
    return _item(repo, path, file, out, changed=True, new=new), [*ignored, file, *sides]


def _again(repo: Repository, one: Tracked, how: _How) -> tuple[AddedItem, list[Path]]:
    out, new = one.out, 0
    chunked = how.chunked or side.read(one.metafile).chunked
    if how.store and out.cache and not out.legacy and not chunked:
        new = absorbed(repo, one.path, relink=how.relink, progress=how.progress)
    shot = current(repo, one, how.progress)
    if shot is None:
        raise _nothing(repo, one.path)
    same = bool(out.oid) and shot.oid == out.oid
    if out.legacy and not same:
        shot = snapshot(repo, one.path, progress=how.progress) or shot
    if how.store and out.cache and (not same or absent(repo, [out])):
        new += keep(
            repo,
            shot,
            relink=left_to_link(repo, how.relink, new),
            legacy=out.legacy and same,
            chunked=chunked,
            previous=out.oid,
            progress=how.progress,
        )
    with disk_errors(str(one.metafile)):
        files = staging.ignore(repo, one.path)
        now = described(out, shot)
        if now != out:
            whole = metafile.read(one.metafile)
            outs = tuple(now if old.path == out.path else old for old in whole.outs)
            if metafile.write(one.metafile, replace(whole, outs=outs)):
                files.append(one.metafile)
        files += record_side(one.metafile, shot, chunked=how.chunked)
        if files or new:
            noted(repo, one.metafile, one.path, shot.oid)
    return _item(repo, one.path, one.metafile, now, changed=bool(files), new=new), files


def _inside(repo: Repository, one: Tracked, how: _How) -> tuple[AddedItem, list[Path]]:
    """Replaces one path in a folder's manifest."""
    if not one.out.is_dir and one.out.oid:
        raise Conflict(f"{repo.shown(one.path)}: is tracked as a file, so nothing can be in it")
    path = one.path / one.filter
    whole = metafile.read(one.metafile)
    before = next(out for out in whole.outs if out.path == one.out.path)
    old = _entries(repo, before)
    kept = [entry for entry in old if entry[0] != one.filter and not entry[0].startswith(one.filter + "/")]
    shot = snapshot(repo, path, progress=how.progress)
    if shot is None and len(kept) == len(old):
        raise _nothing(repo, path)
    fresh = _below(shot, one.filter) if shot is not None else []
    new = 0
    if shot is not None and how.store and before.cache:
        new = keep(repo, shot, relink=how.relink, progress=how.progress)
    data = manifest.encode([*kept, *fresh])
    oid = manifest.oid_of(data)
    if before.cache:
        with disk_errors(str(one.path)):
            repo.blobs.put(data, suffix=".dir")
    added = len(kept) == len(old) and shot is not None
    size = before.size if oid == before.oid else None
    if added and before.size and shot is not None:
        size = before.size + shot.size
    after = replace(before, oid=oid, size=size, nfiles=len(kept) + len(fresh), hash="md5")
    files: list[Path] = []
    with disk_errors(str(one.metafile)):
        outs = tuple(after if out.path == before.path else out for out in whole.outs)
        if metafile.write(one.metafile, replace(whole, outs=outs)):
            files.append(one.metafile)
        files += _side_inside(repo, one, shot)
        noted(repo, one.metafile, one.path, oid)
    return _item(repo, path, one.metafile, after, changed=bool(files), new=new), files


def _entries(repo: Repository, out: Out) -> list[tuple[str, str]]:
    if not out.oid:
        return []
    try:
        data = repo.blobs.read(out.oid, legacy=out.legacy)
    except Missing:
        raise Missing(
            f"{out.path}: the folder's list of files ({out.oid}) is not in the cache",
            hint="modelkeep fetch, then add again",
        ) from None
    return manifest.decode(data, out.oid)


def _below(shot: Snapshot, prefix: str) -> list[tuple[str, str]]:
    return [(f"{prefix}/{name}", oid) for name, oid in shot.entries()] if shot.is_dir else [(prefix, shot.oid)]


def _side_inside(repo: Repository, one: Tracked, shot: Snapshot | None) -> list[Path]:
    """Brings the side file up to date for one path only."""
    prefix = one.filter

    def inside(name: str) -> bool:
        return name == prefix or name.startswith(prefix + "/")

    old = side.read(one.metafile)
    executable = [name for name in old.executable if not inside(name)]
    empty = [name for name in old.empty if not inside(name) and not prefix.startswith(name + "/")]
    links = {name: target for name, target in old.symlinks.items() if not inside(name)}
    if shot is not None and shot.is_dir:
        executable += [f"{prefix}/{name}" for name in shot.side.executable]
        empty += [f"{prefix}/{name}" for name in shot.side.empty]
        links |= {f"{prefix}/{name}": target for name, target in shot.side.symlinks.items()}
    elif shot is not None and shot.executable:
        executable.append(prefix)
    now = replace(old, executable=tuple(sorted(executable)), empty=tuple(sorted(empty)), symlinks=links)
    return [side.path_of(one.metafile)] if side.write(one.metafile, now) else []


def _item(repo: Repository, path: Path, file: Path, out: Out, *, changed: bool, new: int) -> AddedItem:
    return AddedItem(
        path=repo.relpath(path),
        metafile=repo.relpath(file),
        oid=out.oid,
        size=out.size,
        nfiles=out.nfiles,
        changed=changed,
        new_files=new,
    )


def matching(patterns: Sequence[str]) -> list[str]:
    """Gives the paths that wildcards stand for, metafiles left out.

    Raises:
        Missing: a pattern stands for nothing.
    """
    from glob import glob

    found: list[str] = []
    for pattern in patterns:
        names = sorted(glob(pattern, recursive=True))  # noqa: PTH207
        names = [name for name in names if not name.endswith((metafile.SUFFIX, metafile.SUFFIX + side.SUFFIX))]
        if not names:
            raise Missing(f"{pattern}: matches nothing", hint="Quote the pattern so that the shell leaves it alone.")
        found += names
    return found


def brought(
    repo: Repository, sources: Sequence[str | Path], out: str | Path, *, force: bool, progress: Progress = SILENT
) -> Path:
    """Copies a file or folder from anywhere to a place in the repository, and gives that place.

    Raises:
        BadInput: several sources, or the place cannot be tracked.
        Missing: there is no source.
        Conflict: the place is taken.
    """
    import shutil

    if len(sources) != 1:
        raise BadInput(f"{out}: takes one source, not {len(sources)}", hint="Add them one by one.")
    source, place = Path(sources[0]), Path(out)
    if str(out).endswith("/") or (place.is_dir() and not source.is_dir()):
        place /= source.name
    target = checked(repo, place)
    if not source.exists():
        raise _nothing(repo, source)
    if os.path.lexists(target) and not force:
        raise Conflict(f"{repo.shown(target)}: is there already", hint="--force replaces it.")
    aside = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}")
    with repo.writing(target, progress=progress), disk_errors(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                shutil.copytree(source, aside, symlinks=True)
                if os.path.lexists(target):
                    shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink()
            else:
                shutil.copyfile(source, aside)
                shutil.copymode(source, aside)
            aside.rename(target)
        finally:
            if os.path.lexists(aside):
                shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    return target
