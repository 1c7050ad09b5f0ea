"""Events come out in the order in which things were done, whatever clocks said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelkeep.models.events import Event, message, ordered, read
from modelkeep.models.names import TagName, parse
from tests.models.registries import tag

A, B = "a" * 40, "b" * 40


def events(*tags: object) -> list[str]:
    found = read(tags)  # type: ignore[arg-type]
    return [one.tag for one in found.events("m")]


def test_counts_order_against_a_clock_that_was_wrong() -> None:
    tags = [
        tag("m#prod#1", A, at_s=100),
        tag("m#prod#2", B, at_s=-5_000),
        tag("m#prod#3", A, at_s=200),
        tag("m@v1.0.0", A, at_s=50),
        tag("m@v1.1.0", B, at_s=150),
    ]
    assert events(*tags) == ["m@v1.0.0", "m#prod#1", "m#prod#2", "m@v1.1.0", "m#prod#3"]


def test_a_registration_of_ours_stands_behind_the_count_that_it_names() -> None:
    ours = "Registering artifact m version v1.1.0\n\nModelkeep-Number: 2\nModelkeep-After: 2\n"
    tags = [
        tag("m@v1.0.0", A, at_s=10),
        tag("m#prod#1", A, at_s=20),
        tag("m#prod#2", A, at_s=30),
        tag("m@v1.1.0", B, at_s=-900, message=ours),
        tag("m#prod#3", B, at_s=40),
    ]
    assert events(*tags) == ["m@v1.0.0", "m#prod#1", "m#prod#2", "m@v1.1.0", "m#prod#3"]


def test_in_one_second_versions_come_in_their_own_order() -> None:
    tags = [tag("m@v1.10.0", A), tag("m@v1.9.0", B), tag("m#prod#1", A), tag("m@deprecated", A)]
    assert events(*tags) == ["m@v1.9.0", "m@v1.10.0", "m#prod#1", "m@deprecated"]


NAMES = st.sampled_from(
    ["m@v1.0.0", "m@v1.1.0", "m@v1.0.0!", "m#prod#1", "m#prod#2", "m#prod!#3", "m#dev#4", "m@deprecated"]
)


@given(st.lists(st.tuples(NAMES, st.integers(-1000, 1000)), unique_by=lambda one: one[0]))
def test_the_order_does_not_depend_on_the_order_of_reading(rows: list[tuple[str, int]]) -> None:
    tags = [tag(name, A, at_s=at_s) for name, at_s in rows]
    found = events(*tags)
    assert found == events(*reversed(tags))
    assert sorted(found) == sorted(name for name, _ in rows)
    counts = [parse(name).number for name in found if parse(name).number]  # type: ignore[union-attr]
    assert counts == sorted(counts)


def test_lightweight_tags_and_tags_of_trees_do_not_count() -> None:
    found = read([tag("m@v1.0.0", A, annotated=False), tag("m#prod#9", ""), tag("v1.0.0", A), tag("m#prod#1", A)])
    assert [one.tag for one in found.events("m")] == ["m#prod#1"]
    assert [(one.tag, one.model) for one in found.problems] == [("m@v1.0.0", "m"), ("m#prod#9", "m")]
    assert "lightweight" in found.problems[0].what
    assert found.counts == {"m": 9}


def event(name: str, text: str) -> Event:
    (found,) = ordered(read([tag(name, A, message=text)]).events("m"))
    return found


def test_a_message_begins_as_gto_writes_it_and_says_the_rest_below() -> None:
    said = message(
        TagName("register", "m", "v1.0.0"),
        text="Better.\nMuch.\nModelkeep-Data: forged\n",
        trailers=[("Data", "md5:ab"), ("Log", "a\nb\u2028c"), ("Path", " ")],
    )
    assert said == (
        "Registering artifact m version v1.0.0\n\nBetter.\nMuch.\n\nModelkeep-Data: md5:ab\nModelkeep-Log: a b c"
    )
    found = event("m@v1.0.0", said)
    assert (found.text, found.trailers) == ("Better.\nMuch.", {"Data": "md5:ab", "Log": "a b c"})
    assert event("m#prod#1", "Assigning stage prod to artifact m version v1.0.0").text == ""
    assert event("m#prod#1", "Assigning stage prod to artifact m version v1.0.0").claimed == "v1.0.0"
    assert event("m#prod!#1", "Unassigning stage 'prod' to artifact 'm' version 'v1.0.0'").text == ""
    assert event("m#prod#1", "because").text == "because"
    assert event("m#prod#1", "because").claimed == ""
