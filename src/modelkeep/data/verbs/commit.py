"""What is in the workspace now becomes what the metafiles say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Conflict, Missing
from modelkeep.data.formats import metafile, side
from modelkeep.data.formats.names import safe_relpaths
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.targets import Tracked, outs_of, tracked
from modelkeep.data.workspace import staging
from modelkeep.data.workspace.placed import Note, note
from modelkeep.data.workspace.present import absent
from modelkeep.store.blobs.objects import Placing, Taking

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.data.snapshots.snapshot import Snapshot
    from modelkeep.data.verbs.add import AddedItem


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedItem:
    """One output as it is recorded now.

    Args:
        path: relative to the root.
        metafile: the file that says so, relative to the root.
        oid: the object.
        changed: whether the metafile says something new.
        new_files: how many objects were stored, or were found in the cache only after their files had been read.
    """

    path: str
    metafile: str
    oid: str
    changed: bool
    new_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What was recorded, and whether git was told."""

    items: tuple[CommittedItem, ...]
    staged: bool = False


def commit(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    recursive: bool = False,
    relink: bool = True,
    progress: Progress = SILENT,
) -> Committed:
    """Stores what tracked files and folders are now, and records it in their metafiles.

    Args:
        repo: the repository.
        targets: none means all that is there; paths inside tracked folders record only these.
        recursive: all that is tracked below a folder.
        relink: make workspace files links to the cache where `cache.type` says so.
        progress: hears of the work.

    Raises:
        Missing: a target is not tracked, or is not there.
        Conflict: the output of a pipeline changed: its record is dvc.lock, which only `dvc` writes.
    """
    from modelkeep.data.verbs.add import add_inside

    items, files = [], []
    found = tracked(repo, targets, recursive=recursive)
    with repo.writing(*(one.path for one in found), progress=progress):
        for one in found:
            if one.filter:
                done, changed = add_inside(repo, one, relink=relink, progress=progress)
                items.append(_as_committed(done))
                files += changed
                continue
            if not os.path.lexists(one.path):
                if targets:
                    raise Missing(
                        f"{repo.shown(one.path)}: is not there", hint=f"modelkeep checkout {repo.shown(one.path)}"
                    )
                continue
            item, changed = _commit(repo, one, relink, progress)
            items.append(item)
            files += changed
        staged = staging.stage(repo, files)
    return Committed(items=tuple(items), staged=staged)


def _commit(repo: Repository, one: Tracked, relink: bool, progress: Progress) -> tuple[CommittedItem, list[Path]]:
    from modelkeep.data.snapshots.snapshot import snapshot

    chunked = one.kind == "dvc" and side.read(one.metafile).chunked
    new = 0
    if one.kind == "dvc" and one.out.cache and not one.out.legacy and not chunked:
        new = absorbed(repo, one.path, relink=relink, progress=progress)
    shot = current(repo, one, progress)
    if shot is None:
        raise Missing(f"{repo.shown(one.path)}: is not there")
    if shot.oid != one.out.oid and one.kind == "lock":
        raise Conflict(
            f"{repo.shown(one.path)}: changed, and {repo.shown(one.metafile)} records it for a pipeline",
            hint="dvc commit, or run the pipeline again.",
        )
    if one.out.legacy and shot.oid != one.out.oid:
        shot = snapshot(repo, one.path, progress=progress) or shot
    if one.out.cache and (shot.oid != one.out.oid or absent(repo, [one.out])):
        new += keep(
            repo,
            shot,
            relink=left_to_link(repo, relink, new),
            legacy=one.out.legacy and shot.oid == one.out.oid,
            chunked=chunked,
            previous=one.out.oid,
            progress=progress,
        )
    files = record(repo, one, shot)
    item = CommittedItem(
        path=repo.relpath(one.path),
        metafile=repo.relpath(one.metafile),
        oid=shot.oid,
        changed=bool(files),
        new_files=new,
    )
    return item, files


def _as_committed(done: AddedItem) -> CommittedItem:
    return CommittedItem(
        path=done.path, metafile=done.metafile, oid=done.oid, changed=done.changed, new_files=done.new_files
    )


def current(repo: Repository, one: Tracked, progress: Progress = SILENT) -> Snapshot | None:
    """Gives what an output is now, hashed the way that its metafile was; None when it is not there."""
    from modelkeep.data.snapshots.snapshot import snapshot

    return snapshot(repo, one.path, hash=one.out.hash, progress=progress)


def relinks(repo: Repository, relink: bool) -> bool:
    """Says whether files of the workspace should be links to the cache."""
    return relink and repo.blobs.link_types[:1] in {("hardlink",), ("symlink",)}


def absorbed(repo: Repository, path: Path, *, relink: bool, progress: Progress = SILENT) -> int:
    """Stores what nobody has hashed yet in one pass; gives how many objects that were."""
    from modelkeep.data.workspace.absorbing import absorb

    link = relink and repo.blobs.link_types[:1] == ("hardlink",)
    return absorb(repo, path, link=link, progress=progress)


def left_to_link(repo: Repository, relink: bool, absorbed: int) -> bool:
    """Says whether workspace files may still have to become links: storing in one pass makes hardlinks by itself."""
    return relink and not (absorbed and repo.blobs.link_types[:1] == ("hardlink",))


