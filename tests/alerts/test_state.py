from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts.rules import Rule
from modelkeep.alerts.state import LIVE, Frame, Instance, advance
from modelkeep.core.clock import MINUTE
from modelkeep.core.series import Labels

from .worlds import STALE

STEP = 10


@dataclass
class Naive:
    """One alert, one evaluation at a time, written down from the documentation of for and keep_firing_for."""

    hold: int
    keep: int
    state: str = "inactive"
    started: int = 0
    ended: int | None = None

    def step(self, at: int, holds: bool) -> list[tuple[int, str, str]]:
        changes = []

        def turn(state: str) -> None:
            changes.append((at, self.state, state))
            self.state = "inactive" if state == "resolved" else state

        if holds:
            self.ended = None
            if self.state == "inactive":
                self.started = at
                if self.hold:
                    turn("pending")
                else:
                    turn("firing")
            if self.state == "pending" and at - self.started >= self.hold:
                turn("firing")
        elif self.state == "pending":
            turn("inactive")
        elif self.state == "firing":
            self.ended = at if self.ended is None else self.ended
            if at - self.ended >= self.keep:
                turn("resolved")
                self.ended = None
        return changes


def frame(columns: dict[Labels, list[bool]], first: int, last: int) -> Frame:
    values = [[float(at) if holds[at] else STALE for at in range(first, last)] for holds in columns.values()]
    present = [row for row in range(len(values)) if any(list(columns.values())[row][first:last])]
    labels = list(columns)
    array = np.array([values[row] for row in present], dtype=np.float64).reshape(len(present), last - first)
    return Frame([labels[row] for row in present], np.arange(first, last, dtype=np.int64) * STEP, array)


durations = st.sampled_from([0, 5, 10, 20, 35])


@given(
    st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=3),
    durations,
    durations,
    st.lists(st.integers(1, 11), max_size=5),
)
def test_stepping_over_any_batches_gives_what_single_steps_give(series, hold, keep, cuts):
    rule = Rule("R", "x", for_ns=hold, keep_ns=keep)
    columns: dict[Labels, list[bool]] = {(("s", str(at)),): holds for at, holds in enumerate(series)}
    expected = []
    for labels, holds in columns.items():
        naive = Naive(hold, keep)
        for at, one in enumerate(holds):
            expected += [
                (when, rule.identity(labels), before, after) for when, before, after in naive.step(at * STEP, one)
            ]
    live: dict[str, Instance] = {}
    seen = []
    edges = sorted({0, 12, *cuts})
    for first, last in itertools.pairwise(edges):
        outcome = advance(rule, frame(columns, first, last), live)
        live = {name: one for name, one in (live | outcome.instances).items() if one.state in LIVE}
        seen += [(one.at_ns, one.alert, one.from_state, one.to_state) for one in outcome.transitions]
    order = [(when, alert) for when, alert, _, _ in seen]
    assert order == sorted(order)
    assert sorted(seen) == sorted(expected)


def test_rows_that_differ_in_the_metrics_name_only_are_one_alert():
    rule = Rule("R", "low > 1 or high < 1")
    labels = [(("__name__", "low"), ("m", "a")), (("__name__", "high"), ("m", "a"))]
    values = np.array([[2.0, STALE, STALE], [STALE, 0.5, STALE]])
    outcome = advance(rule, Frame(labels, np.array([0, 10, 20]), values), {})
    assert [(one.at_ns, one.to_state, one.value) for one in outcome.transitions] == [
        (0, "firing", 2.0),
        (20, "resolved", 0.5),
    ]
    assert outcome.transitions[0].labels == {"m": "a", "alertname": "R"}


def test_nan_is_a_value_and_only_the_stale_marker_is_nothing():
    outcome = advance(Rule("R", "x"), Frame([()], np.array([0, 10]), np.array([[np.nan, STALE]])), {})
    assert [one.to_state for one in outcome.transitions] == ["firing", "resolved"]


def test_steps_with_more_alerts_than_the_limit_do_not_count():
    labels: list[Labels] = [(("s", "a"),), (("s", "b"),)]
    values = np.array([[1.0, 1.0, 1.0], [STALE, 1.0, STALE]])
    outcome = advance(Rule("R", "x"), Frame(labels, np.array([0, 10, 20]), values), {}, limit=1)
    assert [(one.at_ns, one.to_state) for one in outcome.transitions] == [(0, "firing")]
    assert outcome.over_limit == 1


def test_identity_does_not_depend_on_the_value_nor_on_the_order_of_rules():
    rule = Rule("R", "x", key="g R")
    assert rule.identity((("a", "1"),)) == Rule("R", "y", for_ns=5, key="g R").identity((("__name__", "x"), ("a", "1")))
    assert rule.identity((("a", "1"),)) != rule.identity((("a", "2"),))
    assert rule.identity(()) != Rule("R", "x", key="h R").identity(())


@pytest.mark.needs("prometheus")
def test_alerts_fire_when_those_of_prometheus_do(tmp_path: Path):
    """Two hundred random series; promtool is told at every minute which of them fire according to us."""
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with prometheus"
    dice, minutes = random.Random(11), 20
    columns = [[dice.random() < dice.choice([0.2, 0.8]) for _ in range(minutes)] for _ in range(200)]
    series = [
        {"series": f'x{{n="{n}"}}', "values": " ".join("2" if holds else "0" for holds in column)}
        for n, column in enumerate(columns)
    ]
    given, expected = [], []
    for hold, keep in ((0, 0), (1, 0), (3, 0), (0, 2), (2, 3)):
        rule = Rule(f"R{hold}{keep}", "x > 1", for_ns=hold * MINUTE, keep_ns=keep * MINUTE)
        given.append({"alert": rule.name, "expr": rule.expr, "for": f"{hold}m", "keep_firing_for": f"{keep}m"})
        labels: list[Labels] = [(("n", str(n)),) for n in range(len(columns))]
        values = np.where(np.array(columns), 2.0, STALE)
        changes = advance(rule, Frame(labels, np.arange(minutes, dtype=np.int64) * MINUTE, values), {}).transitions
        firing: set[str] = set()
        for minute in range(minutes):
            for one in (one for one in changes if one.at_ns == minute * MINUTE):
                firing = firing | {one.labels["n"]} if one.to_state == "firing" else firing - {one.labels["n"]}
            alerts = [{"exp_labels": {"n": n}} for n in sorted(firing)]
            expected.append({"eval_time": f"{minute}m", "alertname": rule.name, "exp_alerts": alerts})
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "g", "interval": "1m", "rules": given}]}))
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": expected}]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[:2000]
