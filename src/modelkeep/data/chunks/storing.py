"""Storing a file as chunks: what is known is named, what differs a little is spliced, the rest is written."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing
from modelkeep.data.chunks.answers import Stored
from modelkeep.data.chunks.assembling import has
from modelkeep.data.chunks.base import Base, Extent, OpenPacks, base_of
from modelkeep.data.chunks.packs import PackWriter
from modelkeep.data.chunks.place import Place
from modelkeep.data.chunks.recipe import Recipe

if TYPE_CHECKING:
    from modelkeep.data.chunks.boundaries import Gear
    from modelkeep.data.chunks.known import KnownBlobs
    from modelkeep.data.chunks.reading import Cutter
    from modelkeep.data.chunks.splice import Places
    from modelkeep.store.blobs.digest import Step

_STRETCH: Final = 4 << 20
"""Unknown chunks are compared with the previous version when they are this many bytes together."""
_SLACK: Final = 512 << 10
"""Before and behind the place where the old bytes are expected, this many are looked at as well."""
_EXTENT: Final = 12
"""What an extent costs in a recipe, before compression."""


def store(place: Place, path: Path, oid: str, step: Step, *, previous: str = "", blake3: bytes = b"") -> Stored:
    """Stores a file; see `modelkeep.data.chunks.store`."""
    if find_spec("numpy") is None:
        raise BadInput(
            "cutting a file into chunks needs numpy, which the data extra leaves out",
            hint="pip install 'modelkeep[server]'",
        )
    size = path.stat().st_size
    with place.using():
        if has(place, oid):
            step.add(size)
            return Stored(oid, size)
        with PackWriter(place) as writer, OpenPacks(place) as packs:
            return _Storing(place, oid, previous, writer, packs).run(path, step, blake3)


@dataclass(slots=True)
class _Unknown:
    name: bytes
    data: memoryview


class _Storing:
    def __init__(self, place: Place, oid: str, previous: str, writer: PackWriter, packs: OpenPacks) -> None:
        from modelkeep.data.chunks.boundaries import Gear
        from modelkeep.data.chunks.known import KnownBlobs

        self._place, self._oid, self._previous = place, oid, previous
        self._packs = packs
        self._gear: Gear = Gear()
        self._known: KnownBlobs = KnownBlobs(place)
        self._draft = _Draft(writer)
        self._base: Base | None = None
        self._cursor, self._sure = 0, True
        self._waiting: list[_Unknown] = []
        self._chunks = self._whole = self._spliced = 0

    def run(self, path: Path, step: Step, blake3: bytes) -> Stored:
        from modelkeep.data.chunks.reading import Cutter

        cutter: Cutter = Cutter(path, step, md5=not blake3)
        for number, batch in enumerate(cutter.batches()):
            if number == 0:
                names = [name for name, _ in batch]
                self._base = base_of(self._place, self._packs, self._previous, names, path.stat().st_size)
            for name, data in batch:
                self._take(name, data)
        self._settle(self._base.recipe.size if self._base is not None else None)
        if cutter.blake3 != blake3 if blake3 else cutter.md5 != self._oid:
            raise Conflict(
                f"{path}: has changed since its oid {self._oid} was computed",
                hint="Wait until nobody writes it, then run the command again.",
            )
        recipe = self._draft.finish(self._oid, cutter.blake3, cutter.size)
        encoded = recipe.encode()
        self._place.write(self._place.recipe(self._oid), encoded)
        grown = self._draft.writer.bytes + len(encoded)
        return Stored(self._oid, cutter.size, grown, self._chunks, self._whole, self._spliced)

    def _take(self, name: bytes, data: memoryview) -> None:
        self._chunks += 1
        known = self._find(name, len(data))
        if known is None:
            self._waiting.append(_Unknown(name, data))
            if sum(len(one.data) for one in self._waiting) >= _STRETCH:
                self._settle(None)
            return
        at = self._base.chunks.get(name) if self._base is not None else None
        self._settle(at[0] if at is not None else None)
        self._draft.chunk(name, known)
        self._cursor = at[0] + len(data) if at is not None else self._cursor + len(data)
        self._sure = at is not None or self._sure

    def _find(self, name: bytes, length: int) -> list[Extent] | None:
        draft = self._draft
        if (blob := draft.blobs.get(name)) is not None:
            return [Extent(blob, 0, length)]
        if self._base is not None and (at := self._base.chunks.get(name)) is not None:
            return [self._adopt(one) for one in self._base.whole(at[1], at[2])]
        if (known := self._known.get(name)) is not None:
            return [Extent(draft.old_blob(name, known.pack, known.offset, known.length), 0, length)]
        return None

    def _adopt(self, extent: Extent) -> Extent:
        """An extent of the base's blobs as one of ours."""
        assert self._base is not None
        recipe, blob = self._base.recipe, extent.blob
        name = recipe.blob_ids[32 * blob : 32 * blob + 32]
        pack = recipe.packs[recipe.blob_pack[blob]]
        ours = self._draft.old_blob(name, pack, recipe.blob_offset[blob], recipe.blob_length[blob])
        return Extent(ours, extent.start, extent.length)

    def _settle(self, until: int | None) -> None:
        """Writes the unknown chunks that were gathered, as what differs from the base where that is less.

        Args:
            until: where in the base the next known chunk lies, if that is known.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        copies = self._copies(waiting, until)
        offset = at = 0
        for one in waiting:
            end = offset + len(one.data)
            while at < len(copies) and copies[at][0] + copies[at][2] <= offset:
                at += 1
            self._write(one, offset, copies, at)
            offset = end

    def _copies(self, waiting: list[_Unknown], until: int | None) -> list[tuple[int, int, int]]:
        """(begin in the waiting bytes, begin in the base, length) of what both have."""
        if self._base is None:
            return []
        import numpy as np

        from modelkeep.data.chunks.splice import align

        new = np.frombuffer(b"".join(one.data for one in waiting), np.uint8)
        begin, end = self._window(len(new), until)
        try:
            old = np.frombuffer(self._base.read(begin, end), np.uint8)
        except (Corrupt, Missing):  # what cannot be trusted is no base; the chunks are stored whole
            self._base = None
            return []
        found: Places = align(new, old, self._cursor - begin, self._gear)
        self._sure = False
        if not len(found):
            self._cursor += len(new)
            return []
        last = found[-1]
        self._cursor = begin + int(last[1] + last[2]) + len(new) - int(last[0] + last[2])
        found[:, 1] += begin
        return [(row[0], row[1], row[2]) for row in found.tolist()]

    def _window(self, length: int, until: int | None) -> tuple[int, int]:
        """Which bytes of the base are worth a comparison with the waiting ones."""
        assert self._base is not None
        size = self._base.recipe.size
        cursor = min(self._cursor, size)
        begin = cursor if self._sure else max(cursor - _SLACK, 0)
        if until is not None and cursor <= until <= cursor + 2 * length + _SLACK:
            return begin, until
        return begin, min(cursor + length + _SLACK, size)

    def _write(self, one: _Unknown, offset: int, copies: list[tuple[int, int, int]], at: int) -> None:
        length = len(one.data)
        pieces: list[tuple[int, int, int]] = []
        while at < len(copies) and copies[at][0] < offset + length:
            begin, old, count = copies[at]
            first, end = max(begin, offset), min(begin + count, offset + length)
            pieces.append((first - offset, old + first - begin, end - first))
            at += 1
        cost = length - sum(piece[2] for piece in pieces) + 2 * _EXTENT * len(pieces)
        if cost * 2 > length:
            self._whole += 1
            self._draft.chunk(one.name, [Extent(self._draft.new_blob(one.name, one.data), 0, length)])
            return
        self._spliced += 1
        self._draft.chunk(one.name, self._splice(one.data, pieces))

    def _splice(self, data: memoryview, pieces: list[tuple[int, int, int]]) -> list[Extent]:
        from blake3 import blake3

        assert self._base is not None
        gaps: list[tuple[int, int]] = []
        end = 0
        for begin, _, count in pieces:
            gaps.append((end, begin))
            end = begin + count
        gaps.append((end, len(data)))
        own = b"".join(data[begin:end] for begin, end in gaps)
        blob = self._draft.new_blob(blake3(own).digest(), own) if own else 0
        extents: list[Extent] = []
        used = 0
        for at, (begin, end) in enumerate(gaps):
            if end > begin:
                extents.append(Extent(blob, used, end - begin))
                used += end - begin
            if at < len(pieces):
                _, old, count = pieces[at]
                extents.extend(self._adopt(extent) for extent in self._base.extents(old, old + count))
        return extents


class _Draft:
    """A recipe that grows; blobs of packs that are still open are named by number."""

    def __init__(self, writer: PackWriter) -> None:
        self.writer = writer
        self.blobs: dict[bytes, int] = {}
        self._old_packs: dict[str, int] = {}
        self._ids = bytearray()
        self._pack: list[int] = []  # >= 0: an old pack; < 0: -1 - number of a new one
        self._offset, self._length = array("I"), array("I")
        self._chunk_extents = array("I")
        self._spliced = bytearray()
        self._extents = (array("I"), array("I"), array("I"))

    def new_blob(self, name: bytes, data: memoryview | bytes) -> int:
        if (found := self.blobs.get(name)) is not None:
            return found
        number, offset = self.writer.add(name, data)
        return self._blob(name, -1 - number, offset, len(data))

    def old_blob(self, name: bytes, pack: str, offset: int, length: int) -> int:
        if (found := self.blobs.get(name)) is not None:
            return found
        return self._blob(name, self._old_packs.setdefault(pack, len(self._old_packs)), offset, length)

    def _blob(self, name: bytes, pack: int, offset: int, length: int) -> int:
        self.blobs[name] = len(self._pack)
        self._ids += name
        self._pack.append(pack)
        self._offset.append(offset)
        self._length.append(length)
        return len(self._pack) - 1

    def chunk(self, name: bytes, extents: Iterable[Extent]) -> None:
        joined: list[Extent] = []
        for one in extents:
            last = joined[-1] if joined else None
            if last is not None and last.blob == one.blob and last.start + last.length == one.start:
                joined[-1] = Extent(last.blob, last.start, last.length + one.length)
            else:
                joined.append(one)
        first = joined[0]
        if len(joined) > 1 or first.start or first.length != self._length[first.blob]:
            self._spliced += name
        self._chunk_extents.append(len(joined))
        for one in joined:
            for column, value in zip(self._extents, one, strict=True):
                column.append(value)

    def finish(self, oid: str, whole: bytes, size: int) -> Recipe:
        self.writer.finish()
        old = list(self._old_packs)
        names = list(dict.fromkeys([*old, *self.writer.names]))
        place = {name: at for at, name in enumerate(names)}
        packs = (place[old[pack]] if pack >= 0 else place[self.writer.names[-1 - pack]] for pack in self._pack)
        return Recipe(
            oid=oid,
            blake3=whole,
            size=size,
            packs=tuple(names),
            blob_ids=bytes(self._ids),
            blob_pack=array("I", packs),
            blob_offset=self._offset,
            blob_length=self._length,
            chunk_extents=self._chunk_extents,
            spliced_ids=bytes(self._spliced),
            extent_blob=self._extents[0],
            extent_start=self._extents[1],
            extent_length=self._extents[2],
        )
