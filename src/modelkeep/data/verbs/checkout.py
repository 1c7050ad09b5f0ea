"""What the metafiles say comes from the cache into the workspace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Conflict, Corrupt, Missing
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.snapshots.snapshot import peek
from modelkeep.data.targets import Tracked, tracked
from modelkeep.data.workspace.changes import Plan, needed, plan
from modelkeep.data.workspace.placed import Note, note, placed, tidy
from modelkeep.data.workspace.placing import Done, Unfit, apply
from modelkeep.data.workspace.present import absent

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """What a checkout did; paths are relative to the root, those of folders end with `/`.

    Args:
        added: outputs that were not here.
        modified: outputs of which something changed.
        deleted: outputs that are tracked no more and were taken away.
        files_added: how many files were made.
        files_modified: how many files have other content now.
        files_deleted: how many files were taken away.
        relinked: how many files were linked or copied anew.
        missing: files whose objects are not in the cache.
        corrupt: files whose objects were corrupt; these are in quarantine now.
    """

    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    files_added: int = 0
    files_modified: int = 0
    files_deleted: int = 0
    relinked: int = 0
    missing: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the workspace is another now."""
        return bool(self.added or self.modified or self.deleted)


@dataclass(slots=True)
class _Tally:
    """What has been done so far."""

    added: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    counts: Done = field(default_factory=Done)
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)

    def result(self) -> CheckedOut:
        def ordered(names: list[str]) -> tuple[str, ...]:
            return tuple(sorted(names, key=lambda name: (not name.endswith("/"), name)))

        return CheckedOut(
            added=ordered(self.added),
            modified=ordered(self.modified),
            deleted=ordered(self.deleted),
            files_added=self.counts.added,
            files_modified=self.counts.modified,
            files_deleted=self.counts.deleted,
            relinked=self.counts.relinked,
            missing=tuple(self.missing),
            corrupt=tuple(self.corrupt),
        )


def checkout(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    force: bool = False,
    relink: bool = False,
    recursive: bool = False,
    allow_missing: bool = False,
    strict: bool = True,
    progress: Progress = SILENT,
) -> CheckedOut:
    """Brings the workspace to what the metafiles say. Fetches nothing.

    Everything is planned and checked before the first file is touched; then new files come first and old ones go last,
    so a cut at any moment leaves no less than there was. An output whose objects are not all in the cache stays as it
    is; one that is not here at all comes without them.

    Args:
        repo: the repository.
        targets: none means all that is tracked; then what is tracked no more goes away too, if it is in the cache.
        force: overwrite local changes that are nowhere else.
        relink: make all files anew, as `cache.type` says.
        recursive: all that is tracked below a folder.
        allow_missing: of folders that are here and not whole in the cache, bring what there is, and do not complain.
        strict: raise for what is missing or corrupt; otherwise the result names it.
        progress: hears of bytes.

    Raises:
        Conflict: local changes would be lost; nothing was touched.
        Missing: objects are not in the cache; all other outputs were done.
        Corrupt: objects are corrupt; all other outputs were done.
        BadInput: the file system cannot hold the names, or none of the link types works; nothing was touched.
        Busy: the disk is full.
    """
    found = tracked(repo, targets, recursive=recursive)
    tally, notes = _Tally(), placed(repo)
    waiting = [one.path for one in found if relink or needed(repo, one, notes, progress)]
    if waiting:
        with repo.writing(*waiting, progress=progress):
            again = {one.path for one in found} & set(waiting)
            current = [one for one in tracked(repo, targets, recursive=recursive) if one.path in again]
            plans = [
                made
                for one in current
                if (made := plan(repo, one, notes, relink=relink, progress=progress)) is not None
            ]
            if not force:
                _refuse_losses(repo, plans)
            for made in plans:
                _apply(repo, made, tally, allow_missing, progress)
    if not targets:
        _clear(repo, found, notes, tally, progress)
    result = tally.result()
    if strict:
        settle(result, allow_missing=allow_missing)
    return result


