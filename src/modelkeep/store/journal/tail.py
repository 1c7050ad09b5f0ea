"""The journal's newest entries in memory, so that a reader that keeps up never reads the disk."""

from __future__ import annotations

from modelkeep.core.shapes import Entry


class Tail:
    """Keeps the newest entries, without a gap between their seqs.

    Args:
        size_bytes: how much it may hold, by the entries' lengths on disk.

    >>> tail = Tail(100)
    >>> for seq in (5, 6, 7):
    ...     tail.add(Entry(seq, "", 0, ()), 40)
    >>> [entry.seq for entry in tail.after(5, 1000)], tail.after(4, 1000)
    ([6, 7], None)
    """

    def __init__(self, size_bytes: int) -> None:
        self._limit, self._held, self._from = size_bytes, 0, 0
        self._entries: list[Entry | None] = []
        self._sizes: list[int] = []
        self._first = 0

    def add(self, entry: Entry, size: int) -> None:
        """Takes the next entry and lets go of the oldest ones when it is full."""
        if len(self._entries) == self._from or entry.seq != self._first + len(self._entries) - self._from:
            self.clear()
            self._first = entry.seq
        self._entries.append(entry)
        self._sizes.append(size)
        self._held += size
        while self._held > self._limit and self._from < len(self._entries):
            self._held -= self._sizes[self._from]
            self._entries[self._from] = None
            self._from += 1
            self._first += 1
        if self._from > 64 and self._from * 2 > len(self._entries):
            del self._entries[: self._from], self._sizes[: self._from]
            self._from = 0

    def after(self, seq: int, limit_bytes: int) -> list[Entry] | None:
        """Gives entries behind `seq`, one at least where there is one; None when they may not all be here."""
        start = self._from + seq + 1 - self._first
        if start < self._from or start > len(self._entries) or self._from == len(self._entries):
            return None
        found: list[Entry] = []
        for place in range(start, len(self._entries)):
            limit_bytes -= self._sizes[place]
            entry = self._entries[place]
            if entry is None or (found and limit_bytes < 0):
                break
            found.append(entry)
        return found

    def clear(self) -> None:
        """Lets go of everything."""
        self._entries.clear()
        self._sizes.clear()
        self._held = self._from = 0
