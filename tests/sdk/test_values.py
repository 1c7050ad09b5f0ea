"""Values: what is sent can always be encoded, and means the same where it can."""

from __future__ import annotations

import datetime as dt
import enum
import json as standard
import math
import uuid
from decimal import Decimal
from fractions import Fraction

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.sdk.moments import moment_ns, moments_ns
from modelkeep.sdk.values import PLAIN, column, json, named, number, numbers, scalar


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Money(float):
    pass


@pytest.mark.parametrize(
    ("given_", "sent"),
    [
        (2**63, float(2**63)),
        (-(2**63), -(2**63)),
        (10**400, "inf"),
        (Decimal("1.5"), 1.5),
        (Decimal("1e999"), math.inf),
        (Decimal("sNaN"), "sNaN"),
        (Fraction(1, 4), 0.25),
        (Colour.RED, "red"),
        (Size.LARGE, 3),
        (Money(1.5), 1.5),
        (dt.datetime(2013, 4, 1, tzinfo=dt.UTC), "2013-04-01T00:00:00+00:00"),
        (dt.date(2013, 4, 1), "2013-04-01"),
        (dt.timedelta(seconds=90), 90.0),
        (b"ab\xff", "ab\\xff"),
        (bytearray(b"ab"), "ab"),
        ([1, {"a": None}], '[1,{"a":null}]'),
        ({1: 2}, '{"1":2}'),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.array(5), 5),
        (np.array([5.5]), 5.5),
        (np.array([1, 2]), "[1,2]"),
        (np.datetime64("2013-04-01"), "2013-04-01T00:00:00.000000"),
        (np.datetime64("NaT"), None),
        (np.timedelta64(1500, "ms"), 1.5),
        (pd.NA, None),
        (pd.NaT, None),
        (1 + 2j, "(1+2j)"),
        (object, "<class 'object'>"),
    ],
)
def test_one_value(given_: object, sent: object) -> None:
    found = scalar(given_)
    assert found == sent
    assert type(found) is type(sent)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=3)
        | st.tuples(inner)
    ),
)


@given(values=st.lists(ANY))
def test_a_column_has_one_sendable_value_a_row(values: list[object]) -> None:
    sent = column(values)
    assert len(sent) == len(values)
    assert {type(value) for value in sent} <= PLAIN
    assert all(-(2**63) <= value < 2**63 for value in sent if type(value) is int)
    for before, after in zip(values, sent, strict=True):
        if type(before) in {bool, type(None), str}:
            assert after is before
    assert len(numbers(values)) == len(values)


@given(values=st.lists(st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63 - 1)))
def test_plain_columns_are_sent_as_they_are(values: list[object]) -> None:
    assert list(map(repr, column(values))) == list(map(repr, values))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(column(values)))
    assert list(map(repr, again)) == list(map(repr, values))


@given(value=ANY)
def test_json_is_always_json_and_finite(value: object) -> None:
    found = standard.loads(json({"x": value}), parse_constant=pytest.fail)

    def walk(inner: object) -> None:
        assert not isinstance(inner, float) or math.isfinite(inner)
        assert not isinstance(inner, int) or abs(inner) < 2**64
        for one in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ():
            walk(one)

    walk(found)


def test_json_cuts_what_is_too_deep_and_what_contains_itself() -> None:
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    assert json(deep).count("[") == 15
    loop: dict[str, object] = {}
    loop["self"] = loop
    assert json(loop).count("self") == 15


def test_names_and_numbers() -> None:
    assert named("ünï") == "ünï"
    assert named("a\u2028b\x7f") == "a b "
    assert named(7) == "7"
    assert number("7") is None
    assert number(Decimal("7")) == 7.0
    assert column(["a", float("nan"), 1]) == ["a", None, 1]


@pytest.mark.parametrize("wrong", ["soon", None, True, float("nan"), float("inf"), 10**30, object(), "9999-01-01x"])
def test_what_is_no_time_is_bad_input(wrong: object) -> None:
    with pytest.raises(BadInput):
        moment_ns(wrong)


@given(at=st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2200, 1, 1)))  # noqa: DTZ001
def test_every_form_of_a_time_is_the_same_time(at: dt.datetime) -> None:
    aware = at.replace(tzinfo=dt.UTC)
    wanted = moment_ns(aware)
    assert wanted == moment_ns(at) == moment_ns(at.isoformat()) == moment_ns(pd.Timestamp(at))
    assert wanted == moment_ns(np.datetime64(at)) == moment_ns(wanted)
    assert moments_ns(np.array([at, at], "datetime64[us]"), 2) == [wanted] * 2
    assert moments_ns(pd.Series([at, at]), 2) == [wanted] * 2
    assert abs(moment_ns(aware.timestamp()) - wanted) < 2_000
    with pytest.raises(BadInput, match="2 times for 3 rows"):
        moments_ns([at, at], 3)
