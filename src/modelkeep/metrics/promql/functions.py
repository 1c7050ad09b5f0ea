"""The functions of instant vectors and scalars, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from modelkeep.metrics.promql.result import Times, Values
from modelkeep.metrics.promql.values import Scalar, Vector, joined, nameless

Elementwise = Callable[[Values], Values]


def sign(values: Values) -> Values:
    """Gives -1, 0 or 1; zeros and NaN stay as they are."""
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


ELEMENTWISE: Final[dict[str, Elementwise]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": np.degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": np.radians,
    "sgn": sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}


def elementwise(function: Elementwise, vector: Vector) -> Vector:
    """Gives the function of every value, without the metrics' names."""
    return joined(Vector([nameless(one) for one in vector.labels], function(vector.values), vector.present))


def rounded(values: Values, nearest: Values) -> Values:
    """Gives the values rounded to multiples of `nearest`, halves upwards.

    >>> rounded(np.array([2.5, -2.5]), np.array([1.0])).tolist()
    [3.0, -2.0]
    """
    inverse = 1.0 / nearest
    return np.floor(values * inverse + 0.5) / inverse


def clamped(vector: Vector, low: Values | None, high: Values | None) -> Vector:
    """Gives the values forced between two limits per step; nothing where the limits are crossed."""
    values, present = vector.values, vector.present
    if high is not None:
        values = np.minimum(high, values)
    if low is not None:
        values = np.maximum(low, values)
    if low is not None and high is not None:
        present = present & ~(high < low)
    return joined(Vector([nameless(one) for one in vector.labels], values, present))


def ordered(vector: Vector, *, descending: bool) -> Vector:
    """Gives the series in the order of their values at the first step, NaN last."""
    if not vector.labels:
        return vector
    first = vector.values[:, 0]
    return vector.rows(np.lexsort((-first if descending else first, np.isnan(first))))


def only(vector: Vector) -> Scalar:
    """Gives the value of the only series at each step, NaN where there is none or more than one."""
    alone = vector.present.sum(axis=0) == 1
    return Scalar(np.where(alone, np.where(vector.present, vector.values, 0.0).sum(axis=0), np.nan))


Calendar = Callable[[npt.NDArray[np.datetime64]], npt.NDArray[np.int64]]


def _month(at: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    return at.astype("datetime64[M]").astype(np.int64) % 12 + 1


def _days_in_month(at: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    month = at.astype("datetime64[M]")
    days: npt.NDArray[np.int64] = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    return days


CALENDAR: Final[dict[str, Calendar]] = {
    "minute": lambda at: at.astype("datetime64[m]").astype(np.int64) % 60,
    "hour": lambda at: at.astype("datetime64[h]").astype(np.int64) % 24,
    "day_of_week": lambda at: (at.astype("datetime64[D]").astype(np.int64) + 4) % 7,
    "day_of_month": lambda at: (at.astype("datetime64[D]") - at.astype("datetime64[M]")).astype(np.int64) + 1,
    "day_of_year": lambda at: (at.astype("datetime64[D]") - at.astype("datetime64[Y]")).astype(np.int64) + 1,
    "days_in_month": _days_in_month,
    "month": _month,
    "year": lambda at: at.astype("datetime64[Y]").astype(np.int64) + 1970,
}
"""Parts of a date in UTC; Sunday is day 0."""


def calendar(part: Calendar, seconds: Values) -> Values:
    """Gives a part of the date of each number of seconds since 1970; NaN for what is no date.

    >>> calendar(CALENDAR["day_of_week"], np.array([0.0, 86400.0])).tolist()
    [4.0, 5.0]
    """
    good = np.abs(seconds) < 1e11
    at = np.where(good, np.trunc(np.where(good, seconds, 0.0)), 0).astype("datetime64[s]")
    return np.where(good, part(at).astype(np.float64), np.nan)


def steps_in_seconds(steps: Times) -> Values:
    """Gives the times as Prometheus counts them: seconds, to the millisecond."""
    return (steps // 1_000_000) / 1e3
