"""What a PromQL evaluation gives: label sets, times and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from modelkeep.core.series import STALE_BITS, Block, Labels

Kind = Literal["scalar", "vector", "matrix", "string"]
Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STALE: Final[float] = float(np.array([STALE_BITS], np.int64).view(np.float64)[0])
"""The staleness marker as a float; compare bits (`is_stale`), never values."""


def is_stale(values: Values) -> Mask:
    """Tells where there is no sample.

    >>> is_stale(np.array([1.0, np.nan, STALE])).tolist()
    [False, False, True]
    """
    found: Mask = values.view(np.int64) == STALE_BITS
    return found


def stale(shape: tuple[int, ...]) -> Values:
    """Gives an array without any sample.

    >>> bool(is_stale(stale((2, 3))).all())
    True
    """
    return np.full(shape, STALE_BITS, np.int64).view(np.float64)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of one query.

    Args:
        kind: `vector` of an instant query, `matrix` of a range query or of a range selector, else `scalar` or `string`.
        labels: m label sets; one empty set for a scalar.
        times: shape (n,), ns: the steps of the evaluation; n is 1 for an instant query.
        values: shape (m, n); no sample = the stale bit pattern.
        text: the value of a string.
        blocks: the samples of a range selector in an instant query, at their own times; else empty.

    >>> Result("scalar", [()], np.array([0]), np.array([[1.5]])).values.item()
    1.5
    """

    kind: Kind
    labels: list[Labels]
    times: Times
    values: Values
    text: str = ""
    blocks: Sequence[Block] = field(default=())
