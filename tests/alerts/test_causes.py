"""What changed before an alert is in its annotations and its message, whatever the explanation does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from modelkeep.alerts.alerts import Alerts
from modelkeep.alerts.rules import parse_rules
from modelkeep.core.clock import MINUTE, Fixed
from modelkeep.core.series import NAME, STALE_BITS, Labels, labels
from modelkeep.store.entries import Entries

RULES = (
    "groups: [{name: g, interval: 1m, rules: [{alert: Down, expr: down, for: 2m,"
    " annotations: {clock: wall, summary: s}},"
    " {alert: Own, expr: own, annotations: {clock: wall, changed: mine}}]}]"
)
STALE = np.array([STALE_BITS], np.uint64).view(np.float64)[0]


class Answer:
    def __init__(self, found: list[Labels], times: np.ndarray, values: np.ndarray) -> None:
        self.labels, self.times, self.values = found, times, values


class World:
    """Series that hold from a minute on, until they are taken away."""

    def __init__(self) -> None:
        self.since: dict[tuple[str, str], int] = {}

    def range(self, query: str, start_ns: int, end_ns: int, step_ns: int, *, as_of_ns: int | None = None) -> Answer:
        times = np.arange(start_ns, end_ns + 1, step_ns)
        held = [(model, since) for (name, model), since in self.since.items() if name == query]
        rows = [np.where(times >= since * MINUTE, 1.0, STALE) for _, since in held]
        found = [labels({NAME: query, "model": model}) for model, _ in held]
        return Answer(found, times, np.array(rows).reshape(len(held), len(times)))


class Explained:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.broken = False

    def __call__(self, given: Mapping[str, str], at_ns: int) -> str:
        self.asked.append((given.get("model", ""), at_ns // MINUTE))
        if self.broken:
            raise RuntimeError("no answer")
        return f"release of {given['model']}" if given["model"] != "unknown" else ""


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    made = Entries(tmp_path / "entries.db")
    yield made
    made.close()


def alerts(entries: Entries, world: World, explain: Explained, wall: Fixed, repeat_ns: int = 0) -> Alerts:
    return Alerts(
        entries, world, rules=parse_rules(RULES), channels={}, route="", events_clock=wall, wall=wall, link="",
        explain=explain, repeat_ns=repeat_ns,
    )  # fmt: skip


def until(live: Alerts, wall: Fixed, minute: int) -> None:
    while wall.at_ns < minute * MINUTE:
        wall.at_ns += MINUTE
        live.evaluate()


def test_an_alert_says_what_changed_from_its_first_message_to_its_last(entries: Entries) -> None:
    world, explain, wall = World(), Explained(), Fixed(1000 * MINUTE)
    live = alerts(entries, world, explain, wall, repeat_ns=5 * MINUTE)
    live.evaluate()
    world.since["down", "m"] = 1003
    until(live, wall, 1004)
    assert [one.annotations for one in live.list()] == [{"summary": "s"}], "it is pending: nobody asks"
    assert not explain.asked
    until(live, wall, 1012)
    assert explain.asked == [("m", 1003)], "once, and for when the condition began to hold"
    (one,) = live.list("firing")
    assert one.annotations["changed"] == "release of m"
    live = alerts(entries, world, explain, wall, repeat_ns=5 * MINUTE)
    until(live, wall, 1014)
    assert [one.annotations["changed"] for one in live.list()] == ["release of m"], "also after a restart"
    del world.since["down", "m"]
    until(live, wall, 1016)
    (ended,) = live.list("resolved")
    assert ended.annotations["changed"] == "release of m"
    messages = [posting.message for posting in live.outbox()]
    assert [one.state for one in messages] == ["resolved", "firing", "firing"]
    assert all("changed: release of m" in one.text.splitlines() for one in messages)
    world.since["down", "m"] = 1020
    until(live, wall, 1025)
    assert explain.asked == [("m", 1003), ("m", 1020)], "a new episode asks anew"


def test_an_explanation_that_fails_or_knows_nothing_stops_no_alert(entries: Entries) -> None:
    world, explain, wall = World(), Explained(), Fixed(1000 * MINUTE)
    live = alerts(entries, world, explain, wall)
    world.since["down", "unknown"] = 1000
    until(live, wall, 1003)
    explain.broken = True
    world.since["down", "m"] = 1003
    until(live, wall, 1008)
    assert [one.annotations for one in live.list("firing")] == [{"summary": "s"}] * 2
    assert all("changed" not in posting.message.text for posting in live.outbox())


def test_a_storm_asks_a_few_times_only(entries: Entries) -> None:
    world, explain, wall = World(), Explained(), Fixed(1000 * MINUTE)
    live = alerts(entries, world, explain, wall)
    world.since |= {("down", f"m{number}"): 1000 for number in range(100)}
    until(live, wall, 1004)
    assert len(live.list("firing")) == 100
    assert len(explain.asked) == 20


def test_a_rule_that_says_it_itself_is_left_alone(entries: Entries) -> None:
    world, wall = World(), Fixed(1000 * MINUTE)
    live = alerts(entries, world, Explained(), wall)
    world.since["own", "m"] = 1000
    until(live, wall, 1002)
    assert [one.annotations["changed"] for one in live.list("firing")] == ["mine"]
