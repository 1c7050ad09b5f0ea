"""Has anything changed since the index was written: a listing of each folder and a stat of each entry.

They are compared without a Python statement for each entry, and by several processes when there are many.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import compress, count
from operator import ne
from typing import Final, NamedTuple

from modelkeep.data.snapshots.scan import STAMP, Listing, stamp_of

_PIECE: Final = 2000
"""Entries in a worker's piece of work."""
_FORKS: Final = 5000
"""With fewer entries, forking costs more than it saves."""
_FOLDER_COST: Final = 8
"""What opening a folder costs, in entries."""


class Changes(NamedTuple):
    """What differs from the index.

    Args:
        entries: have another stamp, in order.
        folders: hold other names, or cannot be listed; their numbers.
    """

    entries: list[int]
    folders: list[int]

    def __bool__(self) -> bool:
        return bool(self.entries or self.folders)


class _Stretch(NamedTuple):
    """Neighbouring entries of one folder."""

    folder: int
    start: int
    end: int


def glance(top: str, listing: Listing) -> Changes:
    """Gives what differs from a listing.

    Args:
        top: the folder.
        listing: what the index has; nothing in it matters but names, stamps and where links lead.
    """
    pieces = list(_pieces(listing))
    looked = _Look(top, listing, pieces)
    found = array("q")
    for _, data in _answers(looked, len(listing.kinds)):
        found.frombytes(data)
    entries = sorted({number for number in found if number >= 0})
    return Changes(entries, sorted({-1 - number for number in found if number < 0}))


def _answers(looked: _Look, entries: int) -> Iterator[tuple[int, bytes]]:
    count = len(looked.pieces)
    if entries >= _FORKS and count > 1:
        from modelkeep.store.forked import MOST, cores, forked, may_fork

        processes = cores()
        if processes > 1 and count <= MOST and may_fork():
            looked.home = os.getpid()
            return forked(count, looked.piece, processes)
    return ((number, looked.piece(number)) for number in range(count))


def _pieces(listing: Listing) -> Iterator[list[_Stretch]]:
    """Cuts the entries into pieces of like cost."""
    piece: list[_Stretch] = []
    cost = 0
    most = max(_PIECE, (len(listing.kinds) + _FOLDER_COST * len(listing.folders)) // 8000)
    for folder in range(len(listing.folders)):
        start, end = listing.span(folder)
        for at in range(start, end, most) if end > start else (start,):
            stretch = _Stretch(folder, at, min(at + most, end))
            piece.append(stretch)
            cost += stretch.end - stretch.start + _FOLDER_COST
            if cost >= most:
                yield piece
                piece, cost = [], 0
    if piece:
        yield piece


class _Look:
    """What workers do; in a worker the current folder changes, since short paths are looked up faster."""

    def __init__(self, top: str, listing: Listing, pieces: list[list[_Stretch]]) -> None:
        self.top: Final = top
        self.listing: Final = listing
        self.pieces: Final = pieces
        self.stamps: Final = memoryview(listing.stamps).cast("B")
        self.links: Final = sorted(listing.links)
        self.home = 0
        """The parent's process, while workers do it."""

    def piece(self, number: int) -> bytes:
        """Gives the entries that differ, and each folder that does as -1 - its number."""
        found: list[int] = []
        for stretch in self.pieces[number]:
            try:
                found += self._stretch(stretch)
            except OSError:
                found.append(-1 - stretch.folder)
        return array("q", found).tobytes()

    def _stretch(self, stretch: _Stretch) -> list[int]:
        folder, start, end = stretch
        path = os.fsencode(f"{self.top}/{self.listing.folders[folder]}")
        stored = self.listing.names[folder]
        first, _ = self.listing.span(folder)
        if self.home:
            os.chdir(path)
            path = b"."
        if start == first:
            names = os.listdir(path)  # noqa: PTH208
            if b"/".join(names) != stored:
                return [-1 - folder]
        else:
            names = stored.split(b"/")
        names = names[start - first : end - first]
        if not self.home:
            names = list(map((path + b"/").__add__, names))
        rows = map(stamp_of, map(os.lstat, names))
        differ = map(ne, rows, STAMP.iter_unpack(self.stamps[32 * start : 32 * end]))
        found = list(compress(count(start), differ))
        if self.links:
            found += self._links(names, start, end)
        return found

    def _links(self, names: list[bytes], start: int, end: int) -> list[int]:
        """Gives the links of a stretch that lead to another file, or elsewhere than they did."""
        links = self.links[bisect_left(self.links, start) : bisect_left(self.links, end)]
        found = []
        for entry in links:
            stamp = self.listing.links[entry].stamp
            try:
                there = os.stat(names[entry - start])  # noqa: PTH116
            except OSError:
                there = None
            if stamp is not None:
                same = there is not None and stamp_of(there) == stamp
            else:
                same = there is None or (there.st_mode & 0o170000) == 0o040000
            if not same:
                found.append(entry)
        return found
