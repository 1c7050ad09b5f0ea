"""Where transfers meet chunks: files whose side file says `chunked` travel as packs and recipes, not as objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.progress import Progress

if TYPE_CHECKING:
    from modelkeep.data.chunks.answers import Moved as Parts
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.moving.transfer import Tally
    from modelkeep.data.moving.wanted import Wanted
    from modelkeep.data.repository import Repository


def send_chunked(
    repo: Repository, cloud: Cloud, outs: Sequence[Wanted], tally: Tally, progress: Progress
) -> list[Wanted]:
    """Sends what is kept as chunks, and gives the outputs that have to be sent as ordinary objects.

    A file that is only a whole object here is cut first.
    """
    chosen = {one.oid: one for one in outs if one.chunked}
    if not chosen:
        return list(outs)
    from modelkeep.data import chunks

    for oid, one in chosen.items():
        if repo.blobs.has(oid) and not chunks.has(repo, oid):
            path = repo.blobs.path(oid)
            with progress.begin(f"Cutting {one.name}", total=path.stat().st_size, unit="bytes") as step:
                chunks.store(repo, path, oid, step)
    with progress.begin(f"Pushing chunks to {cloud.name}", unit="bytes") as step:
        moved = chunks.push(cloud.remote, repo, list(chosen), step.add)
    left = _counted(moved, chosen, tally)
    return [one for one in outs if not one.chunked or one.oid in left]


def receive_chunked(
    repo: Repository, cloud: Cloud, outs: Sequence[Wanted], tally: Tally, progress: Progress
) -> list[Wanted]:
    """Fetches what a remote keeps as chunks; gives the outputs that are ordinary objects there."""
    asked = [one for one in outs if one.chunked or (one.path is None and not one.is_dir and not one.legacy)]
    absent = repo.blobs.missing({one.oid for one in asked})
    chosen = {one.oid: one for one in asked if one.oid in absent}
    unsure = [oid for oid, one in chosen.items() if not one.chunked]
    if unsure:  # nobody told how another revision keeps them
        from modelkeep.data.chunks.moving import recipe_key

        there = cloud.remote.has([recipe_key(oid) for oid in unsure])
        chosen = {oid: one for oid, one in chosen.items() if one.chunked or recipe_key(oid) in there}
    if not chosen:
        return list(outs)
    from modelkeep.data import chunks

    with progress.begin(f"Fetching chunks from {cloud.name}", unit="bytes") as step:
        moved = chunks.fetch(cloud.remote, repo, list(chosen), step.add)
    left = _counted(moved, chosen, tally)
    return [one for one in outs if one.oid not in chosen or one.oid in left]


def _counted(moved: Parts, chosen: dict[str, Wanted], tally: Tally) -> set[str]:
    """Adds to the sum, notes faults, and gives the oids of which there are no chunks."""
    tally.objects += moved.objects
    tally.bytes += moved.bytes
    tally.skipped += moved.skipped
    left: set[str] = set()
    for oid, error in moved.failed:
        if isinstance(error, Missing):
            left.add(oid)
        else:
            _fault(tally, oid, chosen[oid].name, error)
    return left


def _fault(tally: Tally, oid: str, name: str, error: Error) -> None:
    if isinstance(error, Corrupt):
        tally.fault("corrupt", oid, name, error.message)
    else:
        tally.failed(oid, name, error)
