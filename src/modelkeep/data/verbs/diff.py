"""`diff`: which tracked files differ between two revisions, or between a revision and the workspace."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Corrupt, Error, Missing
from modelkeep.core.shapes import Json
from modelkeep.data.datasets.partitions import Change, PartitionChange, summarise
from modelkeep.data.elsewhere.revisions import is_below, tracked_at
from modelkeep.data.formats import manifest
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.datasets.tables import Measures, TableDifference
    from modelkeep.data.formats.metafile import Out
    from modelkeep.data.repository import Repository


class Version(NamedTuple):
    """A file or folder as one side has it.

    Args:
        oid: its object; "" when nobody hashed it.
        legacy: the object is named and kept as DVC 2 did.
        is_dir: whether it is a tracked folder.
        file: where the workspace has it; None when only the cache may.
    """

    oid: str
    legacy: bool = False
    is_dir: bool = False
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file or tracked folder that differs.

    Args:
        path: where it is now, or was; relative to the root.
        old_path: where it was, when it was renamed; otherwise "".
        old: what it was; None when it was not there.
        new: what it is; None when it is gone.
    """

    path: str
    old_path: str = ""
    old: Version | None = None
    new: Version | None = None

    @property
    def is_dir(self) -> bool:
        """Whether it is a tracked folder."""
        return (self.old or self.new or Version("")).is_dir

    @property
    def is_file(self) -> bool:
        """Whether it is a file on every side that has it."""
        return not any(version.is_dir for version in (self.old, self.new) if version is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """How a table differs, or why that is not known.

    Args:
        path: of the file.
        difference: columns, rows and drift; None when they could not be compared.
        reason: why not.
    """

    path: str
    difference: TableDifference | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs; every list is sorted by path.

    Args:
        added: files and folders that only the new side has.
        deleted: those that only the old side has.
        modified: those that both have, with other bytes.
        renamed: those that have the same bytes at another place.
        not_in_cache: old ones whose objects are not in the cache; only looked for beside the workspace.
        partitions: by tracked folder, the partitions (`dt=2026-01-01`) that differ.
        unknown: folders whose list of files could not be had, so that nothing is said of their files.
    """

    added: tuple[FileChange, ...] = ()
    deleted: tuple[FileChange, ...] = ()
    modified: tuple[FileChange, ...] = ()
    renamed: tuple[FileChange, ...] = ()
    not_in_cache: tuple[FileChange, ...] = ()
    partitions: Mapping[str, tuple[PartitionChange, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted or self.modified or self.renamed or self.not_in_cache)

    def json(self, *, hashes: bool = False, missing: bool = True) -> dict[str, Json]:
        """The difference as `dvc diff --json` prints it, with partitions and unknown folders under keys of their own.

        Args:
            hashes: with the objects' names.
            missing: with what is not in the cache.
        """
        if not self:
            return {}
        found: dict[str, Json] = {
            "added": [_json(one, hashes) for one in self.added],
            "deleted": [_json(one, hashes) for one in self.deleted],
            "modified": [_json(one, hashes) for one in self.modified],
            "renamed": [_json(one, hashes) for one in self.renamed],
        }
        if missing:
            found["not in cache"] = [_json(one, hashes) for one in self.not_in_cache]
        if self.partitions:
            found["partitions"] = {name: [one.json() for one in some] for name, some in self.partitions.items()}
        if self.unknown:
            found["unknown"] = list(self.unknown)
        return found


def diff(
    repo: Repository,
    a: str = "HEAD",
    b: str = "",
    *,
    targets: Sequence[str | Path] = (),
    progress: Progress = SILENT,
) -> Difference:
    """Gives which tracked files differ. Fetches no data; lists of files that the cache lacks are asked for.

    Args:
        repo: the repository.
        a: the old revision.
        b: the new revision; "" is the workspace.
        targets: only these files and folders, or what `.dvc` files track.
        progress: hears of hashing.

    Raises:
        Missing: there is no git repository, no such revision, or no side has a target.
    """
    with Git(repo.root) as git:
        if a == "HEAD" and not git.has_commits():
            return Difference()
        start, end = git.resolve(a), git.resolve(b) if b else ""
        if start == end:
            return Difference()
        prefix = _inside(repo, git)
        old = _at(git, start, prefix)
        new = _at(git, end, prefix) if end else _now(repo, progress)
    names = [_target(repo, target) for target in targets]
    return _Comparison(repo, old, new, names, with_missing=not b).run()


def tables(
    repo: Repository, difference: Difference, *, measures: Measures | None = None, progress: Progress = SILENT
) -> Iterator[TableChange]:
    """Gives how the changed CSV and Parquet files differ, as far as the cache or the workspace has both versions.

    Args:
        repo: the repository.
        difference: what `diff` found.
        measures: compares the distributions of columns; None leaves that out.
        progress: hears of files.
    """
    from modelkeep.data.datasets.tables import compare, is_table

    changed = [one for one in difference.modified if one.is_file and is_table(Path(one.path))]
    with progress.begin("Comparing tables", total=len(changed)) as step:
        for one in changed:
            sides = [_bytes_of(repo, version) for version in (one.old, one.new)]
            old, new = sides
            if old is None or new is None:
                which = "old" if old is None else "new"
                reason = f"the {which} version is not in the cache: modelkeep fetch"
                yield TableChange(path=one.path, reason=reason)
                continue
            try:
                found = compare(old, new, measures=measures, names=(f"{one.path} (old)", f"{one.path} (new)"))
            except (BadInput, Missing, Corrupt) as error:
                yield TableChange(path=one.path, reason=error.message)
            else:
                yield TableChange(path=one.path, difference=found)
            step.add(1)


def _bytes_of(repo: Repository, version: Version | None) -> Path | None:
    """Where the bytes of a version lie."""
    if version is None:
        return None
    if version.file is not None:
        return version.file
    if repo.blobs.missing([version.oid], legacy=version.legacy):
        return None
    if repo.blobs.verified([version.oid], legacy=version.legacy):
        return None
    return repo.blobs.path(version.oid, legacy=version.legacy)


_Side = dict[str, Version]
Members = Callable[[], "list[tuple[str, str]]"]


class _Half(NamedTuple):
    """One side: its outputs by path, and for folders of the workspace a way to their files."""

    outs: _Side
    members: Mapping[str, Members] = {}


def _at(git: Git, commit: str, prefix: str) -> _Half:
    cut = len(prefix) + 1 if prefix else 0
    found = (one for one in tracked_at(git, commit, prefix) if one.root == prefix)
    return _Half({one.path[cut:]: _version(one.out) for one in found})


def _now(repo: Repository, progress: Progress) -> _Half:
    """The workspace; what has not changed since it was last looked at is not read again."""
    from modelkeep.data.snapshots.snapshot import peek, snapshot
    from modelkeep.data.targets import tracked

    outs: _Side = {}
    members: dict[str, Members] = {}
    for one in tracked(repo):
        if not os.path.lexists(one.path):
            continue
        name = repo.relpath(one.path)
        if one.out.oid and peek(repo, one.path, hash=one.out.hash) == one.out.oid:
            outs[name] = _version(one.out, one.path)
            continue
        shot = snapshot(repo, one.path, hash=one.out.hash, progress=progress)
        if shot is not None:
            outs[name] = Version(shot.oid, one.out.hash != "md5", shot.is_dir, one.path)
            if shot.is_dir:
                members[name] = shot.entries
    return _Half(outs, members)


def _version(out: Out, file: Path | None = None) -> Version:
    return Version(out.oid, out.hash != "md5", out.is_dir, file)


def _target(repo: Repository, target: str | Path) -> str:
    text = str(target)
    if text.endswith(".dvc") and Path(text).is_file():
        from modelkeep.data.targets import outs_of

        return repo.relpath(outs_of(Path(text).absolute())[0].path)
    return repo.relpath(text)


class _Comparison:
    def __init__(self, repo: Repository, old: _Half, new: _Half, targets: Sequence[str], *, with_missing: bool) -> None:
        self._repo = repo
        self._old, self._new = old, new
        self._targets = targets
        self._with_missing = with_missing
        self._met: set[str] = set()
        self._changes: dict[Literal["added", "deleted", "modified"], list[FileChange]] = defaultdict(list)
        self._missing: list[FileChange] = []
        self._partitions: dict[str, tuple[PartitionChange, ...]] = {}
        self._unknown: list[str] = []
        self._lists: dict[tuple[str, bool], list[tuple[str, str]] | None] = {}

    def run(self) -> Difference:
        for path in sorted({*self._old.outs, *self._new.outs}):
            if any(is_below(path, name) or is_below(name, path) for name in self._targets) or not self._targets:
                self._out(path, self._old.outs.get(path), self._new.outs.get(path))
        for name in self._targets:
            if name not in self._met and not any(is_below(path, name) for path in self._met):
                raise Missing(f"{name}: neither side has it", hint="See what is tracked: modelkeep status")
        added, deleted, renamed = _renames(self._changes["added"], self._changes["deleted"])
        return Difference(
            added=_ordered(added),
            deleted=_ordered(deleted),
            modified=_ordered(self._changes["modified"]),
            renamed=tuple(sorted(renamed, key=lambda one: one.old_path + "/" * one.is_dir)),
            not_in_cache=_ordered(self._missing),
            partitions=self._partitions,
            unknown=tuple(self._unknown),
        )

    def _out(self, path: str, old: Version | None, new: Version | None) -> None:
        """One output: itself, then the files of a folder."""
        self._compare(path, old, new)
        same = old is not None and new is not None and (old.oid, old.legacy) == (new.oid, new.legacy)
        if same and old is not None and not self._targets:
            if self._with_missing:
                self._absent(path, old)
            return
        before = self._files(path, old, self._old.members.get(path))
        after = self._files(path, new, self._new.members.get(path))
        if before is None or after is None:
            self._unknown.append(path)
            if self._with_missing and old is not None:
                self._absent(path, old)
            return
        changes: list[tuple[str, Change]] = []
        unchanged: list[str] = []
        for name in sorted({*before, *after}):
            change = self._compare(posixpath.join(path, name), before.get(name), after.get(name))
            if change:
                changes.append((name, change))
            else:
                unchanged.append(name)
        if partitions := summarise(changes, unchanged=unchanged):
            self._partitions[path] = partitions
        if self._with_missing and old is not None:
            self._absent(path, old)

    def _compare(self, path: str, old: Version | None, new: Version | None) -> Change | None:
        if self._targets and not any(is_below(path, name) for name in self._targets):
            return None
        if (old is not None and old.is_dir and not old.oid) or (new is not None and new.is_dir and not new.oid):
            return None
        self._met.add(path)
        one = FileChange(path=path, old=old, new=new)
        if old is None or new is None:
            kind: Change = "added" if old is None else "deleted"
            self._changes[kind].append(one)
            return kind
        if (old.oid, old.legacy, old.is_dir) != (new.oid, new.legacy, new.is_dir):
            self._changes["modified"].append(one)
            return "modified"
        return None

    def _files(self, path: str, version: Version | None, members: Members | None) -> dict[str, Version] | None:
        """The files of a folder by their path below it; None when nobody knows them."""
        if version is None or not version.is_dir or not version.oid:
            return {}
        entries = members() if members is not None else self._listed(version)
        if entries is None:
            return None
        return {
            name: Version(oid, version.legacy, False, version.file / name if version.file is not None else None)
            for name, oid in entries
        }

    def _listed(self, version: Version) -> list[tuple[str, str]] | None:
        key = (version.oid, version.legacy)
        if key not in self._lists:
            data = _manifest(self._repo, *key)
            self._lists[key] = None if data is None else manifest.decode(data, version.oid)
        return self._lists[key]

    def _absent(self, path: str, old: Version) -> None:
        """Notes what the cache lacks of the old side."""
        if not old.oid:
            return
        from modelkeep.data.formats.metafile import Out
        from modelkeep.data.workspace.present import absent

        out = Out(path=path, oid=old.oid, hash="md5-dos2unix" if old.legacy else "md5")
        lacking = absent(self._repo, [out]).get(old.oid, set())
        if old.oid in lacking:
            self._lacks(FileChange(path=path, old=old))
        entries = (self._listed(old) or []) if lacking and old.is_dir else []
        if old.oid in lacking:
            lacking = self._repo.blobs.missing({oid for _, oid in entries}, legacy=old.legacy)
        for name, oid in entries:
            if oid in lacking:
                self._lacks(FileChange(path=posixpath.join(path, name), old=Version(oid, old.legacy)))

    def _lacks(self, one: FileChange) -> None:
        if not self._targets or any(is_below(one.path, name) for name in self._targets):
            self._missing.append(one)


def _manifest(repo: Repository, oid: str, legacy: bool) -> bytes | None:
    """A folder's list of files, from the cache or the default remote; None when neither has a sound one."""
    from modelkeep.data.moving.cloud import Cloud, key_of

    try:
        return repo.blobs.read(oid, legacy=legacy)
    except (Missing, Corrupt):
        pass
    try:
        cloud = Cloud.open(repo)
        try:
            data = cloud.remote.read(key_of(oid, legacy=legacy))
        finally:
            cloud.close()
    except Error:  # no remote, or it does not answer: then the folder's files stay unknown, which the result says
        return None
    return data if manifest.oid_of(data) == oid else None


def _renames(
    added: list[FileChange], deleted: list[FileChange]
) -> tuple[list[FileChange], list[FileChange], list[FileChange]]:
    """Pairs what is new with what is gone and has the same bytes, in the order of their paths."""
    gone: dict[tuple[str, bool], deque[FileChange]] = defaultdict(deque)
    for one in sorted(deleted, key=lambda one: one.path.split("/")):
        if one.old is not None and one.old.oid:
            gone[one.old.oid, one.old.legacy].append(one)
    left, renamed, used = [], [], set()
    for one in sorted(added, key=lambda one: one.path.split("/")):
        queue = gone.get((one.new.oid, one.new.legacy)) if one.new is not None else None
        if queue:
            before = queue.popleft()
            used.add(before.path)
            renamed.append(FileChange(path=one.path, old_path=before.path, old=before.old, new=one.new))
        else:
            left.append(one)
    return left, [one for one in deleted if one.path not in used], renamed


def _ordered(changes: Iterable[FileChange]) -> tuple[FileChange, ...]:
    return tuple(sorted(changes, key=lambda one: one.path + "/" * one.is_dir))


def _json(one: FileChange, hashes: bool) -> dict[str, Json]:
    slash = "/" if one.is_dir else ""
    found: dict[str, Json] = {"path": one.path + slash}
    if one.old_path:
        found["path"] = {"old": one.old_path + slash, "new": one.path + slash}
    if hashes:
        old, new = (version.oid or None if version is not None else None for version in (one.old, one.new))
        both = one.old is not None and one.new is not None and not one.old_path
        found["hash"] = {"old": old, "new": new} if both else old or new
    return found


def _inside(repo: Repository, git: Git) -> str:
    root, above = repo.root.resolve(), git.root.resolve()
    return "" if root == above else root.relative_to(above).as_posix()
