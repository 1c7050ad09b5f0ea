"""One feature beside its reference and all features over time, compared with numpy over the raw rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import Missing
from modelkeep.quality.closeup import WORST, Compared
from modelkeep.quality.quality import Quality

BEGIN = 15_800 * DAY
RNG = np.random.default_rng(3)


def told(folder: Path, reference: list[object] | None, current: list[object], hours: int = 24) -> Quality:
    """A room with one feature `x`, spread evenly over some hours."""
    quality = Quality(folder)
    at = [BEGIN + (row % hours) * HOUR for row in range(len(current))]
    made = parts.prediction(
        [f"p{row}" for row in range(len(current))], at, score=[0.5] * len(current), features={"x": current}
    )
    given = [parts.reference({"x": reference})] if reference is not None else []
    quality.apply(parts.entries(*given, made))
    return quality


def compared(quality: Quality, feature: str = "x", **asked: int) -> Compared:
    ((version, window),) = quality.windows("m", version="1", feature=feature, **asked)
    return quality.closeup.compared(version, feature, window)


@pytest.mark.parametrize("shape", ["normal", "lognormal", "steps"])
def test_ranges_hold_the_shares_that_numpy_counts(tmp_path: Path, shape: str) -> None:
    draw = {
        "normal": lambda n, by: RNG.normal(by, 1, n),
        "lognormal": lambda n, by: RNG.lognormal(by, 1.2, n),
        "steps": lambda n, by: RNG.integers(0, 400, n) / 4 + by,
    }[shape]
    reference, current = draw(5000, 0.0), draw(3000, 0.7)
    quality = told(tmp_path, reference.tolist(), current.tolist())
    found = compared(quality)
    assert found.against == "reference"
    assert 10 <= len(found.bins) <= 43
    for one in found.bins:
        low, high = -np.inf if one.start is None else one.start, np.inf if one.end is None else one.end
        for side, values in ((one.reference, reference), (one.current, current)):
            assert side == pytest.approx(np.mean((values > low) & (values <= high)), abs=1e-12)
    assert sum(one.reference for one in found.bins) == pytest.approx(1)
    assert sum(one.current for one in found.bins) == pytest.approx(1)
    assert found.current.mean == pytest.approx(current.mean())
    assert found.reference.mean == pytest.approx(reference.mean())
    assert found.unseen == pytest.approx(np.mean((current < reference.min()) | (current > reference.max())))


@settings(max_examples=40, deadline=None)
@given(
    reference=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400),
    current=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100),
)
def test_shares_of_any_numbers_sum_to_one(
    tmp_path_factory: pytest.TempPathFactory, reference: list[float], current: list[float]
) -> None:
    quality = told(tmp_path_factory.mktemp("any"), list(reference), list(current))
    bins = compared(quality).bins
    assert sum(one.reference for one in bins) == pytest.approx(1)
    assert sum(one.current for one in bins) == pytest.approx(1)
    ends = [one.end for one in bins if one.kind == "range" and one.end is not None]
    assert ends == sorted(set(ends))
    quality.close()


def test_few_numbers_stand_for_themselves(tmp_path: Path) -> None:
    found = compared(told(tmp_path, [0, 1, 1, 2] * 20, [1, 1, 2, 3] * 20))
    assert [(one.name, one.reference, one.current) for one in found.bins] == [
        ("0", 0.25, 0.0),
        ("1", 0.5, 0.5),
        ("2", 0.25, 0.25),
        ("", 0.0, 0.25),
    ]
    assert found.bins[-1].kind == "unseen"


def test_names_are_told_by_frequency_with_the_others_and_the_unseen(tmp_path: Path) -> None:
    many = [f"name {place}" for place in range(50) for _ in range(60 - place)]
    found = compared(told(tmp_path, [*many, None], [*many[:500], *["new"] * 100, None, None]))
    kinds = [one.kind for one in found.bins]
    assert kinds == ["name"] * 20 + ["other", "unseen"]
    assert found.bins[0].name == "name 0"
    assert found.bins[-1].current == pytest.approx(100 / 600)
    assert sum(one.reference for one in found.bins) == pytest.approx(1)
    assert found.unseen == pytest.approx(100 / 600)
    assert (found.reference.rows, found.reference.states[1]) == (len(many) + 1, 1)
    assert (found.current.rows, found.current.states[1]) == (602, 2)
    assert np.isnan(found.current.mean)


def test_nulls_nan_and_infinities_are_counted_beside(tmp_path: Path) -> None:
    values = [1.0, None, float("nan"), float("inf"), float("-inf"), 2.0]
    found = compared(told(tmp_path, [1.0, 2.0], values, hours=1))
    assert found.current.states.tolist() == [2, 1, 1, 1, 1, 0]
    assert found.current.mean == 1.5


def test_without_a_reference_the_first_week_stands_in(tmp_path: Path) -> None:
    quality = told(tmp_path, None, RNG.normal(0, 1, 4000).tolist(), hours=24 * 20)
    found = compared(quality, start_ns=BEGIN + 10 * DAY)
    assert found.against == "first week"
    assert found.reference.rows == sum(row % 480 < 168 for row in range(4000))
    assert sum(one.reference for one in found.bins) == pytest.approx(1)
    few = told(tmp_path / "few", None, [1.0, 2.0])
    assert compared(few).bins == ()


def test_a_window_without_rows_has_no_shares(tmp_path: Path) -> None:
    found = compared(told(tmp_path, [1.0, 2.0] * 50, [1.0] * 50), start_ns=BEGIN + 9 * DAY, end_ns=BEGIN + 10 * DAY)
    assert found.current.rows == 0
    assert all(np.isnan(one.current) for one in found.bins)


@pytest.mark.parametrize("measure", ["psi", "ks", WORST])
def test_the_map_agrees_with_the_answer_of_drift(tmp_path: Path, measure: str) -> None:
    quality = Quality(tmp_path)
    count = 2400
    features = {
        "x": RNG.normal(0.5, 1, count).tolist(),
        "c": ["ab"[row % 2] if row < 1200 else "b" for row in range(count)],
    }
    at = [BEGIN + row * HOUR // 50 for row in range(count)]
    reference = {"x": RNG.normal(0, 1, count).tolist(), "c": ["ab"[row % 2] for row in range(count)]}
    made = parts.prediction([f"p{row}" for row in range(count)], at, score=[0.5] * count, features=features)
    quality.apply(parts.entries(parts.reference(reference), made))
    ((version, windows),) = quality.windows("m", version="1", by="day")
    traced = {one.feature: one for one in quality.closeup.traced(version, windows, measure)}
    answer = [row for row in quality.drift("m", by="day").rows if row.feature in ("x", "c")]
    assert len(answer) == 2 * len(windows)
    for row in answer:
        place = windows.starts.tolist().index(row.start_ns // HOUR)
        one = traced[row.feature]
        assert one.rows[place] == row.predictions
        over = {name: verdict.value / verdict.threshold for name, verdict in row.measures.items()}
        if measure == WORST:
            assert one.ratios[place] == pytest.approx(max(over.values()))
            assert (one.ratios[place] > 1) == row.drifted
        elif measure in over:
            assert one.values[place] == pytest.approx(row.measures[measure].value)
            assert one.ratios[place] == pytest.approx(over[measure])
        else:
            assert np.isnan(one.values[place])


def test_a_feature_that_is_not_there_is_missing(tmp_path: Path) -> None:
    quality = told(tmp_path, [1.0], [1.0])
    with pytest.raises(Missing, match="no feature 'y'"):
        compared(quality, "y")
