"""Calls as people write them, decoded from what the server received."""

from __future__ import annotations

import os
import threading
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelkeep as mk
from modelkeep.sdk import client
from modelkeep.sdk.calls import RESERVOIR_ROWS


def test_one_prediction_arrives_as_it_was(sending) -> None:
    made = mk.log_prediction("credit", {"income": 41_000, "job": "cook", "new": True, "debt": None}, "yes", score=0.7)
    assert mk.flush()
    [row] = sending.rows()
    assert row["id"] == made
    assert row["features"] == {"income": 41_000, "job": "cook", "new": True, "debt": None}
    assert (row["model"], row["version"], row["prediction"], row["score"]) == ("credit", "v1", "yes", 0.7)
    assert row["latency_ns"] is None


def test_ids_and_times_are_the_callers(sending) -> None:
    assert mk.log_prediction("m", {"a": 1}, 1.5, id=17, at="2013-04-01", version="3") == "17"
    mk.log_prediction("m", {"a": 1}, 1.5, id="b", at=datetime(2013, 4, 1, tzinfo=UTC))
    mk.log_prediction("m", {"a": 1}, 1.5, id="c", at=1_364_774_400)
    mk.log_prediction("m", {"a": 1}, 1.5, id="d", at=pd.Timestamp("2013-04-01"))
    mk.log_prediction("m", {"a": 1}, 1.5, id="e", at=np.datetime64("2013-04-01"))
    assert mk.flush()
    assert {row["id"]: row["at"] for row in sending.rows()} == dict.fromkeys(["17", *"bcde"], 1_364_774_400 * 10**9)
    assert sending.rows()[0]["version"] == "3"


def test_the_dict_may_change_after_the_call(sending) -> None:
    features = {"a": 1.0}
    for number in range(100):
        features["a"] = float(number)
        mk.log_prediction("m", features, number)
    features.clear()
    assert mk.flush()
    assert [row["features"]["a"] for row in sending.rows()] == [float(number) for number in range(100)]


def test_the_array_and_frame_may_change_after_the_call(sending) -> None:
    array, frame, answer = np.ones((3, 2)), pd.DataFrame({"x": [1.0, 2.0]}), np.array([1, 2, 3])
    mk.log_prediction("m", array, answer)
    mk.log_prediction("n", frame, [1, 2])
    array[:], answer[:] = 9, 9
    frame.loc[:, "x"] = 9.0
    assert mk.flush()
    assert [row["features"] for row in sending.rows()] == [{"f0": 1.0, "f1": 1.0}] * 3 + [{"x": 1.0}, {"x": 2.0}]
    assert [row["prediction"] for row in sending.rows()] == [1, 2, 3, 1, 2]


