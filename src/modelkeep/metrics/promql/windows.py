"""Sliding windows over dense blocks: sums, extremes, moments and lines without cancellation between windows.

A window of L samples is put together from runs of 1, 2, 4, 8 … samples, one for each bit of L; the runs of one
length are made for all positions at once from the runs of half that length. So a value outside a window never
touches its result, and rounding grows with log L only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelkeep.metrics.promql.result import Mask, Times, Values

Index = npt.NDArray[np.int64]


class Join(Protocol):
    """Joins the results of neighbouring runs."""

    def __call__(self, left: Values, right: Values, /) -> Values: ...


@dataclass(frozen=True, slots=True)
class Window:
    """Which samples of one block each step sees.

    Args:
        times: shape (n,), ns, increasing.
        first: shape (k,): index of a window's first sample.
        stop: shape (k,): index behind its last sample.
        ends: shape (k,): right ends of the windows, ns.
        evaluated: shape (k,): the moments of evaluation, ns; they differ from `ends` under offset and `@`.
        range_ns: length of the windows.
        closed: both ends belong to the window.
    """

    times: Times
    first: Index
    stop: Index
    ends: Times
    evaluated: Times
    range_ns: int
    closed: bool

    @property
    def count(self) -> Index:
        """How many samples each window has: shape (k,)."""
        return self.stop - self.first

    @property
    def head(self) -> Index:
        """Index of each window's first sample, safe to use where the window is empty."""
        return np.minimum(self.first, max(len(self.times) - 1, 0))

    @property
    def tail(self) -> Index:
        """Index of each window's last sample, safe to use where the window is empty."""
        return np.maximum(self.stop - 1, 0)


def window(times: Times, ends: Times, range_ns: int, *, evaluated: Times, closed: bool) -> Window:
    """Finds the samples of every window.

    >>> at = np.array([5, 10])
    >>> open_left = window(np.array([0, 5, 10]), at, 5, evaluated=at, closed=False)
    >>> open_left.first.tolist(), open_left.stop.tolist()
    ([1, 2], [2, 3])
    """
    first = np.searchsorted(times, ends - range_ns, side="left" if closed else "right")
    stop = np.searchsorted(times, ends, side="right")
    return Window(times, first, np.maximum(first, stop), ends, evaluated, range_ns, closed)


def _bits(first: Index, stop: Index) -> Iterator[tuple[int, Mask, Index]]:
    """Gives the run lengths that the windows are made of: length, which windows use it, from where."""
    at = first.copy()
    rest = stop - first
    longest = int(rest.max(initial=0))
    size = 1
    while size <= longest:
        uses = (rest & size) > 0
        yield size, uses, at[uses]
        at[uses] += size
        size *= 2


def fold(join: Join, values: Values, first: Index, stop: Index, initial: float) -> Values:
    """Joins the samples of every window.

    Args:
        join: for instance `np.add`.
        values: shape (m, n).
        first: shape (k,).
        stop: shape (k,).
        initial: the neutral value of `join`.

    Returns:
        Shape (m, k).

    >>> fold(np.add, np.array([[1.0, 2.0, 4.0]]), np.array([0, 1, 2]), np.array([3, 3, 2]), 0.0).tolist()
    [[7.0, 6.0, 0.0]]
    """
    found = np.full((len(values), len(first)), initial)
    runs = values
    for size, uses, at in _bits(first, stop):
        if size > 1:
            half = size // 2
            runs = join(runs[:, :-half], runs[:, half:])
        if uses.all():
            found = join(found, runs.take(at, axis=1))
        elif uses.any():
            found[:, uses] = join(found[:, uses], runs.take(at, axis=1))
    return found


@dataclass(slots=True)
class Moments:
    """Mean and squared deviations of values, and how they go along with time.

    Args:
        mean: mean of the values.
        spread: sum of squared deviations from the mean.
        time: mean time, s; one row.
        time_spread: sum of squared deviations of the times; one row.
        along: sum of products of both deviations.
    """

    mean: Values
    spread: Values
    time: Values
    time_spread: Values
    along: Values

    def take(self, at: Index | Mask | slice) -> Moments:
        """Gives the moments at some positions."""
        return Moments(
            self.mean[:, at], self.spread[:, at], self.time[:, at], self.time_spread[:, at], self.along[:, at]
        )

    def put(self, at: Mask, other: Moments) -> None:
        """Replaces the moments at some positions."""
        self.mean[:, at], self.spread[:, at], self.along[:, at] = other.mean, other.spread, other.along
        self.time[:, at], self.time_spread[:, at] = other.time, other.time_spread


def _together(left: Moments, right: Moments, left_count: Values, right_count: Values) -> Moments:
    """Joins moments of two runs (Chan, Golub, LeVeque 1979: the pairwise update)."""
    total = left_count + right_count
    share = right_count / total
    weight = left_count * share
    apart, later = right.mean - left.mean, right.time - left.time
    return Moments(
        left.mean + apart * share,
        left.spread + right.spread + apart * apart * weight,
        left.time + later * share,
        left.time_spread + right.time_spread + later * later * weight,
        left.along + right.along + apart * later * weight,
    )


def moments(values: Values, seconds: Values, first: Index, stop: Index) -> Moments:
    """Gives the moments of every window.

    Args:
        values: shape (m, n).
        seconds: shape (n,), times.
        first: shape (k,).
        stop: shape (k,).

    Returns:
        Shapes (m, k) and (1, k); means nothing where a window is empty.

    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.

    >>> got = moments(np.array([[1.0, 2.0, 6.0]]), np.arange(3.0), np.array([0]), np.array([3]))
    >>> got.mean.item(), got.spread.item(), got.along.item()
    (3.0, 14.0, 5.0)
    """
    zero, row = np.zeros_like(values), np.zeros((1, len(seconds)))
    runs = Moments(values, zero, seconds[None, :], row, zero)
    shape, flat = (len(values), len(first)), (1, len(first))
    found = Moments(np.zeros(shape), np.zeros(shape), np.zeros(flat), np.zeros(flat), np.zeros(shape))
    count = np.zeros(len(first))
    for size, uses, at in _bits(first, stop):
        if size > 1:
            half = np.array([size / 2])
            runs = _together(runs.take(slice(None, -(size // 2))), runs.take(slice(size // 2, None)), half, half)
        if uses.any():
            found.put(uses, _together(found.take(uses), runs.take(at), count[uses], np.array([float(size)])))
            count[uses] += size
    return found
