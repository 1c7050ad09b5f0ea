"""The functions that are more than a function of each value, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import promql_parser as ast

from modelkeep.metrics.promql import functions, histogram, relabel
from modelkeep.metrics.promql.arguments import Arguments
from modelkeep.metrics.promql.result import Mask
from modelkeep.metrics.promql.syntax import matchers
from modelkeep.metrics.promql.values import Scalar, Value, Vector, joined, nameless
from modelkeep.metrics.promql.windows import window


def calendar(part: functions.Calendar, given: Arguments) -> Vector:
    """Gives a part of the date, of the values or of the steps themselves."""
    if len(given):
        return functions.elementwise(lambda values: functions.calendar(part, values), given.vector(0))
    values = functions.calendar(part, functions.steps_in_seconds(given.frame.steps))
    return Vector([()], values[None, :], np.ones((1, len(values)), bool))


def _time(given: Arguments) -> Scalar:
    return Scalar(functions.steps_in_seconds(given.frame.steps))


def _pi(given: Arguments) -> Scalar:
    return Scalar(np.full(len(given.frame.steps), np.pi))


def _vector(given: Arguments) -> Vector:
    values = given.scalar(0)[None, :]
    return Vector([()], values, np.ones(values.shape, bool))


def _scalar(given: Arguments) -> Scalar:
    return functions.only(given.vector(0))


def _timestamp(given: Arguments) -> Vector:
    inner = given.nodes[0]
    while isinstance(inner, ast.ParenExpr):
        inner = inner.expr
    if isinstance(inner, ast.VectorSelector):
        vector = given.selection.instant(inner, given.frame, times=True)
        seconds = vector.values
    else:
        vector = given.vector(0)
        seconds = np.broadcast_to(functions.steps_in_seconds(given.frame.steps), vector.values.shape)
    return joined(Vector([nameless(one) for one in vector.labels], seconds, vector.present))


def _missing(node: ast.Expr, there: Mask) -> Vector:
    while isinstance(node, ast.ParenExpr):
        node = node.expr
    selector = node.vector_selector if isinstance(node, ast.MatrixSelector) else node
    labels = relabel.absent_labels(matchers(selector)) if isinstance(selector, ast.VectorSelector) else ()
    return Vector([labels], np.ones((1, len(there))), ~there[None, :])


def _absent(given: Arguments) -> Vector:
    return _missing(given.nodes[0], given.vector(0).anywhere())


def _absent_over_time(given: Arguments) -> Vector:
    ranged, closed = given.ranged(0), given.selection.closed
    there = np.zeros(ranged.width, bool)
    for block in ranged.blocks:
        seen = window(block.times, ranged.ends, ranged.range_ns, evaluated=ranged.ends, closed=closed)
        there |= seen.count > 0
    return _missing(given.nodes[0], there)


def _round(given: Arguments) -> Vector:
    nearest = given.scalar(1) if len(given) > 1 else np.ones(1)
    return functions.elementwise(lambda values: functions.rounded(values, nearest), given.vector(0))


CALLS: Final[dict[str, Callable[[Arguments], Value]]] = {
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "clamp": lambda given: functions.clamped(given.vector(0), given.scalar(1), given.scalar(2)),
    "clamp_max": lambda given: functions.clamped(given.vector(0), None, given.scalar(1)),
    "clamp_min": lambda given: functions.clamped(given.vector(0), given.scalar(1), None),
    "histogram_quantile": lambda given: histogram.histogram_quantile(given.scalar(0), given.vector(1)),
    "label_join": lambda given: relabel.label_join(
        given.vector(0), given.text(1), given.text(2), [given.text(at) for at in range(3, len(given))]
    ),
    "label_replace": lambda given: relabel.label_replace(
        given.vector(0), given.text(1), given.text(2), given.text(3), given.text(4)
    ),
    "pi": _pi,
    "round": _round,
    "scalar": _scalar,
    "sort": lambda given: functions.ordered(given.vector(0), descending=False),
    "sort_desc": lambda given: functions.ordered(given.vector(0), descending=True),
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
