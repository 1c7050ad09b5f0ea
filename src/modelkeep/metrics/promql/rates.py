"""How counters and gauges move within a window: rate, increase, delta, changes, lines."""

from __future__ import annotations

import numpy as np

from modelkeep.metrics.promql.result import Mask, Values
from modelkeep.metrics.promql.windows import Window, fold, moments

_NEAR = 1.1


def extrapolated(window: Window, values: Values, *, counter: bool, per_second: bool) -> Values:
    """Gives the growth within each window, extrapolated to the window's ends.

    The samples rarely lie on the ends: growth is stretched to an end that is nearer than 1.1 sample distances,
    else by half a distance; a counter is never stretched to below zero.

    Args:
        window: windows of at least two samples.
        values: shape (m, n).
        counter: values that fall were reset.
        per_second: divide by the range.

    Source: Prometheus, promql: rate, increase, delta; with closed windows the order of the two limits of 2.x.
    """
    first, last = values.take(window.head, axis=1), values.take(window.tail, axis=1)
    grown = last - first
    if counter:
        grown = _with_resets(window, values, grown)
    early = (window.times[window.head] - (window.ends - window.range_ns)) / 1e9
    late = (window.ends - window.times[window.tail]) / 1e9
    sampled = (window.times[window.tail] - window.times[window.head]) / 1e9
    apart = sampled / np.maximum(window.count - 1, 1)
    late = np.where(late >= apart * _NEAR, apart / 2, late)
    if not counter:
        factor = (sampled + np.where(early >= apart * _NEAR, apart / 2, early) + late) / sampled
        return grown * (factor / (window.range_ns / 1e9) if per_second else factor)
    to_zero = np.where((grown > 0) & (first >= 0), sampled * (first / grown), np.inf)
    if window.closed:
        early = np.minimum(early, to_zero)
        early = np.where(early >= apart * _NEAR, apart / 2, early)
    else:
        early = np.minimum(np.where(early >= apart * _NEAR, apart / 2, early), to_zero)
    factor = (early + (sampled + late)) / sampled
    if per_second:
        factor /= window.range_ns / 1e9
    factor *= grown
    return factor


def _with_resets(window: Window, values: Values, grown: Values) -> Values:
    falls = values[:, 1:] < values[:, :-1]
    rows = falls.any(axis=1)
    if rows.any():
        lost = np.where(falls[rows], values[rows, :-1], 0.0)
        stop = np.maximum(window.stop - 1, window.head)
        grown[rows] += fold(np.add, lost, np.minimum(window.first, stop), stop, 0.0)
    return grown


def last_two(window: Window, values: Values, *, counter: bool, per_second: bool) -> Values:
    """Gives the growth between the last two samples of each window."""
    at = window.tail
    before = np.maximum(at - 1, 0)
    last, previous = values.take(at, axis=1), values.take(before, axis=1)
    grown = last - previous
    if counter:
        grown = np.where(last < previous, last, grown)
    return grown / ((window.times[at] - window.times[before]) / 1e9) if per_second else grown


def _counted(window: Window, events: Mask) -> Values:
    """Counts events between neighbouring samples of a window."""
    before = np.zeros((len(events), events.shape[1] + 2), np.int64)
    np.cumsum(events, axis=1, out=before[:, 1:-1])
    before[:, -1] = before[:, -2]
    stop = np.maximum(window.stop - 1, window.first)
    return (before[:, stop] - before[:, window.first]).astype(np.float64)


def changes(window: Window, values: Values) -> Values:
    """Counts how often the value changes; from one NaN to another is no change."""
    before, after = values[:, :-1], values[:, 1:]
    return _counted(window, (before != after) & ~(np.isnan(before) & np.isnan(after)))


def resets(window: Window, values: Values) -> Values:
    """Counts how often the value falls."""
    return _counted(window, values[:, 1:] < values[:, :-1])


def line(window: Window, values: Values, ahead_s: Values | None) -> Values:
    """Gives the least-squares line of each window: its slope, or its height some time ahead.

    Args:
        window: windows of at least two samples.
        values: shape (m, n).
        ahead_s: shape (k,), seconds after the evaluation; None asks for the slope per second.
    """
    start = window.times[0]
    found = moments(values, (window.times - start) / 1e9, window.first, window.stop)
    low = fold(np.fmin, values, window.first, window.stop, np.inf)
    high = fold(np.fmax, values, window.first, window.stop, -np.inf)
    flat = (low == high) & ~np.isnan(found.mean)
    slope = np.where(flat, 0.0, found.along / found.time_spread)
    slope[flat & np.isinf(low)] = np.nan
    if ahead_s is None:
        return slope
    there = (window.evaluated - start) / 1e9 + ahead_s - found.time
    return np.where(flat, np.where(np.isinf(low), np.nan, low), found.mean + slope * there)
