"""Aggregations: many series into one per group, at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Labels
from modelkeep.metrics.promql.overtime import sorted_quantile
from modelkeep.metrics.promql.result import Mask, Values
from modelkeep.metrics.promql.values import Vector, empty, joined

Fold = Callable[[Values, Mask], Values]
"""Takes one group's values and presence, shape (m, k); gives shape (k,)."""

_DISTINCT: Final = 100_000


def grouped(labels: Sequence[Labels], names: Sequence[str], *, without: bool) -> dict[Labels, list[int]]:
    """Gives the rows of each group.

    Args:
        labels: one label set per row.
        names: the labels of `by` or `without`.
        without: keep every other label but the metric's name.

    >>> grouped([(("a", "1"), ("b", "1")), (("a", "1"),)], ["a"], without=False)
    {(('a', '1'),): [0, 1]}
    """
    chosen = {*names, NAME} if without else set(names)
    groups: dict[Labels, list[int]] = {}
    for row, one in enumerate(labels):
        key = tuple([pair for pair in one if (pair[0] in chosen) is not without])
        groups.setdefault(key, []).append(row)
    return groups


def _sum(values: Values, present: Mask) -> Values:
    total: Values = values.sum(axis=0) if present.all() else np.where(present, values, 0.0).sum(axis=0)
    return total


def _avg(values: Values, present: Mask) -> Values:
    count = present.sum(axis=0)
    found: Values = _sum(values, present) / count
    if np.isinf(found).any():
        scaled = _sum(values * 2.0**-64, present) / count * 2.0**64
        found = np.where(np.isinf(found), scaled, found)
    return found


def _variance(values: Values, present: Mask) -> Values:
    away = np.where(present, values - _avg(values, present), 0.0)
    found: Values = (away * away).sum(axis=0) / present.sum(axis=0)
    return found


FOLDS: Final[dict[str, Fold]] = {
    "sum": _sum,
    "avg": _avg,
    "min": lambda values, present: np.fmin.reduce(np.where(present, values, np.nan), axis=0),
    "max": lambda values, present: np.fmax.reduce(np.where(present, values, np.nan), axis=0),
    "count": lambda values, present: present.sum(axis=0).astype(np.float64),
    "group": lambda values, present: np.ones(values.shape[1]),
    "stdvar": _variance,
    "stddev": lambda values, present: np.sqrt(_variance(values, present)),
}


def folded(fold: Fold, vector: Vector, groups: dict[Labels, list[int]]) -> Vector:
    """Gives one series per group."""
    width = vector.values.shape[1]
    values, present = np.empty((len(groups), width)), np.empty((len(groups), width), bool)
    for at, rows in enumerate(groups.values()):
        some = rows if len(rows) < len(vector.labels) else slice(None)
        values[at] = fold(vector.values[some], vector.present[some])
        present[at] = vector.present[some].any(axis=0)
    return Vector(list(groups), values, present)


def quantile(ratio: Values, vector: Vector, groups: dict[Labels, list[int]]) -> Vector:
    """Gives a quantile per group, interpolated between neighbours."""

    def one(values: Values, present: Mask) -> Values:
        found = np.full(values.shape[1], np.nan)
        count = present.sum(axis=0)
        for size in np.unique(count[count > 0]).tolist():
            steps = np.flatnonzero(count == size)
            kept = values.T[steps][present.T[steps]].reshape(len(steps), size)
            found[steps] = sorted_quantile(np.sort(kept, axis=1)[None], ratio[steps])[0]
        return found

    return folded(one, vector, groups)


def extreme(limit: Values, vector: Vector, groups: dict[Labels, list[int]], *, largest: bool) -> Vector:
    """Gives the k largest or smallest series of each group with all their labels, best first.

    Raises:
        BadInput: k is no whole number in range.
    """
    if not (np.abs(limit) < 2.0**63).all():
        raise BadInput("query: the number of series to keep must be a number that fits 64 bits")
    wanted = np.trunc(limit).astype(np.int64)
    kept = np.zeros(vector.present.shape, bool)
    order: list[int] = []
    for rows in groups.values():
        values, present = vector.values[rows], vector.present[rows]
        key = np.where(present, -values if largest else values, np.nan)
        absent = np.where(present, np.isnan(values), 2).astype(np.int64)
        ranked = np.lexsort((key, absent), axis=0)
        place = np.empty_like(ranked)
        np.put_along_axis(place, ranked, np.arange(len(rows))[:, None], axis=0)
        kept[rows] = present & (place < wanted)
        order.extend(rows[at] for at in ranked[:, 0].tolist())
    chosen = Vector(vector.labels, vector.values, kept)
    return chosen.rows([row for row in order if kept[row].any()])


def count_values(label: str, vector: Vector, groups: dict[Labels, list[int]], write: Callable[[float], str]) -> Vector:
    """Counts equal values per group; the value becomes a label.

    Raises:
        BadInput: there are too many different values.
    """
    labels: list[Labels] = []
    counts: list[Values] = []
    for key, rows in groups.items():
        values, present = vector.values[rows], vector.present[rows]
        distinct = np.unique(values[present], equal_nan=True)
        if len(distinct) + len(labels) > _DISTINCT:
            raise BadInput(f"query: count_values would give more than {_DISTINCT} series")
        kept = [pair for pair in key if pair[0] != label]
        for value in distinct.tolist():
            same = np.isnan(values) if np.isnan(value) else values == value
            labels.append(tuple(sorted([*kept, (label, write(value))])))
            counts.append((same & present).sum(axis=0).astype(np.float64))
    if not labels:
        return empty(vector.values.shape[1])
    found = np.stack(counts)
    return joined(Vector(labels, found, found > 0))
