"""The journal's stock: all that is on disk, how it is read, and how it goes."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from modelkeep.core.errors import Corrupt, Unreachable
from modelkeep.core.shapes import Entry
from modelkeep.store.disk import Disk
from modelkeep.store.journal.frames import Frame, Head, Hole, Stretch, parts_of, scan
from modelkeep.store.journal.receipts import Span
from modelkeep.store.journal.recovery import Damage, Found
from modelkeep.store.journal.segments import Segment
from modelkeep.store.journal.tail import Tail

_CURSORS: Final = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reach:
    """The part of one segment that a reading may look at."""

    segment: Segment
    end: int
    high: int


@dataclass(slots=True)
class _Page:
    """What one reading gives: entries, and how many more bytes of them it may hold."""

    left: int
    entries: list[Entry] = field(default_factory=list)

    def has_room(self, size: int) -> bool:
        """Whether an entry of this size may be added; the first always may."""
        return not self.entries or size <= self.left


class Stock:
    """Gives entries from memory or from disk; any number of threads may read while one writes.

    Args:
        disk: where the segments are.
        found: what the journal starts from.
        tail_bytes: how much of the newest is kept in memory.
    """

    def __init__(self, disk: Disk, found: Found, tail_bytes: int) -> None:
        self._disk, self._segments, self._following = disk, found.segments, found.following
        self._news = threading.Condition(threading.Lock())
        self._tail, self._closed = Tail(tail_bytes), False
        self._cursors: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._damage = {(each.file, each.offset): each for each in found.recovery.damaged}

    @property
    def following(self) -> int:
        """The seq that the next entry gets."""
        return self._following

    def first(self) -> int:
        """The oldest seq that can still be read."""
        with self._news:
            return self._segments[0].first if self._segments else self._following

    def size(self) -> tuple[int, int]:
        """How many segments there are, and their length in bytes."""
        with self._news:
            return len(self._segments), sum(segment.end for segment in self._segments)

    def damage(self) -> list[Damage]:
        """Every place met where stored bytes are not what was written."""
        with self._news:
            return list(self._damage.values())

    def wait(self, after: int, timeout_s: float) -> bool:
        """Waits until there is an entry behind `after`; tells whether there is one."""
        with self._news:
            self._news.wait_for(lambda: self._following - 1 > after or self._closed, timeout_s)
            return self._following - 1 > after

    def close(self) -> None:
        """Lets nobody wait any longer."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    # -- what comes and goes -----------------------------------------------------------------------------------------

    def add(self, segment: Segment) -> None:
        """Takes a new segment, the newest from now on."""
        with self._news:
            self._segments.append(segment)

    def drop(self, segment: Segment) -> None:
        """Lets go of a segment that holds nothing."""
        with self._news:
            self._segments.remove(segment)

    def kept(self, segment: Segment, end: int, entries: Sequence[Entry], heads: Sequence[Head]) -> None:
        """Takes entries that are on disk: readers have them from now on.

        Args:
            segment: the newest.
            end: one behind the last byte that counts now.
            entries: with seqs from `following` on.
            heads: theirs.
        """
        with self._news:
            segment.end = end
            for entry, head in zip(entries, heads, strict=True):
                self._tail.add(entry, head.size)
            self._following = entries[-1].seq + 1
            self._news.notify_all()

    def advance(self, seq: int) -> bool:
        """Gives no later entry a seq up to `seq`; tells whether that changed anything."""
        with self._news:
            if seq < self._following:
                return False
            self._following = seq + 1
            self._tail.clear()
            return True

    def unretired(self) -> list[tuple[Segment, Span]]:
        """The finished segments whose tokens are not yet apart from them."""
        with self._news:
            return [
                (segment, Span(segment.first, newer.first - 1, segment.oldest_ns, segment.newest_ns))
                for segment, newer in pairwise(self._segments)
                if not segment.retired
            ]

    def delete(self, sealed: int) -> None:
        """Deletes the finished segments that hold nothing behind `sealed`."""
        with self._news:
            count = sum(newer.first - 1 <= sealed for newer in self._segments[1:])
            gone = self._segments[:count]
            del self._segments[:count]
        for segment in gone:
            self._disk.remove(segment.path)

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, after: int, limit_bytes: int) -> list[Entry]:
        """Gives entries behind `after` in order; at least one when there is any.

        Raises:
            Unreachable: the disk does not let itself be read.
        """
        with self._news:
            found = self._tail.after(after, limit_bytes)
            if found is not None or after >= self._following - 1:
                return found or []
            highs = [*(segment.first for segment in self._segments[1:]), self._following]
            reaches = [
                _Reach(segment, segment.end, high)
                for segment, high in zip(self._segments, highs, strict=True)
                if high - 1 > after
            ]
        page = _Page(limit_bytes)
        for reach in reaches:
            if not self._read(reach, after, page):
                break
        return page.entries

    def _read(self, reach: _Reach, after: int, page: _Page) -> bool:
        """Adds entries of one segment to the page; tells whether the next segment's may follow."""
        try:
            fd = self._disk.open(reach.segment.path)
        except FileNotFoundError:
            return not page.entries
        try:
            return self._read_open(fd, reach, after, page)
        except OSError as error:
            raise Unreachable(f"{reach.segment.path} cannot be read: {error}", hint="Check the disk.") from error
        finally:
            self._disk.close(fd)

    def _read_open(self, fd: int, reach: _Reach, after: int, page: _Page) -> bool:
        segment, start = reach.segment, self._start(fd, reach, after)
        stretch = Stretch(start, reach.end, segment.salt, max(after, segment.first - 1), reach.high)
        for found in scan(lambda at, size: self._disk.read(fd, at, size), stretch, bodies=True):
            if isinstance(found, Hole):
                self._note(segment, found)
                continue
            if not page.has_room(found.head.size):
                self._stopped(page.entries[-1].seq, segment, found.offset)
                return False
            entry = self._entry(found, segment)
            if entry:
                page.entries.append(entry)
                page.left -= found.head.size
        if page.entries and page.entries[-1].seq >= segment.first:
            self._stopped(page.entries[-1].seq, segment, reach.end)
        return True

    def _start(self, fd: int, reach: _Reach, after: int) -> int:
        """Where the first frame behind `after` begins: known when somebody stopped there, else found by the heads."""
        segment = reach.segment
        if after < segment.first:
            return 0
        with self._news:
            ordinal, offset = self._cursors.get(after, (0, 0))
        if ordinal == segment.ordinal:
            return offset
        whole = Stretch(0, reach.end, segment.salt, segment.first - 1, reach.high)
        for found in scan(lambda at, size: self._disk.read(fd, at, size), whole, bodies=False):
            if isinstance(found, Frame) and found.head.seq > after:
                return found.offset
        return reach.end

    def _entry(self, frame: Frame, segment: Segment) -> Entry | None:
        try:
            parts = parts_of(frame.body)
        except Corrupt:
            self._note(segment, Hole(frame.offset, frame.head.size, 1))
            return None
        return Entry(frame.head.seq, frame.head.token.decode(), frame.head.received_ns, parts)

    def _stopped(self, seq: int, segment: Segment, offset: int) -> None:
        with self._news:
            self._cursors[seq] = (segment.ordinal, offset)
            self._cursors.move_to_end(seq)
            if len(self._cursors) > _CURSORS:
                self._cursors.popitem(last=False)

    def _note(self, segment: Segment, hole: Hole) -> None:
        """Keeps a place where something is lost; bytes that were never acknowledged are none."""
        if not hole.lost:
            return
        damage = Damage(segment.path.name, hole.offset, hole.size, hole.lost)
        with self._news:
            known = (damage.file, damage.offset) in self._damage
            self._damage[damage.file, damage.offset] = damage
        if not known:
            log.error(
                "%s: %d bytes at %d are damaged, %d entries lost", damage.file, damage.size, damage.offset, damage.lost
            )
