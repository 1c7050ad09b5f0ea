"""Putting a file together from packs: in one pass, with its md5 verified before it appears."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Corrupt, Missing
from modelkeep.data.chunks.base import OpenPacks
from modelkeep.data.chunks.packs import is_sound
from modelkeep.data.chunks.place import Place
from modelkeep.data.chunks.recipe import Recipe, read

if TYPE_CHECKING:
    from modelkeep.store.blobs.digest import Step

_BUFFER: Final = 4 << 20
_BUFFERS: Final = 3


def has(place: Place, oid: str) -> bool:
    """Tells whether an oid can be assembled; see `modelkeep.data.chunks.has`."""
    try:
        recipe = read(place.recipe(oid))
    except (Missing, Corrupt):
        return False
    return all(place.pack(name).exists() for name in recipe.packs)


def assemble(place: Place, oid: str, target: Path, step: Step, *, executable: bool = False) -> int:
    """Writes the file of an oid; see `modelkeep.data.chunks.assemble`."""
    recipe = read(place.recipe(oid))
    lacking = [name for name in recipe.packs if not place.pack(name).exists()]
    if lacking:
        raise Missing(
            f"{target}: {len(lacking)} of {len(recipe.packs)} packs are not in the cache, the first is {lacking[0]}",
            hint="modelkeep pull",
        )
    grown = target.with_name(f".{target.name[:100]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    mode = 0o777 if executable else 0o666
    try:
        with OpenPacks(place) as packs:
            handle = os.open(grown, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with FileIO(handle, "w") as file:
                found = _write(recipe, packs, file, step)
        if found != oid:
            raise _blame(place, recipe, target)
        if target.is_dir() and not target.is_symlink():
            raise BadInput(f"{target}: a folder stands where the file belongs", hint=f"Move it away: mv {target} …")
        grown.replace(target)
    finally:
        grown.unlink(missing_ok=True)
    return recipe.size


def _write(recipe: Recipe, packs: OpenPacks, file: FileIO, step: Step) -> str:
    """Copies all runs and gives the md5 of what was written; it is computed beside the next read."""
    md5 = hashlib.md5(usedforsecurity=False)
    buffers = [memoryview(bytearray(min(_BUFFER, recipe.size))) for _ in range(_BUFFERS)]
    hashed: list[Future[None] | None] = [None] * _BUFFERS
    with ThreadPoolExecutor(1) as hashing:
        for turn, pieces in enumerate(_loads(recipe)):
            slot = turn % _BUFFERS
            if (earlier := hashed[slot]) is not None:
                earlier.result()
            filled = 0
            for pack, offset, length in pieces:
                packs.read(recipe.packs[pack], offset, buffers[slot][filled : filled + length])
                filled += length
            data = buffers[slot][:filled]
            hashed[slot] = hashing.submit(md5.update, data)
            _write_all(file, data)
            step.add(filled)
    return md5.hexdigest()


def _loads(recipe: Recipe) -> Iterator[list[tuple[int, int, int]]]:
    """The runs of a recipe, gathered to loads of one buffer each."""
    load: list[tuple[int, int, int]] = []
    room = _BUFFER
    for pack, begin, length in recipe.runs():
        done = 0
        while done < length:
            count = min(length - done, room)
            load.append((pack, begin + done, count))
            done, room = done + count, room - count
            if not room:
                yield load
                load, room = [], _BUFFER
    if load:
        yield load


def _write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) or 0 :]


def _blame(place: Place, recipe: Recipe, target: Path) -> Corrupt:
    """Finds out which pack is bad, puts it into quarantine and gives the error that names it."""
    bad = [name for name in recipe.packs if not is_sound(place.pack(name), name)]
    for name in bad:
        place.quarantine(place.pack(name))
    if bad:
        what = f"pack {', '.join(bad)} of the cache is corrupt and lies in quarantine now"
    else:
        place.quarantine(place.recipe(recipe.oid))
        what = f"the recipe of {recipe.oid} gives other bytes than those and lies in quarantine now"
    return Corrupt(f"{target}: {what}", hint="modelkeep pull brings it again from the remote.")
