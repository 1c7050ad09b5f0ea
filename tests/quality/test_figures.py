"""Figures against scikit-learn on the rows themselves, and their intervals against simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parts
import pytest
from scipy import stats
from sklearn import metrics as oracle

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import BadInput, Missing
from modelkeep.quality import binary
from modelkeep.quality.answers import QualityRow
from modelkeep.quality.intervals import mean, proportion
from modelkeep.quality.quality import Quality

BEGIN = 15_796 * DAY
ROWS = 6_000
TOLERANCE = 0.002


@pytest.fixture(name="quality")
def _quality(tmp_path: Path) -> Quality:
    return Quality(tmp_path / "quality")


def ids(count: int = ROWS) -> list[str]:
    return [f"i{at}" for at in range(count)]


def times(count: int = ROWS, days: int = 61) -> np.ndarray:
    return BEGIN + np.arange(count) * (days * DAY // count)


def only(quality: Quality, **asked: object) -> QualityRow:
    answer = quality.figures("m", **asked)  # type: ignore[arg-type]
    assert len(answer.rows) == 1
    return answer.rows[0]


def close(row: QualityRow, expected: dict[str, float], tolerance: float = TOLERANCE) -> None:
    for name, value in expected.items():
        if np.isnan(value):
            assert name not in row.metrics
            continue
        figure = row.metrics[name]
        assert figure.value == pytest.approx(value, abs=tolerance), name
        assert figure.low <= figure.value <= figure.high, name


def binary_oracle(y: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    hit = score >= threshold
    return {
        "auc": oracle.roc_auc_score(y, score),
        "accuracy": oracle.accuracy_score(y, hit),
        "precision": oracle.precision_score(y, hit, zero_division=np.nan),
        "recall": oracle.recall_score(y, hit),
        "f1": oracle.f1_score(y, hit),
        "predicted_rate": score.mean(),
        "actual_rate": y.mean(),
        "calibration": score.mean() - y.mean(),
    }


@pytest.mark.parametrize("threshold", [0.5, 0.137, 0.9])
def test_binary_figures_are_scikit_learns(quality: Quality, threshold: float) -> None:
    rng = np.random.default_rng(1)
    score = rng.beta(2, 4, ROWS).round(6)
    y = (rng.random(ROWS) < score**1.2).astype(float)
    quality.apply(parts.entries(parts.prediction(ids(), times(), score=score), parts.fact(ids(), y, times() + DAY)))
    for row in quality.figures("m", by="month", threshold=threshold).rows:
        there = (times() >= row.start_ns) & (times() < row.end_ns)
        assert (row.predictions, row.labels, row.coverage) == (there.sum(), there.sum(), 1.0)
        close(row, binary_oracle(y[there], score[there], threshold))
        exact = {
            "log_loss": oracle.log_loss(y[there], score[there]),
            "brier": oracle.brier_score_loss(y[there], score[there]),
        }
        close(row, exact, 1e-12)


def test_scores_of_zero_and_one_that_are_wrong_cost_what_they_cost_in_scikit_learn(quality: Quality) -> None:
    score, y = np.array([0.0, 1.0, 0.0, 1.0, 0.3]), np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    quality.apply(parts.entries(parts.prediction(ids(5), times(5), score=score), parts.fact(ids(5), y, times(5))))
    assert only(quality).metrics["log_loss"].value == pytest.approx(oracle.log_loss(y, score), rel=1e-9)


def test_bools_without_scores(quality: Quality) -> None:
    rng = np.random.default_rng(2)
    y = rng.random(ROWS) < 0.3
    said = np.where(rng.random(ROWS) < 0.8, y, ~y)
    label = parts.fact(ids(), y.astype(float), times())
    quality.apply(parts.entries(parts.prediction(ids(), times(), prediction=said), label))
    row = only(quality)
    expected = {
        "accuracy": oracle.accuracy_score(y, said),
        "precision": oracle.precision_score(y, said),
        "recall": oracle.recall_score(y, said),
        "f1": oracle.f1_score(y, said),
    }
    close(row, expected, 1e-12)
    assert "auc" not in row.metrics
    assert "log_loss" not in row.metrics


def test_class_figures_are_scikit_learns(quality: Quality) -> None:
    rng = np.random.default_rng(3)
    names = np.array(["cat", "dog", "eel", "2"])
    given = rng.dirichlet([1, 2, 1, 0.3], ROWS)
    y = names[[rng.choice(4, p=row) for row in given]]
    said = names[given.argmax(axis=1)]
    made = parts.prediction(ids(), times(), prediction=said, scores=dict(zip(names, given.T, strict=True)))
    quality.apply(parts.entries(made, parts.fact(ids(), y.tolist(), times())))
    row = only(quality)
    assert row.labels == ROWS
    order = np.argsort(names)
    expected = {
        "accuracy": oracle.accuracy_score(y, said),
        "macro_f1": oracle.f1_score(y, said, average="macro"),
        "log_loss": oracle.log_loss(y, given[:, order], labels=names[order]),
    }
    close(row, expected, 1e-9)


def test_classes_that_are_numbers_are_known_by_their_names(quality: Quality) -> None:
    made = parts.prediction(["a", "b", "c"], times(3), prediction=[0.0, 1.0, 2.0], scores={"0": [1, 0, 0]})
    quality.apply(parts.entries(made, parts.fact(["a", "b", "c"], [0.0, "1", 1.0], times(3))))
    assert only(quality).metrics["accuracy"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("origin", [0.0, 1e7])
def test_regression_figures_are_scikit_learns(quality: Quality, origin: float) -> None:
    rng = np.random.default_rng(4)
    y = origin + rng.gamma(2, 10, ROWS)
    said = y + rng.normal(1, 5, ROWS)
    quality.apply(parts.entries(parts.prediction(ids(), times(), prediction=said), parts.fact(ids(), y, times())))
    expected = {
        "mae": oracle.mean_absolute_error(y, said),
        "rmse": oracle.root_mean_squared_error(y, said),
        "bias": (said - y).mean(),
        "r2": oracle.r2_score(y, said),
    }
    close(only(quality), expected, 1e-6)


def test_expected_calibration_error_by_hand(quality: Quality) -> None:
    """Two groups: 0.25 predicted and half true, 0.75 predicted and all true."""
    score, y = [0.25] * 4 + [0.75] * 4, [1.0, 1, 0, 0, 1, 1, 1, 1]
    quality.apply(parts.entries(parts.prediction(ids(8), times(8), score=score), parts.fact(ids(8), y, times(8))))
    assert only(quality).metrics["expected_calibration_error"].value == pytest.approx(0.25, abs=0.001)


def test_the_area_has_delongs_interval() -> None:
    """Against the spread of the area over many samples."""
    rng = np.random.default_rng(5)
    areas, errors = [], []
    for _ in range(200):
        y = rng.random(600) < 0.3
        score = 1 / (1 + np.exp(-rng.normal(y * 0.8)))
        counts = [np.bincount(binary.bins(score[y == side]), minlength=binary.BINS)[None, :] * 1.0 for side in (0, 1)]
        found = binary.area(*counts)
        areas.append(found.value[0])
        errors.append((found.high[0] - found.low[0]) / (2 * 1.96))
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.15)


def test_proportions_have_wilsons_interval() -> None:
    found = proportion(np.array([8.0, 0.0]), np.array([10.0, 4.0]))
    for at, (hits, of) in enumerate([(8, 10), (0, 4)]):
        expected = stats.binomtest(hits, of).proportion_ci(method="wilson")
        assert (found.low[at], found.high[at]) == pytest.approx((expected.low, expected.high))


def test_means_have_a_normal_interval() -> None:
    values = np.random.default_rng(6).normal(3, 2, 4_000)
    found = mean(np.array([values.sum()]), np.array([(values**2).sum()]), np.array([4_000.0]))
    assert found.high[0] - found.low[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4_000), rel=0.01)


def test_months_begin_where_the_time_zone_says(quality: Quality) -> None:
    at = np.arange(BEGIN - 3 * DAY, BEGIN + 3 * DAY, HOUR)
    quality.apply(parts.entries(parts.prediction(ids(len(at)), at, score=[0.5] * len(at))))
    rows = quality.figures("m", by="month", timezone="America/New_York").rows
    assert [row.predictions for row in rows] == [3 * 24 + 4, 3 * 24 - 4]
    assert rows[1].start_ns == BEGIN + 4 * HOUR
    with pytest.raises(BadInput, match="whole hour"):
        quality.figures("m", by="day", timezone="Asia/Kolkata")
    with pytest.raises(BadInput, match="time zone"):
        quality.figures("m", by="day", timezone="Mars/Olympus")


def test_versions_stand_apart_or_together(quality: Quality) -> None:
    one = parts.prediction(ids(10), times(10), score=[0.5] * 10)
    two = parts.prediction([f"x{at}" for at in range(5)], times(5), score=[0.5] * 5, version="2")
    quality.apply(parts.entries(one, two))
    assert [(row.version, row.predictions) for row in quality.figures("m").rows] == [("1", 10), ("2", 5)]
    assert [(row.version, row.predictions) for row in quality.figures("m", version="*").rows] == [("*", 15)]
    assert only(quality, version="2").predictions == 5
    assert [[one.version for one in found.versions] for found in quality.models()] == [["1", "2"]]


def test_what_is_not_there_is_missing(quality: Quality) -> None:
    with pytest.raises(Missing, match="no model 'm'"):
        quality.figures("m")
    quality.apply(parts.entries(parts.prediction(ids(1), times(1), score=[0.5])))
    with pytest.raises(Missing, match="no version '9'"):
        quality.figures("m", version="9")
    with pytest.raises(BadInput, match="period"):
        quality.figures("m", by="fortnight")
    with pytest.raises(BadInput, match="threshold"):
        quality.figures("m", threshold=7)


def test_an_empty_window_gives_no_rows(quality: Quality) -> None:
    quality.apply(parts.entries(parts.prediction(ids(3), times(3), score=[0.5] * 3)))
    assert quality.figures("m", start_ns=BEGIN - 9 * DAY, end_ns=BEGIN - 8 * DAY).rows == ()
    assert quality.figures("m", start_ns=BEGIN + DAY, end_ns=BEGIN).rows == ()
    answer = quality.figures("m").json()
    assert answer["task"] == "binary"
    assert answer["rows"][0]["labels"] == 0  # type: ignore[index, call-overload]
