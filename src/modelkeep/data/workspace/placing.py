"""A planned checkout done: new files first, each whole; old ones last; never through a link."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Conflict
from modelkeep.data.formats import side
from modelkeep.data.progress import Progress, Step
from modelkeep.data.snapshots.scan import Stamp
from modelkeep.data.snapshots.snapshot import remember
from modelkeep.data.workspace.changes import Plan, above
from modelkeep.data.workspace.placed import Note, note
from modelkeep.store.blobs.objects import Placing

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True)
class Done:
    """How many files were made, changed, taken away and made anew without change."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    relinked: int = 0
    attributes: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(
            self.added + other.added,
            self.modified + other.modified,
            self.deleted + other.deleted,
            self.relinked + other.relinked,
            self.attributes + other.attributes,
        )

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.deleted or self.attributes)


class Unfit(Exception):
    """Objects that could not be placed; nothing old was taken away.

    Args:
        bad: those that are corrupt.
        missing: those that went away since it was planned.
    """

    def __init__(self, bad: set[str], missing: set[str]) -> None:
        super().__init__()
        self.bad: Final = bad
        self.missing: Final = missing


def apply(repo: Repository, made: Plan, progress: Progress) -> Done:
    """Does what was planned for one output.

    Raises:
        Conflict: something that nobody knew of is in the way.
        BadInput: none of the link types works.
        Unfit: objects are corrupt, or went away since it was planned.
        OSError: the disk is full, or refuses.
    """
    with progress.begin(f"Checking out {repo.shown(made.one.path)}", total=_total(made), unit="bytes") as step:
        worker = _Worker(repo, made, step)
        if made.whole:
            worker.whole()
        else:
            worker.parts()
    if not made.partial:
        entries = sorted(made.target.items()) if made.is_dir else None
        seen = _untouched(made) | worker.stamps
        remember(repo, made.one.path, made.one.out.oid, entries, hash=made.one.out.hash, seen=seen)
    note(repo, [Note(repo.relpath(made.one.path), made.one.out.oid, side.path_of(made.one.metafile).exists())])
    return _counted(made)


def _untouched(made: Plan) -> dict[str, Stamp]:
    """Gives the stamps of the files that nothing was done to, as they were when their content was known."""
    if made.whole or made.shot is None:
        return {}
    touched = {*made.place, *made.links, *made.modes}
    return {path: stamp for path, stamp in made.shot.stamps() if path not in touched}


def _total(made: Plan) -> int | None:
    return made.one.out.size if len(made.place) == len(made.target) else None


def _counted(made: Plan) -> Done:
    if made.whole:
        return Done(added=len(made.place) + len(made.links), deleted=len(made.now))
    changed = [path for path in made.place if made.now.get(path) != made.target[path]]
    added = sum(path not in made.now for path in changed)
    folders = len(made.folders_to_make()) + len(made.folders_to_drop())
    return Done(
        added=added,
        modified=len(changed) - added,
        deleted=len(made.remove),
        relinked=len(made.place) - len(changed),
        attributes=len(made.modes) + len(made.links) + len(made.unlink) + folders,
    )


