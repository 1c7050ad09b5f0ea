"""A tracked file or folder gets another name or place."""

from __future__ import annotations

import os
import posixpath
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.formats import metafile, side
from modelkeep.data.formats.metafile import Dep, Metafile
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.snapshot import peek, remember, snapshot
from modelkeep.data.targets import Tracked, only, walk
from modelkeep.data.verbs.add import checked
from modelkeep.data.workspace import staging
from modelkeep.data.workspace.placed import Note, note

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedTo:
    """Where something is now; paths are relative to the root."""

    source: str
    destination: str
    metafile: str
    files: tuple[str, ...]
    staged: bool


def move(repo: Repository, source: str | Path, destination: str | Path, *, progress: Progress = SILENT) -> MovedTo:
    """Renames tracked data with its metafile, side file and `.gitignore` line. What the data is does not change.

    A move that was cut is completed when it is run again.

    Args:
        repo: the repository.
        source: what is tracked.
        destination: its new path; a folder that is there takes it in.
        progress: hears for whom we wait.

    Raises:
        Missing: the source is not tracked, or its data is nowhere.
        BadInput: it is a part of something, an output of a pipeline, or may not lie there.
        Conflict: the destination is taken.
    """
    one = only(repo, source)
    target = _target(repo, one, destination)
    own_name = one.metafile.name == one.path.name + metafile.SUFFIX and one.metafile.parent == one.path.parent
    file = target.with_name(target.name + metafile.SUFFIX) if own_name else one.metafile
    with repo.writing(one.path, target, progress=progress), disk_errors(str(target)):
        resumed = _check(repo, one, target, file, progress)
        known = "" if resumed else peek(repo, one.path, hash=one.out.hash)
        shot = snapshot(repo, one.path, hash=one.out.hash, progress=progress) if known else None
        target.parent.mkdir(parents=True, exist_ok=True)
        files = staging.ignore(repo, target)
        if not resumed and os.path.lexists(one.path):
            _rename(one.path, target)
        files += _rewrite(one, target, file)
        files += staging.unignore(repo, one.path)
        if shot is not None:
            remember(repo, target, shot.oid, shot.entries() if shot.is_dir else None, hash=one.out.hash)
        there = side.path_of(file).exists()
        note(repo, [Note(repo.relpath(one.path), ""), Note(repo.relpath(target), one.out.oid, there)])
    staged = staging.stage(repo, files)
    return MovedTo(
        source=repo.relpath(one.path),
        destination=repo.relpath(target),
        metafile=repo.relpath(file),
        files=tuple(dict.fromkeys(repo.relpath(name) for name in files)),
        staged=staged,
    )


def _target(repo: Repository, one: Tracked, destination: str | Path) -> Path:
    if one.kind == "lock":
        raise BadInput(
            f"{repo.shown(one.path)}: is an output of the pipeline in {repo.shown(one.metafile)}",
            hint="Change its path in dvc.yaml.",
        )
    if one.filter:
        name = repo.shown(one.path / one.filter)
        raise BadInput(
            f"{name}: is a part of {repo.shown(one.path)}, which is tracked as one",
            hint=f"Move it yourself, then: modelkeep add {repo.shown(one.path)}",
        )
    place = Path(destination)
    if place.is_dir() and repo.absolute(place) != one.path and not _arrived(repo, one, place):
        place /= one.path.name
    target = checked(repo, place)
    if target == one.path:
        raise Conflict(f"{repo.shown(target)}: is there already: source and destination are one")
    if one.path in target.parents or target in one.path.parents:
        raise BadInput(f"{repo.shown(target)}: one of the two lies inside of the other")
    return target


def _arrived(repo: Repository, one: Tracked, place: Path) -> bool:
    """Says whether a folder is the data itself, moved there before the move was cut."""
    if os.path.lexists(one.path) or not one.out.is_dir:
        return False
    shot = snapshot(repo, repo.absolute(place), hash=one.out.hash)
    return shot is not None and shot.oid == one.out.oid


def _check(repo: Repository, one: Tracked, target: Path, file: Path, progress: Progress) -> bool:
    """Makes sure that the way is free; True: the data is there already, from a move that was cut."""
    for other in walk(repo, repo.root):
        if other.path == target or other.path in target.parents:
            raise Conflict(f"{repo.shown(target)}: {repo.shown(other.metafile)} tracks {repo.shown(other.path)}")
    if file != one.metafile and os.path.lexists(file):
        raise Conflict(f"{repo.shown(file)}: is there already")
    if not os.path.lexists(target):
        return False
    if os.path.lexists(one.path):
        raise Conflict(f"{repo.shown(target)}: is there already", hint="Name another destination.")
    shot = snapshot(repo, target, hash=one.out.hash, progress=progress)
    if shot is None or shot.oid != one.out.oid:
        raise Missing(
            f"{repo.shown(one.path)}: is not there, and {repo.shown(target)} is something else",
            hint=f"modelkeep checkout {repo.shown(one.path)}",
        )
    return True


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        import errno

        if error.errno != errno.EXDEV:
            raise
        aside = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}")
        shutil.copytree(source, aside, symlinks=True) if source.is_dir() else shutil.copy2(source, aside)
        aside.rename(target)
        shutil.rmtree(source) if source.is_dir() and not source.is_symlink() else source.unlink()


def _rewrite(one: Tracked, target: Path, file: Path) -> list[Path]:
    """Writes the metafile anew where it belongs now, then takes the old one away."""
    whole = metafile.read(one.metafile)
    base = file.parent / whole.wdir if file == one.metafile else file.parent
    path = Path(os.path.relpath(target, base)).as_posix()
    outs = tuple(replace(out, path=path) if out.path == one.out.path else out for out in whole.outs)
    deps = tuple(_dep(dep, one.metafile.parent / whole.wdir, base) for dep in whole.deps)
    if file == one.metafile:
        metafile.write(file, metafile.sealed(replace(whole, outs=outs)))
        return [file]
    now = Metafile(
        path=file,
        outs=outs,
        deps=deps,
        frozen=whole.frozen,
        md5=whole.md5,
        desc=whole.desc,
        source=whole.source,
    )
    metafile.write(file, metafile.sealed(now))
    files = [file, one.metafile]
    old, new = side.path_of(one.metafile), side.path_of(file)
    if old.exists():
        old.rename(new)
        files += [old, new]
    one.metafile.unlink()
    return files


def _dep(dep: Dep, old: Path, new: Path) -> Dep:
    """A source in this repository is seen from the metafile's folder."""
    if dep.repo_url or "://" in dep.path or posixpath.isabs(dep.path) or old == new:
        return dep
    return replace(dep, path=Path(os.path.relpath(old / dep.path, new)).as_posix())
