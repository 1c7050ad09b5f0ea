"""What a checkout of one output would change, planned from metafile, side file, manifest and workspace."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput, Corrupt, Missing
from modelkeep.data.formats import manifest, side
from modelkeep.data.formats.names import twins
from modelkeep.data.formats.side import Side
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.snapshots.snapshot import Snapshot, snapshot
from modelkeep.data.targets import Tracked
from modelkeep.data.workspace.placed import Note

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

_HOPS = 8


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be done for one output; paths are below it, POSIX; a file by itself has the path "".

    Args:
        one: the output.
        shot: what is here now; None when nothing is.
        side: executables, empty folders and links as they should be.
        strict: executables, empty folders and links that the side file does not name must not be: it names them all.
        target: object by path, as it should be.
        now: object by path, as it is.
        place: files to be made or made anew.
        remove: files to be taken away.
        links: links to be made, and where they lead.
        unlink: links to be taken away.
        modes: files that stay but for their mode, and whether they may be run.
        fault: why the manifest cannot be read: `missing`, `corrupt`, or "".
        partial: not all of the output is asked for or can be had.
    """

    one: Tracked
    shot: Snapshot | None
    side: Side = field(default_factory=Side)
    strict: bool = False
    target: dict[str, str] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)
    place: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    unlink: list[str] = field(default_factory=list)
    modes: dict[str, bool] = field(default_factory=dict)
    fault: str = ""
    partial: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether the output is a folder."""
        return self.one.out.oid.endswith(".dir")

    @property
    def whole(self) -> bool:
        """Whether all of it is made aside and shown at once: nothing is there, or a file where a folder goes."""
        return self.shot is None or self.shot.is_dir != self.is_dir

    @property
    def executable(self) -> frozenset[str]:
        """The files that may be run."""
        return frozenset(self.side.executable if self.is_dir else [""] if self.one.out.executable else [])

    def __bool__(self) -> bool:
        return bool(
            self.fault
            or self.place
            or self.remove
            or self.links
            or self.unlink
            or self.modes
            or self.folders_to_make()
            or self.folders_to_drop()
            or self.whole
        )

    def folders_to_make(self) -> list[str]:
        """The empty folders that are not here."""
        here = set(self.shot.side.empty) if self.shot is not None and self.shot.is_dir else set()
        return [name for name in self.side.empty if name not in here]

    def folders_to_drop(self) -> list[str]:
        """The empty folders that should not be here."""
        if not self.strict or self.shot is None or not self.shot.is_dir:
            return []
        return [name for name in self.shot.side.empty if name not in self.side.empty and _under(name, self.one.filter)]

    def losses(self, repo: Repository) -> list[str]:
        """What would be lost: files that would go or be overwritten and whose content the cache does not have."""
        if self.shot is None or self.fault:
            return []
        links = self.shot.side.symlinks
        paths = self.now if self.whole else [*self.remove, *(path for path in self.place if path in self.now)]
        doubtful = [path for path in paths if path not in links and self.now[path] != self.target.get(path)]
        gone = repo.blobs.missing({self.now[path] for path in doubtful}, legacy=self.one.out.legacy) if doubtful else ()
        top = repo.shown(self.one.path)
        found = [f"{top}/{path}" if path else top for path in doubtful if self.now[path] in gone]
        if not self.strict:
            found += [f"{top}/{path}" for path in self.blocking_links()]
        return found

    def blocking_links(self) -> list[str]:
        """The links to folders behind which files would have to be made."""
        links = self.shot.side.symlinks if self.shot is not None else {}
        if not links:
            return []
        folders = {folder for path in (*self.place, *self.links) for folder in above(path)}
        return [path for path in links if path in folders]

    def missing(self, repo: Repository) -> list[str]:
        """The files whose objects are not in the cache; "" when it is the list of files itself."""
        if self.fault:
            return [""] * (self.fault == "missing")
        oids = {self.target[path] for path in self.place}
        gone = repo.blobs.missing(oids, legacy=self.one.out.legacy) if oids else ()
        return [path for path in self.place if self.target[path] in gone]

    def unsound(self, repo: Repository) -> list[str]:
        """The files whose objects are corrupt; they are in quarantine now."""
        if self.fault:
            return [""] * (self.fault == "corrupt")
        oids = {self.target[path] for path in self.place}
        bad = set(repo.blobs.verified(oids, legacy=self.one.out.legacy)) if oids else set()
        return [path for path in self.place if self.target[path] in bad] if bad else []

    def leave_out(self, paths: Iterable[str]) -> None:
        """Goes on without some files."""
        absent = set(paths)
        self.place = [path for path in self.place if path not in absent]
        self.remove = []
        self.partial = True


def needed(repo: Repository, one: Tracked, notes: Mapping[str, Note], progress: Progress = SILENT) -> bool:
    """Says whether a checkout of an output has anything to do, as cheaply as that can be said."""
    out = one.out
    if not out.oid or not out.cache:
        return False
    shot = snapshot(repo, one.path, hash=out.hash, progress=progress)
    if shot is not None and shot.oid == out.oid and not out.executable and not is_strict(repo, one, notes):
        return False
    return plan(repo, one, notes, progress=progress) is not None


def is_strict(repo: Repository, one: Tracked, notes: Mapping[str, Note]) -> bool:
    """Says whether a side file names, or named when it was last looked at, all that is special about a folder."""
    if one.kind != "dvc" or not one.out.oid.endswith(".dir"):
        return False
    if side.path_of(one.metafile).exists():
        return True
    known = notes.get(repo.relpath(one.path))
    return known is not None and known.side


def plan(
    repo: Repository,
    one: Tracked,
    notes: Mapping[str, Note],
    *,
    relink: bool = False,
    progress: Progress = SILENT,
) -> Plan | None:
    """Gives what a checkout of an output has to do; None when there is nothing.

    Args:
        repo: the repository.
        one: the output.
        notes: how outputs were left.
        relink: make all files anew.
        progress: hears of what is hashed.

    Raises:
        BadInput: the manifest and the side file cannot both be, or this file system cannot hold the names.
    """
    out = one.out
    if not out.oid or not out.cache:
        return None
    shot = snapshot(repo, one.path, hash=out.hash, progress=progress)
    made = Plan(one=one, shot=shot, strict=is_strict(repo, one, notes), partial=bool(one.filter))
    if shot is not None:
        made.now = dict(shot.entries()) if shot.is_dir else {"": shot.oid}
    if made.is_dir:
        _folder(repo, made)
    else:
        made.target = {"": out.oid}
    if not made.fault:
        _files(made, relink)
        _attributes(made)
        _check_names(repo, made)
    return made or None


def _folder(repo: Repository, made: Plan) -> None:
    """Finds what a folder should hold."""
    one, shot = made.one, made.shot
    if one.kind == "dvc":
        made.side = side.read(one.metafile)
    if shot is not None and shot.oid == one.out.oid:
        made.target = made.now
    else:
        try:
            data = repo.blobs.read(one.out.oid, legacy=one.out.legacy)
            made.target = dict(manifest.decode(data, one.out.oid))
        except Missing:
            made.fault = "missing"
        except Corrupt:
            made.fault = "corrupt"
    if made.side.symlinks:
        links = {path: to for path, to in made.side.symlinks.items() if _leads_right(path, made)}
        made.side = replace(made.side, symlinks=links)
    if one.filter and not made.fault:
        made.side = _side_below(made.side, one.filter)
        made.target = {path: oid for path, oid in made.target.items() if _under(path, one.filter)}
        made.now = {path: oid for path, oid in made.now.items() if _under(path, one.filter)}
        if not made.target and not made.side:
            raise Missing(f"{repo.shown(one.path / one.filter)}: nothing of that name is tracked in it")


def _side_below(whole: Side, prefix: str) -> Side:
    return replace(
        whole,
        executable=tuple(path for path in whole.executable if _under(path, prefix)),
        empty=tuple(path for path in whole.empty if _under(path, prefix)),
        symlinks={path: target for path, target in whole.symlinks.items() if _under(path, prefix)},
    )


def _files(made: Plan, relink: bool) -> None:
    """Finds the files and links to be made and to be taken away."""
    target, now = made.target, made.now
    anew = relink or made.whole
    made.place = [path for path, oid in target.items() if anew or now.get(path) != oid]
    made.remove = [] if made.whole else [path for path in now if path not in target]
    here = made.shot.side.symlinks if made.shot is not None and made.shot.is_dir else {}
    wanted = made.side.symlinks
    for path in target:
        folder = next((one for one in above(path) if one in wanted), None) if wanted else None
        if folder is not None:
            raise BadInput(
                f"{side.path_of(made.one.metafile)}: {folder} is a link, and yet {path} lies in it",
                hint="Take the link out of the side file, or add the folder again.",
            )
    made.links = {path: to for path, to in wanted.items() if made.whole or here.get(path) != to}
    if wanted:
        made.place = [path for path in made.place if path not in wanted]
    if made.strict and here and not made.whole:
        stale = [path for path in here if path not in wanted and _under(path, made.one.filter)]
        made.place += [path for path in stale if path in target and path not in set(made.place)]
        made.unlink = [path for path in stale if path not in target and path not in now]


def _leads_right(path: str, made: Plan) -> bool:
    """Says whether a link can stand for what the manifest has there: none, or the same content where it leads."""
    if path not in made.target:
        return True
    links, at = made.side.symlinks, path
    for _ in range(_HOPS):
        at = posixpath.normpath(posixpath.join(posixpath.dirname(at), links[at]))
        if at not in links:
            break
    return made.target.get(at) == made.target[path]


def _attributes(made: Plan) -> None:
    """Finds the files of which only the mode is to be changed."""
    shot, wanted = made.shot, made.executable
    if shot is None or made.whole:
        return
    if not made.is_dir:
        if wanted and not shot.executable and not made.place:
            made.modes = {"": True}
        return
    if made.strict:
        busy = {*made.place, *made.remove, *made.side.symlinks}
        differing = (set(shot.side.executable) ^ wanted) - busy
        made.modes = {path: path in wanted for path in sorted(differing) if path in made.target}


def _check_names(repo: Repository, made: Plan) -> None:
    """Makes sure that this file system can hold all names side by side.

    Raises:
        BadInput: it cannot; names the first two.
    """
    if not made.place or not made.is_dir:
        return
    for first, second in twins([*made.target, *made.side.symlinks, *made.side.empty]):
        if not _holds_both(repo, first, second):
            raise BadInput(
                f"{repo.shown(made.one.path)}: this file system takes {first!a} and {second!a} for one name",
                hint="Check it out on a file system that tells them apart, or rename one of them there.",
            )


def _holds_both(repo: Repository, first: str, second: str) -> bool:
    """Tries two names that differ only in case or composition; only the first parts that differ matter."""
    import os
    import shutil

    folder = repo.private / "aside" / f"{os.getpid()}-{os.urandom(4).hex()}"
    pair = next(((a, b) for a, b in zip(first.split("/"), second.split("/"), strict=False) if a != b), (first, second))
    folder.mkdir(parents=True)
    try:
        for name in pair:
            (folder / name).mkdir()
    except FileExistsError:
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True


def above(path: str) -> Iterator[str]:
    """Gives the folders above a path, the nearest first.

    >>> list(above("a/b/c"))
    ['a/b', 'a']
    """
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _under(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + "/")
