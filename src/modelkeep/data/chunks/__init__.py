"""Large changing files as chunks: what a new version shares with the old ones is stored and sent once.

A chunked file is not an object of the cache. Its bytes lie in packs (`<cache>/modelkeep/chunks/packs/`), and a recipe
named by its md5 oid (`…/recipes/`) says where each piece lies. Remotes hold both under `chunks/`, beside `files/`; DVC
looks at neither. `assemble` gives the file back, so it can become an ordinary DVC object at any time.

Only `store` needs numpy. Everything else works with the data extra alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.data.chunks.answers import BadPart, Collected, Moved, Stored
from modelkeep.data.chunks.place import Place

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.store.blobs.digest import Step
    from modelkeep.store.remote import Remote

__all__ = [
    "PREFIX",
    "BadPart",
    "Collected",
    "Moved",
    "Stored",
    "assemble",
    "collect",
    "fetch",
    "has",
    "locate",
    "push",
    "reachable",
    "restore",
    "store",
    "sweep",
    "verify",
]

PREFIX = "chunks/"
"""Under this a remote holds packs and recipes."""


def store(repo: Repository, path: Path, oid: str, step: Step, *, previous: str = "", blake3: bytes = b"") -> Stored:
    """Stores a workspace file as chunks: packs first, then the recipe of its oid. Does nothing when it is there.

    Bytes are counted on `step` as they are read. Safe beside other stores, fetches and a `collect`.

    Args:
        repo: whose cache receives it.
        path: the file, outside the cache.
        oid: the md5 that the file was found to have.
        step: hears of the bytes read.
        previous: the oid of an earlier version, best the one that `path.dvc` named until now; edits smaller than a
            chunk are then stored as what differs. Empty: the most alike of the newest recipes is looked for.
        blake3: what hashing it for `oid` found as its blake3; then the md5 is not computed once more.

    Raises:
        BadInput: numpy is not installed.
        Conflict: the file's bytes are no longer those of `oid`.
    """
    from modelkeep.data.chunks.storing import store as do

    return do(Place.of(repo), path, oid, step, previous=previous, blake3=blake3)


def has(repo: Repository, oid: str) -> bool:
    """Tells whether the cache can assemble this oid: its recipe is there and all packs that it names."""
    from modelkeep.data.chunks.assembling import has as do

    return do(Place.of(repo), oid)


def locate(repo: Repository, oids: Collection[str]) -> set[str]:
    """Gives those of the oids for which the cache holds a recipe, without reading any."""
    place = Place.of(repo)
    return {oid for oid in oids if place.recipe(oid).exists()}


def assemble(repo: Repository, oid: str, target: Path, step: Step, *, executable: bool = False) -> int:
    """Writes the file of an oid to `target`, whole and with its md5 verified or not at all; gives its size.

    What stood at `target` is replaced in one rename.

    Raises:
        Missing: no recipe, or a pack that it names is not in the cache.
        Corrupt: the bytes are not those of the oid; the message names the pack, which is put into quarantine.
    """
    from modelkeep.data.chunks.assembling import assemble as do

    return do(Place.of(repo), oid, target, step, executable=executable)


def push(remote: Remote, repo: Repository, oids: Collection[str], moved: Callable[[int], None]) -> Moved:
    """Sends packs that the remote lacks, then recipes; an oid of which a pack failed gets no recipe there.

    Args:
        remote: where to.
        repo: whose cache is read.
        oids: md5 oids of chunked files; those without a recipe in the cache are reported as failed.
        moved: hears of bytes as they go.
    """
    from modelkeep.data.chunks.moving import push as do

    return do(remote, Place.of(repo), oids, moved)


def fetch(remote: Remote, repo: Repository, oids: Collection[str], moved: Callable[[int], None]) -> Moved:
    """Brings recipes and the packs that the cache lacks; resumes cut packs, verifies each before it appears.

    Args:
        remote: where from.
        repo: whose cache receives them.
        oids: md5 oids of chunked files; one of which the remote has no recipe is reported as failed with `Missing`.
        moved: hears of bytes as they come.
    """
    from modelkeep.data.chunks.moving import fetch as do

    return do(remote, Place.of(repo), oids, moved)


def reachable(repo: Repository, oids: Iterable[str]) -> set[str]:
    """Gives the names of all packs that these oids need; oids without a recipe in the cache add none."""
    from modelkeep.data.chunks.upkeep import reachable as do

    return do(Place.of(repo), oids)


def collect(repo: Repository, keep_oids: Collection[str], folder: Path | None, *, grace_s: float = 0.0) -> Collected:
    """Moves recipes that nobody keeps, and packs that no kept recipe names, from the cache to a trash folder.

    A pack of which less than half is still needed is written anew without the rest, and the recipes that name it with
    it. Waits for stores and fetches under way. `restore(repo, folder)` undoes it.

    Args:
        repo: whose cache is cleaned.
        keep_oids: oids that stay.
        folder: the trash, on the cache's own file system; None only tells what would go.
        grace_s: recipes and packs younger than this stay, whoever names them.
    """
    from modelkeep.data.chunks.upkeep import collect as do

    return do(Place.of(repo), keep_oids, folder, grace_s)


def restore(repo: Repository, folder: Path) -> int:
    """Moves back what `collect` put into a trash folder; gives how many files."""
    from modelkeep.data.chunks.upkeep import restore as do

    return do(Place.of(repo), folder)


def sweep(remote: Remote, keep_oids: Collection[str], *, dry_run: bool = True) -> Collected:
    """Deletes recipes that nobody keeps and packs that no kept recipe names from a remote; recipes go first."""
    from modelkeep.data.chunks.moving import sweep as do

    return do(remote, keep_oids, dry_run=dry_run)


def verify(repo: Repository, oids: Collection[str] | None = None, step: Step | None = None) -> list[BadPart]:
    """Reads every recipe and pack (of these oids, or all) and gives those that are not what was written.

    Nothing is changed: hand the answer's names to `quarantine` of `upkeep` and fetch again to heal.
    """
    from modelkeep.data.chunks.upkeep import verify as do

    return do(Place.of(repo), oids, step)
