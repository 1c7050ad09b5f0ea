"""One rule and one group of rules, as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from modelkeep.alerts.rules.template import Template
from modelkeep.core.series import NAME, Labels

ClockName = Literal["events", "wall"]
ALERTNAME: Final = "alertname"
PREFIX: Final = 12


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition, and how long it must hold.

    Args:
        name: the alert's name.
        expr: PromQL; every series that it gives is an alert.
        for_ns: how long the condition must hold before the alert fires.
        keep_ns: how long the alert goes on firing after the condition ended.
        labels: put on the alert beside those of the series.
        annotations: texts for people.
        key: identity of the rule within all files.
        where: file and line.
        clock: `events` when it is evaluated on the clock of events, `wall` when on the machine's.
    """

    name: str
    expr: str
    for_ns: int = 0
    keep_ns: int = 0
    labels: tuple[tuple[str, Template], ...] = ()
    annotations: tuple[tuple[str, Template], ...] = ()
    key: str = ""
    where: str = ""
    clock: ClockName = "events"

    def identity(self, series: Labels) -> str:
        """Gives the id of the alert that a series is: the same for the same rule and labels, whatever the value.

        >>> rule = Rule("Down", "up == 0", key="Down")
        >>> rule.identity((("job", "a"),)) == rule.identity((("job", "a"),)), len(rule.identity(()))
        (True, 32)
        """
        pairs = [pair for pair in series if pair[0] != NAME]
        text = json.dumps(pairs, ensure_ascii=False)
        return self.prefix + hashlib.blake2b(text.encode(), digest_size=10).hexdigest()

    @property
    def prefix(self) -> str:
        """How the ids of the rule's alerts begin: 12 hex digits."""
        return hashlib.blake2b((self.key or self.name).encode(), digest_size=PREFIX // 2).hexdigest()

    def alert_labels(self, series: Mapping[str, str], value: float) -> dict[str, str]:
        """Gives the alert's labels: the series' own, the rule's above them, and `alertname`.

        >>> Rule("Down", "up == 0", labels=(("severity", Template("page")),)).alert_labels({"job": "a"}, 0)
        {'job': 'a', 'severity': 'page', 'alertname': 'Down'}
        """
        own = {name: value_ for name, value_ in series.items() if name != NAME}
        added = {name: template.fill(own, value) for name, template in self.labels}
        return {name: text for name, text in {**own, **added, ALERTNAME: self.name}.items() if text}

    def texts(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        """Gives the annotations, filled in."""
        return {name: template.fill(labels, value) for name, template in self.annotations}


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated together, at multiples of one interval.

    Args:
        name: of the group.
        interval_ns: distance of two evaluations.
        rules: in the order of the file.
        clock: of all its rules.
        limit: at most this many alerts a rule, 0 for any number; an evaluation with more does not count.
        offset_ns: how long after a moment its samples are taken for complete.
        file: where it stands.
    """

    name: str
    interval_ns: int
    rules: tuple[Rule, ...]
    clock: ClockName = "events"
    limit: int = 0
    offset_ns: int = 0
    file: str = ""

    @property
    def key(self) -> str:
        """Names its progress in the store.

        >>> RuleGroup("traffic", 1, (), "wall").key
        'traffic/wall'
        """
        return f"{self.name}/{self.clock}"
