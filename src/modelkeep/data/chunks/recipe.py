"""Recipes: of which pieces of which packs a file is made.

A recipe is one binary file, little-endian:

    magic `MKRECIPE` · version u32 · md5 16 · blake3 32 · size u64 · 5 counts u32 · body length u64 · body · blake3 32

The body is compressed by zlib and holds columns: pack names, blob ids, blob pack, offset and length, extents per
chunk, ids of chunks that are not one whole blob, extent blob, start and length. The last 32 bytes are the blake3 of
everything before them.

A *blob* is a piece of a pack, named by the blake3 of its bytes. An *extent* is a piece of a blob. A *chunk* is what
the content-defined boundaries give: usually one extent that is one whole blob; after a small edit, pieces of older
blobs and the bytes that changed between them.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

from modelkeep.core.errors import Corrupt, Missing

_MAGIC: Final = b"MKRECIPE"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sI16s32sQ5IQ")
_MOST_BODY: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a file is put together.

    Args:
        oid: its md5, 32 hex digits.
        blake3: the blake3 of its bytes.
        size: its bytes.
        packs: names of the packs that it needs.
        blob_ids: 32 bytes each, one after the other.
        blob_pack: index into `packs`.
        blob_offset: where the blob begins in its pack.
        blob_length: its bytes.
        chunk_extents: how many extents each chunk has.
        spliced_ids: 32 bytes for each chunk that is not one whole blob, in their order.
        extent_blob: index of the blob.
        extent_start: where in the blob the extent begins.
        extent_length: its bytes.
    """

    oid: str
    blake3: bytes
    size: int
    packs: tuple[str, ...]
    blob_ids: bytes
    blob_pack: array[int]
    blob_offset: array[int]
    blob_length: array[int]
    chunk_extents: array[int]
    spliced_ids: bytes
    extent_blob: array[int]
    extent_start: array[int]
    extent_length: array[int]

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Gives (index of the pack, offset in it, length) in the file's order; neighbours in a pack are one run."""
        pack, begin, end = -1, 0, 0
        for blob, start, length in zip(self.extent_blob, self.extent_start, self.extent_length, strict=True):
            where = self.blob_offset[blob] + start
            if self.blob_pack[blob] == pack and where == end:
                end += length
                continue
            if end > begin:
                yield pack, begin, end - begin
            pack, begin, end = self.blob_pack[blob], where, where + length
        if end > begin:
            yield pack, begin, end - begin

    def chunks(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Gives (id, offset in the file, first extent, end of extents) of every chunk."""
        spliced, offset, first = 0, 0, 0
        for count in self.chunk_extents:
            blob = self.extent_blob[first] if count else 0
            whole = count == 1 and not self.extent_start[first] and self.extent_length[first] == self.blob_length[blob]
            if whole:
                name = self.blob_ids[32 * blob : 32 * blob + 32]
            else:
                name, spliced = self.spliced_ids[32 * spliced : 32 * spliced + 32], spliced + 1
            yield name, offset, first, first + count
            offset += sum(self.extent_length[first : first + count])
            first += count

    def encode(self) -> bytes:
        """Gives the recipe's bytes."""
        from blake3 import blake3

        names = b"".join(bytes.fromhex(name) for name in self.packs)
        columns = (_raw(column) for column in self._columns())
        body = zlib.compress(b"".join((names, self.blob_ids, self.spliced_ids, *columns)), 1)
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            bytes.fromhex(self.oid),
            self.blake3,
            self.size,
            len(self.packs),
            len(self.blob_pack),
            len(self.chunk_extents),
            len(self.spliced_ids) // 32,
            len(self.extent_blob),
            len(body),
        )
        return head + body + blake3(head + body).digest()

    def _columns(self) -> Sequence[array[int]]:
        return (
            self.blob_pack,
            self.blob_offset,
            self.blob_length,
            self.chunk_extents,
            self.extent_blob,
            self.extent_start,
            self.extent_length,
        )


