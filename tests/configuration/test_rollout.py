"""Two-step rollouts, on a clock that the test turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelkeep.configuration.make import config
from modelkeep.configuration.rollout import Effect, Group, Limits, Rollout, Turn, judge, member
from modelkeep.core.errors import BadInput, Conflict, Unreachable

GOOD = Effect(Group(1000, 10, 0.1), Group(9000, 90, 0.1))
BAD = Effect(Group(1000, 100, 0.1), Group(9000, 90, 0.1))
FEW = Effect(Group(5, 5, 9.0), Group(9000, 90, 0.1))
LIMITS = Limits(least_s=60, most_s=600, least_count=100)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(effect: Callable[[int], Effect], clock: Clock, share: float = 0.2) -> Rollout:
    return Rollout(
        "new", previous="old", share=share, effect=effect, limits=LIMITS, clock=clock, author="ann", reason="try"
    )


def test_it_goes_to_all_when_it_is_no_worse() -> None:
    clock, told = Clock(), list[Turn]()
    rollout = Rollout(
        "new", previous="old", share=0.2, effect=lambda since: GOOD, limits=LIMITS, clock=clock, record=told.append
    )
    assert rollout.step() == "canary"
    clock.now += 59
    assert rollout.step() == "canary"
    clock.now += 1
    assert rollout.step() == rollout.step() == "all"
    assert [turn.state for turn in told] == [turn.state for turn in rollout.turns()] == ["canary", "all"]
    assert told[1].reason == "no worse in 60 s and 1,000 counted"
    assert told[1].effect == GOOD
    assert all(rollout.includes(f"h{number}") for number in range(50))


def test_it_goes_back_at_once_when_it_is_worse() -> None:
    rollout = made(lambda since: BAD, Clock())
    assert rollout.step() == "back"
    assert rollout.turns()[-1].reason == "errors 10.00 % instead of 1.00 %"
    assert not any(rollout.includes(f"h{number}") for number in range(50))
    with pytest.raises(Conflict):
        rollout.finish(author="bob")


def test_it_goes_back_when_nothing_is_known_for_long() -> None:
    def away(since: int) -> Effect:
        raise Unreachable("no series")

    for effect, told in ((lambda since: FEW, "only 5 counted"), (away, "nothing is known of its effect")):
        clock = Clock()
        rollout = made(effect, clock)
        clock.now += 599
        assert rollout.step() == "canary"
        clock.now += 1
        assert rollout.step() == "back"
        assert rollout.turns()[-1].reason.startswith(told)


def test_people_decide_too() -> None:
    rollout = made(lambda since: FEW, Clock())
    rollout.finish(author="bob", reason="looks fine")
    assert (rollout.state, rollout.turns()[-1].author) == ("all", "bob")
    rollout.back(author="bob")
    assert rollout.step() == "back"
    with pytest.raises(Conflict, match="is decided: back"):
        rollout.back(author="bob")
    for share, previous in ((0.0, "old"), (1.5, "old"), (0.5, "new")):
        with pytest.raises(BadInput):
            Rollout("new", previous=previous, share=share, effect=lambda since: GOOD)


@pytest.mark.parametrize(
    ("canary", "rest", "told"),
    [
        (Group(1000, 0), Group(9000, 0), ""),
        (Group(1000, 25, 0.1), Group(9000, 90, 0.1), "errors 2.50 %"),
        (Group(100, 3, 0.1), Group(9000, 90, 0.1), ""),  # two of a hundred more are chance
        (Group(99, 99, 9.0), Group(9000, 0, 0.1), ""),  # too few to say anything
        (Group(1000, 10, 0.2), Group(9000, 90, 0.1), "latency 0.2 s instead of 0.1 s"),
        (Group(1000, 10, math.nan), Group(9000, 90, 0.1), ""),
        (Group(1000, 10, 0.2), Group(9000, 90, math.nan), ""),
        (Group(1000, 1000), Group(0), "errors 100.00 % instead of 0.00 %"),
        (Group(1000, 0), Group(0), ""),
    ],
)
def test_what_counts_as_worse(canary: Group, rest: Group, told: str) -> None:
    found = judge(Effect(canary, rest), LIMITS)
    assert found.startswith(told)
    assert bool(found) == bool(told)


@given(st.text(), st.floats(0, 1), st.floats(0, 1), st.text())
def test_a_larger_share_holds_a_smaller_one(identity: str, one: float, two: float, salt: str) -> None:
    small, large = sorted((one, two))
    assert member(identity, large, salt=salt) or not member(identity, small, salt=salt)
    assert member(identity, 1.0, salt=salt)
    assert not member(identity, 0.0, salt=salt)
    assert member(identity, one, salt=salt) == member(identity, one, salt=salt)


def test_other_configurations_choose_other_processes() -> None:
    chosen = [{n for n in range(1000) if member(f"h{n}", 0.2, salt=salt)} for salt in ("a", "b")]
    assert 150 < len(chosen[0]) < 250
    assert 10 < len(chosen[0] & chosen[1]) < 80


groups = st.builds(Group, st.integers(0, 5000), st.just(0), st.sampled_from([math.nan, 0.0, 0.1, 0.5])).flatmap(
    lambda group: st.builds(Group, st.just(group.count), st.integers(0, group.count), st.just(group.latency_s))
)


class Story(RuleBasedStateMachine):
    """Whatever happens, it ends once, never without a reason, and the share is what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.effect: Effect | None = GOOD
        self.ended: str | None = None
        self.rollout = made(self.now, self.clock)
        self.first = {name for name in map(str, range(200)) if self.rollout.includes(name)}

    def now(self, since: int) -> Effect:
        if self.effect is None:
            raise Unreachable("no series")
        return self.effect

    @rule(effect=st.one_of(st.none(), st.builds(Effect, groups, groups)))
    def measure(self, effect: Effect | None) -> None:
        self.effect = effect

    @rule(seconds=st.floats(0, 400))
    def passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def step(self) -> None:
        before = self.rollout.state
        state = self.rollout.step()
        passed = self.clock.now - 1000.0
        if before != "canary":
            assert state == before
        elif state == "all":
            assert self.effect is not None
            assert passed >= 60
            assert self.effect.canary.count >= 100
            assert not judge(self.effect, LIMITS)
        elif state == "back":
            assert passed >= 600 or (self.effect is not None and judge(self.effect, LIMITS))
        else:
            assert passed < 600 or (self.effect is not None and self.effect.canary.count >= 100 and passed < 60)

    @precondition(lambda self: self.rollout.state == "canary")
    @rule()
    def by_hand(self) -> None:
        self.rollout.finish(author="bob")

    @invariant()
    def consistent(self) -> None:
        turns = self.rollout.turns()
        assert turns[0].state == "canary"
        assert turns[-1].state == self.rollout.state
        assert len(turns) <= 3
        assert all(turn.reason for turn in turns)
        has = {name for name in map(str, range(200)) if self.rollout.includes(name)}
        assert has == {"canary": self.first, "all": set(map(str, range(200))), "back": set()}[self.rollout.state]


Story.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestStory = Story.TestCase


def test_processes_follow_a_rollout(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("lr: 1\n")
    processes = {f"worker-{number}": config(path) for number in range(20)}
    old = next(iter(processes.values())).hash
    path.write_text("lr: 2\n")
    new = config(path).hash
    clock = Clock()
    effect = GOOD
    rollout = Rollout(new, previous=old, share=0.3, effect=lambda since: effect, limits=LIMITS, clock=clock)
    for name, cfg in processes.items():
        cfg.gate(rollout.gate(name))
        cfg.refresh()
        assert cfg.lr == (2 if rollout.includes(name) else 1)
    first = {name for name, cfg in processes.items() if cfg.lr == 2}
    assert 0 < len(first) < 15
    clock.now += 60
    rollout.step()
    for name, cfg in processes.items():
        rollout.settle(cfg, name)
        assert cfg.lr == 2
    rollout.back(author="ann", reason="complaints")
    for name, cfg in processes.items():
        rollout.settle(cfg, name)
        assert cfg.lr == 1
        assert cfg.history()[0].reason == "complaints"
        assert cfg.release() is None
    path.write_text("lr: 3\n")  # no rollout is about this one
    for cfg in processes.values():
        cfg.refresh()
        assert cfg.lr == 3
