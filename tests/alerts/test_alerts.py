from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.alerts.episodes import Episodes
from modelkeep.alerts.rules import Rule
from modelkeep.alerts.state import Instance
from modelkeep.core.clock import HOUR, MINUTE, SECOND, Fixed
from modelkeep.core.errors import BadInput, Busy, Conflict, Missing
from modelkeep.core.series import AT_STEP, Labels, Matcher

from .worlds import START, Table, World, rules

A: Labels = (("__name__", "x"), ("model", "a"))
B: Labels = (("__name__", "x"), ("model", "b"))
RULE = "alert: High, expr: x > 1, for: 2m, annotations: {summary: '{{ $labels.model }} at {{ $value }}'}"
AT_ONCE = "alert: High, expr: x > 1"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, rules(RULE), Table({A: [None, 2, 3, 4, 5, None, None]}))


def test_an_alert_waits_fires_and_resolves_and_says_so(world):
    for minute in range(7):
        world.at(minute)
    assert world.story() == [(1, "inactive", "pending"), (3, "pending", "firing"), (5, "firing", "resolved")]
    first, second = world.told.messages
    assert (first.state, first.title, first.value) == ("firing", "a at 4", 4.0)
    assert (second.state, second.thread, second.alert) == ("resolved", first.id, first.alert)
    assert (first.since_ns - START, first.at_ns - START) == (MINUTE, 3 * MINUTE)
    assert first.labels == {"alertname": "High", "model": "a"}


def test_a_jump_of_the_clock_steps_through_every_evaluation_time_in_one_query(world):
    world.at(0)
    asked = len(world.table.calls)
    assert world.at(6.5) == 3
    assert len(world.table.calls) == asked + 1
    _, start, end, as_of = world.table.calls[-1]
    assert (start, end, as_of) == (START + MINUTE, START + 6 * MINUTE, AT_STEP)
    assert world.story() == [(1, "inactive", "pending"), (3, "pending", "firing"), (5, "firing", "resolved")]
    assert world.said() == [("firing", "a at 4"), ("resolved", "a at 5")]
    assert world.at(6.9) == 0


def test_before_the_first_event_nothing_is_evaluated(world):
    asked = len(world.table.calls)
    assert world.alerts.evaluate() == 0
    assert len(world.table.calls) == asked


def test_states_and_progress_survive_a_restart(world):
    world.at(2)
    world.restart()
    assert [entry.instance.state for entry in world.alerts.list()] == ["pending"]
    world.at(4)
    world.restart()
    world.at(4)
    assert world.said() == [("firing", "a at 4")]
    world.at(6)
    assert world.said() == [("resolved", "a at 5")]
    assert world.story() == [(1, "inactive", "pending"), (3, "pending", "firing"), (5, "firing", "resolved")]


def test_the_lists_show_values_annotations_and_states(world):
    world.at(4)
    [entry] = world.alerts.list()
    assert (entry.instance.state, entry.instance.value, entry.annotations) == ("firing", 5.0, {"summary": "a at 5"})
    assert (entry.clock, entry.silenced, entry.instance.fired_ns) == ("events", False, START + 3 * MINUTE)
    [group] = world.alerts.rules()
    assert (group.evaluated_ns, group.rules[0].state, group.rules[0].alerts) == (START + 4 * MINUTE, "firing", 1)
    world.at(6)
    assert not world.alerts.list()
    [entry] = world.alerts.list("resolved")
    assert entry.instance.resolved_ns == START + 5 * MINUTE
    assert world.alerts.status().transitions == 3
    assert [one.to_state for one in world.alerts.history(START + 3 * MINUTE, START + 5 * MINUTE)] == ["firing"]
    assert [one.to_state for one in world.alerts.history(rule="High", limit=1)] == ["resolved"]
    assert not world.alerts.history(rule="Low")


