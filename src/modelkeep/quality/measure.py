"""What a drift measure is, and when a value of it counts as drift.

A p-value flags everything once there are enough rows, and a bare threshold flags everything while there are few.
So a value counts as drift when it exceeds both of two bounds:

- the *effect*: the least value worth anybody's attention, however many rows there are; fixed per measure;
- the *noise*: what two samples of one population of these sizes exceed with probability `alpha`.

`alpha` is `FAMILY` divided by the number of (feature, measure) pairs judged together (Bonferroni): while nothing
drifts, a whole model raises one false alarm in a hundred windows, with five features or with a thousand, and so the
rate of false discoveries is held as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import ClassVar, Final, Protocol

import numpy as np

from modelkeep.core.errors import Missing
from modelkeep.core.kinds import Kind
from modelkeep.quality.pair import Floats, Pair, Profiles, Sample

FAMILY: Final = 0.01
"""How often a whole model may be called drifted while nothing changed, per window."""
LEAST_ROWS: Final = 30
"""Windows with fewer values are not judged."""


class Measure(Protocol):
    """How far a current column is from its reference; 0 when they are the same.

    Args of the class, as class variables: `numeric` and `categorical` say to which columns it applies, `effect` is
    the least value called drift, `source` names where it was published.
    """

    numeric: ClassVar[bool]
    categorical: ClassVar[bool]
    effect: ClassVar[float]
    source: ClassVar[str]

    def columns(self, pair: Pair) -> float:
        """The value for two columns.

        Raises:
            BadInput: a column is empty.
        """
        ...

    def profiles(self, profiles: Profiles) -> Floats:
        """The value per window, shape (…); NaN where a window has no rows."""
        ...

    def noise(self, sample: Sample, alpha: float) -> Floats:
        """What chance alone exceeds with probability `alpha`, per window."""
        ...

    def chance(self, values: Floats, sample: Sample) -> Floats:
        """The p-value: how often two samples of one population differ at least so much, per window."""
        ...


measures: Final[Kind[Measure]] = Kind("modelkeep.quality.drift")


@cache
def every() -> dict[str, Measure]:
    """Gives one of each measure there is, by name; looked up once per process.

    >>> "psi" in every()
    True
    """
    return {name: measures.load(name)() for name in measures.names()}


def applicable(numeric: bool, wanted: Sequence[str] | None = None) -> dict[str, Measure]:
    """Gives the measures for numbers or for categories, all or those wanted, by name.

    Raises:
        Missing: a wanted measure does not exist.

    >>> list(applicable(numeric=False))
    ['chi_square', 'jensen_shannon', 'psi']
    """
    known = every()
    for name in wanted or ():
        if name not in known:
            raise Missing(f"no measure {name!r}", hint=f"There are: {', '.join(known)}.")
    chosen = known if wanted is None else {name: known[name] for name in wanted}
    return {name: one for name, one in chosen.items() if (one.numeric if numeric else one.categorical)}


def threshold(measure: Measure, sample: Sample, alpha: float) -> Floats:
    """Gives the bound that a value must exceed to count as drift, per window; infinite below `LEAST_ROWS`."""
    bound = np.maximum(measure.effect, measure.noise(sample, alpha))
    few = np.minimum(sample.current, sample.reference) < LEAST_ROWS
    return np.where(few, np.inf, bound)


def family_alpha(judged: int) -> float:
    """Gives the probability left to each of some (feature, measure) pairs that are judged together.

    >>> family_alpha(100)
    0.0001
    """
    return FAMILY / max(judged, 1)


def chi_square_bound(freedom: float | Floats, alpha: float) -> Floats:
    """Gives the value that a chi-square variable exceeds with probability `alpha`.

    Source: Wilson and Hilferty, The distribution of chi-square, 1931; from three degrees of freedom on
        within 8 % for alpha down to 1e-6, for fewer within 20 %.

    >>> round(float(chi_square_bound(9, 0.05)), 1)
    16.9
    """
    degrees = np.maximum(np.asarray(freedom, np.float64), 1e-3)
    part = 2 / (9 * degrees)
    deviation = NormalDist().inv_cdf(1 - alpha)
    return np.asarray(degrees * np.maximum(1 - part + deviation * np.sqrt(part), 0) ** 3)


def chi_square_chance(values: Floats, freedom: float | Floats) -> Floats:
    """Gives the probability that a chi-square variable is at least so large; the inverse of `chi_square_bound`.

    >>> float(chi_square_chance(chi_square_bound(9, 0.001), 9).round(6))
    0.001
    """
    degrees = np.maximum(np.asarray(freedom, np.float64), 1e-3)
    part = 2 / (9 * degrees)
    deviation = (np.cbrt(values / degrees) - (1 - part)) / np.sqrt(part)
    return np.asarray(_TAIL(deviation / math.sqrt(2)) / 2)


_TAIL: Final = np.vectorize(math.erfc, otypes=[np.float64])
