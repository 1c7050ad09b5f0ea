"""How rules, groups and alerts do."""

from __future__ import annotations

from dataclasses import dataclass

from modelkeep.alerts.rules import Rule, RuleGroup
from modelkeep.alerts.state import State


@dataclass(slots=True)
class Health:
    """A rule's failed evaluations since the start, why the last one failed, and how long it took."""

    failures: int = 0
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """How a rule does.

    Args:
        rule: itself.
        state: the most urgent state of its alerts.
        alerts: how many are pending or burning.
        failures: how many evaluations failed since the start.
        error: why the last one did; empty when it did not.
        seconds: how long the last one took.
    """

    rule: Rule
    state: State
    alerts: int
    failures: int
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """How a group does; `evaluated_ns` is its last evaluation time, 0 before the first."""

    group: RuleGroup
    evaluated_ns: int
    rules: tuple[RuleStatus, ...]


@dataclass(frozen=True, slots=True)
class AlertsStatus:
    """Counts since the start, and what is so now."""

    evaluations: int
    failures: int
    skipped: int
    transitions: int
    pending: int
    firing: int
    waiting: int
    dead: int