def keep(
    repo: Repository,
    shot: Snapshot,
    *,
    relink: bool,
    legacy: bool = False,
    chunked: bool = False,
    previous: str = "",
    progress: Progress = SILENT,
) -> int:
    """Stores what a snapshot holds, its manifest last; gives how many objects are new.

    Args:
        repo: the repository.
        shot: what is stored.
        relink: make workspace files links to the cache where `cache.type` says so.
        legacy: names and places are those of DVC before 3.0.
        chunked: a file is stored in pieces instead.
        previous: the object that the metafile named until now; pieces are compared with it.
        progress: hears of bytes.

    Raises:
        BadInput: a file has a name that no manifest may hold.
        Conflict: a file changed since it was hashed.
        Busy: the disk is full.
        Denied: the cache may not be written.
    """
    if chunked and not shot.is_dir and not legacy:
        from modelkeep.data.pieced import keep_pieces

        return keep_pieces(repo, shot, previous, progress)
    blobs, linked = repo.blobs, relinks(repo, relink)
    entries = shot.entries() if shot.is_dir else [("", shot.oid)]
    safe_relpaths([name for name, _ in entries if name], repo.shown(shot.path))
    missing = blobs.missing({oid for _, oid in entries}, legacy=legacy)
    takings = _takings(shot, missing) if missing else {}
    first = {os.fspath(one.path) for one in takings.values()}
    hard = linked and blobs.link_types[0] == "hardlink"
    taken = 0
    with disk_errors(str(shot.path)):
        if takings:
            total = sum(one.digest.size for one in takings.values() if one.digest is not None)
            with progress.begin(f"Storing {repo.shown(shot.path)}", total=total, unit="bytes") as step:
                taken = blobs.take(takings.values(), keep="link" if hard else "copy", step=step)
        if shot.is_dir:
            blobs.put(shot.manifest(), suffix=".dir")
        if linked:
            _link(repo, shot, entries, first if hard else set(), progress)
    return taken


def _takings(shot: Snapshot, missing: set[str]) -> dict[str, Taking]:
    """Gives one file for each object that the cache lacks, with what hashing it found."""
    found: dict[str, Taking] = {}
    for (name, digest), (_, stamp) in zip(shot.digests(), shot.stamps(), strict=True):
        if digest.md5 in missing and digest.md5 not in found:
            path = shot.path / name if name else shot.path
            found[digest.md5] = Taking(digest.md5, path, digest, stamp)
    return found


def _link(repo: Repository, shot: Snapshot, entries: list[tuple[str, str]], done: set[str], progress: Progress) -> None:
    """Makes those files links to the cache that are not; executables stay copies, links of people stay theirs."""
    from modelkeep.data.snapshots.snapshot import remember

    executable = set(shot.side.executable) | ({""} if shot.executable else set())
    skip = executable | set(shot.side.symlinks)
    items = [Placing(oid, shot.path / name if name else shot.path) for name, oid in entries if name not in skip]
    items = [one for one in items if os.fspath(one.path) not in done and not _is_link(repo, one)]
    if items:
        with progress.begin(f"Linking {repo.shown(shot.path)}", unit="bytes") as step:
            repo.blobs.place(items, step=step)
    if items or done:
        remember(repo, shot.path, shot.oid, entries if shot.is_dir else None)


def _is_link(repo: Repository, one: Placing) -> bool:
    target, path = repo.blobs.path(one.oid), Path(one.path)
    if repo.blobs.link_types[0] == "symlink":
        return path.is_symlink()
    return not path.is_symlink() and path.samefile(target)


def record(repo: Repository, one: Tracked, shot: Snapshot) -> list[Path]:
    """Writes what a snapshot is into its metafile and side file; gives the files that changed."""
    files: list[Path] = []
    if one.kind == "dvc":
        whole = metafile.read(one.metafile)
        out = described(one.out, shot)
        changed = replace(whole, outs=tuple(out if old.path == out.path else old for old in whole.outs))
        if metafile.write(one.metafile, changed):
            files.append(one.metafile)
        files += record_side(one.metafile, shot)
        if files:
            noted(repo, one.metafile, one.path, shot.oid)
    return files


def described(out: metafile.Out, shot: Snapshot) -> metafile.Out:
    """Gives an output's entry for a snapshot; what people wrote into it stays."""
    same = shot.oid == out.oid
    return replace(
        out,
        oid=shot.oid,
        size=shot.size,
        nfiles=shot.nfiles,
        executable=shot.executable and not shot.is_dir,
        hash=out.hash if same else "md5",
    )


def record_side(file: Path, shot: Snapshot, *, chunked: bool = False) -> list[Path]:
    """Writes the side file that a snapshot needs, or takes it away; gives it if it changed."""
    now = shot.side
    names = {name for name, _ in shot.entries()} if now.symlinks else set()
    links = {  # a link to a file outside of the folder becomes that file, as with DVC
        name: target for name, target in now.symlinks.items() if name not in names or side.stays_inside(name, target)
    }
    before = side.read(file)
    wanted = replace(
        before,
        executable=now.executable,
        empty=now.empty,
        symlinks=links,
        chunked=before.chunked or chunked,
    )
    place = side.path_of(file)
    return [place] if side.write(file, wanted) else []


def noted(repo: Repository, file: Path, path: Path, oid: str) -> None:
    """Writes down how an output was left."""
    note(repo, [Note(repo.relpath(path), oid, side.path_of(file).exists())])


def metafile_of(path: Path) -> list[Tracked]:
    """Gives what the usual metafile of a path tracks, if it is there."""
    file = path.with_name(path.name + metafile.SUFFIX)
    return outs_of(file) if file.is_file() else []
