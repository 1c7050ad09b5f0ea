"""What differs between the metafiles, the workspace and the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from modelkeep.data.formats import side
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.snapshots.snapshot import Snapshot, snapshot
from modelkeep.data.targets import Tracked, tracked
from modelkeep.data.workspace.present import absent

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

State = Literal["up to date", "new", "modified", "deleted", "not in cache"]
Where = Literal["new", "deleted", "missing"]
NAMED: Final = 5
"""How many files an item names for each kind of change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Files of one kind of change: how many, and the first of them."""

    count: int = 0
    names: tuple[str, ...] = ()


NOTHING: Final = Change()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusItem:
    """One output as it stands.

    Args:
        path: relative to the root.
        metafile: the file that tracks it, relative to the root.
        state: in DVC's words; `not in cache` goes before the others.
        added: files of a folder that its manifest does not have.
        modified: files of a folder with other content.
        deleted: files of a folder that are not there.
        uncached: objects that are neither here nor sound in the cache, by the files they belong to.
        attributes: executables, empty folders and links that differ from the side file.
    """

    path: str
    metafile: str
    state: State
    added: Change = NOTHING
    modified: Change = NOTHING
    deleted: Change = NOTHING
    uncached: Change = NOTHING
    attributes: Change = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What differs.

    Args:
        items: every output that was asked about.
        cloud: with `cloud`: each file that is not both here and on the remote, and where it is missing.
        remote: with `cloud`: the remote's name.
    """

    items: tuple[StatusItem, ...]
    cloud: Mapping[str, Where] = field(default_factory=dict)
    remote: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not self.cloud and all(item.state == "up to date" for item in self.items)


def status(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    recursive: bool = False,
    cloud: bool = False,
    remote: str = "",
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> Status:
    """Tells what differs between metafiles, workspace and cache, or between cache and remote.

    Hashes what changed since it was last looked at, and keeps these hashes.

    Args:
        repo: the repository.
        targets: none means all that is tracked.
        recursive: all that is tracked below a folder.
        cloud: compare the cache with the remote instead.
        remote: the remote to compare with; "" is what each output asks for, else the default.
        jobs: how many questions to the remote run side by side.
        progress: hears of the work.

    Raises:
        Missing: a target is not tracked, or there is no such remote.
        BadInput: a metafile is wrong, or a file cannot be tracked.
        Unreachable: the remote does not answer.
    """
    if cloud or remote:
        from modelkeep.data.moving.compared import compared

        return Status(
            items=(),
            cloud=compared(repo, targets, recursive=recursive, remote=remote, jobs=jobs, progress=progress),
            remote=remote or repo.config.get("core", "remote"),
        )
    found = tracked(repo, targets, recursive=recursive)
    missing = absent(repo, [one.out for one in found])
    return Status(items=tuple(_item(repo, one, missing.get(one.out.oid), progress) for one in found))


def _item(repo: Repository, one: Tracked, missing: set[str] | None, progress: Progress) -> StatusItem:
    out, watched = one.out, not one.filter and side.path_of(one.metafile).exists()
    shot = snapshot(repo, one.path, hash=out.hash, progress=progress)
    if shot is None:
        return _plain(repo, one, "not in cache" if missing else "deleted", uncached=_uncached(repo, one, missing))
    if not out.oid:
        return _plain(repo, one, "new")
    attributes = different_attributes(one, shot) if watched or out.executable else NOTHING
    if shot.oid == out.oid:
        state: State = "modified" if attributes.count else "up to date"
        uncached = _uncached(repo, one, missing)
        return _plain(repo, one, "not in cache" if missing else state, attributes=attributes, uncached=uncached)
    return _differing(repo, one, shot, missing, attributes)


def _differing(
    repo: Repository, one: Tracked, shot: Snapshot, missing: set[str] | None, attributes: Change
) -> StatusItem:
    old = None if missing and one.out.oid in missing else recorded(repo, one)
    added = modified = deleted = NOTHING
    if old is not None and shot.is_dir:
        before, after = dict(old), dict(shot.entries())
        before, after = _below(before, one.filter), _below(after, one.filter)
        added = change(name for name in after if name not in before)
        modified = change(name for name, oid in after.items() if before.get(name, oid) != oid)
        deleted = change(name for name in before if name not in after)
    differs = bool(added.count or modified.count or deleted.count) or not one.filter or old is None
    state: State = "not in cache" if missing else "modified" if differs or attributes.count else "up to date"
    return _plain(
        repo,
        one,
        state,
        added=added,
        modified=modified,
        deleted=deleted,
        attributes=attributes,
        uncached=_uncached(repo, one, missing),
    )


def recorded(repo: Repository, one: Tracked) -> list[tuple[str, str]] | None:
    """Gives the files of an output as its manifest has them; None when it is not in the cache or no folder."""
    from modelkeep.core.errors import Corrupt, Missing
    from modelkeep.data.formats import manifest

    if not one.out.oid.endswith(".dir"):
        return None
    try:
        return manifest.decode(repo.blobs.read(one.out.oid, legacy=one.out.legacy), one.out.oid)
    except (Missing, Corrupt):
        return None


def different_attributes(one: Tracked, shot: Snapshot) -> Change:
    """Gives what is executable, empty or a link other than the side file says."""
    if not shot.is_dir:
        return change([one.path.name] if one.out.executable and not shot.executable else [])
    wanted, now = side.read(one.metafile), shot.side
    links = {name for name, target in now.symlinks.items() if side.stays_inside(name, target)}
    names = set(wanted.executable) ^ set(now.executable)
    names |= set(wanted.empty) ^ set(now.empty)
    names |= {name for name in links | set(wanted.symlinks) if wanted.symlinks.get(name) != now.symlinks.get(name)}
    return change(sorted(names))


def change(names: Iterable[str]) -> Change:
    """Counts names and keeps the first."""
    found = list(names)
    return Change(count=len(found), names=tuple(found[:NAMED]))


def _below(entries: dict[str, str], prefix: str) -> dict[str, str]:
    if not prefix:
        return entries
    return {name: oid for name, oid in entries.items() if name == prefix or name.startswith(prefix + "/")}


def _uncached(repo: Repository, one: Tracked, missing: set[str] | None) -> Change:
    if not missing:
        return NOTHING
    if one.out.oid in missing:
        return change([one.path.name])
    return change(name for name, oid in recorded(repo, one) or [] if oid in missing)


def _plain(
    repo: Repository,
    one: Tracked,
    state: State,
    *,
    added: Change = NOTHING,
    modified: Change = NOTHING,
    deleted: Change = NOTHING,
    uncached: Change = NOTHING,
    attributes: Change = NOTHING,
) -> StatusItem:
    name = f"{repo.relpath(one.path)}{'/' + one.filter if one.filter else ''}"
    return StatusItem(
        path=name,
        metafile=repo.relpath(one.metafile),
        state=state,
        added=added,
        modified=modified,
        deleted=deleted,
        uncached=uncached,
        attributes=attributes,
    )