def test_acknowledging_stops_repeats_until_it_fires_anew(tmp_path):
    column = [2.0] * 10 + [None] + [2.0] * 5
    world = World(tmp_path, rules(AT_ONCE), Table({A: column}), options={"repeat_ns": 5 * MINUTE})
    world.at(1)
    world.at(2, wall_s=300)
    assert [state for state, _ in world.said()] == ["firing", "firing"]
    [entry] = world.alerts.list()
    change = world.alerts.ack(entry.instance.id, by="ann", note="on it")
    assert (change.from_state, change.to_state) == ("firing", "acknowledged")
    world.restart()
    world.at(9, wall_s=10_000)
    assert world.said() == []
    [entry] = world.alerts.list("acknowledged")
    assert (entry.instance.acked_by, entry.instance.note) == ("ann", "on it")
    with pytest.raises(Conflict, match="is acknowledged"):
        world.alerts.ack(entry.instance.id, by="bob")
    with pytest.raises(Missing):
        world.alerts.ack("nothing", by="bob")
    with pytest.raises(BadInput):
        world.alerts.ack(entry.instance.id, by=" ")
    world.at(12)
    assert [state for state, _ in world.said()] == ["resolved", "firing"]
    [entry] = world.alerts.list()
    assert (entry.instance.state, entry.instance.acked_by) == ("firing", "")


@pytest.mark.parametrize("every_s", [1, 7, 61])
def test_repeat_five_minutes_means_five_minutes(tmp_path, every_s):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 100}), options={"repeat_ns": 5 * MINUTE})
    world.at(1)
    world.said()
    seconds = 0
    while seconds < 3600:
        seconds += every_s
        world.wall.at_ns += every_s * SECOND
        world.alerts.evaluate()
    world.alerts.deliver(wait_s=5)
    assert len(world.told.messages) == seconds // 300
    assert all(message.repeated for message in world.told.messages)


def test_repeats_go_on_at_their_pace_after_a_restart(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 100}), options={"repeat_ns": 5 * MINUTE})
    world.at(1)
    world.restart()
    world.at(1, wall_s=200)
    assert len(world.said()) == 1
    world.at(1, wall_s=100)
    assert len(world.said()) == 1


def silence(world, minutes, **labels):
    return world.alerts.silence(
        labels or {"model": "a"}, end_ns=world.wall.now_ns() + minutes * MINUTE, by="ann", reason="maintenance"
    )


def test_a_silenced_alert_changes_its_state_and_says_nothing(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [None, 2, None, 2, 2, 2, 2], B: [None, 2]}))
    made = silence(world, 10)
    world.at(2)
    assert [title for _, title in world.said()] == ["High (model=b)", "High (model=b)"]
    assert len(world.alerts.history()) == 4
    world.restart()
    world.at(4)
    assert world.alerts.list()[0].silenced
    assert world.said() == []
    world.at(5, wall_s=601)
    world.at(6, wall_s=1)
    assert [state for state, _ in world.said()] == ["firing"], "once, when the silence has ended"
    assert world.alerts.silences() == [made]


def test_ending_a_silence_tells_what_still_fires(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 10}))
    world.at(1)
    assert len(world.said()) == 1
    made = silence(world, 60)
    world.at(2, wall_s=1)
    world.restart()
    world.at(3, wall_s=1)
    assert world.said() == []
    ended = world.alerts.unsilence(made.id)
    assert ended.end_ns == world.wall.now_ns()
    world.at(4, wall_s=1)
    assert [message.repeated for message in world.told.messages] == [True]
    with pytest.raises(Missing):
        world.alerts.unsilence("nothing")


def test_a_silence_that_ended_while_the_server_was_away(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 10}))
    silence(world, 10)
    world.at(1)
    world.wall.at_ns += 20 * MINUTE
    world.restart()
    world.at(1)
    world.restart()
    world.at(2)
    assert len(world.said()) == 1


def test_a_silence_by_the_clock_of_events(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [None, 2, 2, None, None, 2, None]}))
    world.alerts.silence(
        [Matcher("model", "=~", "a|c")],
        start_ns=START,
        end_ns=START + 4 * MINUTE,
        by="ann",
        reason="known",
        clock="events",
    )
    world.at(6)
    assert [message.at_ns - START for message in world.told.messages] == [5 * MINUTE, 6 * MINUTE]


