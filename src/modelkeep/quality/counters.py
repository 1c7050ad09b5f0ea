"""Counters over time: what had happened before each of some moments, by minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from modelkeep.core.clock import HOUR, MINUTE
from modelkeep.core.series import Want
from modelkeep.quality.latency import BOUNDS
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.tally import LATENCY, TRAFFIC, TRAFFIC_HOURS
from modelkeep.store.cells import Cells

_SLOTS: Final = len(BOUNDS) + 1
SIZE: Final = LATENCY + _SLOTS


class Counters:
    """Reads the cells of traffic."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def there(self, group: str) -> bool:
        """Whether anything was ever counted for a model version."""
        return self._cells.revision(TRAFFIC_HOURS, group) > 0

    def totals(self, group: str, times: Ints, cells: Sequence[int]) -> Floats:
        """Gives how much each cell had counted before the minute of each time.

        Args:
            group: of which model version.
            times: shape (n,), ns, not decreasing.
            cells: m of them, see `tally`.

        Returns:
            Shape (m, n); NaN before the first minute that counted anything.
        """
        table, width = (TRAFFIC_HOURS, HOUR) if not (times % HOUR).any() else (TRAFFIC, MINUTE)
        first = int(times[0]) // HOUR
        older = self._cells.rows(TRAFFIC_HOURS, group, None, first)
        begin = first * (HOUR // width)
        rows = self._cells.rows(table, group, begin, int(times[-1]) // width + 1)
        base = np.bincount(older.index, older.value, SIZE)[list(cells)]
        at = np.searchsorted(times // width, rows.bucket, "right")
        place = np.full(SIZE, -1)
        place[list(cells)] = np.arange(len(cells))
        kept = np.flatnonzero(place[rows.index] >= 0)
        flat = place[rows.index[kept]] * (len(times) + 1) + at[kept]
        counted = np.bincount(flat, rows.value[kept], len(cells) * (len(times) + 1))
        grown = np.asarray(counted, np.float64).reshape(len(cells), -1)
        found: Floats = np.cumsum(grown[:, :-1], axis=1) + base[:, None]
        if not len(older):
            start = int(rows.bucket[0]) if len(rows) else 1 << 40
            found[:, times // width < start] = np.nan
        return found

    def latency(self, group: str, times: Ints, bounds: Sequence[int]) -> Floats:
        """Gives how many latencies lay at or below some bounds (the last one is infinity), as `totals` does."""
        whole = self.totals(group, times, range(LATENCY, LATENCY + _SLOTS))
        found: Floats = np.cumsum(whole, axis=0)[list(bounds)]
        return found


def own_times(want: Want, width: int) -> Ints:
    """Gives the multiples of `width` that some step of a range selector looks at.

    >>> own_times(Want(start_ns=10, end_ns=30, step_ns=20, range_ns=4, ranged=True), 1).tolist()
    [7, 8, 9, 10, 27, 28, 29, 30]
    """
    low, high = (want.start_ns - want.range_ns) // width + 1, want.end_ns // width
    times = np.arange(low, high + 1, dtype=np.int64) * width
    step = np.maximum(-((want.start_ns - times) // want.step_ns), 0)
    looked = want.start_ns + step * want.step_ns
    return times[(looked <= want.end_ns) & (times > looked - want.range_ns)]


def resolution(range_ns: int) -> int:
    """Gives the distance of a counter's samples under a range selector: a minute, more for long ranges.

    >>> resolution(5 * MINUTE) == MINUTE, resolution(30 * 24 * HOUR) == HOUR
    (True, True)
    """
    if range_ns <= 3 * HOUR:
        return MINUTE
    return 10 * MINUTE if range_ns <= 24 * HOUR else HOUR
