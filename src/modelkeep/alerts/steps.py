"""Evaluation times of a group, and what its rules' expressions give at them: the same for live and for replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from modelkeep.alerts.rules import Rule, RuleGroup
from modelkeep.alerts.state import Frame
from modelkeep.core.clock import DAY
from modelkeep.core.series import AT_STEP, Labels

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_STEPS: Final = 2_000
"""The most evaluation times that one query asks for."""
LONGEST_DAYS: Final = 3_650
EVENTS: Final = "sum(model_predictions_total) > 0"


class Answer(Protocol):
    """What a range query gives; see `metrics.promql.result.Result`."""

    @property
    def labels(self) -> Sequence[Labels]:
        """Label sets."""
        ...

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Steps."""
        ...

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Stale bits = absent."""
        ...


class Query(Protocol):
    """Answers PromQL; `metrics.promql.PromQL` is one."""

    def range(self, query: str, start_ns: int, end_ns: int, step_ns: int, *, as_of_ns: int | None = None) -> Answer:
        """Gives the value of `query` at each step from `start_ns` to `end_ns`, inclusive."""
        ...


def newest(group: RuleGroup, now_ns: int) -> int:
    """Gives the last evaluation time up to now: a multiple of the interval.

    >>> newest(RuleGroup("g", 60, ()), 125)
    120
    """
    return now_ns // group.interval_ns * group.interval_ns


def batches(group: RuleGroup, after_ns: int, until_ns: int) -> Iterator[tuple[int, int]]:
    """Gives first and last evaluation time of each batch of those in (after, until].

    >>> list(batches(RuleGroup("g", 60, ()), 60, 200))
    [(120, 180)]
    """
    step = group.interval_ns
    first, last = (after_ns // step + 1) * step, newest(group, until_ns)
    while first <= last:
        end = min(last, first + (MAX_STEPS - 1) * step)
        yield first, end
        first = end + step


def ask(query: Query, group: RuleGroup, rule: Rule, start_ns: int, end_ns: int) -> Frame:
    """Gives what the rule's expression gave at the evaluation times, each as of its own moment."""
    step, offset = group.interval_ns, group.offset_ns
    found = query.range(rule.expr, start_ns - offset, end_ns - offset, step, as_of_ns=AT_STEP)
    return Frame(found.labels, np.asarray(found.times) + offset, found.values)


def beginning(query: Query, now_ns: int) -> int:
    """Gives where evaluation on a clock of events begins: a day before the first prediction, or a week before now.

    Such a clock is first looked at in the middle of its first batch, or after the import of a whole history.
    """
    now_ns -= now_ns % DAY
    reach = min(LONGEST_DAYS, now_ns // DAY)
    found = query.range(EVENTS, now_ns - reach * DAY, now_ns + DAY, DAY, as_of_ns=AT_STEP)
    active = Frame(found.labels, np.asarray(found.times), found.values).active
    seen = np.flatnonzero(active.any(axis=0)) if active.size else np.empty(0, np.int64)
    first = int(found.times[seen[0]]) - DAY if len(seen) else now_ns
    return max(0, first - (DAY if len(seen) else 7 * DAY))
