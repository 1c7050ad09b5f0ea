"""Selectors against sources: which samples each step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import promql_parser as ast

from modelkeep.core.errors import BadInput
from modelkeep.core.series import AT_STEP, Block, Labels, Matcher, SeriesSource, Want
from modelkeep.metrics.promql.result import Mask, Times, Values, is_stale
from modelkeep.metrics.promql.syntax import duration_ns, matchers, moment_ns, within
from modelkeep.metrics.promql.values import MILLISECOND, Frame, Ranged, Vector, dense, empty, joined


@dataclass(slots=True)
class Selection:
    """Asks the sources on behalf of one query and counts what it takes.

    Args:
        sources: asked in order.
        lookback_ns: how long an instant selector sees a sample.
        closed: windows include their left end.
        max_points: the most samples the query may touch.
    """

    sources: Sequence[SeriesSource]
    lookback_ns: int
    closed: bool
    max_points: int
    taken: int = 0
    _kept: dict[tuple[tuple[Matcher, ...], Want], list[Block]] = field(default_factory=dict)

    def count(self, points: int) -> None:
        """Adds to what the query has touched.

        Raises:
            BadInput: that is too much.
        """
        self.taken += points
        if self.taken > self.max_points:
            raise BadInput(
                f"query: it would touch more than {self.max_points} samples",
                hint="Select fewer series, a shorter time or a larger step.",
            )

    def blocks(self, found: Sequence[Matcher], want: Want) -> list[Block]:
        """Gives what all sources have for one selector; the same question is asked once."""
        key = (tuple(found), want)
        kept = self._kept.get(key)
        if kept is None:
            kept = [block for source in self.sources for block in source.select(found, want)]
            self.count(sum(block.values.size for block in kept))
            self._kept[key] = kept
        return kept

    def want(self, frame: Frame, moved: Moved, range_ns: int, *, ranged: bool) -> Want:
        """Gives the question for one selector; a closed window needs one nanosecond more."""
        ends = moved.ends
        return Want(
            int(ends[0]),
            int(ends[-1]),
            frame.step_ns,
            range_ns + self.closed,
            ranged=ranged,
            offset_ns=frame.offset_ns + moved.offset_ns,
            as_of_ns=frame.as_of_ns,
        )

    def instant(self, node: ast.VectorSelector, frame: Frame, *, times: bool = False) -> Vector:
        """Gives the newest sample that each step sees, or the sample's time in seconds."""
        moved = shifted(node.offset, node.at, frame)
        found = matchers(node)
        if moved.pinned and frame.as_of_ns == AT_STEP:
            return self._pinned(found, frame, moved, times)
        blocks = self.blocks(found, self.want(frame, moved, self.lookback_ns, ranged=False))
        vector = self._look(blocks, moved.ends, times)
        return spread(vector, len(frame.steps)) if moved.pinned else vector

    def ranged(self, node: ast.MatrixSelector, frame: Frame) -> Ranged:
        """Gives the samples of a range selector with their windows."""
        inner = node.vector_selector
        moved = shifted(inner.offset, inner.at, frame)
        range_ns = duration_ns(node.range)
        blocks = self.blocks(matchers(inner), self.want(frame, moved, range_ns, ranged=True))
        return Ranged(dense(blocks), moved.ends, range_ns, len(frame.steps))

    def _pinned(self, found: Sequence[Matcher], frame: Frame, moved: Moved, times: bool) -> Vector:
        """One moment looked at from every step, each with what was known at that step."""
        columns = []
        for step in frame.steps.tolist():
            want = replace(
                self.want(frame, moved, self.lookback_ns, ranged=False), as_of_ns=step + frame.offset_ns, offset_ns=0
            )
            columns.append(self._look(self.blocks(found, want), moved.ends, times))
        where: dict[Labels, int] = {}
        for column in columns:
            for one in column.labels:
                where.setdefault(one, len(where))
        values, present = np.zeros((len(where), len(columns))), np.zeros((len(where), len(columns)), bool)
        for at, column in enumerate(columns):
            rows = [where[one] for one in column.labels]
            values[rows, at], present[rows, at] = column.values[:, 0], column.present[:, 0]
        return Vector(list(where), values, present)

    def _look(self, blocks: Sequence[Block], ends: Times, times: bool) -> Vector:
        rows = sum(len(block.labels) for block in blocks)
        if not rows:
            return empty(len(ends))
        self.count(rows * len(ends))
        labels: list[Labels] = []
        values, present = np.empty((rows, len(ends))), np.empty((rows, len(ends)), bool)
        for block in blocks:
            part = slice(len(labels), len(labels) + len(block.labels))
            labels.extend(block.labels)
            values[part], present[part] = newest(block, ends, self.lookback_ns, closed=self.closed)
            if times:
                at = np.searchsorted(block.times, ends, side="right") - 1
                values[part] = (block.times.take(np.maximum(at, 0), mode="clip") // MILLISECOND) / 1e3
        return joined(Vector(labels, values, present).alive())


def newest(block: Block, ends: Times, lookback_ns: int, *, closed: bool) -> tuple[Values, Mask]:
    """Gives the newest value that each step sees and where there is one.

    A stale marker ends a series: behind it there is nothing until the next sample.

    >>> block = Block([()], np.array([10, 20]), np.array([[1.0, 2.0]]))
    >>> values, present = newest(block, np.array([9, 15, 26]), 10, closed=False)
    >>> values[present].tolist(), present.tolist()
    ([1.0, 2.0], [[False, True, True]])
    """
    shape = (len(block.labels), len(ends))
    if not len(block.times):
        return np.zeros(shape), np.zeros(shape, bool)
    at = np.searchsorted(block.times, ends, side="right") - 1
    index = np.maximum(at, 0)
    age = ends - block.times[index]
    seen = (at >= 0) & ((age <= lookback_ns) if closed else (age < lookback_ns))
    values = block.values.take(index, axis=1)
    return values, seen & ~is_stale(values)


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a selector looks instead of at the steps themselves.

    Args:
        ends: shape (k,), or (1,) when pinned by `@`.
        offset_ns: how far the steps were moved into the past.
        pinned: every step sees the same moment.
    """

    ends: Times
    offset_ns: int
    pinned: bool


def shifted(offset: object, at: ast.AtModifier | None, frame: Frame) -> Moved:
    """Applies `offset` and `@` to the steps."""
    offset_ns = duration_ns(offset)
    if at is None:
        within(int(frame.steps[0]) - offset_ns)
        within(int(frame.steps[-1]) - offset_ns)
        return Moved(frame.steps - offset_ns, offset_ns, pinned=False)
    pinned = within(moment_ns(at, frame.start_ns, frame.end_ns) - offset_ns)
    return Moved(np.array([pinned], np.int64), offset_ns, pinned=True)


def spread(vector: Vector, width: int) -> Vector:
    """Gives a vector of one step at `width` steps."""
    shape = (len(vector.labels), width)
    return Vector(vector.labels, np.broadcast_to(vector.values, shape), np.broadcast_to(vector.present, shape))
