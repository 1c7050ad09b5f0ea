"""The fixed bounds of the latency histogram: six a decade, so a quantile is at most half off."""

from __future__ import annotations

from typing import Final

import numpy as np

from modelkeep.quality.pair import Floats, Ints

_STEPS: Final = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)
BOUNDS: Final = (*(float(f"{step}e{power}") for power in range(-5, 2) for step in _STEPS), 100.0)
"""Upper bounds in seconds, inclusive, 10 µs to 100 s; what is longer has a slot of its own."""


def slots(seconds: Floats) -> Ints:
    """Gives the slot of each latency.

    >>> slots(np.array([1e-5, 1.2e-5, 1e9])).tolist()
    [0, 1, 43]
    """
    return np.asarray(np.searchsorted(BOUNDS, seconds, "left"))
