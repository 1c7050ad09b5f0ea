"""The version that a new one is compared with: its chunks, its extents, and its bytes on demand."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.chunks.packs import corrupt, missing
from modelkeep.data.chunks.place import Place
from modelkeep.data.chunks.recipe import Recipe, read

_MOST_OPEN: Final = 128
_NEWEST: Final = 8
"""How many recipes are looked at when nobody says which version came before."""


class Extent(NamedTuple):
    """A piece of a blob: index of the blob in its recipe, first byte, length."""

    blob: int
    start: int
    length: int


class Base:
    """An earlier version of a file.

    Args:
        recipe: how it is put together.
        packs: reads packs.
    """

    def __init__(self, recipe: Recipe, packs: OpenPacks) -> None:
        self.recipe = recipe
        self._packs = packs
        self._begins = array("Q", [0])
        self._begins.extend(accumulate(recipe.extent_length))
        self.chunks: dict[bytes, tuple[int, int, int]] = {}
        for name, offset, first, end in recipe.chunks():
            self.chunks.setdefault(name, (offset, first, end))
        self._sound: set[int] = set()

    def extents(self, begin: int, end: int) -> Iterator[Extent]:
        """Gives the extents of which some bytes of the file consist."""
        recipe = self.recipe
        at = bisect_right(self._begins, begin) - 1
        while begin < end:
            skipped = begin - self._begins[at]
            length = min(recipe.extent_length[at] - skipped, end - begin)
            if length > 0:
                yield Extent(recipe.extent_blob[at], recipe.extent_start[at] + skipped, length)
            begin += max(length, 0)
            at += 1

    def whole(self, first: int, end: int) -> list[Extent]:
        """Gives the extents of one chunk by their indices."""
        recipe = self.recipe
        places = range(first, end)
        return [Extent(recipe.extent_blob[at], recipe.extent_start[at], recipe.extent_length[at]) for at in places]

    def read(self, begin: int, end: int) -> bytes:
        """Gives some bytes of the file; every blob on the way is verified once.

        Raises:
            Corrupt: a blob is not what was written.
            Missing: a pack is gone.
        """
        parts: list[bytes] = []
        for blob, start, length in self.extents(begin, end):
            data = self._blob(blob) if blob not in self._sound else None
            parts.append(self._piece(blob, start, length) if data is None else data[start : start + length])
        return b"".join(parts)

    def _blob(self, blob: int) -> bytes:
        from blake3 import blake3

        data = self._piece(blob, 0, self.recipe.blob_length[blob])
        if blake3(data).digest() != self.recipe.blob_ids[32 * blob : 32 * blob + 32]:
            name = self.recipe.packs[self.recipe.blob_pack[blob]]
            raise corrupt(self._packs.path(name), "holds a piece that is not what was written")
        self._sound.add(blob)
        return data

    def _piece(self, blob: int, start: int, length: int) -> bytes:
        recipe = self.recipe
        buffer = bytearray(length)
        self._packs.read(recipe.packs[recipe.blob_pack[blob]], recipe.blob_offset[blob] + start, memoryview(buffer))
        return bytes(buffer)


class OpenPacks:
    """Reads pieces of packs and keeps the files open between reads.

    Args:
        place: the chunk store.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: dict[str, int] = {}

    def path(self, name: str) -> Path:
        """Where a pack lies."""
        return self._place.pack(name)

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """Fills a buffer from a pack.

        Raises:
            Missing: there is no such pack.
            Corrupt: it ends before.
        """
        handle = self._handle(name)
        while into:
            count = os.preadv(handle, [into], offset)
            if not count:
                raise corrupt(self.path(name), "is cut")
            into, offset = into[count:], offset + count

    def _handle(self, name: str) -> int:
        handle = self._open.get(name)
        if handle is None:
            if len(self._open) >= _MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            try:
                handle = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise missing(self.path(name)) from None
            self._open[name] = handle
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()


def base_of(place: Place, packs: OpenPacks, previous: str, first_ids: Sequence[bytes], size: int) -> Base | None:
    """Gives the version to compare with, if there is one that helps.

    Args:
        place: the chunk store.
        packs: reads packs.
        previous: the oid that the caller knows to have come before; empty when unknown.
        first_ids: ids of the new version's first chunks; without `previous`, the newest recipe that has most of them
            is taken.
        size: the new version's; when no recipe has any of the ids, the newest of exactly this size is taken.
    """
    if previous and (recipe := _usable(place, place.recipe(previous))) is not None:
        return Base(recipe, packs)
    newest = sorted((path for _, path in place.recipes()), key=_age)[:_NEWEST]
    best: tuple[int, Base] | None = None
    for path in newest:
        recipe = _usable(place, path)
        if recipe is None:
            continue
        base = Base(recipe, packs)
        score = 2 * sum(name in base.chunks for name in first_ids) + (recipe.size == size > 0)
        if score and (best is None or score > best[0]):
            best = score, base
    return best[1] if best else None


def _usable(place: Place, path: Path) -> Recipe | None:
    """A recipe whose packs are all there; a bad one helps nobody here, and `verify` is who reports it."""
    try:
        recipe = read(path)
    except (Missing, Corrupt):
        return None
    return recipe if all(place.pack(name).exists() for name in recipe.packs) else None


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
