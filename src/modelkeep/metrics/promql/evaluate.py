"""PromQL over series sources: one instant or a range of steps, evaluated for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import promql_parser as ast

from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import BadInput
from modelkeep.core.series import Labels, SeriesSource, Want
from modelkeep.metrics.promql.result import Result, Times, Values, is_stale, stale
from modelkeep.metrics.promql.syntax import matchers, metric_names, parse

__all__ = ["PromQL", "Result", "metric_names"]

MAX_STEPS: Final = 11_000


class PromQL:
    """Answers PromQL over sources of series.

    Args:
        sources: asked one after the other; each answers for its own metric names.
        lookback_ns: how long an instant selector sees a sample.
        closed_windows: ranges include their left end, as before Prometheus 3.
        max_points: the most samples one query may touch.
    """

    def __init__(
        self,
        sources: Sequence[SeriesSource],
        *,
        lookback_ns: int = 5 * MINUTE,
        closed_windows: bool = False,
        max_points: int = 50_000_000,
    ) -> None:
        self._sources = sources
        self._lookback = lookback_ns
        self._closed = closed_windows
        self._max_points = max_points

    def instant(self, query: str, at_ns: int, *, as_of_ns: int | None = None) -> Result:
        """Gives the value of `query` at one moment.

        Raises:
            BadInput: the text is not PromQL, or asks for what is not supported, or for too much.
        """
        found = self.range(query, at_ns, at_ns, 1, as_of_ns=as_of_ns)
        return Result("vector", found.labels, found.times, found.values)

    def range(self, query: str, start_ns: int, end_ns: int, step_ns: int, *, as_of_ns: int | None = None) -> Result:
        """Gives the value of `query` at each step from `start_ns` to `end_ns`, inclusive."""
        if step_ns < 1 or end_ns < start_ns:
            raise BadInput("query: the step must be positive and the end not before the start")
        if (end_ns - start_ns) // step_ns >= MAX_STEPS:
            raise BadInput(f"query: more than {MAX_STEPS} steps", hint="Take a larger step or a shorter time.")
        node = parse(query)
        steps = np.arange(start_ns, end_ns + 1, step_ns, dtype=np.int64)
        if isinstance(node, ast.NumberLiteral):
            return Result("matrix", [()], steps, np.full((1, len(steps)), node.val))
        if not isinstance(node, ast.VectorSelector):
            raise BadInput(f"query: {type(node).__name__} is not supported yet")
        want = Want(start_ns, end_ns, step_ns, self._lookback, as_of_ns=as_of_ns)
        labels: list[Labels] = []
        rows: list[Values] = []
        for source in self._sources:
            for block in source.select(matchers(node), want):
                labels.extend(block.labels)
                rows.append(_look(block.times, block.values, steps, self._lookback))
        values = np.concatenate(rows) if rows else stale((0, len(steps)))
        keep = np.logical_not(np.all(is_stale(values), axis=1))
        kept = [one for one, ok in zip(labels, keep.tolist(), strict=True) if ok]
        return Result("matrix", kept, steps, values[keep])


def _look(times: Times, values: Values, steps: Times, lookback_ns: int) -> Values:
    last = np.searchsorted(times, steps, side="right") - 1
    seen = (last >= 0) & (times[last.clip(0)] > steps - lookback_ns) if len(times) else np.zeros(len(steps), bool)
    found = stale((len(values), len(steps)))
    found[:, seen] = values[:, last[seen]]
    return found
