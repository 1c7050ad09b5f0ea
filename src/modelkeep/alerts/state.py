"""The state machine of alerts, pure: columns of one rule in, transitions and new states out.

inactive → pending → firing → (acknowledged) → resolved. Stepping over many evaluation times at once gives what
stepping over each by itself gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from modelkeep.core.series import NAME, STALE_BITS, Labels

if TYPE_CHECKING:
    import numpy.typing as npt

    from modelkeep.alerts.rules import Rule

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]
    Active = npt.NDArray[np.bool_]

State = Literal["inactive", "pending", "firing", "acknowledged", "resolved"]
BURNING: Final[tuple[State, ...]] = ("firing", "acknowledged")
LIVE: Final[tuple[State, ...]] = ("pending", *BURNING)


@dataclass(frozen=True, slots=True)
class Instance:
    """One alert as it stands.

    Args:
        id: identity of rule and series.
        rule: the rule's name.
        labels: of the alert.
        state: where it stands.
        since_ns: when it came into this state.
        started_ns: when the condition began to hold.
        fired_ns: when it began to fire; None while pending.
        resolved_ns: when the condition ceased to hold; None while it holds.
        value: the expression's last value, to 9 digits.
        acked_by: who acknowledged it; empty when nobody has.
        acked_ns: when.
        note: what was said then.
    """

    id: str
    rule: str
    labels: dict[str, str]
    state: State
    since_ns: int
    started_ns: int
    fired_ns: int | None
    resolved_ns: int | None
    value: float
    acked_by: str = ""
    acked_ns: int | None = None
    note: str = ""

    def turned(self, state: State, at_ns: int) -> Transition:
        """Gives its change to another state."""
        return Transition(at_ns, self.id, self.rule, self.labels, self.state, state, self.value)


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one alert's state.

    Args:
        at_ns: the evaluation time, on the rule's clock.
        alert: the alert's id.
        rule: the rule's name.
        labels: the alert's labels.
        from_state: before.
        to_state: after.
        value: the expression's value then, to 9 digits; the last one when the condition has ended.
        seq: position in the store, 0 when it is not stored.
    """

    at_ns: int
    alert: str
    rule: str
    labels: dict[str, str]
    from_state: State
    to_state: State
    value: float
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What a rule's expression gave.

    Args:
        labels: m label sets.
        times: shape (n,), the evaluation times, increasing.
        values: shape (m, n); the stale bit pattern where there is nothing.
    """

    labels: Sequence[Labels]
    times: Times
    values: Values

    @property
    def active(self) -> Active:
        """Where the condition holds, shape (m, n)."""
        bits: npt.NDArray[np.int64] = np.ascontiguousarray(self.values).view(np.int64)
        return np.asarray(bits != STALE_BITS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What stepping gave: transitions by time, every instance touched, and how many steps held too many alerts."""

    transitions: list[Transition]
    instances: dict[str, Instance]
    over_limit: int = 0


def advance(rule: Rule, frame: Frame, before: Mapping[str, Instance], *, limit: int = 0) -> Outcome:
    """Steps one rule over evaluation times.

    Args:
        rule: whose alerts these are.
        frame: the expression's columns.
        before: the rule's alerts that are pending or burning, by id.
        limit: steps at which more series than this are active do not count; 0 for no limit.
    """
    active = frame.active
    keep = np.ones(len(frame.times), dtype=bool) if not limit else active.sum(axis=0) <= limit
    times, active, values = frame.times[keep], active[:, keep], frame.values[:, keep]
    transitions: list[Transition] = []
    instances: dict[str, Instance] = {}
    seen: set[str] = set()
    for alert, series, row, holds in _rows(rule, frame.labels, values, active):
        seen.add(alert)
        walk = _Walk(rule, alert, series, before.get(alert))
        walk.over(times, row, holds)
        walk.leave(transitions, instances)
    for alert, instance in before.items():
        if alert not in seen and len(times):
            walk = _Walk(rule, alert, (), instance)
            walk.absent(times)
            walk.leave(transitions, instances)
    transitions.sort(key=lambda change: (change.at_ns, change.alert))
    return Outcome(transitions, instances, int(len(frame.times) - keep.sum()))


