"""Windows over hourly cells: trailing ones for series, calendar periods for tables, and the sums of cells in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import BadInput
from modelkeep.core.series import AT_STEP
from modelkeep.quality.pair import Floats, Ints
from modelkeep.store.cells import CellRows

EVER: Final = 1 << 40
"""As a day: everything that is known."""
PERIODS: Final = ("hour", "day", "week", "month", "all")
_BLOCK: Final = 1 << 19


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of whole hours, with what was known when each is looked at.

    Args:
        starts: shape (n,), hours since 1970, not decreasing.
        ends: shape (n,), exclusive, not decreasing.
        known: shape (n,), days since 1970, not decreasing: facts that arrived before this day count.
    """

    starts: Ints
    ends: Ints
    known: Ints

    def __len__(self) -> int:
        return len(self.ends)

    def part(self, first: int, last: int) -> Windows:
        """The windows from `first` to before `last`."""
        return Windows(self.starts[first:last], self.ends[first:last], self.known[first:last])


def trailing(hours: Ints, window: int, as_of_ns: int | None) -> Windows:
    """Gives the windows of so many hours before each hour.

    Args:
        hours: shape (n,), hours since 1970, not decreasing.
        window: in hours.
        as_of_ns: None for everything known now, `AT_STEP` for what was known at each hour.

    >>> trailing(np.array([48]), 24, AT_STEP)
    Windows(starts=array([24]), ends=array([48]), known=array([2]))
    """
    known = hours // 24 if as_of_ns == AT_STEP else np.full(len(hours), known_day(as_of_ns))
    return Windows(hours - window, hours, known)


def known_day(as_of_ns: int | None) -> int:
    """Gives the day that facts must have arrived before, to be known at a moment.

    >>> known_day(2 * DAY), known_day(2 * DAY - 1), known_day(None) == EVER
    (2, 1, True)
    """
    return EVER if as_of_ns is None else as_of_ns // DAY


def periods(by: str, timezone: str, first: int, last: int) -> tuple[Ints, Ints]:
    """Gives the calendar periods that cover the hours from `first` to before `last`, cut to them.

    Args:
        by: hour, day, week (from Monday), month or all.
        timezone: an IANA name; days begin at its midnight.
        first: hours since 1970.
        last: exclusive.

    Returns:
        Starts and ends in hours since 1970, shape (n,) each.

    Raises:
        BadInput: no such period or time zone, or one whose midnight is not a whole hour of UTC.

    >>> starts, ends = periods("month", "America/New_York", 0, 24 * 60)
    >>> starts.tolist(), ends.tolist()
    ([0, 5, 749, 1421], [5, 749, 1421, 1440])
    """
    if by not in PERIODS:
        raise BadInput(f"by={by!r} is not a period", hint=f"There are: {', '.join(PERIODS)}.")
    zone = _zone(timezone)
    if first >= last:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if by == "all":
        inner: list[int] = []
    elif by == "hour":
        inner = list(range(first + 1, last))
    else:
        inner = [hour for hour in _midnights(by, zone, first, last) if first < hour < last]
    bounds = np.array([first, *inner, last], np.int64)
    return bounds[:-1], bounds[1:]


def sums(rows: CellRows, places: Ints, windows: Windows, size: int) -> Floats:
    """Gives the sum of cells in each window.

    Args:
        rows: cells by hour and day of arrival.
        places: shape (len(rows),), the column each cell adds to; negative to leave it out.
        windows: n of them.
        size: number of columns.

    Returns:
        Shape (n, size).
    """
    blocks = [block for _, block in blocked(rows, places, windows, size)]
    return np.concatenate(blocks) if blocks else np.zeros((0, size))


def blocked(rows: CellRows, places: Ints, windows: Windows, size: int) -> Iterator[tuple[int, Floats]]:
    """Gives what `sums` gives, some windows at a time, each block with the number of its first window.

    A cell counts in the windows that end after its hour, start at or before it and look at it later than its day;
    these are neighbours, so it enters the running sum once and leaves it once.
    """
    enter, leave = _looked(windows.ends, rows.bucket), _looked(windows.starts, rows.bucket)
    if rows.day.any():
        enter = np.maximum(enter, np.searchsorted(windows.known, rows.day, "right"))
    kept = np.flatnonzero((enter < leave) & (places >= 0))
    enter, leave, values = enter[kept], leave[kept], rows.value[kept]
    column = places[kept]
    if np.all(leave == enter + 1):
        yield from _apart(enter, column, values, len(windows), size)
        return
    at = np.concatenate([enter, leave])
    order = np.argsort(at, kind="stable")
    at = at[order]
    flat = at * size + np.concatenate([column, column])[order]
    change = np.concatenate([values, -values])[order]
    step = max(_BLOCK // size, 1)
    carry = np.zeros(size)
    for first in range(0, len(windows), step):
        last = min(first + step, len(windows))
        low, high = np.searchsorted(at, [first, last])
        block = _counted(flat[low:high] - first * size, change[low:high], last - first, size)
        block[0] += carry
        np.cumsum(block, axis=0, out=block)
        carry = block[-1]
        yield first, block


def _looked(bounds: Ints, buckets: Ints) -> Ints:
    """The number of bounds at or below each bucket; buckets repeat, so they are looked up once."""
    if not len(buckets):
        return buckets
    low, high = int(buckets.min()), int(buckets.max())
    if high - low > 4 * len(buckets):
        return np.asarray(np.searchsorted(bounds, buckets, "right"))
    table = np.searchsorted(bounds, np.arange(low, high + 1), "right")
    return np.asarray(table[buckets - low])


def _apart(at: Ints, column: Ints, values: Floats, windows: int, size: int) -> Iterator[tuple[int, Floats]]:
    """Every cell is in one window: nothing runs on, so sums of fractions stay as exact as they can be."""
    step = max(_BLOCK // size, 1)
    for first in range(0, windows, step):
        last = min(first + step, windows)
        here = slice(None) if last - first == windows else np.flatnonzero((at >= first) & (at < last))
        flat = (at[here] - first) * size + column[here]
        yield first, _counted(flat, values[here], last - first, size)


def _counted(flat: Ints, values: Floats, rows: int, columns: int) -> Floats:
    return np.asarray(np.bincount(flat, values, rows * columns), np.float64).reshape(rows, columns)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(f"no time zone {name!r}", hint="Write it like UTC or America/New_York.") from None


def _midnights(by: str, zone: tzinfo, first: int, last: int) -> Iterator[int]:
    day = datetime.fromtimestamp(first * 3600, zone).date()
    end = datetime.fromtimestamp(last * 3600, zone).date()
    following = _FOLLOWING[by]
    while (day := following(day)) <= end:
        moment = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        seconds = round(moment.timestamp())
        if seconds % 3600:
            raise BadInput(
                f"midnight of {day} in {zone} is not a whole hour of UTC",
                hint="Cells are hourly: take a time zone with a whole-hour offset.",
            )
        yield seconds // 3600


_FOLLOWING: Final[dict[str, Callable[[date], date]]] = {
    "day": lambda day: day + timedelta(days=1),
    "week": lambda day: day + timedelta(days=7 - day.weekday()),
    "month": lambda day: (day.replace(day=1) + timedelta(days=32)).replace(day=1),
}


def hour_of(at_ns: int) -> int:
    """Gives the hour since 1970 that a moment lies in.

    >>> hour_of(2 * HOUR - 1)
    1
    """
    return at_ns // HOUR
