"""The contract of every drift measure, found by name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.quality.measure import Measure, every, measures, threshold
from modelkeep.quality.pair import Pair
from modelkeep.quality.profile import edges_of, profile, profiles

NAMES = measures.names()
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), min_size=1, max_size=60)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "é"]), min_size=1, max_size=60)


def kinds(measure: Measure) -> list[str]:
    return ["numbers"] * measure.numeric + ["words"] * measure.categorical


CASES = [(name, kind) for name in NAMES for kind in kinds(every()[name])]


def test_all_five_are_there() -> None:
    assert {"ks", "psi", "jensen_shannon", "wasserstein", "chi_square"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_says_what_it_is(name: str) -> None:
    measure = measures.load(name)
    assert measure.numeric or measure.categorical
    assert measure.effect > 0
    assert measure.source
    assert measure.__doc__


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(data=st.data())
def test_it_is_zero_on_itself_and_never_below(name: str, kind: str, data: st.DataObject) -> None:
    column = NUMBERS if kind == "numbers" else WORDS
    left, right = data.draw(column), data.draw(column)
    measure = every()[name]
    assert measure.columns(Pair(left, left)) == pytest.approx(0, abs=1e-7)
    assert measure.columns(Pair(left, right)) >= 0


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("empty", ["reference", "current", "both"])
def test_it_refuses_an_empty_column(name: str, kind: str, empty: str) -> None:
    full = pa.array([1.0, 2.0] if kind == "numbers" else ["a", "b"])
    none = pa.nulls(3, full.type)
    pair = Pair(none if empty != "current" else full, none if empty != "reference" else full)
    with pytest.raises(BadInput, match="no value"):
        every()[name].columns(pair)


@pytest.mark.parametrize("name", NAMES)
def test_it_refuses_columns_of_two_kinds(name: str) -> None:
    with pytest.raises(BadInput, match="numbers"):
        every()[name].columns(Pair([1.0], ["a"]))


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(data=st.data())
def test_profiles_of_the_same_rows_give_nearly_the_same(name: str, kind: str, data: st.DataObject) -> None:
    """Up to 256 different numbers have a cell each: then profiles lose nothing but places between the reference's."""
    small = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=60)
    column = small if kind == "numbers" else WORDS
    left = data.draw(column)
    right = data.draw(st.lists(st.sampled_from(left), min_size=1, max_size=60))
    measure = every()[name]
    edges = edges_of(pa.array(left))
    current = np.stack([profile(pa.array(one), edges).counts for one in (right, left)])
    found = measure.profiles(profiles(edges, profile(pa.array(left), edges).counts, current))
    assert found.shape == (2,)
    assert found[0] == pytest.approx(measure.columns(Pair(left, right)), rel=1e-6, abs=1e-7)
    assert found[1] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_profiles_of_many_rows_agree_with_columns(name: str, kind: str) -> None:
    rng = np.random.default_rng(7)
    if kind == "numbers":
        left, right = rng.lognormal(size=20_000), rng.lognormal(0.1, 1.1, size=15_000)
    else:
        left, right = (np.char.add("v", rng.zipf(1.4, 20_000).clip(1, 60 + at).astype(str)) for at in (0, 9))
    measure = every()[name]
    edges = edges_of(pa.array(left))
    counts = [profile(pa.array(one), edges).counts for one in (left, right)]
    found = float(measure.profiles(profiles(edges, counts[0], counts[1])))
    assert found == pytest.approx(measure.columns(Pair(left, right)), rel=0.03, abs=2e-3)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_window_without_rows_has_no_value(name: str, kind: str) -> None:
    edges = edges_of(pa.array([1.0, 2.0, 3.0] if kind == "numbers" else ["a", "b"]))
    none = np.zeros((2, edges.cells))
    found = every()[name].profiles(profiles(edges, np.ones(edges.cells), none))
    assert np.isnan(found).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("size", [60, 400, 3_000])
def test_chance_alone_is_not_drift(name: str, kind: str, size: int) -> None:
    """Windows drawn from the reference's own population stay below the noise band, and near it at the given rate."""
    rng = np.random.default_rng(3)
    measure = every()[name]

    def draw(count: int) -> np.ndarray:
        if kind == "numbers":
            return rng.gamma(2, size=count)
        return np.char.add("v", rng.zipf(1.6, count).clip(1, 40).astype(str))

    alpha, times = 0.02, 300
    reference = draw(5_000)
    beyond, unlikely = 0, 0
    for _ in range(times):
        pair = Pair(reference, draw(size))
        value = measure.columns(pair)
        beyond += value > float(measure.noise(pair.sample, alpha))
        unlikely += float(measure.chance(np.asarray(value), pair.sample)) < alpha
    assert max(beyond, unlikely) <= times * alpha + 4 * np.sqrt(times * alpha)


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
def test_the_p_value_of_the_noise_bound_is_its_probability(name: str, kind: str, alpha: float) -> None:
    rng = np.random.default_rng(1)
    column = rng.gamma(2, size=4_000) if kind == "numbers" else rng.choice(list("abcdef"), 4_000)
    sample, measure = Pair(column, column[:900]).sample, every()[name]
    assert float(measure.chance(measure.noise(sample, alpha), sample)) == pytest.approx(alpha, rel=1e-3)
    assert float(measure.chance(np.asarray(0.0), sample)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_real_change_is_drift(name: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    if kind == "numbers":
        left, right = rng.normal(size=5_000), rng.normal(1.2, size=800)
    else:
        left, right = rng.choice(["a", "b", "c"], 5_000), rng.choice(["b", "c", "d"], 800)
    measure = every()[name]
    pair = Pair(left, right)
    assert measure.columns(pair) > float(threshold(measure, pair.sample, 1e-4))