def settle(result: CheckedOut, *, allow_missing: bool = False) -> None:
    """Raises for what could not be brought.

    Raises:
        Corrupt: objects are corrupt.
        Missing: objects are not in the cache.
    """
    if result.corrupt:
        raise Corrupt(
            f"{_named(result.corrupt)}: corrupt in the cache, now in quarantine; all else is done",
            hint="modelkeep pull",
        )
    if result.missing and not allow_missing:
        raise Missing(f"{_named(result.missing)}: not in the cache; all else is done", hint="modelkeep pull")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _refuse_losses(repo: Repository, plans: Iterable[Plan]) -> None:
    lost = [name for made in plans for name in made.losses(repo)]
    if lost:
        raise Conflict(
            f"{_named(lost)}: changed here, and nowhere else; nothing was touched",
            hint="modelkeep commit keeps the changes, modelkeep checkout --force drops them.",
        )


def _apply(repo: Repository, made: Plan, tally: _Tally, allow_missing: bool, progress: Progress) -> None:
    fresh = made.shot is None
    bad = [] if made.whole and not made.fault else made.unsound(repo)  # what is made aside is verified as it is made
    missing = made.missing(repo)
    while True:
        if not _go_on(repo, made, tally, bad, missing, partly=allow_missing):
            return
        try:
            with disk_errors(str(made.one.path)):
                done = apply(repo, made, progress)
            break
        except Unfit as fault:
            bad = [path for path in made.place if made.target[path] in fault.bad]
            missing = [path for path in made.place if made.target[path] in fault.missing]
    name = repo.relpath(made.one.path) + ("/" if made.is_dir else "")
    tally.counts += done
    if fresh:
        tally.added.append(name)
    elif done:
        tally.modified.append(name)


def _go_on(
    repo: Repository, made: Plan, tally: _Tally, bad: Sequence[str], missing: Sequence[str], *, partly: bool
) -> bool:
    """Notes what cannot be had, and says whether the rest of the output is to be done."""
    prefix = repo.shown(made.one.path)
    tally.corrupt += [f"{prefix}/{path}" if path else prefix for path in bad]
    tally.missing += [f"{prefix}/{path}" if path else prefix for path in missing]
    if not bad and not missing:
        return True
    if not made.is_dir or made.fault or not (partly or made.shot is None):
        return False
    made.leave_out({*bad, *missing})
    return True


def _clear(
    repo: Repository, found: Sequence[Tracked], notes: Mapping[str, Note], tally: _Tally, progress: Progress
) -> None:
    """Takes away what these commands once placed, what is tracked no more, and what the cache holds just as it is."""
    here = {repo.relpath(one.path) for one in found}
    gone = [one for path, one in notes.items() if path not in here]
    if not gone:
        return
    for one in gone:
        path = repo.root / one.path
        inside = any(str(folder) in here for folder in Path(one.path).parents)
        with repo.writing(path, progress=progress):
            if not inside and os.path.lexists(path) and _is_ours(repo, one, path, here):
                folder = path.is_dir() and not path.is_symlink()
                tally.counts += Done(deleted=_remove(path))
                tally.deleted.append(one.path + ("/" if folder else ""))
            elif os.path.lexists(path) and not inside:
                continue  # changed since: it belongs to the user, until it is what it was
        note(repo, [Note(one.path, "")])
    tidy(repo)


def _is_ours(repo: Repository, one: Note, path: Path, here: set[str]) -> bool:
    from modelkeep.data.formats.metafile import Out

    if any(name.startswith(one.path + "/") for name in here):
        return False
    return peek(repo, path) == one.oid and not absent(repo, [Out(path=path.name, oid=one.oid)])


def _remove(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return 1
    count = 0
    for top, folders, files in os.walk(path, topdown=False):
        for name in (*files, *(name for name in folders if Path(top, name).is_symlink())):
            Path(top, name).unlink()
            count += name in files
        Path(top).rmdir()
    return count
