"""What stands behind the figures, compared with scikit-learn over the raw rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parts
import pytest
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from modelkeep.core.clock import DAY, HOUR
from modelkeep.quality.quality import Quality

BEGIN = 15_800 * DAY
RNG = np.random.default_rng(5)


def one(quality: Quality, **asked: object):  # type: ignore[no-untyped-def]
    """The one version of `m` with its windows."""
    ((version, windows),) = quality.windows("m", **asked)  # type: ignore[arg-type]
    return version, windows


def binary(folder: Path, count: int = 4000) -> tuple[Quality, np.ndarray, np.ndarray]:
    scores = np.round(RNG.beta(1, 2, count), 3)
    labels = RNG.random(count) < scores * 0.8 + 0.05
    ids = [f"p{row}" for row in range(count)]
    quality = Quality(folder)
    quality.apply(
        parts.entries(
            parts.prediction(ids, [BEGIN + row % 48 * HOUR for row in range(count)], score=scores.tolist()),
            parts.fact(
                ids[: count // 2], labels[: count // 2].astype(float).tolist(), [BEGIN + 5 * DAY] * (count // 2)
            ),
        )
    )
    return quality, scores, labels


def test_calibration_agrees_with_scikit_learn(tmp_path: Path) -> None:
    quality, scores, labels = binary(tmp_path)
    found = quality.scorecard.calibration(*one(quality))
    half = len(scores) // 2
    actual, predicted = sklearn_calibration.calibration_curve(labels[:half], scores[:half], n_bins=10)
    held = found.labels > 0
    # scikit-learn closes ranges above, we below: scores on a tenth may differ by their range
    assert found.labels.sum() == half
    assert found.predictions.tolist() == np.histogram(scores, np.arange(11) / 10)[0].tolist()
    assert np.abs(found.actual[held] - actual).max() < 0.03
    assert np.abs(found.predicted[held] - predicted).max() < 0.003
    assert (found.low[held] <= found.actual[held]).all()
    assert (found.actual[held] <= found.high[held]).all()


def test_calibration_is_what_numpy_counts(tmp_path: Path) -> None:
    quality, scores, labels = binary(tmp_path)
    found = quality.scorecard.calibration(*one(quality))
    half = len(scores) // 2
    place = np.minimum((scores[:half] * 1000).round().astype(int) // 100, 9)
    for at in range(10):
        here = place == at
        assert found.labels[at] == here.sum()
        if here.any():
            assert found.actual[at] == pytest.approx(labels[:half][here].mean())
            assert found.predicted[at] == pytest.approx(scores[:half][here].mean() + 0.0005, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.999, 1.0])
def test_confusion_of_two_classes_agrees_with_scikit_learn(tmp_path: Path, threshold: float) -> None:
    quality, scores, labels = binary(tmp_path)
    half = len(scores) // 2
    version, window = one(quality)
    found = quality.scorecard.confusion(version, window, threshold)
    wanted = sklearn_metrics.confusion_matrix(labels[:half], scores[:half] >= threshold, labels=[False, True])
    assert found.names == ("negative", "positive")
    assert found.counts.tolist() == wanted.tolist()


def test_confusion_of_many_classes_keeps_the_most_frequent(tmp_path: Path) -> None:
    count = 3000
    names = np.array([f"class {place}" for place in range(30)])
    share = 1.0 / np.arange(1, 31)
    actual = RNG.choice(names, count, p=share / share.sum())
    predicted = np.where(RNG.random(count) < 0.7, actual, RNG.choice(names, count))
    ids = [f"p{row}" for row in range(count)]
    quality = Quality(tmp_path)
    quality.apply(
        parts.entries(
            parts.prediction(ids, [BEGIN] * count, prediction=predicted.tolist()),
            parts.fact(ids, actual.tolist(), [BEGIN + HOUR] * count),
        )
    )
    version, window = one(quality)
    found = quality.scorecard.confusion(version, window, 0.5)
    assert len(found.names) == 21
    assert found.names[-1] == ""
    assert found.counts.sum() == count
    shown = list(found.names[:-1])
    wanted = sklearn_metrics.confusion_matrix(actual, predicted, labels=shown)
    assert found.counts[:-1, :-1].tolist() == wanted.tolist()
    assert quality.scorecard.calibration(version, window) is None


def test_a_regression_has_neither(tmp_path: Path) -> None:
    quality = Quality(tmp_path)
    quality.apply(parts.entries(parts.prediction(["a"], [BEGIN], prediction=[3.5])))
    version, window = one(quality)
    assert quality.scorecard.confusion(version, window, 0.5) is None
    assert quality.scorecard.calibration(version, window) is None


def test_delays_are_days_between_prediction_and_label(tmp_path: Path) -> None:
    count = 300
    at = [BEGIN + row * HOUR for row in range(count)]
    days = RNG.integers(0, 9, count)
    ids = [f"p{row}" for row in range(count)]
    quality = Quality(tmp_path)
    told = [moment // DAY * DAY + day * DAY + DAY - 1 for moment, day in zip(at, days.tolist(), strict=True)]
    quality.apply(parts.entries(parts.prediction(ids, at, score=[0.5] * count), parts.fact(ids, [1.0] * count, told)))
    version, windows = one(quality, by="day", start_ns=BEGIN, end_ns=BEGIN + 11 * DAY)
    found = quality.scorecard.delays([version], windows)
    inside = np.array(at) < BEGIN + 11 * DAY
    assert found.by_day.tolist() == np.bincount(days[inside]).tolist()
    for place in range(11):
        here = days[(np.array(at) - BEGIN) // DAY == place]
        assert found.labels[place] == len(here)
        assert found.median[place] == np.percentile(here, 50, method="inverted_cdf")
        assert found.late[place] == np.percentile(here, 90, method="inverted_cdf")


def test_without_labels_there_are_no_delays(tmp_path: Path) -> None:
    quality = Quality(tmp_path)
    quality.apply(parts.entries(parts.prediction(["a"], [BEGIN], score=[0.5])))
    version, windows = one(quality)
    found = quality.scorecard.delays([version], windows)
    assert (found.labels.tolist(), np.isnan(found.median).tolist()) == ([0.0], [True])
    assert quality.scorecard.calibration(version, windows).labels.sum() == 0  # type: ignore[union-attr]
