"""Intervals that hold the true value 95 times in 100, for arrays of estimates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelkeep.quality.pair import Floats

Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure per window with its interval; shape (n,) each, NaN where there is none."""

    value: Floats
    low: Floats
    high: Floats


def proportion(hits: Floats, of: Floats) -> Estimate:
    """Gives the share of hits.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    >>> found = proportion(np.array([8.0]), np.array([10.0]))
    >>> [round(float(part[0]), 2) for part in (found.value, found.low, found.high)]
    [0.8, 0.49, 0.94]
    """
    share = ratio(hits, of)
    with np.errstate(divide="ignore", invalid="ignore"):
        extra = Z * Z / of
        middle = (share + extra / 2) / (1 + extra)
        half = Z * np.sqrt(np.maximum(share * (1 - share) / of + extra / (4 * of), 0)) / (1 + extra)
    return Estimate(share, np.maximum(middle - half, 0), np.minimum(middle + half, 1))


def mean(total: Floats, squares: Floats, count: Floats) -> Estimate:
    """Gives the mean of numbers of which the sum and the sum of squares are known."""
    value = ratio(total, count)
    variance = np.maximum(ratio(squares, count) - value * value, 0)
    return around(value, np.sqrt(ratio(variance, count)))


def around(value: Floats, error: Floats, least: float = -np.inf, most: float = np.inf) -> Estimate:
    """Gives an estimate with a normal interval, cut to the values that are possible."""
    return Estimate(value, np.maximum(value - Z * error, least), np.minimum(value + Z * error, most))


def ratio(top: Floats, bottom: Floats) -> Floats:
    """Gives top / bottom, NaN where bottom is not positive.

    >>> ratio(np.array([1.0, 1.0]), np.array([4.0, 0.0])).tolist()
    [0.25, nan]
    """
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0))