def _rows(
    rule: Rule, labels: Sequence[Labels], values: Values, active: Active
) -> Iterator[tuple[str, Labels, Values, Active]]:
    """Gives one row an alert; rows that differ in the metric's name only are one alert."""
    rows: dict[str, list[int]] = {}
    for row, series in enumerate(labels):
        rows.setdefault(rule.identity(series), []).append(row)
    for alert, members in rows.items():
        first = members[0]
        series = tuple(pair for pair in labels[first] if pair[0] != NAME)
        row, holds = values[first], active[first]
        for other in members[1:]:
            row = np.where(holds, row, values[other])
            holds = holds | active[other]
        yield alert, series, row, holds


def nine(value: float) -> float:
    """Gives a number to 9 significant digits: sums that were taken in another order must not tell another story.

    >>> nine(-0.1478315475209956), nine(float("inf"))
    (-0.147831548, inf)
    """
    return float(f"{value:.9g}")


class _Walk:
    """One alert over the evaluation times, run by run of equal activity."""

    def __init__(self, rule: Rule, alert: str, series: Labels, instance: Instance | None) -> None:
        self._rule, self._alert, self._series = rule, alert, series
        self._now = instance if instance and instance.state in LIVE else None
        self._given = instance
        self._last = instance
        self._changes: list[Transition] = []

    def over(self, times: Times, values: Values, holds: Active) -> None:
        if not len(times):
            return
        edges = np.flatnonzero(holds[1:] != holds[:-1]) + 1
        starts = [0, *edges.tolist()]
        ends = [*edges.tolist(), len(times)]
        for start, end in zip(starts, ends, strict=True):
            if holds[start]:
                self._hold(times[start:end], values[start:end])
            else:
                self.absent(times[start:end])

    def _hold(self, times: Times, values: Values) -> None:
        first = int(times[0])
        if self._now is None:
            value = nine(values[0])
            labels = self._rule.alert_labels(dict(self._series), value)
            state: State = "pending" if self._rule.for_ns else "firing"
            fired = None if self._rule.for_ns else first
            fresh = Instance(self._alert, self._rule.name, labels, "inactive", first, first, fired, None, value)
            self._turn(fresh, state, first, value)
        now = self._live()
        if now.state == "pending":
            position = int(np.searchsorted(times, now.started_ns + self._rule.for_ns))
            if position < len(times):
                at = int(times[position])
                self._turn(replace(now, fired_ns=at), "firing", at, nine(values[position]))
        self._set(replace(self._live(), resolved_ns=None, value=nine(values[-1])))

    def absent(self, times: Times) -> None:
        """Steps over times at which the condition does not hold."""
        if self._now is None:
            return
        now, first = self._now, int(times[0])
        if now.state == "pending":
            self._turn(now, "inactive", first, now.value)
            return
        ended = first if now.resolved_ns is None else now.resolved_ns
        position = int(np.searchsorted(times, ended + self._rule.keep_ns))
        self._set(replace(now, resolved_ns=ended))
        if position < len(times):
            self._turn(self._live(), "resolved", int(times[position]), now.value)

    def leave(self, transitions: list[Transition], instances: dict[str, Instance]) -> None:
        """Hands over what changed."""
        transitions += self._changes
        if self._last is not None and self._last != self._given:
            instances[self._alert] = self._last

    def _live(self) -> Instance:
        assert self._now is not None
        return self._now

    def _set(self, instance: Instance) -> None:
        self._last = instance
        self._now = instance if instance.state in LIVE else None

    def _turn(self, instance: Instance, state: State, at_ns: int, value: float) -> None:
        self._changes.append(
            Transition(at_ns, self._alert, self._rule.name, instance.labels, instance.state, state, value)
        )
        self._set(replace(instance, state=state, since_ns=at_ns, value=value))
