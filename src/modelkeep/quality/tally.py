"""What one part of an entry changes, collected first and kept in one go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from modelkeep.quality.pair import Floats, Ints
from modelkeep.store.cells import Cells
from modelkeep.store.keys import Keys

ROW: Final = np.dtype(
    [
        ("state", "u1"),
        ("version", "<i4"),
        ("hour", "<i4"),
        ("guess", "<f8"),
        ("label", "<f8"),
        ("text", "<i4"),
        ("day", "<i4"),
        ("minute", "<i4"),
    ]
)
"""What is remembered per prediction: bits of its state; number of its version; its hour; what it gave (score, number
or the class's place in the names); its label as number, or in `text` 1 + the place of its name; the day and minute
the label came."""

PREDICTED: Final = 1
LABELLED: Final = 2
COUNTED: Final = 4
"""The label is in the sums."""

OUTCOME: Final = "outcome"
CONFUSION: Final = "confusion"
TRAFFIC: Final = "traffic"
TRAFFIC_HOURS: Final = "traffic_hours"
PRESENCE: Final = "presence"
PROFILE: Final = "profile"

PREDICTIONS, FAILED, USABLE, GUESS = 20, 21, 22, 23
HISTOGRAM: Final = 1000
SCORES: Final = 5000
"""Cells of `outcome` by hour of the prediction and, for the first ones, day of the label: 0-19 the task's sums,
1000-3001 the histogram of the score by label; with day 0: predictions, failed ones, those with a usable guess, the
sum of their guesses, from 5000 on the histogram of all scores."""

REQUESTS, ERRORS, SECONDS, TIMED, LABELS, FEEDBACK, ENGAGEMENT = range(7)
LATENCY: Final = 100
"""Cells of `traffic` by minute and of `traffic_hours` by hour; from 100 on the histogram of the latency."""

TOTAL, SQUARES = 6, 7
"""Cells of `presence` by hour: 0-5 rows per state of `profile`, then sum and sum of squares of the finite numbers."""

Rows = npt.NDArray[np.void]
_DAY_BITS: Final = 16
_INDEX_BITS: Final = 20
LAST_DAY: Final = (1 << _DAY_BITS) - 1
LAST_BUCKET: Final = (1 << 26) - 1


class Tally:
    """Additions to cells, rows for the index and counts; nothing is changed before `commit`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._cells: dict[tuple[str, str], list[tuple[Ints, Ints, Ints, Floats]]] = defaultdict(list)
        self._rows: list[tuple[list[bytes], Rows]] = []

    def add(self, table: str, group: str, bucket: Ints, index: Ints | int, value: Floats | float = 1.0) -> None:
        """Adds to cells that have no day."""
        self.add_known(table, group, bucket, np.zeros(len(bucket), np.int64), index=index, value=value)

    def add_traffic(self, group: str, minutes: Ints, index: Ints | int, value: Floats | float = 1.0) -> None:
        """Adds to a minute and to its hour."""
        self.add(TRAFFIC, group, minutes, index, value)
        self.add(TRAFFIC_HOURS, group, minutes // 60, index, value)

    def add_known(
        self, table: str, group: str, bucket: Ints, day: Ints, *, index: Ints | int, value: Floats | float = 1.0
    ) -> None:
        """Adds to cells of a day; arrays have shape (n,), single numbers count for all rows."""
        count = len(bucket)
        if count:
            indices = np.broadcast_to(np.asarray(index, np.int64), count)
            values = np.broadcast_to(np.asarray(value, np.float64), count)
            self._cells[table, group].append((bucket, day, indices, values))

    def put(self, keys: list[bytes], rows: Rows) -> None:
        """Replaces rows of the index."""
        if keys:
            self._rows.append((keys, rows))

    def cells(self) -> Iterator[tuple[str, str, Ints, Floats]]:
        """The additions by table and group: rows of bucket, day and index, and what each adds."""
        for (table, group), parts in self._cells.items():
            yield table, group, *_summed(parts)

    def commit(self, cells: Cells, index: Keys, counts: dict[str, int]) -> None:
        """Keeps everything."""
        for addition in list(self.cells()):
            cells.add(*addition)
        for keys, found in self._rows:
            index.put(keys, found)
        for name, count in self.counts.items():
            counts[name] = counts.get(name, 0) + count


def _summed(parts: list[tuple[Ints, Ints, Ints, Floats]]) -> tuple[Ints, Floats]:
    bucket, day, index, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    packed = (bucket << (_DAY_BITS + _INDEX_BITS)) | (day << _INDEX_BITS) | index
    found, place = np.unique(packed, return_inverse=True)
    rows = [found >> (_DAY_BITS + _INDEX_BITS), (found >> _INDEX_BITS) & LAST_DAY, found & ((1 << _INDEX_BITS) - 1)]
    return np.stack(rows, axis=1), np.asarray(np.bincount(place, value, len(found)), np.float64)
