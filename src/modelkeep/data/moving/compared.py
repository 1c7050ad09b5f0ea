"""What the cache has and a remote has not, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.formats import manifest
from modelkeep.data.moving.cloud import Cloud, key_of
from modelkeep.data.moving.transfer import Load, loads
from modelkeep.data.moving.wanted import by_remote, wanted
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

Where = Literal["new", "deleted", "missing"]


def compared(
    repo: Repository,
    targets: Sequence[str | Path] = (),
    *,
    recursive: bool = False,
    remote: str = "",
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Where]:
    """Gives each file and folder whose object is not both in the cache and on its remote.

    Returns: by path: `new` is only in the cache, `deleted` only on the remote, `missing` nowhere.

    Raises:
        Missing: a target is not tracked, or there is no such remote.
        Unreachable: the remote does not answer.
    """
    found: dict[str, Where] = {}
    outs = wanted(repo, targets, recursive=recursive, remote=remote, pushing=True)
    for name, some in by_remote(outs, remote).items():
        cloud = Cloud.open(repo, name, jobs=jobs)
        try:
            for load in loads(some):
                with progress.begin(f"Asking {cloud.name}"):
                    found |= _of(repo, cloud, load)
        finally:
            cloud.close()
    return dict(sorted(found.items()))


def _of(repo: Repository, cloud: Cloud, load: Load) -> dict[str, Where]:
    for oid in load.manifests:
        data = _manifest(repo, cloud, oid, load.legacy)
        if data is not None:
            load.members[oid] = manifest.decode(data, oid)
    oids = load.asked() | set(load.manifests)
    here = repo.blobs.missing(oids, legacy=load.legacy)
    there = cloud.missing(oids, legacy=load.legacy)
    states: dict[str, Where] = {}
    for oid in here | there:
        states[oid] = "missing" if oid in here and oid in there else "deleted" if oid in here else "new"
    found: dict[str, Where] = {}
    for one in load.outs:
        if one.oid in states:
            found[one.name] = states[one.oid]
        for path, oid in load.members.get(one.oid, ()):
            if oid in states and one.covers(path):
                found[f"{one.name}/{path}"] = states[oid]
    return found


def _manifest(repo: Repository, cloud: Cloud, oid: str, legacy: bool) -> bytes | None:
    """A folder's list of files, from wherever it is; nothing is kept."""
    from hashlib import md5

    with suppress(Missing, Corrupt):
        return repo.blobs.read(oid, legacy=legacy)
    try:
        data = cloud.remote.read(key_of(oid, legacy=legacy))
    except Missing:
        return None
    return data if md5(data, usedforsecurity=False).hexdigest() == oid[:32] else None
