"""Sealed samples on disk: one file holds sections, each a set of series that share their times, in tiles.

A file is `magic · blobs · index · length of the index · CRC-32 of the index · magic`. The index names every series
of the file and, for each section, its series, its times and its tiles of at most 100 series; it is read when the
file is opened, a tile when somebody asks for one of its series. Files never change.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zstandard

from modelkeep.core.errors import Conflict, Corrupt
from modelkeep.store.disk import Disk
from modelkeep.store.series.codec import Times, Values, decode, decode_times, encode, encode_times
from modelkeep.store.series.postings import Ids, Postings

TILE: Final = 100
FORM: Final = 1
_MAGIC: Final = b"mkseries"
_TAIL: Final = struct.Struct("<III8s")
_NOTHING: Final = np.empty(0, np.int64)


class Section(msgspec.Struct, array_like=True, frozen=True):
    """Some series and the times they share.

    Args:
        uid: of the group in memory that it was made from.
        from_ns: its first time.
        to_ns: its last time.
        count: how many times.
        whole: every series has a sample at every time.
        series: uint32 positions in the file's list, as bytes.
        newest: the time of each series' last sample, int64, as bytes; empty when that is `to_ns` for all.
        times: where they lie: offset, length.
        tiles: where the tiles lie: offset, length each.
    """

    uid: int
    from_ns: int
    to_ns: int
    count: int
    whole: bool
    series: bytes
    newest: bytes
    times: tuple[int, int]
    tiles: tuple[tuple[int, int], ...]


class _Index(msgspec.Struct, frozen=True):
    form: int
    names: list[str]
    sections: list[Section]


class _Form(msgspec.Struct):
    form: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """What becomes one section.

    Args:
        uid: of the group it is made from.
        ids: shape (m,), the series.
        times: shape (n,).
        values: shape (m, n), with holes.
        newest: shape (m,), the time of each series' last sample.
        whole: there are no holes.
    """

    uid: int
    ids: Ids
    times: Times
    values: Values
    newest: Times
    whole: bool


class BlockFile:
    """One sealed file, open for reading.

    Args:
        path: the file.
        postings: gives the series their numbers; new ones are added.

    Raises:
        Corrupt: the file is not what was written.
        Conflict: a newer modelkeep wrote it.
    """

    def __init__(self, path: Path, postings: Postings, disk: Disk) -> None:
        self.path: Final = path
        self.data: Final = _mapped(path, disk)
        index = _read(path, self.data)
        self.sections: Final[Sequence[Section]] = index.sections
        self.names: Final = index.names
        numbers = np.array([postings.add(name) for name in index.names], np.int64)
        self._of_section = [numbers[_positions(section)] for section in self.sections]
        sizes = [len(ids) for ids in self._of_section]
        self.ids: Final[Ids] = np.concatenate([_NOTHING, *self._of_section])
        self.piece: Final[Ids] = np.repeat(np.arange(len(sizes)), sizes)
        self.starts: Final[Ids] = np.cumsum([0, *sizes])[:-1]
        self.from_ns: Final[Times] = np.array([section.from_ns for section in self.sections], np.int64)
        self.to_ns: Final[Times] = np.array([section.to_ns for section in self.sections], np.int64)

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return len(self.data)

    @property
    def samples(self) -> int:
        """How many samples it has room for, holes included."""
        return sum(section.count * len(section.series) // 4 for section in self.sections)

    def section_ids(self, at: int) -> Ids:
        """Gives the series of a section, increasing."""
        return self._of_section[at]

    def newest(self) -> Iterator[tuple[Ids, Times]]:
        """Gives for each section the time of each series' last sample."""
        for section, ids in zip(self.sections, self._of_section, strict=True):
            times = np.frombuffer(section.newest, np.int64)
            yield ids, times if len(times) else np.full(len(ids), section.to_ns)

    def times(self, at: int) -> Times:
        """Gives the times of a section."""
        offset, length = self.sections[at].times
        return decode_times(memoryview(self.data)[offset : offset + length])

    def tile(self, at: int, number: int) -> Values:
        """Gives the values of up to 100 series of a section: shape (m, n)."""
        offset, length = self.sections[at].tiles[number]
        return decode(memoryview(self.data)[offset : offset + length])


