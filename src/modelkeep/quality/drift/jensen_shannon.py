"""Jensen and Shannon's distance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from modelkeep.quality.measure import Measure, chi_square_bound, chi_square_chance
from modelkeep.quality.pair import Column, Floats, Pair, Profiles, Sample, binned

BINS = 20


def jensen_shannon(reference: Column, current: Column, /, *, bins: int = BINS) -> float:
    """Gives the root of the mean divergence of two columns from their mixture, in bits.

    Args:
        reference: shape (n,), numbers or names; nulls and infinities are left out.
        current: shape (m,), like `reference`.
        bins: numbers are counted over so many equal-count bins of the reference.

    Returns: 0 for equal shares, 1 for columns with no value in common, no unit.

    Raises:
        BadInput: a column is empty.

    Source: Endres and Schindelin, A new metric for probability distributions, 2003.

    >>> round(jensen_shannon(["a", "a", "b"], ["a", "c", "c"]), 3)
    0.735
    """
    return float(_distance(*binned(Pair(reference, current), bins)))


class JensenShannon:
    """The measure `jensen_shannon`, over twenty bins; from profiles it equals the one from columns."""

    numeric: ClassVar[bool] = True
    categorical: ClassVar[bool] = True
    effect: ClassVar[float] = 0.1
    source: ClassVar[str] = "Endres and Schindelin 2003"

    def columns(self, pair: Pair) -> float:
        return float(_distance(*binned(pair, BINS)))

    def profiles(self, profiles: Profiles) -> Floats:
        return np.where(profiles.rows > 0, _distance(*profiles.merged(BINS)), np.nan)

    def noise(self, sample: Sample, alpha: float) -> Floats:
        """The divergence is at most half the sum of (p - q)² / (p + q), which is chi-square like (Topsøe 2000)."""
        freedom = max((sample.cells or BINS) - 1, 1)
        return np.asarray(np.sqrt(chi_square_bound(freedom, alpha) * sample.spread / 4))

    def chance(self, values: Floats, sample: Sample) -> Floats:
        freedom = max((sample.cells or BINS) - 1, 1)
        return chi_square_chance(4 * values**2 / sample.spread, freedom)


def _distance(reference: Floats, current: Floats) -> Floats:
    p = reference / reference.sum()
    q = current / np.maximum(current.sum(axis=-1, keepdims=True), 1.0)
    mean = (p + q) / 2
    floor = np.finfo(np.float64).tiny
    log_mean = np.log2(np.maximum(mean, floor))
    parts = _entropy(p, floor) + _entropy(q, floor) - 2 * mean * log_mean
    return np.asarray(np.sqrt(np.maximum(parts.sum(axis=-1) / 2, 0.0)))


def _entropy(share: Floats, floor: float) -> Floats:
    return np.asarray(share * np.log2(np.maximum(share, floor)))


plugin: type[Measure] = JensenShannon
