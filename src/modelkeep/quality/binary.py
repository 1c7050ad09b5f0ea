"""Quality of predictions with two classes, from sums and a histogram of the score by label.

Log loss, Brier score and calibration are sums over rows and so exact. The area under the curve and everything at a
threshold come from 1,000 equal ranges of the score (1.0 has its own): exact for thresholds of three decimals.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from modelkeep.core.errors import BadInput
from modelkeep.quality.intervals import Estimate, around, mean, proportion, ratio
from modelkeep.quality.pair import Floats, Ints

BINS: Final = 1001
_EDGES: Final = np.arange(BINS) / (BINS - 1)
_MIDDLES: Final = np.append((np.arange(BINS - 1) + 0.5) / (BINS - 1), 1.0)
_GROUPS: Final = np.append(np.repeat(np.arange(10), 100), 9)

N, POSITIVE, SCORES, LOSS, LOSS_SQUARES, SQUARES, SQUARES_SQUARES = range(7)
"""Columns of the sums: labels, positive ones, scores, log loss, (score - label)², and the squares of these two."""

METRICS: Final = (
    "auc",
    "log_loss",
    "brier",
    "calibration",
    "predicted_rate",
    "actual_rate",
    "expected_calibration_error",
    "accuracy",
    "precision",
    "recall",
    "f1",
)
_NEED_SCORES: Final = frozenset({"auc", "log_loss", "brier", "expected_calibration_error"})


def bins(scores: Floats) -> Ints:
    """Gives each score's range: k holds k / 1000 ≤ score < (k + 1) / 1000, the last one 1.

    >>> bins(np.array([0.0, 0.57, 0.9999, 1.0])).tolist()
    [0, 570, 999, 1000]
    """
    return np.asarray(np.searchsorted(_EDGES, scores, "right") - 1)


def terms(scores: Floats, positive: Floats) -> Floats:
    """Gives what each labelled prediction adds to the sums.

    Args:
        scores: shape (n,), 0 to 1.
        positive: shape (n,), 1 or 0.

    Returns:
        Shape (n, 7), columns as named in this module. As in scikit-learn a score of 0 or 1 that is wrong costs the
        log of the smallest step of a double.
    """
    tiny = float(np.finfo(np.float64).eps)
    given = np.where(positive > 0, scores, 1 - scores)
    loss = -np.log(np.clip(given, tiny, 1 - tiny))
    square = (scores - positive) ** 2
    return np.stack([np.ones_like(scores), positive, scores, loss, loss**2, square, square**2], axis=1)


def metrics(
    sums: Floats, histogram: Floats, *, threshold: float, scored: bool, wanted: Collection[str] = METRICS
) -> dict[str, Estimate]:
    """Gives the figures of n windows.

    Args:
        sums: shape (n, 7), see `terms`.
        histogram: shape (n, 2002): labelled predictions by range of the score, first the negative ones.
        threshold: scores from here on count as positive.
        scored: False when there were bools instead of scores, so that no figure about probabilities exists.
        wanted: which figures to compute.

    Raises:
        BadInput: the threshold is not in 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise BadInput(f"threshold {threshold} is not in 0 to 1")
    negative, positive = histogram[:, :BINS], histogram[:, BINS:]
    names = [name for name in METRICS if name in wanted and (scored or name not in _NEED_SCORES)]
    found: dict[str, Estimate] = _from_sums(sums)
    if "auc" in names:
        found["auc"] = area(negative, positive)
    if "expected_calibration_error" in names:
        found["expected_calibration_error"] = calibration_error(negative, positive)
    if "predicted_rate" in names:
        squares = np.einsum("ij,j->i", negative, _MIDDLES**2) + np.einsum("ij,j->i", positive, _MIDDLES**2)
        found["predicted_rate"] = mean(sums[:, SCORES], squares, sums[:, N])
    if {"accuracy", "precision", "recall", "f1"} & set(names):
        found |= _at_threshold(negative, positive, threshold)
    return {name: found[name] for name in names}


def area(negative: Floats, positive: Floats) -> Estimate:
    """Gives the area under the receiver's curve, ties counted half.

    Args:
        negative: shape (n, bins), counts by ascending score.
        positive: like `negative`.

    Source: DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
        characteristic curves, 1988; over ranges instead of rows.

    >>> found = area(np.array([[2.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 2.0]]))
    >>> round(float(found.value[0]), 4)
    0.9444
    """
    below = np.cumsum(negative, axis=1)
    wins = below - negative / 2
    n, m = below[:, -1], positive.sum(axis=1)
    value = ratio(np.einsum("ij,ij->i", positive, wins), n * m)
    win_squares = np.einsum("ij,ij,ij->i", positive, wins, wins)
    beaten = np.cumsum(positive, axis=1)
    np.subtract(m[:, None] + positive / 2, beaten, out=beaten)
    beaten_squares = np.einsum("ij,ij,ij->i", negative, beaten, beaten)
    first = ratio(ratio(win_squares, n * n) - m * value**2, m - 1)
    second = ratio(ratio(beaten_squares, m * m) - n * value**2, n - 1)
    error = np.sqrt(np.maximum(ratio(first, m) + ratio(second, n), 0))
    return around(value, error, 0.0, 1.0)


def calibration_error(negative: Floats, positive: Floats) -> Estimate:
    """Gives the mean distance of predicted and actual rate over ten equal ranges of the score."""
    starts = np.flatnonzero(np.diff(_GROUPS, prepend=-1))
    hits = np.add.reduceat(positive, starts, axis=1)
    rows = hits + np.add.reduceat(negative, starts, axis=1)
    predicted = np.add.reduceat((negative + positive) * _MIDDLES, starts, axis=1)
    total = rows.sum(axis=1)
    rate = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    variance = (rows * rate * (1 - rate)).sum(axis=1)
    value = ratio(np.abs(predicted - hits).sum(axis=1), total)
    return around(value, ratio(np.sqrt(variance), total), 0.0, 1.0)


def _from_sums(sums: Floats) -> dict[str, Estimate]:
    count = sums[:, N]
    return {
        "log_loss": mean(sums[:, LOSS], sums[:, LOSS_SQUARES], count),
        "brier": mean(sums[:, SQUARES], sums[:, SQUARES_SQUARES], count),
        "calibration": mean(sums[:, SCORES] - sums[:, POSITIVE], sums[:, SQUARES], count),
        "actual_rate": proportion(sums[:, POSITIVE], count),
    }


def _at_threshold(negative: Floats, positive: Floats, threshold: float) -> dict[str, Estimate]:
    first = int(np.searchsorted(_EDGES, threshold, "left"))
    hit, alarm = positive[:, first:].sum(axis=1), negative[:, first:].sum(axis=1)
    missed, rest = positive[:, :first].sum(axis=1), negative[:, :first].sum(axis=1)
    return {
        "accuracy": proportion(hit + rest, hit + alarm + missed + rest),
        "precision": proportion(hit, hit + alarm),
        "recall": proportion(hit, hit + missed),
        "f1": harmonic(proportion(hit, hit + alarm + missed)),
    }


def harmonic(overlap: Estimate) -> Estimate:
    """Gives F1 from the share of hits among hits, false alarms and misses, of which it is 2 J / (1 + J)."""
    value, low, high = (2 * part / (1 + part) for part in (overlap.value, overlap.low, overlap.high))
    return Estimate(value, low, high)
