from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.series import Block
from modelkeep.metrics.promql.answer import answer, answer_json, seconds
from modelkeep.metrics.promql.notation import number, plain
from modelkeep.metrics.promql.result import STALE, Result, stale

VALUES = st.lists(st.one_of(st.floats(), st.integers(-(10**20), 10**20).map(float)), max_size=30)


def read(text: str) -> float:
    return float(text)


def same(left: float, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right and math.copysign(1, left) == math.copysign(1, right)


@given(value=st.floats())
def test_numbers_read_back_as_themselves(value: float) -> None:
    assert same(read(number(value)), value)
    assert same(read(plain(value)), value)
    assert "e" not in plain(value)


@given(values=VALUES)
def test_answers_in_bulk_are_answers_one_by_one(values: list[float]) -> None:
    times = np.arange(len(values)) * 1_500_000_000
    result = Result("matrix", [(("a", 'q"é\n'),)], times, np.array([values], np.float64).reshape(1, -1))
    (row,) = json.loads(answer_json(result))["data"]["result"]
    assert row["metric"] == {"a": 'q"é\n'}
    assert row["values"] == [[at / 1e9, number(value)] for at, value in zip(times.tolist(), values, strict=True)]


def test_absent_points_are_left_out() -> None:
    values = np.array([[1.0, STALE, 3.0], [STALE, STALE, STALE], [4.0, 5.0, 6.0]])
    result = Result("matrix", [(), (), ()], np.arange(3) * 10**9, values)
    rows = answer(result)["result"]
    assert [one["values"] for one in rows] == [[[0, "1"], [2, "3"]], [], [[0, "4"], [1, "5"], [2, "6"]]]  # type: ignore[index,union-attr]


def test_samples_of_a_range_selector_stand_at_their_own_times() -> None:
    block = Block([(("a", "1"),), (("a", "2"),)], np.array([10**9, 2 * 10**9]), np.array([[1.0, 2.0], [STALE, 3.0]]))
    result = Result("matrix", [], np.array([0]), stale((0, 1)), blocks=[block])
    assert answer(result)["result"] == [
        {"metric": {"a": "1"}, "values": [[1, "1"], [2, "2"]]},
        {"metric": {"a": "2"}, "values": [[2, "3"]]},
    ]


def test_empty_answers() -> None:
    for kind in ("vector", "matrix"):
        result = Result(kind, [], np.array([0]), stale((0, 1)))  # type: ignore[arg-type]
        assert answer(result) == {"resultType": kind, "result": []}
    text = Result("string", [()], np.array([1]), stale((1, 1)), text='"')
    assert answer(text) == {"resultType": "string", "result": [0, '"']}


def test_times_are_written_to_the_millisecond() -> None:
    assert [seconds(at) for at in (0, 1_000_000, 10_000_000, 1_100_000_000, 5, -5_500_000_000)] == [
        "0", "0.001", "0.010", "1.100", "0", "-5.500",
    ]  # fmt: skip
