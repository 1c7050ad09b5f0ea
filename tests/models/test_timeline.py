"""What served when, from records told in any order; shares add up; no clock of an author moves anything."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND
from modelkeep.models.timeline import (
    Content,
    Period,
    before,
    content_of,
    period,
    predecessors,
    shares,
    stretches,
    told,
)
from modelkeep.store.releases import Release
from modelkeep.store.served import Served, ServedHour

START = 20_000 * DAY


def release(id_: str, hours: float, version: str = "1", model: str = "m", role: str = "", **more: object) -> Release:
    extra = {"role": role} if role else {}
    row = {"code": "", "dirty": False, "author": "", "data_version": "", "config_version": "", "deployer": ""}
    row |= {"host": "h", "process": f"p{id_}", "extra": json.dumps(extra | dict(more.pop("extra", {})))}  # type: ignore[call-overload]
    return Release(id=id_, at=START + int(hours * HOUR), model=model, version=version, **{**row, **more})  # type: ignore[arg-type]


def served(one: Release, hours: float, count: int = 10) -> Served:
    return Served(one.id, one.model, one.version, count, one.at, one.at + int(hours * HOUR))


def lines(releases: list[Release], spans: list[Served] = []) -> list[tuple[str, str, tuple[str, ...]]]:  # noqa: B006
    return [(one.content.version, one.content.role, one.releases) for one in stretches(releases, spans)]


def test_processes_that_run_the_same_are_one_stretch() -> None:
    first, second, third = release("a", 0), release("b", 0.5, host="g"), release("c", 30)
    (one,) = stretches([third, second, first], [served(first, 2), served(second, 3, 5)])
    assert (one.releases, one.hosts, one.processes) == (("a", "b", "c"), ("h", "g"), 3)
    assert (one.announced_ns, one.first_ns, one.predictions) == (START, START, 15)
    assert one.last_ns == one.first_ns + 3.5 * HOUR
    assert one.end_ns == START + 30 * HOUR


def test_a_rollback_begins_a_new_stretch_and_a_rolling_restart_does_not() -> None:
    old, new, back = release("a", 0), release("b", 10, "2"), release("c", 20)
    assert lines([old, new, back], [served(old, 10), served(new, 10)]) == [
        ("1", "live", ("c",)), ("2", "live", ("b",)), ("1", "live", ("a",)),
    ]  # fmt: skip
    still = [served(old, 25), served(new, 15)]
    assert lines([old, new, back], still) == [("2", "live", ("b",)), ("1", "live", ("a", "c"))]


def test_a_canary_and_a_shadow_are_lines_of_their_own() -> None:
    live, canary, again = release("a", 0), release("b", 5, "2", role="canary"), release("c", 9)
    shadow = release("d", 6, "3", role="shadow")
    found = stretches([live, canary, again, shadow], [served(live, 1)])
    assert [(one.content.role, one.releases) for one in found] == [
        ("shadow", ("d",)), ("canary", ("b",)), ("live", ("a", "c")),
    ]  # fmt: skip
    assert [one and one.id for one in predecessors(found)] == ["b", "a", None]


def test_any_difference_in_content_tells_apart() -> None:
    parts = [
        {"code": "c1"}, {"code": "c2"}, {"code": "c2", "dirty": True}, {"code": "c2", "extra": {"patch": "p1"}},
        {"data_version": "d"}, {"config_version": "k"}, {"extra": {"content": "f"}},
    ]  # fmt: skip
    releases = [release(str(number), number, **part) for number, part in enumerate(parts)]  # type: ignore[arg-type]
    assert len(stretches(releases, [])) == len(parts)
    assert content_of(releases[2]) == Content("m", "1", code="c2", patch="dirty")
    assert content_of(releases[3]).patch == "p1"


def test_predictions_whose_release_nobody_told_are_shown_with_their_version() -> None:
    (one,) = stretches([], [Served("", "m", "9", 4, START, START + 5)])
    assert (one.content.version, one.predictions, one.processes, one.announced_ns) == ("9", 4, 0, START)


def test_what_is_no_json_object_says_nothing() -> None:
    assert told("") == told("{") == told("5") == {}
    assert content_of(release("a", 0, extra={"role": ["odd"]})).role == "live"


RELEASES = st.lists(
    st.tuples(st.integers(0, 100), st.sampled_from("123"), st.sampled_from("mn"), st.sampled_from(["", "canary"])),
    max_size=20,
)


@given(RELEASES, st.randoms())
def test_the_order_in_which_records_come_changes_nothing(
    rows: list[tuple[int, str, str, str]], dice: random.Random
) -> None:
    releases = [release(f"{n}", at, version, model, role) for n, (at, version, model, role) in enumerate(rows)]
    spans = [served(one, 3) for one in releases[::2]]
    found = stretches(releases, spans)
    dice.shuffle(releases)
    dice.shuffle(spans)
    assert stretches(releases, spans) == found
    assert sorted(id_ for one in found for id_ in one.releases) == sorted(one.id for one in releases)
    assert sum(one.predictions for one in found) == sum(span.predictions for span in spans)
    assert [one.announced_ns for one in found] == sorted((one.announced_ns for one in found), reverse=True)
    for one, former in zip(found, predecessors(found), strict=True):
        if former is None or former.announced_ns < one.announced_ns:
            assert before(one, found) == former or one.announced_ns == (former or one).announced_ns


HOURS = st.lists(
    st.tuples(
        st.sampled_from(["live", "canary", "shadow"]), st.sampled_from("12"), st.integers(0, 2_000), st.integers(1, 9)
    ),
    max_size=30,
)


@given(HOURS, st.sampled_from(["hour", "day", "week", "month", "all"]))
def test_shares_of_a_period_add_up_to_one_without_shadows(rows: list[tuple[str, str, int, int]], by: Period) -> None:
    hours = [ServedHour(role, "m", version, 480_000 + hour, count) for role, version, hour, count in rows]
    found = shares(hours, {"canary": "canary", "shadow": "shadow"}, by)
    assert sum(one.predictions for one in found) == sum(count for *_, count in rows)
    sums: dict[object, float] = {}
    for one in found:
        assert (one.share is None) is (one.role == "shadow")
        if one.share is not None:
            sums[one.start_ns] = sums.get(one.start_ns, 0) + one.share
    assert all(total == pytest.approx(1) for total in sums.values())
    starts = [one.start_ns or 0 for one in found]
    assert starts == sorted(starts)


@given(st.integers(0, 4_000_000_000), st.sampled_from(["hour", "day", "week", "month"]))
def test_a_period_holds_its_moment_and_begins_where_people_say(seconds: int, by: Period) -> None:
    found = period(seconds * SECOND, by)
    assert found is not None
    start, end = found
    assert start <= seconds * SECOND < end
    begin = datetime.fromtimestamp(start // SECOND, UTC)
    assert (begin.minute, begin.second) == (0, 0)
    assert by == "hour" or begin.hour == 0
    assert by != "week" or begin.weekday() == 0
    assert by != "month" or begin.day == 1
    assert period(end, by) != found
    assert period(end - MINUTE, by) == found
