"""Replaces lost and corrupt objects of the cache, from the workspace where the same bytes may lie or from a remote."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.data.progress import Progress

if TYPE_CHECKING:
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.moving.transfer import Load
    from modelkeep.data.repository import Repository


def heal(repo: Repository, oids: Collection[str], load: Load, clouds: Sequence[Cloud], progress: Progress) -> set[str]:
    """Puts sound copies of objects into the cache, and gives those for which there was one.

    Args:
        repo: the repository.
        oids: objects that the cache does not hold.
        load: the outputs that they belong to; says where the workspace may have them.
        clouds: remotes to ask, in this order.
        progress: hears of what is fetched.
    """
    healed = set() if load.legacy else _from_workspace(repo, oids, load)
    for cloud in clouds:
        left = set(oids) - healed
        if left:
            from modelkeep.data.moving.receiving import receive_objects

            healed |= receive_objects(repo, cloud, left, load, progress)
    return healed


def _from_workspace(repo: Repository, oids: Collection[str], load: Load) -> set[str]:
    from modelkeep.store.blobs.hashed import file_digest

    healed: set[str] = set()
    for oid, path in _places(oids, load):
        if oid in healed or not path.is_file():
            continue
        try:
            digest = file_digest(path)
        except OSError:  # gone or not readable: no copy to heal from
            continue
        if digest.md5 == oid:
            repo.blobs.take([(oid, path, digest)], keep="copy")
            healed.add(oid)
    return healed


def _places(oids: Collection[str], load: Load) -> Iterator[tuple[str, Path]]:
    for one in load.outs:
        if one.path is None:
            continue
        if one.oid in oids and not one.is_dir:
            yield one.oid, one.path
        for relpath, oid in load.members.get(one.oid, ()):
            if oid in oids:
                yield oid, one.path / relpath
