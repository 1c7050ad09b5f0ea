"""Wasserstein's distance, in standard deviations of the reference."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from modelkeep.quality.measure import Measure
from modelkeep.quality.pair import Column, Floats, Pair, Profiles, Sample


def wasserstein(reference: Column, current: Column, /) -> float:
    """Gives how far values must be moved on average to turn one column into the other.

    Args:
        reference: shape (n,), numbers; nulls and infinities are left out.
        current: shape (m,), the unit of `reference`.

    Returns: 0 for equal columns, no upper bound, in standard deviations of the reference (in the columns' own unit
        when the reference is constant).

    Raises:
        BadInput: a column is empty.

    Source: Vallender, Calculation of the Wasserstein distance between probability distributions on the line, 1974.

    >>> wasserstein([0.0, 2.0], [3.0, 5.0])
    3.0
    """
    return Wasserstein().columns(Pair(reference, current))


class Wasserstein:
    """The measure `wasserstein`; from profiles values are spread evenly over a cell that is not one value's own."""

    numeric: ClassVar[bool] = True
    categorical: ClassVar[bool] = False
    effect: ClassVar[float] = 0.1
    source: ClassVar[str] = "Vallender 1974"

    def columns(self, pair: Pair) -> float:
        points, gap = pair.gap
        return float(np.sum(np.abs(gap[:-1]) * np.diff(points))) / pair.scale

    def profiles(self, profiles: Profiles) -> Floats:
        if profiles.edges is None:
            raise TypeError("numbers only")
        width = np.diff(profiles.edges) / profiles.scale
        if not profiles.discrete:
            return _crossed(profiles.gap, width)
        inner = slice(*np.flatnonzero(np.diff(profiles.expected, prepend=0.0, append=1.0))[[0, -1]])
        steps = np.zeros_like(width)
        steps[inner], width[inner] = width[inner], 0.0
        flat = np.einsum("...j,j->...", np.abs(profiles.gap[..., :-1]), steps)
        return np.asarray(flat + _crossed(profiles.gap, width))

    def noise(self, sample: Sample, alpha: float) -> Floats:
        mean = math.sqrt(2 / math.pi) * sample.roughness
        return (mean + math.sqrt(2 * math.log(1 / alpha))) * np.sqrt(sample.spread)

    def chance(self, values: Floats, sample: Sample) -> Floats:
        """An upper bound, by the concentration of the distance around its mean (Borell 1975)."""
        beyond = values / np.sqrt(sample.spread) - math.sqrt(2 / math.pi) * sample.roughness
        return np.asarray(np.exp(-(np.maximum(beyond, 0.0) ** 2) / 2))


def _crossed(gap: Floats, width: Floats) -> Floats:
    """The integral of a polygon's absolute value by the ends and the middle of each side.

    Exact but for sides that cross zero, whose two triangles come out at most a quarter of their ends too large.
    """
    ends = (np.append(width, 0.0) + np.insert(width, 0, 0.0)) / 4
    middles = np.abs(gap[..., 1:] + gap[..., :-1])
    return np.asarray(np.einsum("...j,j->...", np.abs(gap), ends) + np.einsum("...j,j->...", middles, width / 4))


plugin: type[Measure] = Wasserstein