def _positions(section: Section) -> Ids:
    return np.frombuffer(section.series, np.uint32).astype(np.int64)


def _mapped(path: Path, disk: Disk) -> mmap.mmap:
    try:
        return disk.map(path)
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path}: {error}", hint="Restore the series folder from a backup.") from None


def _read(path: Path, data: mmap.mmap) -> _Index:
    hint = "Restore the series folder from a backup."
    if len(data) < len(_MAGIC) + _TAIL.size or data[: len(_MAGIC)] != _MAGIC:
        raise Corrupt(f"{path} is no file of samples", hint=hint)
    length, checksum, size, magic = _TAIL.unpack(data[-_TAIL.size :])
    body = data[max(len(data) - _TAIL.size - length, 0) : len(data) - _TAIL.size]
    if magic != _MAGIC or size != len(data) & 0xFFFFFFFF or zlib.crc32(body) != checksum:
        raise Corrupt(f"{path} is damaged: its index at byte {len(data) - _TAIL.size - length}", hint=hint)
    plain = zstandard.ZstdDecompressor().decompress(body)
    form = msgspec.msgpack.decode(plain, type=_Form).form
    if form > FORM:
        raise Conflict(
            f"{path} has form {form}, this modelkeep reads up to {FORM}",
            hint="Run the newer modelkeep that wrote it, or restore a backup.",
        )
    return msgspec.msgpack.decode(plain, type=_Index)


class _Writer:
    """Puts blobs into a file that is not there yet."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = disk.open(path, create=True)
        self._at = 0
        self._names: dict[str, int] = {}
        self.sections: list[Section] = []
        self.put(_MAGIC)

    def put(self, data: bytes | memoryview) -> tuple[int, int]:
        at = self._at
        self._disk.write(self._fd, at, [data])
        self._at += len(data)
        return at, len(data)

    def positions(self, names: Iterable[str]) -> bytes:
        known = self._names
        return np.array([known.setdefault(name, len(known)) for name in names], np.uint32).tobytes()

    def finish(self) -> None:
        plain = msgspec.msgpack.encode(_Index(FORM, list(self._names), self.sections))
        body = zstandard.ZstdCompressor(level=3).compress(plain)
        size = (self._at + len(body) + _TAIL.size) & 0xFFFFFFFF
        self.put(body + _TAIL.pack(len(body), zlib.crc32(body), size, _MAGIC))
        self._disk.sync(self._fd)

    def close(self) -> None:
        self._disk.close(self._fd)


def write(path: Path, matrices: Iterable[Matrix], name: Callable[[int], str], disk: Disk) -> None:
    """Writes a file of sections and makes it durable.

    Args:
        path: must not exist.
        matrices: the sections.
        name: gives a series' canonical text.
        disk: where.
    """
    writer = _Writer(path, disk)
    try:
        for matrix in matrices:
            tiles = tuple(
                writer.put(encode(matrix.values[begin : begin + TILE])) for begin in range(0, len(matrix.ids), TILE)
            )
            last = int(matrix.times[-1])
            writer.sections.append(
                Section(
                    matrix.uid,
                    int(matrix.times[0]),
                    last,
                    len(matrix.times),
                    matrix.whole,
                    writer.positions(name(number) for number in matrix.ids.tolist()),
                    b"" if bool((matrix.newest == last).all()) else matrix.newest.tobytes(),
                    writer.put(encode_times(matrix.times)),
                    tiles,
                )
            )
        writer.finish()
    finally:
        writer.close()


def merge(path: Path, files: Sequence[BlockFile], disk: Disk) -> None:
    """Writes one file with the sections of several, as they are, and makes it durable."""
    writer = _Writer(path, disk)
    try:
        for file in files:
            data = memoryview(file.data)
            for section in file.sections:
                names = [file.names[at] for at in _positions(section).tolist()]
                moved = [writer.put(data[at : at + length]) for at, length in (section.times, *section.tiles)]
                writer.sections.append(
                    msgspec.structs.replace(
                        section, series=writer.positions(names), times=moved[0], tiles=tuple(moved[1:])
                    )
                )
        writer.finish()
    finally:
        writer.close()
