"""One evaluation: walks the tree and gives each node's value at all steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import promql_parser as ast

from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import BadInput
from modelkeep.core.series import Block, Labels
from modelkeep.metrics.promql import aggregation, calls, functions, operators
from modelkeep.metrics.promql.arguments import Arguments
from modelkeep.metrics.promql.notation import plain
from modelkeep.metrics.promql.overtime import FUNCTIONS, RangeFunction
from modelkeep.metrics.promql.result import Mask, Values, stale
from modelkeep.metrics.promql.selection import Selection, shifted
from modelkeep.metrics.promql.syntax import duration_ns
from modelkeep.metrics.promql.values import (
    Frame,
    Ranged,
    Scalar,
    Text,
    Value,
    Vector,
    dense,
    nameless,
    same_labels,
)
from modelkeep.metrics.promql.windows import Window, window

_TILE: Final = 1 << 17
_INNER: Final = 200_000


class Evaluation:
    """Evaluates trees; one per query.

    Args:
        selection: asks the sources.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def value(self, node: ast.Expr, frame: Frame) -> Value:
        """Gives a node's value at the frame's steps.

        Raises:
            BadInput: what the node asks for is not supported or cannot be answered.
        """
        found: Value
        match node:
            case ast.NumberLiteral():
                found = Scalar(np.full(len(frame.steps), node.val))
            case ast.StringLiteral():
                found = Text(node.val)
            case ast.ParenExpr():
                found = self.value(node.expr, frame)
            case ast.VectorSelector():
                found = self._selection.instant(node, frame)
            case ast.MatrixSelector():
                found = self._selection.ranged(node, frame)
            case _:
                found = self._composed(node, frame)
        return found

    def _composed(self, node: ast.Expr, frame: Frame) -> Value:
        found: Value
        match node:
            case ast.SubqueryExpr():
                found = self._subquery(node, frame)
            case ast.UnaryExpr():
                found = self._negative(node, frame)
            case ast.BinaryExpr():
                found = self._binary(node, frame)
            case ast.AggregateExpr():
                found = self._aggregate(node, frame)
            case ast.Call():
                found = self._call(node, frame)
            case _:
                raise BadInput(f"query: {type(node).__name__} is not supported")
        return found

    def _negative(self, node: ast.UnaryExpr, frame: Frame) -> Value:
        value = self.value(node.expr, frame)
        if isinstance(value, Scalar):
            return Scalar(-value.values)
        if not isinstance(value, Vector):
            raise BadInput(f"query: {node.prettify()} negates what is no number")
        return functions.elementwise(np.negative, value)

    def _binary(self, node: ast.BinaryExpr, frame: Frame) -> Value:
        op = str(node.op)
        if op not in operators.ARITHMETIC and op not in operators.COMPARISON and op not in operators.SETS:
            raise BadInput(f"query: the operator {op} is not supported")
        matching = _matching(node)
        left, right = self.value(node.lhs, frame), self.value(node.rhs, frame)
        match left, right:
            case Scalar(), Scalar():
                return operators.scalars(op, left.values, right.values)
            case Vector(), Scalar():
                return operators.with_scalar(op, left, right, swapped=False, as_bool=matching.as_bool)
            case Scalar(), Vector():
                return operators.with_scalar(op, right, left, swapped=True, as_bool=matching.as_bool)
            case Vector(), Vector() if op in operators.SETS:
                return operators.sets(op, left, right, matching)
            case Vector(), Vector():
                return operators.vectors(op, left, right, matching)
        raise BadInput(f"query: {node.prettify()} joins what is neither number nor instant vector")

    def _aggregate(self, node: ast.AggregateExpr, frame: Frame) -> Vector:
        op = str(node.op)
        vector = self._arguments([node.expr], frame).vector(0)
        names = node.modifier.labels if node.modifier else []
        without = node.modifier is not None and node.modifier.type == ast.AggModifierType.Without
        groups = aggregation.grouped(vector.labels, names, without=without)
        if op in aggregation.FOLDS:
            return aggregation.folded(aggregation.FOLDS[op], vector, groups)
        if op == "quantile":
            return aggregation.quantile(self._arguments(_param(node), frame).scalar(0), vector, groups)
        if op in {"topk", "bottomk"}:
            limit = self._arguments(_param(node), frame).scalar(0)
            return aggregation.extreme(limit, vector, groups, largest=op == "topk")
        if op == "count_values":
            return aggregation.count_values(self._arguments(_param(node), frame).text(0), vector, groups, plain)
        raise BadInput(f"query: the aggregation {op} is not supported")

    def _subquery(self, node: ast.SubqueryExpr, frame: Frame) -> Ranged:
        """Evaluates the inside at steps that are multiples of the subquery's own step."""
        moved = shifted(node.offset, node.at, frame)
        range_ns, step_ns = duration_ns(node.range), duration_ns(node.step) or MINUTE
        begin = int(moved.ends[0]) - range_ns
        first = begin // step_ns * step_ns
        if first < begin or (first == begin and not self._selection.closed):
            first += step_ns
        last = int(moved.ends[-1]) // step_ns * step_ns
        if last < first:
            return Ranged([], moved.ends, range_ns, len(frame.steps))
        if (last - first) // step_ns >= _INNER:
            raise BadInput(f"query: the subquery has more than {_INNER} steps", hint="Give it a larger step: [1d:5m].")
        steps = np.arange(first, last + 1, step_ns, dtype=np.int64)
        inner = replace(frame, steps=steps, step_ns=step_ns, offset_ns=frame.offset_ns + moved.offset_ns)
        value = self.value(node.expr, inner)
        if isinstance(value, Scalar):
            blocks = [Block([()], steps, value.values[None, :])]
        elif isinstance(value, Vector):
            values = np.where(value.present, value.values, stale((1, 1)))
            blocks = [Block(value.labels, steps, values)] if value.labels else []
        else:
            raise BadInput(f"query: {node.expr.prettify()} cannot be asked over a range")
        return Ranged(dense(blocks), moved.ends, range_ns, len(frame.steps))

    def _call(self, node: ast.Call, frame: Frame) -> Value:
        name, given = node.func.name, self._arguments(list(node.args), frame)
        if name in FUNCTIONS:
            return self._over_time(name, FUNCTIONS[name], given)
        if name in functions.ELEMENTWISE:
            return functions.elementwise(functions.ELEMENTWISE[name], given.vector(0))
        if name in functions.CALENDAR:
            return calls.calendar(functions.CALENDAR[name], given)
        if name in calls.CALLS:
            return calls.CALLS[name](given)
        raise BadInput(f"query: the function {name}() is not supported")

    def _arguments(self, nodes: Sequence[ast.Expr], frame: Frame) -> Arguments:
        return Arguments(nodes, frame, self.value, self._selection)

    def _over_time(self, name: str, function: RangeFunction, arguments: Arguments) -> Vector:
        given = [self.value(node, arguments.frame) for node in arguments.nodes]
        scalars = [one.values for one in given if isinstance(one, Scalar)]
        ranged = next((one for one in given if isinstance(one, Ranged)), None)
        if ranged is None or len(scalars) + 1 != len(given):
            raise BadInput(f"query: {name}() takes a range vector such as x[5m]")
        evaluated = arguments.frame.steps + arguments.frame.offset_ns
        pinned = len(ranged.ends) != ranged.width
        ends = np.broadcast_to(ranged.ends, (ranged.width,)) if pinned else ranged.ends
        rows = sum(len(block.labels) for block in ranged.blocks)
        self._selection.count(rows * len(ends))
        labels: list[Labels] = []
        values, present = np.empty((rows, len(ends))), np.empty((rows, len(ends)), bool)
        for block in ranged.blocks:
            part = slice(len(labels), len(labels) + len(block.labels))
            labels.extend(block.labels)
            seen = window(block.times, ends, ranged.range_ns, evaluated=evaluated, closed=self._selection.closed)
            present[part] = _applied(function, seen, block, scalars, values[part])
        return _once(Vector(labels, values, present), named=function.named)


