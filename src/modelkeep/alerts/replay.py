"""What rules would have done over a past time: the code that runs live, with nothing stored and nothing sent."""

from __future__ import annotations

from collections.abc import Sequence

from modelkeep.alerts.rules import Rule, RuleGroup
from modelkeep.alerts.state import LIVE, Instance, Transition, advance
from modelkeep.alerts.steps import Query, ask, batches


def replay(query: Query, groups: Sequence[RuleGroup], start_ns: int, end_ns: int) -> list[Transition]:
    """Gives the transitions that the rules make at evaluation times in [start, end], in order.

    Each rule is evaluated from somewhat earlier on (its `for`, its `keep_firing_for` and one interval), so that an
    alert that was firing at the start is not told as new.

    Args:
        query: over the history.
        groups: the rules.
        start_ns: the beginning, on the rules' clock.
        end_ns: the end, inclusive.
    """
    changes: list[Transition] = []
    for group in groups:
        found: list[tuple[int, int, Transition]] = []
        for position, rule in enumerate(group.rules):
            found += [(change.at_ns, position, change) for change in _rule(query, group, rule, start_ns, end_ns)]
        changes += [change for _, _, change in sorted(found, key=lambda entry: entry[:2])]
    return sorted(changes, key=lambda change: change.at_ns)


def _rule(query: Query, group: RuleGroup, rule: Rule, start_ns: int, end_ns: int) -> list[Transition]:
    live: dict[str, Instance] = {}
    changes: list[Transition] = []
    warm_ns = max(0, start_ns - rule.for_ns - rule.keep_ns - group.interval_ns)
    for first, last in batches(group, warm_ns - 1, end_ns):
        outcome = advance(rule, ask(query, group, rule, first, last), live, limit=group.limit)
        live = {name: one for name, one in (live | outcome.instances).items() if one.state in LIVE}
        changes += [change for change in outcome.transitions if change.at_ns >= start_ns]
    return changes
