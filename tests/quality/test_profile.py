"""Profiles: every value has a place, whatever it is, and profiles add up."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.quality.profile import (
    NAMED,
    OTHER,
    RANGES,
    UNSEEN,
    code,
    edges_of,
    pack,
    profile,
    unpack,
)

ANY = st.floats(allow_nan=True, allow_infinity=True) | st.none()
NUMBERS = st.lists(ANY, min_size=0, max_size=50)
WORDS = st.lists(st.text(max_size=5) | st.none(), max_size=50)


@given(reference=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50), current=NUMBERS)
def test_any_numbers_can_be_profiled(reference: list[float], current: list[float | None]) -> None:
    edges = edges_of(pa.array(reference))
    assert np.all(np.diff(edges.numbers) > 0)
    found = profile(pa.array(current, pa.float64()), edges)
    assert found.rows == len(current)
    finite = [one for one in current if one is not None and np.isfinite(one)]
    assert found.counts.sum() == len(finite)
    assert found.states.tolist()[1:3] == [sum(one is None for one in current), sum(one != one for one in current)]
    if finite:
        assert (found.low, found.high) == (min(finite), max(finite))
    inside = [one for one in finite if min(reference) <= one <= max(reference)]
    assert found.counts[edges.outside].sum() == len(finite) - len(inside)


@given(reference=st.lists(st.text(max_size=5), min_size=1, max_size=50), current=WORDS)
def test_any_names_can_be_profiled(reference: list[str], current: list[str | None]) -> None:
    edges = edges_of(pa.array(reference))
    found = profile(pa.array(current, pa.string()), edges)
    assert found.rows == len(current)
    assert found.counts[UNSEEN] == sum(one is not None and one not in reference for one in current)


@given(left=NUMBERS, right=NUMBERS)
def test_profiles_add_up(left: list[float | None], right: list[float | None]) -> None:
    edges = edges_of(pa.array([0.0, 1.0, 2.0, 5.0]))
    both = profile(pa.array([*left, *right], pa.float64()), edges)
    added = profile(pa.array(left, pa.float64()), edges).merged(profile(pa.array(right, pa.float64()), edges))
    assert added.counts.tolist() == both.counts.tolist()
    assert added.states.tolist() == both.states.tolist()
    assert (added.low, added.high, added.rows) == (both.low, both.high, both.rows)


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_edges_survive_packing(values: list[float]) -> None:
    edges = edges_of(pa.array(values))
    kept, reference = unpack(pack(edges, profile(pa.array(values), edges)))
    assert kept.id == edges.id
    assert kept.numbers.tolist() == edges.numbers.tolist()
    assert reference is not None
    assert reference.counts.sum() == len(values)
    assert unpack(pack(edges, None))[1] is None


def test_a_large_column_has_even_ranges_and_exact_twentieths() -> None:
    values = np.random.default_rng(0).normal(size=40_000)
    edges = edges_of(pa.array(values))
    counts = profile(pa.array(values), edges).counts
    assert RANGES <= edges.cells <= RANGES + 40
    assert counts.max() <= 40_000 / RANGES * 1.1
    below = np.cumsum(counts)
    assert all((below == round(40_000 * part / 20)).any() for part in range(1, 20))


def test_a_value_that_fills_a_range_stands_alone() -> None:
    values = np.concatenate([np.zeros(5_000), np.random.default_rng(0).normal(size=5_000)])
    edges = edges_of(pa.array(values))
    cell = code(pa.array([0.0]), edges).cells[0]
    assert profile(pa.array(values), edges).counts[cell] == 5_000


def test_rare_names_share_a_cell_and_new_ones_another() -> None:
    names = [f"n{at}" for at in range(NAMED + 50) for _ in range(2 if at < NAMED else 1)]
    edges = edges_of(pa.array(names))
    assert len(edges.values) == NAMED
    found = profile(pa.array([f"n{NAMED + 3}", "never", "n0"]), edges).counts
    assert (found[OTHER], found[UNSEEN], found.sum()) == (1, 1, 3)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (pa.array(["a", None]), 5),
        (pa.nulls(2), 1),
        (pa.array([True, None]), 0),
        (pa.array([7, None]), 0),
    ],
)
def test_a_column_of_another_type_is_a_misfit(values: pa.Array, state: int) -> None:
    found = code(values, edges_of(pa.array([1.0, 2.0])))
    assert found.states.tolist() == [state, 1]


def test_numbers_where_names_were_are_misfits() -> None:
    assert code(pa.array([1.0]), edges_of(pa.array(["a"]))).states.tolist() == [5]


@pytest.mark.parametrize("values", [pa.nulls(3), pa.array([float("nan")]), pa.array([None], pa.string())])
def test_an_empty_reference_is_refused(values: pa.Array) -> None:
    with pytest.raises(BadInput, match="no value"):
        edges_of(values)


def test_different_columns_have_different_edges() -> None:
    left, right = edges_of(pa.array([1.0, 2.0])), edges_of(pa.array([1.0, 3.0]))
    assert left.id != right.id
    assert left.id == edges_of(pa.array([2.0, 1.0])).id
    assert left.named("m").id != left.named("n").id
