"""Kernels over windows against plain loops."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.metrics.promql.overtime import FUNCTIONS
from modelkeep.metrics.promql.result import is_stale, stale
from modelkeep.metrics.promql.values import dense
from modelkeep.metrics.promql.windows import window

S = 1_000_000_000
SAMPLES = st.lists(st.tuples(st.integers(1, 20), st.integers(-50, 50)), min_size=1, max_size=60)

PLAIN = {
    "sum_over_time": sum,
    "avg_over_time": lambda v: sum(v) / len(v),
    "min_over_time": min,
    "max_over_time": max,
    "count_over_time": len,
    "last_over_time": lambda v: v[-1],
    "present_over_time": lambda v: 1.0,
    "stdvar_over_time": statistics.pvariance,
    "stddev_over_time": statistics.pstdev,
    "changes": lambda v: sum(a != b for a, b in pairwise(v)),
    "resets": lambda v: sum(b < a for a, b in pairwise(v)),
}


@pytest.mark.parametrize("name", sorted(PLAIN))
@given(samples=SAMPLES, length=st.integers(1, 200), step=st.integers(1, 40), closed=st.booleans())
def test_kernel_gives_what_a_loop_gives(name: str, samples: list, length: int, step: int, closed: bool) -> None:
    times = np.cumsum([gap for gap, _ in samples]) * S
    values = np.array([[value for _, value in samples], [value**3 for _, value in samples]], np.float64)
    ends = np.arange(0, int(times[-1]) + 50 * S, step * S)
    seen = window(times, ends, length * S, evaluated=ends, closed=closed)
    with np.errstate(all="ignore"):
        found = FUNCTIONS[name].kernel(seen, values, [])
    for at, end in enumerate(ends.tolist()):
        low = end - length * S
        inside = (times <= end) & ((times >= low) if closed else (times > low))
        assert seen.count[at] == inside.sum()
        if inside.any():
            for one in range(2):
                assert math.isclose(
                    found[one, at], PLAIN[name](values[one, inside].tolist()), rel_tol=1e-9, abs_tol=1e-7
                )


@given(samples=SAMPLES, ratio=st.floats(0, 1), length=st.integers(1, 200))
def test_quantile_gives_what_numpy_gives(samples: list, ratio: float, length: int) -> None:
    times = np.cumsum([gap for gap, _ in samples]) * S
    values = np.array([[value for _, value in samples]], np.float64)
    ends = np.arange(0, int(times[-1]) + 1, 7 * S)
    seen = window(times, ends, length * S, evaluated=ends, closed=False)
    found = FUNCTIONS["quantile_over_time"].kernel(seen, values, [np.full(len(ends), ratio)])
    for at in np.flatnonzero(seen.count):
        wanted = np.quantile(values[0, seen.first[at] : seen.stop[at]], ratio)
        assert found[0, at] == pytest.approx(wanted, abs=1e-9)


def test_a_huge_value_does_not_touch_windows_without_it() -> None:
    values = np.full((1, 100), 0.1)
    values[0, 10] = 1e300
    values[0, 20] = np.inf
    values[0, 30] = np.nan
    times = np.arange(100) * S
    seen = window(times, times[35:], 4 * S, evaluated=times[35:], closed=False)
    for name in ("sum_over_time", "avg_over_time", "stddev_over_time"):
        with np.errstate(all="ignore"):
            found, clean = (FUNCTIONS[name].kernel(seen, one, []) for one in (values, np.full((1, 100), 0.1)))
        assert (found == clean).all()


def test_a_mean_does_not_overflow() -> None:
    times = np.arange(10) * S
    seen = window(times, times[-1:], 10 * S, evaluated=times[-1:], closed=False)
    with np.errstate(over="ignore"):
        found = FUNCTIONS["avg_over_time"].kernel(seen, np.full((1, 10), 1e308), [])
    assert found.item() == pytest.approx(1e308)


def test_stale_is_no_nan() -> None:
    assert is_stale(stale((2, 2))).all()
    assert not is_stale(np.full((2, 2), np.nan)).any()
    assert dense([]) == []
