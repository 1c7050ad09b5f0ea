"""The functions of range vectors, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from modelkeep.core.errors import BadInput
from modelkeep.metrics.promql import rates
from modelkeep.metrics.promql.result import Values
from modelkeep.metrics.promql.windows import Window, fold, moments

Kernel = Callable[[Window, Values, Sequence[Values]], Values]
"""Takes the windows, values of shape (m, n) and the scalar arguments of shape (k,); gives shape (m, k)."""

_GATHER: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """One function over windows.

    Args:
        kernel: evaluates all windows of some series at once.
        least: a window with fewer samples gives nothing.
        named: the result keeps the metric's name.
    """

    kernel: Kernel
    least: int = 1
    named: bool = False


def total(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the sum of each window."""
    return fold(np.add, values, window.first, window.stop, 0.0)


def mean(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the mean of each window, also where the sum would overflow."""
    found = fold(np.add, values, window.first, window.stop, 0.0) / window.count
    rows = np.isinf(found).any(axis=1)
    if rows.any():
        scaled = fold(np.add, values[rows] * 2.0**-64, window.first, window.stop, 0.0)
        found[rows] = np.where(np.isinf(found[rows]), scaled / window.count * 2.0**64, found[rows])
    return found


def lowest(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the least value of each window; NaN only where nothing else is."""
    return fold(np.fmin, values, window.first, window.stop, np.nan)


def highest(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the greatest value of each window; NaN only where nothing else is."""
    return fold(np.fmax, values, window.first, window.stop, np.nan)


def variance(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the population variance of each window."""
    seconds = np.zeros(len(window.times))
    return moments(values, seconds, window.first, window.stop).spread / window.count


def deviation(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the population standard deviation of each window."""
    return np.sqrt(variance(window, values, _))


def size(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Counts the samples of each window."""
    return np.broadcast_to(window.count.astype(np.float64), (len(values), len(window.first)))


def one(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives 1 for each window that has a sample."""
    return np.ones((len(values), len(window.first)))


def newest(window: Window, values: Values, _: Sequence[Values]) -> Values:
    """Gives the last value of each window."""
    return values.take(window.tail, axis=1)


def quantile(window: Window, values: Values, scalars: Sequence[Values]) -> Values:
    """Gives a quantile of each window, interpolated between neighbours.

    Windows with equally many samples are sorted together.
    """
    found = np.full((len(values), len(window.first)), np.nan)
    for count in np.unique(window.count[window.count > 0]).tolist():
        steps = np.flatnonzero(window.count == count)
        at_once = max(1, _GATHER // (count * max(1, len(values))))
        for begin in range(0, len(steps), at_once):
            some = steps[begin : begin + at_once]
            gathered = values[:, window.first[some][:, None] + np.arange(count)]
            found[:, some] = sorted_quantile(np.sort(gathered, axis=2), scalars[0][some])
    return found


def sorted_quantile(ordered: Values, ratio: Values) -> Values:
    """Gives a quantile along the last axis; NaN counts as the least value.

    Args:
        ordered: shape (m, k, n) as `np.sort` leaves it: NaN last.
        ratio: shape (k,), or (1,).

    >>> sorted_quantile(np.array([[[1.0, 2.0, 4.0]]]), np.array([0.75])).tolist()
    [[3.0]]
    """
    count = ordered.shape[2]
    rank = np.nan_to_num(np.clip(ratio, 0, 1)) * (count - 1)
    low = np.floor(rank).astype(np.int64)
    high = np.minimum(low + 1, count - 1)
    nans = np.isnan(ordered).sum(axis=2)

    def nth(index: Values) -> Values:
        place = index - nans
        taken: Values = np.take_along_axis(ordered, np.maximum(place, 0)[:, :, None], axis=2)[:, :, 0]
        return np.where(place < 0, np.nan, taken)

    weight = rank - low
    found = nth(low) * (1 - weight) + nth(high) * weight
    found = np.where(ratio < 0, -np.inf, np.where(ratio > 1, np.inf, found))
    return np.where(np.isnan(ratio), np.nan, found)


def smoothed(window: Window, values: Values, scalars: Sequence[Values]) -> Values:
    """Gives Holt's double exponential smoothing of each window.

    Raises:
        BadInput: a factor is not between 0 and 1.

    Source: Holt, Forecasting seasonals and trends by exponentially weighted moving averages, 1957.
    """
    factor, trend_factor = scalars
    for name, given, least in (("smoothing", factor, 0.0), ("trend", trend_factor, 0.0)):
        if not ((given > least) & (given < 1)).all():
            raise BadInput(f"query: the {name} factor must be between 0 and 1")
    level, after = values.take(window.head, axis=1), values.take(np.minimum(window.head + 1, window.tail), axis=1)
    trend, before = after - level, np.zeros_like(level)
    for step in range(1, int(window.count.max(initial=0))):
        inside = window.count > step
        value = values.take(np.minimum(window.first + step, window.tail), axis=1)
        if step > 1:
            trend = np.where(inside, trend_factor * (level - before) + (1 - trend_factor) * trend, trend)
        new = factor * value + (1 - factor) * (level + trend)
        before, level = np.where(inside, level, before), np.where(inside, new, level)
    return level


def _growth(counter: bool, per_second: bool) -> RangeFunction:
    one_rate = partial(rates.extrapolated, counter=counter, per_second=per_second)
    return RangeFunction(lambda window, values, _: one_rate(window, values), 2)


def _step(counter: bool, per_second: bool) -> RangeFunction:
    one_step = partial(rates.last_two, counter=counter, per_second=per_second)
    return RangeFunction(lambda window, values, _: one_step(window, values), 2)


FUNCTIONS: Final[dict[str, RangeFunction]] = {
    "avg_over_time": RangeFunction(mean),
    "changes": RangeFunction(lambda window, values, _: rates.changes(window, values)),
    "count_over_time": RangeFunction(size),
    "delta": _growth(counter=False, per_second=False),
    "deriv": RangeFunction(lambda window, values, _: rates.line(window, values, None), 2),
    "double_exponential_smoothing": RangeFunction(smoothed, 2),
    "idelta": _step(counter=False, per_second=False),
    "increase": _growth(counter=True, per_second=False),
    "irate": _step(counter=True, per_second=True),
    "last_over_time": RangeFunction(newest, named=True),
    "max_over_time": RangeFunction(highest),
    "min_over_time": RangeFunction(lowest),
    "predict_linear": RangeFunction(lambda window, values, scalars: rates.line(window, values, scalars[0]), 2),
    "present_over_time": RangeFunction(one),
    "quantile_over_time": RangeFunction(quantile),
    "rate": _growth(counter=True, per_second=True),
    "resets": RangeFunction(lambda window, values, _: rates.resets(window, values)),
    "stddev_over_time": RangeFunction(deviation),
    "stdvar_over_time": RangeFunction(variance),
    "sum_over_time": RangeFunction(total),
}
