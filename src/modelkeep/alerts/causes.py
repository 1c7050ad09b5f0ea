"""What changed before an alert: asked once when it begins to fire, said wherever the alert is told of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from modelkeep.alerts.ledger import Alert
from modelkeep.alerts.rules import Rule
from modelkeep.alerts.state import BURNING, LIVE, Instance, Transition

CHANGED: Final = "changed"
"""The annotation that says what changed."""
MOST: Final = 20
"""So many different questions an evaluation asks; a storm of alerts must not wait for its explanations."""
Explain = Callable[[Mapping[str, str], int], str]
"""Labels of an alert, and when its condition began to hold, ns → what changed before, or an empty text."""

log: Final = logging.getLogger(__name__)


def unexplained(labels: Mapping[str, str], at_ns: int) -> str:
    """Says nothing."""
    return ""


class Causes:
    """Adds what changed to the annotations of alerts that fire.

    Args:
        explain: may fail; then nothing is said.
    """

    def __init__(self, explain: Explain) -> None:
        self._explain = explain
        self._said: dict[str, str] = {}

    def load(self, alerts: Iterable[Alert]) -> None:
        """Takes over what was said before a restart."""
        for one in alerts:
            if one.instance.state in BURNING and one.annotations.get(CHANGED):
                self._said[one.instance.id] = one.annotations[CHANGED]

    def ask(self, changes: Iterable[Transition], started: Mapping[str, int]) -> None:
        """Asks for those that begin to fire.

        Args:
            changes: of one evaluation.
            started: alert → when its condition began to hold.
        """
        asked: dict[tuple[str, int], str] = {}
        for one in changes:
            if one.to_state != "firing":
                continue
            question = one.labels.get("model", ""), started.get(one.alert, one.at_ns)
            if question not in asked and len(asked) < MOST:
                asked[question] = self._answer(one.labels, question[1])
            self._said[one.alert] = asked.get(question, "")

    def texts(self, rule: Rule, alert: str, labels: Mapping[str, str], value: float) -> dict[str, str]:
        """Gives the annotations of an alert, filled in."""
        found = rule.texts(labels, value)
        said = self._said.get(alert)
        return {**found, CHANGED: said} if said and CHANGED not in found else found

    def entry(self, rule: Rule, one: Instance) -> Alert:
        """Gives an alert as it is kept."""
        return Alert(one, self.texts(rule, one.id, one.labels, one.value), rule.clock)

    def forget(self, ended: Iterable[Instance]) -> None:
        """Forgets what was said of alerts that are over."""
        for one in ended:
            if one.state not in LIVE:
                self._said.pop(one.id, None)

    def _answer(self, labels: Mapping[str, str], at_ns: int) -> str:
        try:
            return self._explain(labels, at_ns)
        except Exception:  # an alert must go out whatever its explanation does
            log.exception("what changed before %s is not known", labels.get("alertname", "an alert"))
            return ""
