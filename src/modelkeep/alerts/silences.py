"""Silences: for a time, alerts with these labels change their state without a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelkeep.alerts.rules.rule import ClockName
from modelkeep.core.errors import BadInput
from modelkeep.core.series import Matcher


@dataclass(frozen=True, slots=True)
class Silence:
    """What is silenced, for how long, by whom and why.

    Args:
        id: of the silence.
        matchers: all must match the alert's labels (`alertname` is one of them).
        start_ns: from this moment on.
        end_ns: up to this moment, exclusive.
        by: who asked for it.
        reason: why.
        created_ns: when it was made, wall time.
        clock: the clock that start and end are told by.
    """

    id: str
    matchers: tuple[Matcher, ...]
    start_ns: int
    end_ns: int
    by: str
    reason: str
    created_ns: int
    clock: ClockName = "wall"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it speaks of an alert with these labels.

        >>> Silence("s", matchers({"model": "flights"}), 0, 1, "me", "test", 0).matches({"model": "flights", "x": "y"})
        True
        """
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)

    def holds(self, times: Mapping[ClockName, int]) -> bool:
        """Whether it is in force, by the clock it is told by.

        Args:
            times: now, on each clock.
        """
        return self.start_ns <= times[self.clock] < self.end_ns


def matchers(given: Mapping[str, str] | Sequence[Matcher]) -> tuple[Matcher, ...]:
    """Gives matchers from labels that must be equal, or from matchers; sorted.

    Raises:
        BadInput: there is none, or they match an alert without labels and so every alert.

    >>> matchers({"model": "flights"})[0].op
    '='
    >>> matchers([Matcher("model", "=~", ".*")])
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: these matchers match every alert
    """
    made = [Matcher(name, "=", value) for name, value in given.items()] if isinstance(given, Mapping) else list(given)
    if not made or all(matcher.matches("") for matcher in made):
        raise BadInput("these matchers match every alert", hint="Name at least one label, such as model or alertname.")
    return tuple(sorted(made, key=lambda matcher: (matcher.name, matcher.op, matcher.value)))


def silenced(silences: Iterable[Silence], labels: Mapping[str, str], times: Mapping[ClockName, int]) -> bool:
    """Whether some silence in force speaks of these labels."""
    return any(silence.holds(times) and silence.matches(labels) for silence in silences)