def test_a_silence_needs_matchers_an_end_and_a_reason(world):
    for given_labels in ({}, {"model": ""}, [Matcher("model", "=~", ".*")]):
        with pytest.raises(BadInput):
            world.alerts.silence(given_labels, end_ns=world.wall.now_ns() + 1, by="a", reason="b")
    with pytest.raises(BadInput):
        world.alerts.silence({"m": "a"}, end_ns=world.wall.now_ns(), by="a", reason="b")
    with pytest.raises(BadInput):
        world.alerts.silence({"m": "a"}, end_ns=world.wall.now_ns() + 1, by="", reason="b")


def test_many_alerts_of_one_rule_and_model_are_one_message(tmp_path):
    series: dict[Labels, list[float | None]] = {
        (("__name__", "x"), ("feature", f"f{n}"), ("model", "a")): [None, 2.0 + n, 3.0, None] for n in range(8)
    }
    world = World(tmp_path, rules(AT_ONCE), Table({**series, B: [None, 2.0, 2.0, 2.0]}), options={"storm": 5})
    world.at(1)
    titles = sorted(title for _, title in world.said())
    assert titles == ["High (model=b)", "High: 8 alerts of a fire"]
    world.restart()
    world.at(2, wall_s=60)
    assert world.said() == [], "each of the eight counts as told, also after a restart"
    world.at(3)
    [message] = world.told.messages
    assert (message.state, len(message.members), message.value) == ("resolved", 8, 8.0)
    assert message.labels == {"alertname": "High", "model": "a"}
    assert message.thread != message.id


def test_a_digest_of_very_many_names_the_first(tmp_path):
    series: dict[Labels, list[float | None]] = {(("n", str(n)), ("model", "a")): [None, 2.0] for n in range(300)}
    world = World(tmp_path, rules(AT_ONCE), Table(series))
    world.at(1)
    [message] = world.told.messages
    assert (message.title, message.value, len(message.members)) == ("High: 300 alerts of a fire", 300, 50)
    world.restart()
    world.at(1, wall_s=60)
    assert len(world.told.messages) == 1


def test_a_rule_that_fails_is_shown_and_holds_up_nothing(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 9}))
    world.at(1)
    world.table.failure = BadInput("too many series")
    world.at(2)
    [status] = world.alerts.rules()[0].rules
    assert (status.failures, status.error, status.state) == (1, "too many series", "firing")
    world.table.failure = ZeroDivisionError()
    world.at(3)
    assert world.alerts.rules()[0].rules[0].error == "ZeroDivisionError"
    world.table.failure = Busy("later")
    with pytest.raises(Busy):
        world.at(4)
    world.table.failure = None
    world.at(5)
    assert world.table.calls[-1][1] == START + 4 * MINUTE, "what could be tried again was"
    assert world.alerts.status().failures == 2


def test_an_expression_that_cannot_be_evaluated_is_refused_at_the_start(tmp_path):
    with pytest.raises(BadInput, match="rules:1: expr: no such function"):
        World(tmp_path, rules(AT_ONCE), Table(failure=BadInput("no such function")))
    with pytest.raises(BadInput, match="no channel 'nobody'"):
        World(tmp_path, rules(AT_ONCE), options={"fallback": "nobody"})


def test_alerts_of_a_rule_that_is_gone_end(tmp_path):
    world = World(tmp_path, rules(AT_ONCE, "alert: Low, expr: x < 1, for: 1h"), Table({A: [2.0] * 9}))
    world.at(1)
    world.said()
    world.groups = rules("alert: Other, expr: x > 5")
    world.table.series = {}
    world.restart()
    world.at(2)
    assert world.said() == [("resolved", "High (model=a)")]
    assert sorted(one.to_state for one in world.alerts.history()) == ["firing", "inactive", "pending", "resolved"]
    world.restart()
    assert world.at(3) == 0


def test_wall_groups_live_on_the_machines_clock_and_skip_what_they_missed(tmp_path):
    world = World(tmp_path, rules("alert: Gone, expr: absent(x), for: 3m"), Table({(): [1.0] * 1000}))
    world.wall.at_ns = world.table.start_ns = 2_000_000_040 * SECOND
    world.alerts.evaluate()
    assert world.alerts.rules()[0].evaluated_ns == world.table.start_ns
    world.wall.at_ns += 2 * MINUTE
    world.alerts.evaluate()
    world.wall.at_ns += 300 * MINUTE
    world.alerts.evaluate()
    status = world.alerts.status()
    assert (status.pending, status.firing, status.skipped) == (0, 1, 290)
    [change] = [one for one in world.alerts.history() if one.to_state == "firing"]
    minute = (change.at_ns - world.table.start_ns) // MINUTE
    assert minute == 293, "the gap does not count as waiting"
    world.wall.at_ns -= 120 * MINUTE
    world.alerts.evaluate()
    assert world.alerts.rules()[0].evaluated_ns == world.wall.at_ns, "a clock set back goes on at once"


