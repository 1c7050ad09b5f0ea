"""Which files are joined: it ends, and what is left is few."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import DAY
from modelkeep.store.rows.compaction import FAN_IN, FULL_ROWS, expiry, plan
from modelkeep.store.rows.manifest import Sealed
from modelkeep.store.rows.parquet import DAY_ROWS

Days = dict[int, int]
ROWS = st.one_of(st.integers(1, 50), st.integers(1, DAY_ROWS), st.integers(DAY_ROWS - 2, FULL_ROWS + 2))
FILES = st.lists(st.dictionaries(st.integers(0, 12), ROWS, min_size=1, max_size=4), max_size=60)


def sealed(name: str, days: Days) -> Sealed:
    first, last = min(days) * DAY, max(days) * DAY + 1
    return Sealed(name, "prediction", "m", sum(days.values()), 1, 0, first, last, 1, 1)


def pieces(days: Days) -> list[Days]:
    """Cuts rows into files as `parquet.cut` does."""
    cut: list[Days] = [{}]
    for day in sorted(days):
        cut[-1][day] = days[day]
        if sum(cut[-1].values()) >= DAY_ROWS:
            cut.append({})
    return [piece for piece in cut if piece]


@given(FILES, st.integers(0, 20))
def test_joining_ends_keeps_rows_and_leaves_few_files(held: list[Days], today: int) -> None:
    names = count()
    files = {f"f{next(names)}": days for given in held for days in pieces(given)}
    before = Counter[int]()
    for days in files.values():
        before.update(days)
    steps = 0
    while joins := plan([sealed(name, days) for name, days in files.items()], today):
        for join in joins:
            assert len(join) > 1
            assert len({file.name for file in join}) == len(join)
            assert sum(file.rows for file in join) <= FULL_ROWS
            together = Counter[int]()
            for file in join:
                together.update(files.pop(file.name))
            files |= {f"f{next(names)}": piece for piece in pieces(dict(together))}
        steps += 1
        assert steps < 100
    after = Counter[int]()
    for days in files.values():
        after.update(days)
    assert after == before
    small = [days for days in files.values() if sum(days.values()) < DAY_ROWS and max(days) < today - 1]
    assert len(small) < FAN_IN * 6


def test_files_of_different_streams_are_not_joined() -> None:
    files = [Sealed(f"{n}", "prediction", f"m{n % 8}", 1, 1, 0, 0, 0, n, n) for n in range(56)]
    assert plan(files, 100) == []
    assert len(plan([*files, *(Sealed(f"x{n}", "prediction", "m0", 1, 1, 0, 0, 0, n, n) for n in range(8))], 100)) == 1


def test_a_day_that_is_over_becomes_one_file() -> None:
    files = [sealed(str(n), {3: DAY_ROWS + n}) for n in range(4)]
    assert [len(join) for join in plan(files, 5)] == [4]
    assert plan(files, 4) == []


@given(FILES.filter(bool), st.integers(-5, 40))
def test_expiry_takes_only_what_is_old_and_not_too_much(held: list[Days], day: int) -> None:
    files = [sealed(str(n), days) for n, days in enumerate(held)]
    found = expiry(files, day * DAY)
    assert all(file.to_ns < day * DAY for file in found.whole)
    assert all(file.from_ns < day * DAY <= file.to_ns for file in found.partly)
    rows = sum(file.rows for file in files)
    assert 0 <= found.rows <= rows
    oldest = min(file.from_ns for file in files)
    assert found.allowed == (found.rows <= 0.2 * rows or day * DAY - oldest <= 2 * DAY)


def test_history_that_was_brought_in_stays_as_long_as_if_it_were_new() -> None:
    old = Sealed("old", "prediction", "m", 10, 1, 0, 0, DAY, 1, 1, received_ns=2 * DAY)
    brought = Sealed("brought", "prediction", "m", 10, 1, 0, 0, DAY, 2, 2, received_ns=50 * DAY)
    assert expiry([old, brought], 20 * DAY).whole == (old,)
    assert expiry([old, brought], 60 * DAY).whole == (old, brought)
