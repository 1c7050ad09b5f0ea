"""What waits in memory: bounded, in order, never blocking the caller."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

PREDICTION: Final = 0
TABLE: Final = 1
FACT: Final = 2
EVENT: Final = 3
LOG: Final = 4
SAMPLE: Final = 5
REFERENCE: Final = 6
FLUSH: Final = 7
CONFIGURATION: Final = 8
TRAINING: Final = 9

LARGE_ROWS: Final = 1_000
"""A table of more rows is sent by itself."""
_ADVANCING: Final = frozenset({PREDICTION, TABLE, REFERENCE, FLUSH})

Item = tuple[object, ...]
"""A kind, then:

- PREDICTION model, version, id, at, features (dict), prediction, score, latency ns, error
- TABLE model, version, `Rows`
- FACT id, model, kind, value, source, at
- EVENT at, name, user, prediction id, value, properties (dict)
- LOG at, level number, level name, logger, message, trace id, prediction id, attributes (dict)
- SAMPLE labels (dict), at, value
- REFERENCE model, version, `Rows`
- CONFIGURATION at, state, hash, previous, name, source, author, reason, error, differences, tree, marks (JSON texts)
- TRAINING id, at, end, model, version, status, data version, metrics, parameters (JSON texts), by, error
- FLUSH a `threading.Event`, set when everything before it has been delivered
"""


@dataclass(slots=True)
class Rows:
    """The rows of a table on their way out; columns are lists, or arrays that nobody else changes.

    Args:
        count: how many rows.
        ids: one per row; empty in a reference.
        at: ns, one for all rows or one per row.
        columns: name → one value per row.
        prediction: one value per row; in a reference, the labels, or None.
        score: one per row, or None.
        scores: class → one per row.
        latency_ns: of each row, or None.
    """

    count: int
    ids: list[str]
    at: list[int] | int
    columns: dict[str, object]
    prediction: object
    score: object = None
    scores: dict[str, object] = field(default_factory=dict)
    latency_ns: int | None = None


class Buffer:
    """Items of any kind in the order of the calls.

    Args:
        limit: rows that may wait. A table is taken whole while there is any room, and its rows count an eighth,
            which is about what columns take.
        nudge: called with every item while more than a quarter is full.

    >>> buffer = Buffer(limit=1)
    >>> buffer.put((FACT, "a")), buffer.put((FACT, "b")), buffer.dropped
    (True, False, Counter({'buffer_full': 1}))
    """

    __slots__ = ("_lock", "_much", "_tables", "dropped", "items", "limit", "nudge")

    def __init__(self, limit: int, nudge: Callable[[], object] = int) -> None:
        self.items: Final[deque[Item]] = deque()
        self.limit: Final = limit
        self.nudge = nudge
        self._much = limit // 4
        self.dropped: Final[Counter[str]] = Counter()
        self._lock = threading.Lock()
        self._tables = 0

    def put(self, item: Item, rows: int = 1) -> bool:
        """Takes an item, or drops and counts it when the buffer is full.

        Returns:
            Whether it was taken.
        """
        waiting = len(self.items) + self._tables
        if waiting >= self.limit:
            self.drop("buffer_full", rows)
            return False
        if rows > 1:
            with self._lock:
                self._tables += rows // 8
        self.items.append(item)
        if waiting >= self._much:
            self.nudge()
        return True

    def drop(self, reason: str, rows: int = 1) -> None:
        """Counts rows that will never arrive."""
        with self._lock:
            self.dropped[reason] += rows

    def take(self, limit: int, *, hold: bool = False) -> list[Item]:
        """Gives the oldest items and forgets them.

        Args:
            limit: at most this many, a small table counting as its rows; a large table or a reference ends the list.
            hold: leave what follows the last prediction, so that nothing runs ahead of the clock of events.
        """
        found: list[Item] = []
        pop, rows = self.items.popleft, 0
        while rows < limit:
            try:
                item = pop()
            except IndexError:
                break
            found.append(item)
            rows += 1
            if item[0] in {TABLE, REFERENCE}:
                self._forget(item)
                rows += _count(item) - 1
                if is_large(item):
                    break
        if hold:
            self._give_back(found, full=rows >= limit)
        return found

    def _forget(self, item: Item) -> None:
        rows = _count(item)
        with self._lock:
            self._tables -= rows // 8 if rows > 1 else 0

    def _give_back(self, found: list[Item], *, full: bool) -> None:
        last = next((i for i in range(len(found) - 1, -1, -1) if found[i][0] in _ADVANCING), -1)
        if last + 1 < len(found) and (last >= 0 or not full):
            self.items.extendleft(reversed(found[last + 1 :]))
            del found[last + 1 :]


def is_large(item: Item) -> bool:
    """Whether an item is a request of its own: a reference, or a table of many rows."""
    return item[0] == REFERENCE or (item[0] == TABLE and _count(item) > LARGE_ROWS)


def _count(item: Item) -> int:
    return item[3].count if isinstance(item[3], Rows) else 1
