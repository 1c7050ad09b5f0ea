"""Packs and recipes on their way to a remote and back: packs first, then the recipe that names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Corrupt, Error, Missing
from modelkeep.data.chunks.answers import Collected, Moved
from modelkeep.data.chunks.packs import corrupt, is_sound
from modelkeep.data.chunks.place import Place
from modelkeep.data.chunks.recipe import Recipe, decode, read

if TYPE_CHECKING:
    from modelkeep.store.remote import Outcome, Remote, Stat

_PREFIX: Final = "chunks/"


def recipe_key(oid: str) -> str:
    """Where a remote holds the recipe of an oid."""
    return f"{_PREFIX}recipes/{oid[:2]}/{oid[2:]}"


def pack_key(name: str) -> str:
    """Where a remote holds a pack."""
    return f"{_PREFIX}packs/{name[:2]}/{name[2:]}"


def push(remote: Remote, place: Place, oids: Collection[str], moved: Callable[[int], None]) -> Moved:
    """Sends what the remote lacks; see `modelkeep.data.chunks.push`."""
    from modelkeep.store.remote import Upload

    with place.using():
        there = remote.has([recipe_key(oid) for oid in oids])
        wanted = [oid for oid in dict.fromkeys(oids) if recipe_key(oid) not in there]
        recipes, failed = _readable(place, wanted)
        packs = {name for recipe in recipes.values() for name in recipe.packs}
        held = remote.has([pack_key(name) for name in packs])
        bad: dict[str, Error] = {}
        uploads: list[Upload] = []
        for name in sorted(packs):
            if pack_key(name) in held:
                continue
            path = place.pack(name)
            try:
                if not is_sound(path, name):
                    place.quarantine(path)
                    raise corrupt(path, "was changed; it lies in quarantine now")
                uploads.append(Upload(pack_key(name), path, path.stat().st_size))
            except FileNotFoundError:
                bad[name] = Missing(f"pack {name} is not in the cache", hint="modelkeep fetch")
            except Corrupt as error:
                bad[name] = error
        bad |= _named(_outcomes(remote.upload(uploads, moved)))
        failed += _blocked(recipes, bad)
        sent = {oid for oid, _ in failed}
        last = [
            Upload(recipe_key(oid), path := place.recipe(oid), path.stat().st_size)
            for oid in recipes
            if oid not in sent
        ]
        failed += list(_named(_outcomes(remote.upload(last, moved))).items())
    gone = {oid for oid, _ in failed}
    whole = [upload for upload in uploads if _name(upload.key) not in bad]
    whole += [upload for upload in last if _name(upload.key) not in gone]
    return Moved(
        objects=len(whole),
        bytes=sum(upload.size for upload in whole),
        skipped=len(there),
        done=tuple(oid for oid in dict.fromkeys(oids) if oid not in gone),
        failed=tuple(failed),
    )


def fetch(remote: Remote, place: Place, oids: Collection[str], moved: Callable[[int], None]) -> Moved:
    """Brings what the cache lacks; see `modelkeep.data.chunks.fetch`."""
    failed: list[tuple[str, Error]] = []
    recipes: dict[str, Recipe] = {}
    raw: dict[str, bytes] = {}
    skipped = 0
    with place.using():
        for oid in dict.fromkeys(oids):
            try:
                recipes[oid], raw[oid] = _recipe(remote, place, oid)
            except Error as error:
                failed.append((oid, error))
        lacking = {name for recipe in recipes.values() for name in recipe.packs if not place.pack(name).exists()}
        bad, size = _bring(remote, place, lacking, moved)
        failed += _blocked(recipes, bad)
        gone = {oid for oid, _ in failed}
        objects = len(lacking) - len(bad)
        for oid, data in raw.items():
            if oid not in gone and data:
                place.write(place.recipe(oid), data)
                moved(len(data))
                objects, size = objects + 1, size + len(data)
            elif oid not in gone and not lacking & set(recipes[oid].packs):
                skipped += 1
    done = tuple(oid for oid in recipes if oid not in gone)
    return Moved(objects, size, skipped, done, tuple(failed))


def sweep(remote: Remote, keep_oids: Collection[str], *, dry_run: bool) -> Collected:
    """Deletes what nobody keeps; see `modelkeep.data.chunks.sweep`."""
    keep = set(keep_oids)
    recipes, packs = _sizes(remote.list(f"{_PREFIX}recipes/")), _sizes(remote.list(f"{_PREFIX}packs/"))
    needed: set[str] = set()
    for oid in sorted(recipes.keys() & keep):
        needed |= set(decode(remote.read(recipe_key(oid)), recipe_key(oid)).packs)
    old, dead = sorted(recipes.keys() - keep), sorted(packs.keys() - needed)
    if not dry_run:
        remote.delete([recipe_key(oid) for oid in old])
        remote.delete([pack_key(name) for name in dead])
    freed = sum(recipes[oid] for oid in old) + sum(packs[name] for name in dead)
    return Collected(tuple(old), tuple(dead), (), freed)


def _recipe(remote: Remote, place: Place, oid: str) -> tuple[Recipe, bytes]:
    """(the recipe, its bytes when they came from the remote)."""
    try:
        return read(place.recipe(oid)), b""
    except Missing:
        pass
    except Corrupt:
        place.quarantine(place.recipe(oid))
    data = remote.read(recipe_key(oid))
    found = decode(data, f"remote:{recipe_key(oid)}")
    if found.oid != oid:
        raise Corrupt(
            f"remote:{recipe_key(oid)}: is the recipe of {found.oid}", hint="modelkeep push from a sound copy"
        )
    return found, data


def _bring(remote: Remote, place: Place, names: set[str], moved: Callable[[int], None]) -> tuple[dict[str, Error], int]:
    """Downloads packs, one process of a cache at a time; gives those that failed with why, and the others' bytes."""
    import fcntl

    from modelkeep.store.remote import Download

    if not names:
        return {}, 0
    lock = place.incoming("fetching.lock")
    place.prepare(lock)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664 if place.shared else 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        downloads = [
            Download(pack_key(name), place.incoming(f"{name}.part"), None)
            for name in sorted(names)
            if not place.pack(name).exists()
        ]
        bad: dict[str, Error] = {}
        size = 0
        for outcome in remote.download(downloads, moved):
            name = _name(outcome.key)
            path = place.incoming(f"{name}.part")
            if outcome.error is not None:
                bad[name] = outcome.error
            elif not is_sound(path, name):
                path.unlink()
                bad[name] = Corrupt(
                    f"remote:{outcome.key}: this pack is not what was written", hint="modelkeep push from a sound copy"
                )
            else:
                size += path.stat().st_size
                place.publish(path, place.pack(name))
        return bad, size
    finally:
        os.close(handle)


def _readable(place: Place, oids: Iterable[str]) -> tuple[dict[str, Recipe], list[tuple[str, Error]]]:
    recipes: dict[str, Recipe] = {}
    failed: list[tuple[str, Error]] = []
    for oid in oids:
        try:
            recipes[oid] = read(place.recipe(oid))
        except (Missing, Corrupt) as error:
            failed.append((oid, error))
    return recipes, failed


def _blocked(recipes: Mapping[str, Recipe], bad: Mapping[str, Error]) -> list[tuple[str, Error]]:
    """The oids that need a pack which failed, each with the first such error."""
    return [
        (oid, next(bad[name] for name in recipe.packs if name in bad))
        for oid, recipe in recipes.items()
        if any(name in bad for name in recipe.packs)
    ]


def _outcomes(outcomes: Iterable[Outcome]) -> dict[str, Error]:
    return {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}


def _named(failed: Mapping[str, Error]) -> dict[str, Error]:
    return {_name(key): error for key, error in failed.items()}


def _name(key: str) -> str:
    return "".join(key.split("/")[-2:])


def _sizes(stats: Iterable[Stat]) -> dict[str, int]:
    return {_name(stat.key): stat.size for stat in stats}
