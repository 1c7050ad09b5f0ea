"""What sub-expressions evaluate to, for all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Block, Labels
from modelkeep.metrics.promql.result import Mask, Times, Values, is_stale

MILLISECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """The steps of an evaluation.

    Args:
        start_ns: what `@ start()` means.
        end_ns: what `@ end()` means.
        steps: shape (k,), ns, at the same distance from each other.
        step_ns: that distance.
        offset_ns: how far enclosing subqueries have moved the steps into the past.
        as_of_ns: what was known when; see `core.series.Want`.
    """

    start_ns: int
    end_ns: int
    steps: Times
    step_ns: int
    offset_ns: int = 0
    as_of_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """Series at the steps.

    Args:
        labels: m label sets.
        values: shape (m, k).
        present: shape (m, k): where there is a sample; values elsewhere mean nothing.
    """

    labels: list[Labels]
    values: Values
    present: Mask

    def anywhere(self, rows: Sequence[int] | slice = slice(None)) -> Mask:
        """Tells at which steps any of some rows is there: shape (k,)."""
        return np.asarray(self.present[rows].any(axis=0))

    def alive(self) -> Vector:
        """Gives the rows that are there at some step."""
        some = np.asarray(self.present.any(axis=1))
        return self if some.all() else self.rows(some)

    def rows(self, order: Sequence[int] | Mask | Times) -> Vector:
        """Gives some of the rows, in the order asked for."""
        index = np.flatnonzero(order) if isinstance(order, np.ndarray) and order.dtype == bool else np.asarray(order)
        index = index.astype(np.int64)
        return Vector([self.labels[row] for row in index.tolist()], self.values[index], self.present[index])


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number per step: shape (k,)."""

    values: Values


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    text: str


@dataclass(frozen=True, slots=True)
class Ranged:
    """Samples of a range selector or subquery, with the windows that look at them.

    Args:
        blocks: without stale values.
        ends: shape (k,) or (1,) when every step sees the same window; ns, right ends, inclusive.
        range_ns: length of the windows.
        width: k, the number of steps.
    """

    blocks: Sequence[Block]
    ends: Times
    range_ns: int
    width: int


Value = Vector | Scalar | Text | Ranged


def empty(width: int) -> Vector:
    """Gives a vector without series."""
    return Vector([], np.empty((0, width)), np.empty((0, width), bool))


def nameless(labels: Labels) -> Labels:
    """Gives the labels without the metric's name.

    >>> nameless((("__name__", "up"), ("job", "x")))
    (('job', 'x'),)
    """
    return tuple(pair for pair in labels if pair[0] != NAME)


def relabelled(vector: Vector, change: Callable[[Labels], Labels]) -> Vector:
    """Gives the vector with changed labels; rows that became equal are joined.

    Raises:
        BadInput: two series have the same labels at the same step.
    """
    return joined(Vector([change(one) for one in vector.labels], vector.values, vector.present))


def joined(vector: Vector) -> Vector:
    """Gives the vector with each label set once.

    Raises:
        BadInput: two series have the same labels at the same step.
    """
    if len(set(vector.labels)) == len(vector.labels):
        return vector
    where: dict[Labels, int] = {}
    into = [where.setdefault(one, len(where)) for one in vector.labels]
    values = np.zeros((len(where), vector.values.shape[1]))
    present = np.zeros(values.shape, bool)
    for row, target in enumerate(into):
        mine = vector.present[row]
        if (present[target] & mine).any():
            raise same_labels(vector.labels[row])
        values[target][mine] = vector.values[row][mine]
        present[target] |= mine
    return Vector(list(where), values, present)


def same_labels(labels: Labels) -> BadInput:
    """Gives the error for series that cannot be told apart."""
    return BadInput(
        "query: vector cannot contain metrics with the same labelset",
        hint=f"Several series became {dict(labels)}; keep a label that tells them apart.",
    )


def dense(blocks: Sequence[Block]) -> list[Block]:
    """Gives the same samples in blocks without stale values.

    >>> from modelkeep.metrics.promql.result import STALE
    >>> block = Block([(("a", "1"),), (("a", "2"),)], np.array([1, 2]), np.array([[1.0, 2.0], [STALE, 3.0]]))
    >>> [(one.times.tolist(), one.values.tolist()) for one in dense([block])]
    [([1, 2], [[1.0, 2.0]]), ([2], [[3.0]])]
    """
    found: list[Block] = []
    for block in blocks:
        gone = is_stale(block.values)
        if not gone.any():
            found.append(block)
            continue
        alike: dict[bytes, list[int]] = {}
        for row, mask in enumerate(gone):
            alike.setdefault(mask.tobytes(), []).append(row)
        for rows in alike.values():
            kept = ~gone[rows[0]]
            if kept.any():
                values = np.ascontiguousarray(block.values[rows][:, kept])
                found.append(Block([block.labels[row] for row in rows], block.times[kept], values))
    return found