def test_expire_keeps_what_lives(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2, None, None], B: [2, 2, 2]}))
    silence(world, 1, model="z")
    world.at(2)
    assert world.alerts.expire(world.wall.now_ns() + HOUR) > 0
    assert [entry.instance.labels["model"] for entry in world.alerts.list()] == ["b"]
    assert {one.labels["model"] for one in world.alerts.history()} == {"b"}
    assert not world.alerts.silences()


columns = st.lists(st.lists(st.sampled_from([None, 1.0, 2.0]), min_size=30, max_size=30), min_size=1, max_size=3)


@settings(max_examples=12)
@given(columns, st.randoms(use_true_random=False), st.sampled_from(["", ", for: 2m", ", for: 3m, keep_firing_for: 2m"]))
def test_jumping_live_with_restarts_and_replaying_give_the_same_transitions(
    tmp_path_factory, given_columns, dice, more
):
    series: dict[Labels, list[float | None]] = {
        (("__name__", "x"), ("model", str(n))): column for n, column in enumerate(given_columns)
    }
    groups = rules(AT_ONCE + more, "alert: Second, expr: x > 0, for: 1m")
    world = World(tmp_path_factory.mktemp("w"), groups, Table(series))
    minute = 0.0
    world.at(minute)
    while minute < 30:
        minute += dice.choice([0.3, 1, 1.5, 4, 11])
        world.at(min(minute, 30))
        if dice.random() < 0.15:
            world.restart()
    live = sorted((one.at_ns, one.rule, one.alert, one.to_state, one.value) for one in world.alerts.history())
    again = world.alerts.replay(START - HOUR, START + 30 * MINUTE)
    assert [one.at_ns for one in again] == sorted(one.at_ns for one in again)
    assert sorted((one.at_ns, one.rule, one.alert, one.to_state, one.value) for one in again) == live
    half = START + 12 * MINUTE
    later = [one for one in live if one[0] >= half]
    if "keep" not in more:
        half_again = world.alerts.replay(half, START + 30 * MINUTE)
        assert sorted((one.at_ns, one.rule, one.alert, one.to_state, one.value) for one in half_again) == later
    assert world.alerts.replay(START, START + 30 * MINUTE, rules("alert: Never, expr: x > 9")) is not None
    assert len(world.alerts.history()) == len(live), "a replay stores nothing"
    world.entries.close()


def test_ten_thousand_schedules_repeat_exactly_as_often_as_they_should():
    dice = random.Random(7)
    instance = Instance("i", "R", {"alertname": "R"}, "firing", 1, 1, 1, None, 1.0)
    for _ in range(10_000):
        repeat = dice.randint(1, 50)
        make_id = map(str, range(10**9)).__next__
        episodes = Episodes(route="r", link="", storm=5, repeat_ns=repeat, make_id=make_id)
        looks = list(accumulate((dice.randint(1, repeat) for _ in range(8)), initial=dice.randint(1, 100)))
        count = 0
        for now in looks:
            plan = episodes.due([(Rule("R", "x"), instance)], lambda labels: False, now)
            episodes.accept(plan)
            count += len(plan.postings)
        assert count == 1 + (looks[-1] - looks[0]) // repeat


def test_a_wall_clock_shared_by_all_groups_is_no_clock_of_events(tmp_path):
    world = World(tmp_path, rules(AT_ONCE), Table({A: [2.0] * 5}))
    world.events = world.wall = Fixed(START + 2 * MINUTE)  # type: ignore[assignment]
    world.restart()
    asked = len(world.table.calls)
    world.alerts.evaluate()
    assert [call[1:3] for call in world.table.calls[asked:]] == [(START + 2 * MINUTE, START + 2 * MINUTE)]
