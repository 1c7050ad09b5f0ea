"""Quality of predicted numbers, from sums of powers of the error and of the truth.

The truth is taken from a fixed origin (the first label), so that a large mean costs no digits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from modelkeep.quality.intervals import Estimate, around, mean, ratio
from modelkeep.quality.pair import Floats

N, Y, Y2, E, ABSOLUTE, E2, E4, Y3, Y4, E2Y, E2Y2 = range(11)
"""Columns of the sums; E is predicted minus true."""

METRICS: Final = ("mae", "rmse", "bias", "r2")


def terms(predicted: Floats, actual: Floats, origin: float) -> Floats:
    """Gives what each labelled prediction adds to the sums, shape (n, 11)."""
    y = actual - origin
    error = predicted - actual
    square = error**2
    parts = [np.ones_like(y), y, y**2, error, np.abs(error), square, square**2, y**3, y**4, square * y, square * y**2]
    return np.stack(parts, axis=1)


def metrics(sums: Floats, wanted: Collection[str] = METRICS) -> dict[str, Estimate]:
    """Gives the figures of n windows.

    Args:
        sums: shape (n, 11), see `terms`.
        wanted: which figures to compute.
    """
    count = sums[:, N]
    squares = mean(sums[:, E2], sums[:, E4], count)
    found = {
        "mae": mean(sums[:, ABSOLUTE], sums[:, E2], count),
        "rmse": Estimate(np.sqrt(squares.value), np.sqrt(np.maximum(squares.low, 0)), np.sqrt(squares.high)),
        "bias": mean(sums[:, E], sums[:, E2], count),
        "r2": _explained(sums),
    }
    return {name: found[name] for name in METRICS if name in wanted}


def _explained(sums: Floats) -> Estimate:
    """1 - mean e² / variance of y, with the variance of that ratio to first order."""
    share = [ratio(sums[:, column], sums[:, N]) for column in range(sums.shape[1])]
    centre, error = share[Y], share[E2]
    variance = share[Y2] - centre**2
    fourth = share[Y4] - 4 * centre * share[Y3] + 6 * centre**2 * share[Y2] - 3 * centre**4
    shared = share[E2Y2] - 2 * centre * share[E2Y] + centre**2 * error
    lost = ratio(error, variance)
    parts = (share[E4] - error**2) - 2 * lost * (shared - error * variance) + lost**2 * (fourth - variance**2)
    spread = np.sqrt(ratio(ratio(np.maximum(parts, 0), variance**2), sums[:, N]))
    found = around(1 - lost, spread, most=1.0)
    return Estimate(found.value, found.low, np.maximum(found.high, found.value))
