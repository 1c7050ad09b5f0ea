"""Kolmogorov and Smirnov's distance: the largest difference of two distribution functions."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from modelkeep.quality.measure import Measure
from modelkeep.quality.pair import Column, Floats, Pair, Profiles, Sample


def ks(reference: Column, current: Column, /) -> float:
    """Gives the largest difference of the two distribution functions.

    Args:
        reference: shape (n,), numbers; nulls and infinities are left out.
        current: shape (m,), the unit of `reference`.

    Returns: 0 for equal columns, at most 1, no unit.

    Raises:
        BadInput: a column is empty.

    Source: Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948.

    >>> ks([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    0.5
    """
    return Ks().columns(Pair(reference, current))


class Ks:
    """The measure `ks`; from profiles it is exact at the edges, so at most one cell's share too small."""

    numeric: ClassVar[bool] = True
    categorical: ClassVar[bool] = False
    effect: ClassVar[float] = 0.1
    source: ClassVar[str] = "Smirnov 1948"

    def columns(self, pair: Pair) -> float:
        return float(np.abs(pair.gap[1]).max())

    def profiles(self, profiles: Profiles) -> Floats:
        gap = profiles.gap
        return np.asarray(np.maximum(gap.max(axis=-1), -gap.min(axis=-1)))

    def noise(self, sample: Sample, alpha: float) -> Floats:
        return np.asarray(np.sqrt(-math.log(alpha / 2) / 2 * sample.spread))

    def chance(self, values: Floats, sample: Sample) -> Floats:
        """Kolmogorov's limit; below 0.3 its series alternates too long, and the probability is 1."""
        scaled = np.asarray(values / np.sqrt(sample.spread))
        terms = [(-1) ** (k - 1) * np.exp(-2 * (k * scaled) ** 2) for k in range(1, 12)]
        return np.where(scaled < 0.3, 1.0, np.clip(2 * np.sum(terms, axis=0), 0, 1))


plugin: type[Measure] = Ks
