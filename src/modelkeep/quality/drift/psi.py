"""The population stability index."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from modelkeep.quality.measure import Measure, chi_square_bound, chi_square_chance
from modelkeep.quality.pair import Column, Floats, Pair, Profiles, Sample, binned

BINS = 10


def psi(reference: Column, current: Column, /, *, bins: int = BINS) -> float:
    """Gives the sum of (p - q) ln(p / q) over equal-count bins of the reference, or over categories.

    Args:
        reference: shape (n,), numbers or names; nulls and infinities are left out.
        current: shape (m,), like `reference`.
        bins: at least 2; an empty bin counts as half an observation, then shares are renormalised.

    Returns: 0 for equal shares, no unit, no upper bound.

    Raises:
        BadInput: a column is empty.

    Source: Siddiqi, Credit risk scorecards, 2006.

    >>> round(psi(np.arange(100.0), np.arange(100.0) + 50), 2)
    2.29
    """
    return float(_index(*binned(Pair(reference, current), bins)))


class Psi:
    """The measure `psi`, over ten bins; from profiles it equals the one from columns."""

    numeric: ClassVar[bool] = True
    categorical: ClassVar[bool] = True
    effect: ClassVar[float] = 0.2
    source: ClassVar[str] = "Siddiqi 2006"

    def columns(self, pair: Pair) -> float:
        return float(_index(*binned(pair, BINS)))

    def profiles(self, profiles: Profiles) -> Floats:
        return np.where(profiles.rows > 0, _index(*profiles.merged(BINS)), np.nan)

    def noise(self, sample: Sample, alpha: float) -> Floats:
        freedom = max((sample.cells or BINS) - 1, 1)
        return chi_square_bound(freedom, alpha) * sample.spread

    def chance(self, values: Floats, sample: Sample) -> Floats:
        freedom = max((sample.cells or BINS) - 1, 1)
        return chi_square_chance(values / sample.spread, freedom)


def _index(reference: Floats, current: Floats) -> Floats:
    there = (reference > 0) | (current > 0)
    p, q = (_shares(np.broadcast_to(counts, there.shape), there) for counts in (reference, current))
    return np.asarray(np.sum((p - q) * np.log(p / q), axis=-1, where=there))


def _shares(counts: Floats, there: npt.NDArray[np.bool_]) -> Floats:
    filled = np.where(counts > 0, counts, 0.5)
    return np.asarray(filled / np.maximum(np.sum(filled, axis=-1, keepdims=True, where=there), 0.5))


plugin: type[Measure] = Psi
