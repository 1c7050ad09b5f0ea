"""Quantiles of classic histograms: cumulative buckets with an upper bound in the label `le`."""

from __future__ import annotations

import numpy as np

from modelkeep.core.series import NAME, Labels
from modelkeep.metrics.promql.result import Mask, Values
from modelkeep.metrics.promql.values import Vector, empty

BOUND = "le"


def histogram_quantile(ratio: Values, buckets: Vector) -> Vector:
    """Gives a quantile of each histogram, interpolated inside its bucket.

    Args:
        ratio: shape (k,).
        buckets: cumulative counts; series without a readable `le` are left out.

    Returns:
        One series per histogram, without `le` and name.

    Source: Prometheus, promql: histogram_quantile on classic histograms.
    """
    groups: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(buckets.labels):
        bound = _bound(dict(labels).get(BOUND, ""))
        if bound is not None:
            kept = tuple(pair for pair in labels if pair[0] not in {BOUND, NAME})
            groups.setdefault(kept, []).append((bound, row))
    width = buckets.values.shape[1]
    if not groups:
        return empty(width)
    values, present = np.empty((len(groups), width)), np.empty((len(groups), width), bool)
    for at, members in enumerate(groups.values()):
        members.sort()
        rows = [row for _, row in members]
        bounds = np.array([bound for bound, _ in members])
        values[at], present[at] = _group(ratio, bounds, buckets.values[rows], buckets.present[rows])
    return Vector(list(groups), values, present)


def _bound(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _group(ratio: Values, bounds: Values, counts: Values, present: Mask) -> tuple[Values, Mask]:
    """Evaluates one histogram; steps that see the same buckets are done together."""
    found = np.full(counts.shape[1], np.nan)
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        rows, steps = patterns[:, number], which.reshape(-1) == number
        if rows.any():
            found[steps] = bucket_quantile(ratio[steps], bounds[rows], counts[np.ix_(rows, steps)])
    return found, np.asarray(present.any(axis=0))


def bucket_quantile(ratio: Values, bounds: Values, counts: Values) -> Values:
    """Gives quantiles of one histogram at k moments.

    Args:
        ratio: shape (k,).
        bounds: shape (b,), upper bounds in increasing order; without +Inf last the answer is NaN.
        counts: shape (b, k), cumulative.

    >>> bucket_quantile(np.array([0.5]), np.array([1.0, 2.0, np.inf]), np.array([[2.0], [4.0], [4.0]])).tolist()
    [1.0]
    """
    found = np.full(len(ratio), np.nan)
    if not np.isposinf(bounds[-1]):
        return _outside(ratio, found)
    starts = np.flatnonzero(np.concatenate(([True], bounds[1:] != bounds[:-1])))
    counts = np.fmax.accumulate(np.add.reduceat(counts, starts, axis=0), axis=0)
    bounds = bounds[starts]
    if len(bounds) < 2:
        return _outside(ratio, found)
    observed = counts[-1]
    rank = np.nan_to_num(np.clip(ratio, 0, 1)) * observed
    last = len(bounds) - 1
    reached = counts[:-1] >= rank
    bucket = np.where(reached.any(axis=0), reached.argmax(axis=0), last)
    steps = np.arange(len(ratio))
    below = np.maximum(bucket - 1, 0)
    lower = np.where(bucket > 0, bounds[below], 0.0)
    before = np.where(bucket > 0, counts[below, steps], 0.0)
    inside = counts[bucket, steps] - before
    found = lower + (bounds[bucket] - lower) * ((rank - before) / inside)
    found = np.where((bucket == 0) & (bounds[0] <= 0), bounds[0], found)
    found = np.where(bucket == last, bounds[last - 1], found)
    found[(observed == 0) | np.isnan(observed)] = np.nan
    return _outside(ratio, found)


def _outside(ratio: Values, found: Values) -> Values:
    found = np.where(ratio < 0, -np.inf, np.where(ratio > 1, np.inf, found))
    return np.where(np.isnan(ratio), np.nan, found)
