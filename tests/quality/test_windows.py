"""Sums over windows against loops."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import HOUR
from modelkeep.core.series import AT_STEP
from modelkeep.quality.windows import EVER, Windows, blocked, periods, sums, trailing
from modelkeep.store.cells import CellRows

CELL = st.tuples(st.integers(0, 80), st.integers(0, 5), st.integers(-1, 3), st.integers(-3, 9))
HOURS = st.lists(st.integers(0, 100), min_size=1, max_size=30).map(sorted)


def rows_of(cells: list[tuple[int, int, int, int]]) -> tuple[CellRows, np.ndarray]:
    table = np.array(cells, np.int64).reshape(-1, 4)
    rows = CellRows(table[:, 0], table[:, 1], np.maximum(table[:, 2], 0), table[:, 3].astype(np.float64))
    return rows, table[:, 2]


def by_hand(cells: list[tuple[int, int, int, int]], windows: Windows) -> np.ndarray:
    found = np.zeros((len(windows), 4))
    for at, (start, end, known) in enumerate(zip(windows.starts, windows.ends, windows.known, strict=True)):
        for hour, day, place, value in cells:
            if place >= 0 and start <= hour < end and day < known:
                found[at, place] += value
    return found


@given(
    cells=st.lists(CELL, max_size=40),
    hours=HOURS,
    window=st.integers(1, 50),
    as_of=st.sampled_from([None, AT_STEP, 60 * HOUR]),
)
def test_trailing_windows_are_summed(
    cells: list[tuple[int, int, int, int]], hours: list[int], window: int, as_of: int | None
) -> None:
    windows = trailing(np.array(hours), window, as_of)
    rows, places = rows_of(cells)
    assert sums(rows, places, windows, 4).tolist() == by_hand(cells, windows).tolist()


@given(cells=st.lists(CELL, max_size=40), bounds=HOURS, known=st.integers(0, 7) | st.just(EVER))
def test_periods_are_summed(cells: list[tuple[int, int, int, int]], bounds: list[int], known: int) -> None:
    bounds = sorted(set(bounds))
    windows = Windows(np.array(bounds[:-1], int), np.array(bounds[1:], int), np.full(len(bounds) - 1, known))
    rows, places = rows_of(cells)
    assert sums(rows, places, windows, 4).tolist() == by_hand(cells, windows).tolist()


def test_blocks_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    cells = [(int(hour), 0, int(place), 1) for hour, place in rng.integers(0, [2_000, 400], (5_000, 2))]
    rows, places = rows_of(cells)
    windows = trailing(np.arange(2_000), 168, None)
    parts = list(blocked(rows, places, windows, 400))
    assert len(parts) > 1
    assert [first for first, _ in parts] == np.cumsum([0, *(len(block) for _, block in parts)])[:-1].tolist()
    whole = np.concatenate([block for _, block in parts])
    assert whole.sum(axis=1).tolist() == [
        float(((rows.bucket >= end - 168) & (rows.bucket < end)).sum()) for end in windows.ends
    ]


@pytest.mark.parametrize("by", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Sydney"])
def test_periods_begin_at_local_midnight(by: str, zone: str) -> None:
    first = 377_000
    starts, ends = periods(by, zone, first, first + 24 * 400)
    assert starts[0] == first
    assert ends[-1] == first + 24 * 400
    assert (starts[1:] == ends[:-1]).all()
    for start in starts[1:]:
        local = datetime.fromtimestamp(int(start) * 3600, ZoneInfo(zone))
        assert local.hour == 0
        assert by != "week" or local.weekday() == 0
        assert by != "month" or local.day == 1
    lengths = {int(length) for length in np.diff(starts[1:])}
    if by == "day":
        assert lengths == ({24} if zone == "UTC" else {23, 24, 25})


def test_hours_and_all() -> None:
    assert periods("hour", "UTC", 5, 8)[0].tolist() == [5, 6, 7]
    assert [bound.tolist() for bound in periods("all", "UTC", 5, 8)] == [[5], [8]]
    assert periods("day", "UTC", 8, 8)[0].tolist() == []