def _applied(function: RangeFunction, seen: Window, block: Block, scalars: Sequence[Values], out: Values) -> Mask:
    """Evaluates one block, some rows at a time so that they stay in the cache; gives where there is a result."""
    at_once = max(1, _TILE // max(1, len(block.times)))
    for begin in range(0, len(block.values), at_once):
        out[begin : begin + at_once] = function.kernel(seen, block.values[begin : begin + at_once], scalars)
    return seen.count >= function.least


def _param(node: ast.AggregateExpr) -> list[ast.Expr]:
    return [] if node.param is None else [node.param]


def _matching(node: ast.BinaryExpr) -> operators.Matching:
    given = node.modifier
    if given is None:
        return operators.Matching()
    if given.fill_values.lhs is not None or given.fill_values.rhs is not None:
        raise BadInput("query: fill modifiers are not supported", hint="Write `a + b or a` instead.")
    many = ""
    if given.card == ast.VectorMatchCardinality.ManyToOne:
        many = "left"
    elif given.card == ast.VectorMatchCardinality.OneToMany:
        many = "right"
    on = given.matching is not None and given.matching.type == ast.LabelModifierType.Include
    names = tuple(given.matching.labels) if given.matching else ()
    return operators.Matching(on, names, many, tuple(given.group_labels or ()), given.return_bool)


def _once(vector: Vector, *, named: bool) -> Vector:
    """Takes the names away; series that cannot be told apart then are refused, even at different steps.

    Raises:
        BadInput: two series have the same labels.
    """
    kept = vector.alive()
    labels = kept.labels if named else [nameless(one) for one in kept.labels]
    if len(set(labels)) < len(labels):
        raise same_labels(next(one for one in labels if labels.count(one) > 1))
    return Vector(labels, kept.values, kept.present)
