"""Pearson's chi-square as an effect size: Cramér's V."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from modelkeep.quality.measure import Measure, chi_square_bound, chi_square_chance
from modelkeep.quality.pair import Column, Floats, Pair, Profiles, Sample


def chi_square(reference: Column, current: Column, /) -> float:
    """Gives Cramér's V of the table (reference, current) × categories: the root of chi-square per row.

    The statistic itself grows with the number of rows and so says more about the sample than about the change; it is
    this value squared times the rows of both columns.

    Args:
        reference: shape (n,), names.
        current: shape (m,), names.

    Returns: 0 for equal shares, at most 1, no unit.

    Raises:
        BadInput: a column is empty.

    Source: Cramér, Mathematical methods of statistics, 1946.

    >>> chi_square(["a", "b"], ["c", "c"])
    1.0
    """
    return ChiSquare().columns(Pair(reference, current))


class ChiSquare:
    """The measure `chi_square`; from profiles it equals the one from columns while no category was merged."""

    numeric: ClassVar[bool] = False
    categorical: ClassVar[bool] = True
    effect: ClassVar[float] = 0.1
    source: ClassVar[str] = "Cramér 1946"

    def columns(self, pair: Pair) -> float:
        return float(_strength(*pair.counts))

    def profiles(self, profiles: Profiles) -> Floats:
        return np.where(profiles.rows > 0, _strength(profiles.reference, profiles.current), np.nan)

    def noise(self, sample: Sample, alpha: float) -> Floats:
        mean, scale = _shape(sample)
        bound = scale * chi_square_bound(mean / scale, alpha)
        return np.asarray(np.sqrt(bound / np.maximum(sample.reference + sample.current, 1.0)))

    def chance(self, values: Floats, sample: Sample) -> Floats:
        mean, scale = _shape(sample)
        return chi_square_chance(values**2 * (sample.reference + sample.current) / scale, mean / scale)


def _shape(sample: Sample) -> tuple[int, Floats]:
    """The statistic's mean, and how much rare categories widen it: its variance is matched by a scaled chi-square.

    Source: Haldane, The exact value of the moments of the distribution of chi-square, 1937.
    """
    rows = np.maximum(np.minimum(sample.current, sample.reference), 1.0)
    mean = max(sample.cells - 1, 1)
    excess = np.maximum(sample.rarity - sample.cells**2 - 2 * sample.cells + 2, 0) / rows
    return mean, np.asarray(1 + excess / (2 * mean))


def _strength(reference: Floats, current: Floats) -> Floats:
    """With shares r and c of the two columns, chi-square is n m / (n + m) times the sum of (r - c)² / pooled share."""
    n, m = reference.sum(), np.maximum(current.sum(axis=-1, keepdims=True), 1.0)
    pooled = (reference + current) / (n + m)
    difference = reference / n - current / m
    parts = np.divide(difference**2, pooled, out=np.zeros_like(pooled), where=pooled > 0)
    return np.asarray(np.sqrt(parts.sum(axis=-1) * (n * m[..., 0])) / (n + m[..., 0]))


plugin: type[Measure] = ChiSquare
