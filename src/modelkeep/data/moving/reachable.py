"""Which objects anything may still need: the workspace, every commit of every ref, snapshots, what others hold.

Whatever looks like an object's name in a metafile counts, whichever field it stands in and even when the file cannot be
read otherwise: keeping too much costs room, keeping too little costs data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Error, Missing

if TYPE_CHECKING:
    from modelkeep.code.repository import File, Git
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.repository import Repository

SUFFIXES: Final = (".dvc", "dvc.lock", ".snapshots")
"""Names of files that name objects."""
_CLOSED: Final = frozenset({".git", ".hg", ".dvc"})
_NAME: Final = re.compile(rb"(?<![0-9a-fA-F])[0-9a-f]{32}(?:\.dir)?(?![0-9a-fA-F])")


@dataclass(slots=True)
class Reach:
    """Objects that stay.

    Args:
        oids: their names, manifests and members, of both layouts.
        sources: what was looked at, for people.
        lost: manifests that are nowhere, so that nobody knows their members: the oid and a file that names it.
    """

    oids: set[str] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What counts as a reason to keep an object, with DVC's meaning; nothing chosen means everything.

    Args:
        workspace: only the workspace.
        branches: the workspace and the tips of all branches.
        tags: the workspace and all tags.
        commits: the workspace and every commit of every ref, stash and work tree.
        revisions: the workspace and these.
    """

    workspace: bool = False
    branches: bool = False
    tags: bool = False
    commits: bool = False
    revisions: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether the whole history counts."""
        chosen = self.workspace or self.branches or self.tags or self.revisions
        return self.commits or not chosen


def names_in(data: bytes) -> set[str]:
    r"""Gives whatever looks like an object's name in a metafile.

    >>> sorted(names_in(b"outs:\n- md5: 0cc175b9c0f1b6a831c399e269772661.dir\n  size: 3\n"))
    ['0cc175b9c0f1b6a831c399e269772661.dir']
    """
    return {name.decode() for name in _NAME.findall(data)}


def reachable(
    repo: Repository,
    scope: Scope | None = None,
    *,
    projects: Iterable[Repository] = (),
    keep: Callable[[], Iterable[str]] | None = None,
    clouds: Sequence[Cloud] = (),
) -> Reach:
    """Gives every object that is still needed, or says why nobody can know.

    Args:
        repo: the repository.
        scope: what counts; None is everything.
        projects: other repositories with the same cache or remote, each taken with all its history.
        keep: gives more names, such as those of live releases.
        clouds: remotes that are asked for manifests which the cache lacks.

    Raises:
        Conflict: a metafile of the workspace or of a branch or tag cannot be read, or history is cut off.
    """
    scope = scope or Scope()
    reach = Reach()
    named: dict[str, str] = {}
    for one, what in [(repo, scope), *((other, Scope()) for other in projects)]:
        _workspace(one, named)
        reach.sources.append(f"{one.root}: the workspace")
        _history(one, what, named, reach.sources)
    if keep is not None:
        held = dict.fromkeys(keep(), "what is held by name")
        named |= held
        reach.sources.append(f"{len(held)} names held elsewhere")
    reach.oids.update(named)
    stores = [repo, *projects]
    _members(stores, clouds, named, reach)
    return reach


def _workspace(repo: Repository, named: dict[str, str]) -> None:
    """Reads every metafile of a workspace, ignored or not; what is tracked itself is not entered.

    Raises:
        Conflict: a file or a folder cannot be read.
    """

    def refused(error: OSError) -> None:
        raise _unreadable(str(error.filename), error) from error

    tracked: set[Path] = set()
    for folder, folders, files in os.walk(repo.root, onerror=refused):
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                named |= dict.fromkeys(_read(repo, Path(folder, name), tracked), repo.relpath(Path(folder, name)))
        folders[:] = [name for name in folders if name not in _CLOSED and Path(folder, name) not in tracked]


def _read(repo: Repository, path: Path, tracked: set[Path]) -> set[str]:
    """Gives what one file names, and adds the outputs of a `.dvc` file to those that are tracked."""
    from modelkeep.data.formats.lockfile import pipeline_outs
    from modelkeep.data.formats.metafile import read

    try:
        data = path.read_bytes()
        if path.name == "dvc.lock":
            pipeline_outs(path.with_name("dvc.yaml"), data, None)
        elif path.suffix == ".dvc":
            found = read(path)
            tracked.update(Path(os.path.normpath(path.parent / found.wdir / out.path)) for out in found.outs)
    except (Error, OSError) as error:
        raise _unreadable(repo.shown(path), error) from error
    return names_in(data)


def _unreadable(name: str, error: Exception) -> Conflict:
    reason = error.message if isinstance(error, Error) else str(error)
    return Conflict(
        f"{name} cannot be read, so nobody knows what it needs; nothing was deleted: {reason}",
        hint="Mend or remove that file, then run it again.",
    )


def _history(repo: Repository, scope: Scope, named: dict[str, str], sources: list[str]) -> None:
    from modelkeep.code.repository import Git

    git = Git.find(repo.root)
    if git is None:
        sources.append(f"{repo.root}: no git repository, so no history")
        return
    with git:
        if not git.has_commits():
            return
        if scope.everything and git.shallow:
            raise Conflict(
                f"{git.root} is a shallow clone: what older commits need is not known here; nothing was deleted",
                hint="git fetch --unshallow",
            )
        tips = _tips(git, scope)
        for name, commit in tips.items():
            _tip(git, name, commit, named)
            sources.append(f"{repo.root}: {name}")
        if scope.everything:
            _every(git, git.history(SUFFIXES), named)
            sources.append(f"{repo.root}: every commit of every ref, stash and work tree")


def _tips(git: Git, scope: Scope) -> dict[str, str]:
    tips: dict[str, str] = {}
    if scope.branches or scope.everything:
        tips |= {f"branch {name}": commit for name, commit in git.branches().items()}
    if scope.tags or scope.everything:
        tips |= {f"tag {name}": commit for name, commit in git.tags().items()}
    return tips | {f"revision {rev}": git.resolve(rev) for rev in scope.revisions}


def _tip(git: Git, name: str, commit: str, named: dict[str, str]) -> None:
    """Takes what one revision names; its metafiles must be readable."""
    from modelkeep.data.elsewhere.revisions import tracked_at

    try:
        tracked_at(git, commit)
    except BadInput as error:
        raise _unreadable(f"{name}", error) from error
    _every(git, git.files(commit, suffixes=SUFFIXES), named)


def _every(git: Git, files: Iterable[File], named: dict[str, str]) -> None:
    blobs = {file.blob: file.path for file in files}
    git.prefetch(blobs)
    for blob, path in blobs.items():
        for name in names_in(git.blob(blob)):
            named.setdefault(name, path)


def _members(stores: Sequence[Repository], clouds: Sequence[Cloud], named: dict[str, str], reach: Reach) -> None:
    """Adds the members of every manifest; those that no cache and no remote has are noted as lost."""
    from modelkeep.data.formats import manifest

    lacking: set[str] = set()
    for oid in sorted(name for name in named if name.endswith(".dir")):
        data = _cached(stores, oid)
        if data is None:
            lacking.add(oid)
        else:
            reach.oids.update(member for _, member in manifest.decode(data, named[oid]))
    for cloud in clouds:
        if not lacking:
            break
        for oid, data in _from_cloud(cloud, lacking):
            reach.oids.update(member for _, member in manifest.decode(data, named[oid]))
            lacking.discard(oid)
    reach.lost = {oid: named[oid] for oid in sorted(lacking)}


def _cached(stores: Sequence[Repository], oid: str) -> bytes | None:
    for repo in stores:
        for legacy in (False, True):
            try:
                return repo.blobs.read(oid, legacy=legacy)
            except (Missing, Corrupt):  # the next place may have a sound one; if none has, the caller refuses
                continue
    return None


def _from_cloud(cloud: Cloud, oids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    from hashlib import md5

    from modelkeep.data.moving.cloud import key_of

    for legacy in (False, True):
        there = set(oids) - cloud.missing(oids, legacy=legacy)
        for oid in sorted(there):
            data = cloud.remote.read(key_of(oid, legacy=legacy))
            if md5(data, usedforsecurity=False).hexdigest() == oid[:32]:
                yield oid, data
