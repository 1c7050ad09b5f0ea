"""Quality of predictions with several classes, from the margins of the confusion table and sums of the log loss."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from modelkeep.quality.binary import harmonic
from modelkeep.quality.intervals import Estimate, Z, around, mean, proportion
from modelkeep.quality.pair import Floats

N, RIGHT, SCORED, LOSS, LOSS_SQUARES = range(5)
"""Columns of the sums: labels, right ones, those with a probability for the true class, log loss and its square."""

MOST: Final = 1024
"""Classes per model version; a cell of the confusion table is true * MOST + predicted."""

METRICS: Final = ("accuracy", "macro_f1", "log_loss")


def terms(right: Floats, probability: Floats) -> Floats:
    """Gives what each labelled prediction adds to the sums.

    Args:
        right: shape (n,), 1 where the predicted class is the true one.
        probability: shape (n,), of the true class; NaN where the model gave none.

    Returns:
        Shape (n, 5).
    """
    tiny = float(np.finfo(np.float64).eps)
    scored = np.isfinite(probability)
    loss = np.where(scored, -np.log(np.clip(np.where(scored, probability, 1.0), tiny, 1 - tiny)), 0.0)
    return np.stack([np.ones_like(right), right, scored.astype(np.float64), loss, loss**2], axis=1)


def metrics(
    sums: Floats, actual: Floats, predicted: Floats, right: Floats, wanted: Collection[str] = METRICS
) -> dict[str, Estimate]:
    """Gives the figures of n windows.

    Args:
        sums: shape (n, 5), see `terms`.
        actual: shape (n, classes), how often each class was true.
        predicted: shape (n, classes), how often it was predicted.
        right: shape (n, classes), how often both.
        wanted: which figures to compute.
    """
    found = {
        "accuracy": proportion(sums[:, RIGHT], sums[:, N]),
        "macro_f1": _macro(actual, predicted, right),
        "log_loss": mean(sums[:, LOSS], sums[:, LOSS_SQUARES], sums[:, SCORED]),
    }
    return {name: found[name] for name in METRICS if name in wanted}


def _macro(actual: Floats, predicted: Floats, right: Floats) -> Estimate:
    """The mean F1 of the classes that were true or predicted, their errors taken as independent."""
    union = actual + predicted - right
    there = union > 0
    each = harmonic(proportion(right, union))
    classes = np.where(there.any(axis=1), there.sum(axis=1), np.nan)
    value = np.where(there, each.value, 0).sum(axis=1) / classes
    variance = np.where(there, ((each.high - each.low) / (2 * Z)) ** 2, 0).sum(axis=1) / classes**2
    return around(value, np.sqrt(variance), 0.0, 1.0)