def decode(data: bytes, where: str) -> Recipe:
    """Reads a recipe and checks that every number in it makes sense.

    Args:
        data: the whole file.
        where: what to call it in an error.

    Raises:
        Corrupt: it is cut, changed, of another version, or no recipe at all.
    """
    from blake3 import blake3

    if len(data) < _HEAD.size + 32 or not data.startswith(_MAGIC):
        raise _corrupt(where, "is no recipe, or only the beginning of one")
    if blake3(memoryview(data)[:-32]).digest() != data[-32:]:
        raise _corrupt(where, "was changed or cut: its checksum differs")
    _, version, md5, whole, size, packs, blobs, chunks, spliced, extents, length = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise _corrupt(where, f"is of version {version}; this program reads version {_VERSION}")
    raw = 32 * (packs + blobs + spliced) + 4 * (3 * blobs + chunks + 3 * extents)
    if length != len(data) - _HEAD.size - 32 or raw > _MOST_BODY:
        raise _corrupt(where, "does not have the length that it names")
    body = _inflate(memoryview(data)[_HEAD.size : -32], raw, where)
    lengths = [32 * packs, 32 * blobs, 32 * spliced, *([4 * blobs] * 3), 4 * chunks, *([4 * extents] * 3)]
    parts = [body[begin:end] for begin, end in pairwise([0, *accumulate(lengths)])]
    names = tuple(parts[0][at : at + 32].hex() for at in range(0, len(parts[0]), 32))
    columns = [_column(part) for part in parts[3:]]
    found = Recipe(
        oid=md5.hex(),
        blake3=whole,
        size=size,
        packs=names,
        blob_ids=parts[1],
        blob_pack=columns[0],
        blob_offset=columns[1],
        blob_length=columns[2],
        chunk_extents=columns[3],
        spliced_ids=parts[2],
        extent_blob=columns[4],
        extent_start=columns[5],
        extent_length=columns[6],
    )
    _check(found, where)
    return found


def read(path: Path) -> Recipe:
    """Reads a recipe from its file.

    Raises:
        Missing: there is none.
        Corrupt: it is not what was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        oid = path.parent.name + path.name
        raise Missing(f"no recipe of {oid} in the cache", hint="modelkeep pull") from None
    found = decode(data, str(path))
    if found.oid != path.parent.name + path.name:
        raise _corrupt(str(path), f"is the recipe of {found.oid}")
    return found


def _check(recipe: Recipe, where: str) -> None:
    """The checksum says that the bytes are what somebody wrote, not that they are sane: a stranger may have."""
    packs, blobs = len(recipe.packs), len(recipe.blob_pack)
    if any(pack >= packs for pack in recipe.blob_pack) or any(blob >= blobs for blob in recipe.extent_blob):
        raise _corrupt(where, "names a pack or blob that it does not list")
    lengths = recipe.blob_length
    triples = zip(recipe.extent_blob, recipe.extent_start, recipe.extent_length, strict=True)
    if any(start + length > lengths[blob] for blob, start, length in triples):
        raise _corrupt(where, "reaches behind the end of a blob")
    if sum(recipe.extent_length) != recipe.size or sum(recipe.chunk_extents) != len(recipe.extent_blob):
        raise _corrupt(where, "does not add up to the size that it names")


def _inflate(body: memoryview, size: int, where: str) -> bytes:
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(body, size + 1)
    except zlib.error:
        raise _corrupt(where, "cannot be decompressed") from None
    if len(raw) != size or not inflater.eof:
        raise _corrupt(where, "does not have the length that it names")
    return raw


def _column(data: bytes) -> array[int]:
    column = array("I")
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _raw(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array("I", column)
        column.byteswap()
    return column.tobytes()


def _corrupt(where: str, what: str) -> Corrupt:
    return Corrupt(f"{where}: {what}", hint="modelkeep fetch brings it again; modelkeep verify looks for more.")