TABLES = {
    "pandas": pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "pandas categories": pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": pd.Categorical(["x", None])}),
    "polars": pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "pyarrow": pa.table({"a": [1, 2], "b": ["x", None]}),
    "records": [{"a": 1, "b": "x"}, {"a": 2}],
    "columns": {"a": np.array([1, 2]), "b": ["x", None]},
    "structured": np.array([(1, "x"), (2, "")], dtype=[("a", "i8"), ("b", "U3")]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_one_prediction_a_row(sending, name: str) -> None:
    made = mk.log_prediction("m", TABLES[name], np.array([0, 1]), score=np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert mk.flush()
    rows = sending.rows()
    assert [row["id"] for row in rows] == made
    assert [row["features"]["a"] for row in rows] == [1, 2]
    assert [row["features"]["b"] or None for row in rows] == ["x", None]
    assert [row["score"] for row in rows] == [0.1, 0.8]
    assert [row["prediction"] for row in rows] == [0, 1]
    assert len(sending.predictions) == 1


def test_a_table_takes_ids_and_times_by_row(sending) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    times = pd.Series(pd.to_datetime(["2013-04-01", "2013-04-02"]))
    assert mk.log_prediction("m", frame, [0, 1], id=frame["a"], at=times) == ["1", "2"]
    mk.log_prediction("m", frame, [0, 1], id=["x", "y"], at=[5, 6])
    mk.log_prediction("m", frame, [0, 1], score={"no": [0.1, 0.2], "yes": [0.9, 0.8]}, at="1970-01-01")
    assert mk.flush()
    assert [row["at"] for row in sending.rows()] == [1364774400 * 10**9, 1364860800 * 10**9, 5 * 10**9, 6 * 10**9, 0, 0]
    assert sending.rows()[-1]["scores"] == {"no": 0.2, "yes": 0.8}


def test_a_table_larger_than_one_envelope_arrives_whole(sending) -> None:
    made = mk.log_prediction("m", pd.DataFrame(np.zeros((25_000, 3))), np.zeros(25_000))
    assert mk.flush(20)
    assert sending.ids == made
    assert len(set(made)) == 25_000
    assert len(sending.envelopes) > 2


Point = namedtuple("Point", "a b")


@dataclass
class Order:
    a: int
    b: str


class Struct(msgspec.Struct):
    a: int
    b: str


@pytest.mark.parametrize(
    "row",
    [Point(1, "x"), Order(1, "x"), Struct(1, "x"), pd.Series({"a": 1, "b": "x"}), pd.DataFrame({"a": [1], "b": "x"})],
)
def test_a_row_is_one_prediction(sending, row: object) -> None:
    assert isinstance(mk.log_prediction("m", row, 1), str)
    assert mk.flush()
    assert sending.rows()[0]["features"] == {"a": 1, "b": "x"}


def test_arrays_of_one_dimension_are_one_row(sending) -> None:
    mk.log_prediction("m", np.array([1.5, 2.5]), np.float32(0.5))
    mk.log_prediction("m", [1, "x"], 1)
    assert mk.flush()
    assert [row["features"] for row in sending.rows()] == [{"f0": 1.5, "f1": 2.5}, {"f0": 1, "f1": "x"}]


def test_classes_have_scores(sending) -> None:
    mk.log_prediction("m", {"a": 1}, "cat", score={"cat": 0.6, "dog": 0.4})
    assert mk.flush()
    assert sending.rows()[0]["scores"] == {"cat": 0.6, "dog": 0.4}
    assert sending.rows()[0]["score"] is None


def test_facts_events_and_samples_arrive(sending) -> None:
    mk.truth("a", True, model="m", at=5)
    mk.truth(["b", "c"], pd.Series([1.5, 2.5]))
    mk.feedback("a", thumb="down", note="wrong limit")
    mk.feedback("a", 4, source="app")
    mk.event("checkout", "ann", value=Decimal("49.5"), items=[1, 2], prediction_id="a")
    mk.sample("queue_length", 3, queue="orders")
    assert mk.flush()
    facts = {name: [fact[name] for fact in sending.facts] for name in sending.facts[0]}
    assert facts["ids"] == ["a", "b", "c", "a", "a", "a"]
    assert facts["value"] == [True, 1.5, 2.5, "down", "wrong limit", 4]
    assert facts["kind"] == ["label"] * 3 + ["feedback"] * 3
    assert facts["source"] == ["", "", "", "thumb", "note", "app"]
    assert facts["model"] == ["m", None, None, None, None, None]
    assert facts["at"][0] == 5 * 10**9
    [event] = sending.events
    assert (event["name"], event["user"], event["prediction_id"], event["value"]) == ("checkout", "ann", "a", 49.5)
    assert event["properties"] == '{"items":[1,2]}'
    assert sending.series()[("__name__", "queue_length"), ("queue", "orders")] == 3


def test_a_reference_is_at_most_the_reservoir_and_the_same_every_time(sending) -> None:
    rows = RESERVOIR_ROWS + 5_000
    frame = pd.DataFrame({"a": np.arange(rows)})
    mk.reference("m", "1", frame, frame["a"] % 2, np.linspace(0, 1, rows))
    mk.reference("m", "1", frame, frame["a"] % 2)
    assert mk.flush(20)
    first, second = (part for envelope in sending.envelopes for part in envelope.references)
    assert len(first.features["a"]) == len(first.label) == len(first.score) == RESERVOIR_ROWS
    assert first.features == second.features
    assert first.label == [value % 2 for value in first.features["a"]]
    assert first.features["a"] == sorted(set(first.features["a"]))


def test_a_truth_that_is_not_known_is_not_sent(sending) -> None:
    mk.truth("a", None)
    mk.truth("b", float("nan"))
    mk.truth(["c", "d", "e"], pd.Series([1.0, None, 0.0]))
    mk.truth("f", pd.NA)
    mk.feedback("g", note=None)
    assert mk.flush()
    assert [fact["ids"] for fact in sending.facts] == ["c", "e"]
    assert not client.here().dropped


def test_names_that_no_server_takes_are_mended(sending) -> None:
    mk.log_prediction("a\nb", {"": 1, "x" * 300: 2, "tab\t": 3}, 1, version="v\r")
    mk.log_prediction("", {}, 1, id="i" * 600)
    mk.log_prediction("m", pd.DataFrame({"": [1, 2]}), [1, 2])
    assert mk.flush()
    first, second, third, _ = sending.rows()
    assert (first["model"], first["version"]) == ("a b", "v ")
    assert first["features"] == {"unnamed": 1, "x" * 200: 2, "tab ": 3}
    assert (second["model"], second["id"]) == ("unnamed", "i" * 512)
    assert third["features"] == {"unnamed": 1}


def test_redacted_fields_stay_here(sending) -> None:
    mk.redact("ssn")
    mk.log_prediction("m", {"ssn": "078-05-1120", "a": 1}, 1)
    mk.log_prediction("m", pd.DataFrame({"ssn": ["078-05-1120"] * 2, "a": 1}), [1, 1])
    mk.log_prediction("m", {"ssn": "078-05-1120"}, 1)
    mk.event("pay", "ann", ssn="078-05-1120")
    mk.logging.Handler().emit(mk.logging.logging.makeLogRecord({"msg": "x", "ssn": "078-05-1120"}))
    assert mk.flush()
    assert b"078-05-1120" not in b"".join(sending.bodies)
    assert sorted(len(row["features"]) for row in sending.rows()) == [0, 1, 1, 1]
    assert '"ssn":"[redacted]"' in sending.logs[0]["attributes"]


def test_sampled_fields_are_null_in_the_other_predictions(sending) -> None:
    mk.sampling(comment=0.25)
    for number in range(2000):
        mk.log_prediction("m", {"a": 1, "comment": "long"}, 1, id=number)
    assert mk.flush()
    kept = [row["features"]["comment"] for row in sending.rows()].count("long")
    assert 400 < kept < 600
    assert all(row["features"]["a"] == 1 for row in sending.rows())


def test_a_request_lends_its_id(sending) -> None:
    with mk.request(id="order-7", user="ann") as order:
        assert mk.log_prediction("m", {"a": 1}, 1) == "order-7"
        assert mk.log_prediction("m", {"a": 1}, 1) == "order-7-2"
        assert mk.log_prediction("n", {"a": 1}, 1) == "order-7"
        assert mk.log_prediction("n", {"a": 1}, 1, id="own") == "own"
        mk.event("seen")
        order.prediction = 1
    assert mk.flush()
    [event] = sending.events
    assert (event["user"], event["prediction_id"]) == ("ann", "own")


def test_at_dates_everything_within(sending) -> None:
    with mk.at("2013-04-01"):
        mk.log_prediction("m", {"a": 1}, 1)
        mk.truth("a", 1)
        mk.event("e", "u")
        mk.sample("s", 1)
        mk.logging.Handler().emit(mk.logging.logging.makeLogRecord({"msg": "x"}))
    assert mk.flush()
    then = 1364774400 * 10**9
    assert [row["at"] for row in (*sending.rows(), *sending.facts, *sending.events, *sending.logs)] == [then] * 4
    samples = [part for envelope in sending.envelopes for part in envelope.samples]
    own = [
        at
        for part in samples
        for at, series in zip(part.at, part.series, strict=True)
        if part.labels[series]["__name__"] == "s"
    ]
    assert own == [then]


def test_nothing_goes_ahead_of_the_predictions_of_a_replay(sending) -> None:
    newest = 0
    for hour in range(400):
        with mk.at(1364774400 + 3600 * hour):
            mk.truth(f"p{hour - 24}", True)
            mk.log_prediction("m", {"a": 1}, 1, id=f"p{hour}")
        threading.Event().wait(0.002)
    assert mk.flush()
    for envelope in sending.envelopes:
        newest = max([newest, *(at for part in envelope.predictions for at in part.at)])
        assert all(at <= newest for part in envelope.facts for at in part.at)
        own = [at for part in envelope.samples for at in part.at if at < 1_500_000_000 * 10**9]
        assert not newest or all(at <= newest + 3600 * 10**9 for at in own)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mk.log_prediction("m", object(), 1),
        lambda: mk.log_prediction("m", [[1, 2], [3, 4]], 1),
        lambda: mk.log_prediction("m", pd.DataFrame({"a": [1, 2]}), [1, 2, 3]),
        lambda: mk.log_prediction("m", {"a": 1}, 1, at="yesterday"),
        lambda: mk.log_prediction("m", {"a": [1, 2]}, [1, 2], id=["x"]),
        lambda: mk.reference("m", "1", 5),
        lambda: mk.reference("m", "1", {"a": [1, 2]}, [1]),
        lambda: mk.sample("s", "many"),
        lambda: mk.truth(["a"], [1, 2]),
        lambda: mk.event("e", at=object()),
        lambda: mk.truth("", 1),
        lambda: mk.truth(None, 1),
        lambda: mk.sample("queue length", 3),
    ],
)
def test_a_wrong_call_is_counted_and_never_raises(sending, capsys, call) -> None:
    call()
    mk.log_prediction("m", {"a": 1}, 1, id="after")
    assert mk.flush()
    assert sending.ids == ["after"]
    assert client.here().dropped["internal"] == 1
    assert sending.envelopes[-1].dropped == {"internal": 1} or not sending.envelopes[-1].dropped
    assert "the model is not affected" in capsys.readouterr().err


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        return "Hostile()"


NASTY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers()
    | st.sampled_from(
        [
            np.float32(1.5),
            np.int64(3),
            np.str_("q"),
            np.bool_(True),
            np.datetime64("2013-04-01"),
            pd.NA,
            pd.NaT,
            Hostile(),
            object,
            2**80,
            -(10**400),
            "\ud800",
            np.array([1, 2]),
            np.timedelta64(5, "s"),
            np.datetime64("NaT"),
            np.float64("nan"),
            Decimal("sNaN"),
            np.uint64(2**63),
            pd.Timestamp(0),
        ]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.one_of(st.text(st.characters(), max_size=3), st.integers(), st.none(), st.tuples(st.integers()))


@given(
    rows=st.lists(
        st.tuples(st.dictionaries(NAMES, NASTY, max_size=4), NASTY, NASTY, NASTY, NAMES), min_size=1, max_size=6
    )
)
def test_any_values_arrive_as_something_and_nothing_raises(rows) -> None:
    from tests.sdk.conftest import Receiver

    receiver = Receiver()
    os.environ["MODELKEEP_URL"], os.environ["MODELKEEP_SPOOL"] = receiver.url, "spool"
    try:
        client.reset()
        single = 0
        for features, prediction, score, identity, version in rows:
            made = mk.log_prediction("m", features, prediction, score=score, id=identity, version=version)
            single += isinstance(made, str)
            mk.truth(identity, prediction, source=str(version))
            mk.feedback(identity, features=features)
            mk.event(str(version), identity, properties=features)
            mk.log_prediction(str(version), {"a": prediction}, True)
        assert mk.flush(20)
        lost = client.here().dropped
        assert set(lost) <= {"internal"}
        assert len(receiver.ids) + lost["internal"] >= 2 * len(rows)
        assert receiver.faults == []
    finally:
        client.reset()
        receiver.stop()
        del os.environ["MODELKEEP_URL"], os.environ["MODELKEEP_SPOOL"]


def test_threads_lose_nothing(sending) -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def work(mine: list[str]) -> None:
        for number in range(1000):
            mine.append(mk.log_prediction("m", {"a": number}, number))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mk.flush(20)
    assert sorted(sending.ids) == sorted(one for mine in made for one in mine)


def test_without_a_server_calls_only_make_ids() -> None:
    before = threading.active_count()
    assert len(mk.log_prediction("m", {"a": 1}, 1)) == 32
    assert mk.log_prediction("m", pd.DataFrame({"a": [1, 2]}), [1, 2], id=["x", "y"]) == ["x", "y"]
    mk.truth("a", 1)
    mk.sample("s", 1)
    assert mk.flush()
    assert threading.active_count() == before
    assert not client.here().buffer.items


def test_a_full_buffer_drops_the_newest_and_counts(monkeypatch, tmp_path) -> None:
    from modelkeep.sdk.buffer import FACT, Buffer

    buffer = Buffer(10)
    taken = [buffer.put((FACT, number)) for number in range(15)]
    assert taken == [True] * 10 + [False] * 5
    assert buffer.dropped == {"buffer_full": 5}
    assert [item[1] for item in buffer.take(100)] == list(range(10))
