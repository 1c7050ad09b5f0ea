"""What gc takes out of use stays for some days: in a folder of the cache, or under a prefix of the remote.

A trash is one folder per run, named by when it was: `<cache>/modelkeep/trash/20260131T235959.123456/`, on a remote
`modelkeep/trash/<when>/` with the objects' own keys below. DVC looks at neither. Objects get there by rename or,
where a remote has none, by a copy on the server and a delete.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Conflict, Missing

if TYPE_CHECKING:
    from modelkeep.data.moving.cloud import Cloud
    from modelkeep.data.repository import Repository

DAYS: Final = 7
"""How long a trash stays."""
PREFIX: Final = "modelkeep/trash/"
_FORM: Final = "%Y%m%dT%H%M%S.%f"
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an undo brought back.

    Args:
        when: the name of the trash.
        objects: how many objects came back.
        where: `cache`, or the remote's name.
    """

    when: str
    objects: int
    where: str


def name_of(now: datetime) -> str:
    """Gives the name of a trash that is begun now.

    >>> name_of(datetime(2026, 1, 31, 23, 59, 59, 123456, tzinfo=UTC))
    '20260131T235959.123456'
    """
    return now.astimezone(UTC).strftime(_FORM)


def expired(names: Iterable[str], now: datetime, days: float = DAYS) -> list[str]:
    """Gives those trashes that are older than some days; what is no trash's name is left alone.

    >>> expired(["20260101T000000.000000", "20260108T000000.000000", "notes"], datetime(2026, 1, 9, tzinfo=UTC))
    ['20260101T000000.000000']
    """
    edge = now.astimezone(UTC) - timedelta(days=days)
    return [name for name in names if _NAME.match(name) and datetime.strptime(name, _FORM).replace(tzinfo=UTC) < edge]


def folder(repo: Repository) -> Path:
    """Gives where the trashes of a repository's cache are."""
    return repo.blobs.folder / "modelkeep" / "trash"


def names(repo: Repository) -> list[str]:
    """Gives the trashes of a repository's cache, the oldest first."""
    top = folder(repo)
    return sorted(path.name for path in top.iterdir() if _NAME.match(path.name)) if top.is_dir() else []


def throw(repo: Repository, when: str, oids: Collection[tuple[str, bool]]) -> int:
    """Moves objects of the cache into a trash, manifests first, and gives how many there were.

    Args:
        repo: whose cache.
        when: the name of the trash.
        oids: names, and whether each lies in the layout of DVC 2.
    """
    count = 0
    for is_dir in (True, False):
        for legacy in (False, True):
            some = [oid for oid, old in oids if old == legacy and oid.endswith(".dir") == is_dir]
            if some:
                count += repo.blobs.move_out(some, folder(repo) / when, legacy=legacy)
    return count


def undo(repo: Repository, when: str = "") -> Restored:
    """Moves everything from a trash back into the cache.

    Args:
        repo: whose cache.
        when: which trash, the beginning of its name is enough; "" is the newest.

    Raises:
        Missing: there is no such trash.
        Conflict: several begin like that.
    """
    chosen = _chosen(names(repo), when, "modelkeep gc --undo")
    place = folder(repo) / chosen
    from modelkeep.data import chunks

    count = chunks.restore(repo, place / "chunks") if (place / "chunks").is_dir() else 0
    count += repo.blobs.move_in(place)
    shutil.rmtree(place, ignore_errors=True)
    return Restored(when=chosen, objects=count, where="cache")


def expire(repo: Repository, now: datetime, days: float = DAYS) -> list[str]:
    """Deletes the trashes of a cache that are older than some days, for good, and gives their names."""
    gone = expired(names(repo), now, days)
    for name in gone:
        shutil.rmtree(folder(repo) / name, ignore_errors=True)
    return gone


def names_on(cloud: Cloud) -> list[str]:
    """Gives the trashes on a remote, the oldest first."""
    found = {stat.key.removeprefix(PREFIX).partition("/")[0] for stat in cloud.remote.list(PREFIX)}
    return sorted(name for name in found if _NAME.match(name))


def throw_on(cloud: Cloud, when: str, keys: Collection[str]) -> None:
    """Moves blobs of a remote under a trash's prefix; those that name others go first."""
    cloud.forget()
    _move(cloud, [(key, f"{PREFIX}{when}/{key}") for key in sorted(keys)], naming_first=True)


def undo_on(cloud: Cloud, when: str = "") -> Restored:
    """Moves everything from a remote's trash back; what names others comes last.

    Raises:
        Missing: there is no such trash.
        Conflict: several begin like that.
    """
    chosen = _chosen(names_on(cloud), when, f"modelkeep gc --undo -c -r {cloud.name}")
    prefix = f"{PREFIX}{chosen}/"
    keys = sorted(stat.key for stat in cloud.remote.list(prefix))
    _move(cloud, [(key, key.removeprefix(prefix)) for key in keys], naming_first=False)
    return Restored(when=chosen, objects=len(keys), where=cloud.name)


def expire_on(cloud: Cloud, now: datetime, days: float = DAYS) -> list[str]:
    """Deletes the trashes of a remote that are older than some days, for good, and gives their names."""
    gone = expired(names_on(cloud), now, days)
    for name in gone:
        cloud.remote.delete([stat.key for stat in cloud.remote.list(f"{PREFIX}{name}/")])
    return gone


def delete_on(cloud: Cloud, keys: Collection[str]) -> None:
    """Deletes blobs of a remote for good; those that name others go first."""
    cloud.forget()
    for naming in (True, False):
        some = [key for key in sorted(keys) if _names_others(key) == naming]
        if some:
            cloud.remote.delete(some)


def require_moves(cloud: Cloud) -> None:
    """Makes sure that a remote can have a trash.

    Raises:
        Conflict: it cannot.
    """
    if not cloud.movable:
        raise Conflict(
            f"{cloud.name} cannot move blobs, so it has no trash; nothing was deleted",
            hint=f"To delete for good: modelkeep gc -c -r {cloud.name} --no-trash --yes",
        )


def _move(cloud: Cloud, pairs: list[tuple[str, str]], *, naming_first: bool) -> None:
    require_moves(cloud)
    for naming in (naming_first, not naming_first):
        some = [pair for pair in pairs if _names_others(pair[0]) == naming]
        if some:
            cloud.move(some)


def _names_others(key: str) -> bool:
    """Whether a blob is a manifest or a recipe: where one is seen, what it names is taken to be there."""
    return key.endswith(".dir") or "chunks/recipes/" in key


def _chosen(found: list[str], when: str, command: str) -> str:
    some = [name for name in found if name.startswith(when)]
    if not some:
        known = f"There is: {', '.join(found[-5:])}." if found else f"A trash is deleted after {DAYS} days."
        raise Missing(f"no trash {when}".rstrip() + " to undo", hint=known)
    if when and len(some) > 1:
        raise Conflict(f"{when} begins {len(some)} trashes: {', '.join(some[:5])}", hint=f"{command} {some[-1]}")
    return some[-1]