class _Worker:
    """Does one plan; a folder beside our notes takes what is made before it is shown and what is in the way."""

    def __init__(self, repo: Repository, made: Plan, step: Step) -> None:
        self._repo, self._made, self._step = repo, made, step
        self._top = made.one.path
        self._aside = repo.private / "aside" / f"{os.getpid()}-{os.urandom(4).hex()}"
        self.stamps: Final[dict[str, Stamp]] = {}
        """Of the files that were placed, as they were right after that; the last number says nothing."""

    def whole(self) -> None:
        """Makes all of it aside, then shows it by one rename."""
        made = self._made
        self._top.parent.mkdir(parents=True, exist_ok=True)
        if not made.is_dir and made.shot is None:
            self._place(made.place, self._top)
            return
        if os.stat(self._repo.private.parent).st_dev != os.stat(self._top.parent).st_dev:  # noqa: PTH116
            self._aside = self._top.with_name(f".{self._top.name[:100]}.{os.urandom(4).hex()}")
        sweep(self._repo)
        self._aside.mkdir(parents=True)
        try:
            new, old = self._aside / "new", self._aside / "old"
            self._place(made.place, new)
            if made.is_dir:
                new.mkdir(exist_ok=True)
            self._folders(made.side.empty, new)
            self._links(new)
            if os.path.lexists(self._top):
                self._top.rename(old)
            try:
                new.rename(self._top)
            except BaseException:
                if os.path.lexists(old):
                    old.rename(self._top)
                raise
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def parts(self) -> None:
        """Changes a folder or file in its place."""
        made, top = self._made, self._top
        cleared = self._clear_way()
        self._place(made.place, top)
        for path, runs in made.modes.items():
            self._mode(path, runs)
        self._folders(made.folders_to_make(), top)
        self._links(top)
        for path in (*made.unlink, *made.remove):
            if path not in cleared:
                (top / path).unlink(missing_ok=True)
        self._prune()

    def _place(self, paths: Sequence[str], top: Path) -> None:
        made, out = self._made, self._made.one.out
        executable = made.executable
        place = os.fspath(top)
        names = [f"{place}/{path}" if path else place for path in paths]
        items = [
            Placing(made.target[path], name, path in executable, out.legacy)
            for path, name in zip(paths, names, strict=True)
        ]
        if not items:
            return
        placed = self._repo.blobs.place(items, step=self._step)
        if placed.bad or placed.missing:
            raise Unfit({one.oid for one in placed.bad}, set(placed.missing))
        self.stamps.update((path, placed.stamps[name]) for path, name in zip(paths, names, strict=True))

    def _mode(self, path: str, runs: bool) -> None:
        """Changes whether a file may be run; one that shares its mode with the cache becomes a file of its own."""
        file = self._top / path if path else self._top
        there = file.lstat()
        if file.is_symlink() or there.st_nlink > 1:
            self._place([path], self._top)
            return
        mode = there.st_mode & 0o7777
        file.chmod(mode | (mode & 0o444) >> 2 if runs else mode & ~0o111)

    def _folders(self, names: Iterable[str], top: Path) -> None:
        for name in names:
            (top / name).mkdir(parents=True, exist_ok=True)

    def _links(self, top: Path) -> None:
        for path, target in self._made.links.items():
            link = top / path
            link.parent.mkdir(parents=True, exist_ok=True)
            aside = link.with_name(f".{link.name[:100]}.{os.urandom(4).hex()}")
            aside.symlink_to(target)
            try:
                aside.replace(link)
            except OSError:
                aside.unlink(missing_ok=True)
                raise

    def _clear_way(self) -> set[str]:
        """Takes away what stands where a folder or a file must be: known files, known links, then empty folders.

        Their content is in the cache, or the caller forces it. Gives what went.
        """
        made, top = self._made, self._top
        wanted = {*made.place, *made.links}
        folders = {folder for path in (*wanted, *made.side.empty) for folder in above(path)} | set(made.side.empty)
        cleared = set(made.blocking_links())
        cleared |= {path for path in made.remove if path in folders or not wanted.isdisjoint(above(path))}
        cleared |= {path for path in made.unlink if path in folders or not wanted.isdisjoint(above(path))}
        for path in cleared:
            (top / path).unlink(missing_ok=True)
        for path in wanted:
            if path and (top / path).is_dir() and not (top / path).is_symlink():
                self._remove_empty(top / path)
        return cleared

    def _remove_empty(self, folder: Path) -> None:
        for here, _, files in os.walk(folder, topdown=False):
            if files:
                raise Conflict(
                    f"{self._repo.shown(Path(here, files[0]))}: is in the way of the file {self._repo.shown(folder)}",
                    hint="Move it elsewhere.",
                )
            Path(here).rmdir()

    def _prune(self) -> None:
        """Removes folders that became empty, but those that are to be empty."""
        made, keep = self._made, set(self._made.side.empty)
        dropped = made.folders_to_drop()
        doomed = {folder for path in (*made.remove, *made.unlink, *dropped) for folder in above(path)} | set(dropped)
        for name in sorted(doomed - keep, key=len, reverse=True):
            try:
                (self._top / name).rmdir()
            except OSError:  # not empty: something else lives there
                continue


def sweep(repo: Repository) -> None:
    """Removes what a killed process left aside."""
    for folder in (repo.private / "aside").glob("*-*"):
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
