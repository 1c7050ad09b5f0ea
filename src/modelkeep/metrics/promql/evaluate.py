"""PromQL over series sources: one instant or a range of steps, evaluated for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import promql_parser as ast

from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import BadInput
from modelkeep.core.series import Block, SeriesSource
from modelkeep.metrics.promql.evaluation import Evaluation
from modelkeep.metrics.promql.result import Result, stale
from modelkeep.metrics.promql.selection import Selection
from modelkeep.metrics.promql.syntax import metric_names, parse, within
from modelkeep.metrics.promql.values import Frame, Ranged, Scalar, Text, Value, Vector, joined
from modelkeep.metrics.promql.windows import window

__all__ = ["MAX_STEPS", "PromQL", "Result", "metric_names"]

MAX_STEPS: Final = 11_000


class PromQL:
    """Answers PromQL over sources of series.

    Under `as_of_ns=AT_STEP` every step sees only what was known then; a sample of a range selector or subquery at
    time τ is the one that was known at τ plus the selector's offset, as if it had been recorded, so that a step's
    answer does not depend on which other steps are asked for.

    Args:
        sources: each answers for its own metric names.
        lookback_ns: how long an instant selector sees a sample.
        closed_windows: ranges include their left end, as before Prometheus 3.
        max_points: the most samples one query may touch.

    >>> PromQL([]).instant("1 + 2 * 3", 0).values.item()
    7.0
    """

    def __init__(
        self,
        sources: Sequence[SeriesSource],
        *,
        lookback_ns: int = 5 * MINUTE,
        closed_windows: bool = False,
        max_points: int = 100_000_000,
    ) -> None:
        self._sources = tuple(sources)
        self._lookback = lookback_ns
        self._closed = closed_windows
        self._max_points = max_points

    def instant(self, query: str, at_ns: int, *, as_of_ns: int | None = None) -> Result:
        """Gives the value of `query` at one moment.

        Args:
            query: PromQL.
            at_ns: the moment.
            as_of_ns: what was known when; see `core.series.Want`.

        Raises:
            BadInput: the text is not PromQL, or asks for what is not supported, or for too much.
        """
        frame = Frame(within(at_ns), at_ns, np.array([at_ns], np.int64), 1, as_of_ns=as_of_ns)
        value = self._value(parse(query), frame)
        if isinstance(value, Vector):
            return _series("vector", value, frame)
        if isinstance(value, Scalar):
            return Result("scalar", [()], frame.steps, value.values[None, :])
        if isinstance(value, Text):
            return Result("string", [()], frame.steps, stale((1, 1)), text=value.text)
        blocks = [cut for block in value.blocks for cut in self._cut(block, value)]
        return Result("matrix", [], frame.steps, stale((0, 1)), blocks=blocks)

    def range(self, query: str, start_ns: int, end_ns: int, step_ns: int, *, as_of_ns: int | None = None) -> Result:
        """Gives the value of `query` at each step.

        Args:
            query: PromQL that gives a number or an instant vector.
            start_ns: the first step.
            end_ns: no step is later.
            step_ns: distance of the steps.
            as_of_ns: what was known when; see `core.series.Want`.

        Raises:
            BadInput: the text is not PromQL, or asks for what is not supported, or for too much.
        """
        if step_ns < 1 or end_ns < start_ns:
            raise BadInput("query: the step must be positive and the end not before the start")
        if (end_ns - start_ns) // step_ns >= MAX_STEPS:
            raise BadInput(f"query: more than {MAX_STEPS} steps", hint="Take a larger step or a shorter time.")
        steps = np.arange(within(start_ns), within(end_ns) + 1, step_ns, dtype=np.int64)
        frame = Frame(start_ns, end_ns, steps, step_ns, as_of_ns=as_of_ns)
        node = parse(query)
        if isinstance(node, ast.MatrixSelector | ast.SubqueryExpr | ast.StringLiteral):
            raise BadInput("query: over a range only a number or an instant vector can be asked")
        value = self._value(node, frame)
        if isinstance(value, Scalar):
            return Result("matrix", [()], steps, value.values[None, :])
        if not isinstance(value, Vector):
            raise BadInput("query: over a range only a number or an instant vector can be asked")
        found = _series("matrix", value, frame)
        order = sorted(range(len(found.labels)), key=found.labels.__getitem__)
        return Result("matrix", [found.labels[row] for row in order], steps, found.values[order])

    def _value(self, node: ast.Expr, frame: Frame) -> Value:
        selection = Selection(self._sources, self._lookback, self._closed, self._max_points)
        try:
            with np.errstate(all="ignore"):
                return Evaluation(selection).value(node, frame)
        except RecursionError:
            raise BadInput("query: nested too deeply", hint="Split it into several queries.") from None

    def _cut(self, block: Block, ranged: Ranged) -> list[Block]:
        """Gives the part of a block that the only window sees."""
        seen = window(block.times, ranged.ends, ranged.range_ns, evaluated=ranged.ends, closed=self._closed)
        part = slice(int(seen.first[0]), int(seen.stop[0]))
        if part.start == part.stop:
            return []
        return [Block(block.labels, block.times[part], np.ascontiguousarray(block.values[:, part]))]


def _series(kind: str, vector: Vector, frame: Frame) -> Result:
    """Gives the series that have a sample at some step."""
    kept = joined(vector.alive())
    values = np.where(kept.present, kept.values, stale((1, 1)))
    return Result("vector" if kind == "vector" else "matrix", kept.labels, frame.steps, values)
