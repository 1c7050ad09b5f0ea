"""Binary operators between scalars and vectors, and how series on both sides find each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Labels
from modelkeep.metrics.promql.result import Mask, Values
from modelkeep.metrics.promql.values import Scalar, Vector, empty, joined, nameless

ARITHMETIC: Final[dict[str, Callable[[Values, Values], Values]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: Final[dict[str, Callable[[Values, Values], Mask]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS: Final = ("and", "or", "unless")


@dataclass(frozen=True, slots=True)
class Matching:
    """How the two sides of an operator find each other.

    Args:
        on: compare only `names`; else all labels but `names` and the metric's name.
        names: the labels of `on` or `ignoring`.
        many: the side that may have several series per match: `left`, `right` or neither.
        include: labels that the many side takes over from the other.
        as_bool: comparisons give 0 or 1 instead of filtering.
    """

    on: bool = False
    names: tuple[str, ...] = ()
    many: str = ""
    include: tuple[str, ...] = ()
    as_bool: bool = False

    def key(self, labels: Labels) -> Labels:
        """Gives what must be equal on both sides."""
        if self.on:
            return tuple([pair for pair in labels if pair[0] in self.names])
        return tuple([pair for pair in labels if pair[0] != NAME and pair[0] not in self.names])


def scalars(op: str, left: Values, right: Values) -> Scalar:
    """Gives the operator between two scalars; a comparison gives 0 or 1."""
    if op in COMPARISON:
        return Scalar(COMPARISON[op](left, right).astype(np.float64))
    return Scalar(ARITHMETIC[op](left, right))


def with_scalar(op: str, vector: Vector, scalar: Scalar, *, swapped: bool, as_bool: bool) -> Vector:
    """Gives the operator between each series and a scalar.

    Args:
        op: an arithmetic or comparison operator.
        vector: its values survive a filtering comparison, on whichever side they stand.
        scalar: one number per step.
        swapped: the scalar stands on the left.
        as_bool: comparisons give 0 or 1 instead of filtering.
    """
    sides = (scalar.values[None, :], vector.values) if swapped else (vector.values, scalar.values[None, :])
    if op in ARITHMETIC:
        changed = Vector([nameless(one) for one in vector.labels], ARITHMETIC[op](*sides), vector.present)
        return joined(changed)
    holds = COMPARISON[op](*sides)
    if as_bool:
        return joined(Vector([nameless(one) for one in vector.labels], holds.astype(np.float64), vector.present))
    return Vector(vector.labels, vector.values, vector.present & holds)


def _by_key(labels: Sequence[Labels], matching: Matching) -> dict[Labels, list[int]]:
    found: dict[Labels, list[int]] = {}
    for row, one in enumerate(labels):
        found.setdefault(matching.key(one), []).append(row)
    return found


def sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """Gives `and`, `or` and `unless`: which series stay depends on the labels of the other side alone."""
    if op == "or":
        return _either(left, right, matching)
    there = _anywhere(right, matching)
    present = left.present.copy()
    nothing = np.zeros(left.values.shape[1], bool)
    for row, one in enumerate(left.labels):
        other = there.get(matching.key(one), nothing)
        present[row] &= other if op == "and" else ~other
    return Vector(left.labels, left.values, present)


def _anywhere(vector: Vector, matching: Matching) -> dict[Labels, Mask]:
    """Tells for each match at which steps any series is there."""
    return {key: vector.anywhere(rows) for key, rows in _by_key(vector.labels, matching).items()}


def _either(left: Vector, right: Vector, matching: Matching) -> Vector:
    there = _anywhere(left, matching)
    present = right.present.copy()
    for row, one in enumerate(right.labels):
        mine = there.get(matching.key(one))
        if mine is not None:
            present[row] &= ~mine
    return joined(
        Vector(
            [*left.labels, *right.labels],
            np.concatenate((left.values, right.values)),
            np.concatenate((left.present, present)),
        )
    )


def vectors(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """Gives an arithmetic or comparison operator between series that match.

    Raises:
        BadInput: several series match where one must.
    """
    swapped = matching.many == "right"
    many, few = (right, left) if swapped else (left, right)
    width = many.values.shape[1]
    alive = many.anywhere() & few.anywhere()
    partners = _by_key(few.labels, matching)
    _single(few, partners, alive, "left" if swapped else "right")
    pairs = [(row, other) for row, one in enumerate(many.labels) for other in partners.get(matching.key(one), ())]
    if not pairs:
        return empty(width)
    mine, theirs = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    lefts, rights = (few.values[theirs], many.values[mine]) if swapped else (many.values[mine], few.values[theirs])
    present = many.present[mine] & few.present[theirs]
    if op in ARITHMETIC:
        values = ARITHMETIC[op](lefts, rights)
    else:
        holds = COMPARISON[op](lefts, rights)
        values = holds.astype(np.float64) if matching.as_bool else lefts
        present = present if matching.as_bool else present & holds
    dropped = op in ARITHMETIC or matching.as_bool
    labels = [_labels(many.labels[row], few.labels[other], matching, dropped) for row, other in pairs]
    _unique(labels, present, many, pairs, matching)
    return joined(Vector(labels, values, present))


def _single(few: Vector, partners: dict[Labels, list[int]], alive: Mask, side: str) -> None:
    """Refuses several series with the same match on the side that may have one only."""
    for key, rows in partners.items():
        if len(rows) > 1 and (few.present[rows].sum(axis=0) * alive > 1).any():
            raise BadInput(
                f"query: found duplicate series for the match group {dict(key)} on the {side} hand-side of the"
                " operation: many-to-many matching not allowed: matching labels must be unique on one side",
                hint="Compare more labels with on(…), or aggregate that side first.",
            )


def _labels(many: Labels, few: Labels, matching: Matching, dropped: bool) -> Labels:
    """Gives the labels of one pair's result."""
    kept = dict(many)
    if dropped:
        kept.pop(NAME, None)
    if not matching.many:
        inside = set(matching.names)
        kept = {name: value for name, value in kept.items() if (name in inside) is matching.on}
    others = dict(few)
    for name in matching.include:
        kept.pop(name, None)
        if name in others:
            kept[name] = others[name]
    return tuple(sorted(kept.items()))


def _unique(
    labels: Sequence[Labels], present: Mask, many: Vector, pairs: Sequence[tuple[int, int]], matching: Matching
) -> None:
    """Refuses results that cannot be told apart."""
    groups: dict[tuple[Labels, Labels], list[int]] = {}
    for at, (row, _) in enumerate(pairs):
        own = labels[at] if matching.many else ()
        groups.setdefault((matching.key(many.labels[row]), own), []).append(at)
    for rows in groups.values():
        if len(rows) > 1 and (present[rows].sum(axis=0) > 1).any():
            if matching.many:
                raise BadInput("query: multiple matches for labels: grouping labels must ensure unique matches")
            raise BadInput(
                "query: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
