"""Plain JSON: three ways to write the records, ids and times made when missing, everything wrong named."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.wire.form import Sent
from modelkeep.wire.plain import Plain

NOW = Sent(now_ns=1_700_000_000_000_000_000)
ONE = {"model": "m", "features": {"x": 1}, "prediction": 1}
KEYS = st.sampled_from(["id", "value", "at", "model", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


def send(kind: str, body: object, sent: Sent = NOW) -> list[dict[str, object]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    decoded = Plain().decode(f"/api/v1/{kind}", data, sent)
    return [row for part in decoded.parts for row in part.batch.to_pylist()]


def test_one_object_an_array_and_lines_mean_the_same() -> None:
    rows = [{"id": "a", "value": 1, "at": 1}, {"id": "b", "value": "x", "at": "1970-01-01T00:00:02Z"}]
    lines = b"\n".join(json.dumps(row).encode() for row in rows)
    assert send("facts", rows) == send("facts", lines) == send("facts", rows[0]) + send("facts", rows[1])
    assert [row["at"] for row in send("facts", rows)] == [1_000_000_000, 2_000_000_000]


def test_predictions_are_grouped_by_what_made_them() -> None:
    rows = [
        {**ONE, "id": "a"},
        {**ONE, "id": "b", "version": "2", "latency_s": 0.5, "score": {"x": 0.3, "y": 0.7}},
        {**ONE, "id": "c", "features": {"y": "t"}, "error": "ValueError", "prediction": None},
    ]
    decoded = Plain().decode("/api/v1/predictions", json.dumps(rows).encode(), NOW)
    assert [(part.meta("version"), part.batch.num_rows) for part in decoded.parts] == [("", 2), ("2", 1)]
    assert decoded.ids == ("a", "b", "c")
    first, second = (part.batch.to_pylist() for part in decoded.parts)
    assert first[1]["features.x"] is None
    assert first[1]["features.y"] == "t"
    assert (second[0]["scores.y"], second[0]["latency_ns"], second[0]["score"]) == (0.7, 500_000_000, None)
    answer = json.loads(Plain().answer("/api/v1/predictions", decoded, repeated=False))
    assert answer == {"kept": 3, "repeated": False, "ids": ["a", "b", "c"]}


def test_missing_ids_and_times_are_made() -> None:
    decoded = Plain().decode("/api/v1/predictions", json.dumps([ONE, ONE]).encode(), NOW)
    assert len(set(decoded.ids)) == 2
    assert decoded.newest_prediction_ns == NOW.now_ns
    assert decoded.token == ""


def test_a_key_makes_the_same_ids_on_retry_and_belongs_to_its_sender() -> None:
    body = json.dumps([ONE, ONE]).encode()
    first = Plain().decode("/api/v1/predictions", body, Sent(1, "ann", "1"))
    again = Plain().decode("/api/v1/predictions", body, Sent(2, "ann", "1"))
    other = Plain().decode("/api/v1/predictions", body, Sent(1, "bob", "1"))
    assert first.ids == again.ids
    assert first.token == again.token != other.token
    assert len({*first.ids, *other.ids}) == 4


def test_the_other_kinds() -> None:
    assert send("events", {"name": "buy", "user": "u", "properties": {"a": [1]}})[0]["properties"] == '{"a":[1]}'
    log = send("logs", {"message": "m", "level": "warning"})[0]
    assert (log["severity"], log["level"], log["attributes"]) == (13, "WARNING", "{}")
    assert send("samples", {"name": "up", "labels": {"job": "x"}, "value": 1})[0]["series"] == (
        '{"__name__":"up","job":"x"}'
    )
    reference = {"model": "m", "version": "1", "features": {"x": [1, 2]}, "label": ["a", "b"]}
    assert [row["label_text"] for row in send("references", reference)] == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("facts", b"", "it is empty"),
        ("facts", b"hello", "it begins with 'h'"),
        ("facts", b'{"id": "a", "value": NaN}', "malformed"),
        ("facts", b'{"id": "a", "value": 1e999}', "out of range"),
        ("facts", b'[{"id": "a", "value": 1}', "truncated"),
        ("facts", [{"id": "a", "value": 1}, {"id": "a", "valu": 1}], r"unknown field `valu` - at `\$\[1\]`"),
        ("facts", {"id": "a", "value": None}, "value row 0: null"),
        ("facts", {"id": "a", "value": 1, "at": 1.7e12}, "expected unix seconds"),
        ("facts", {"id": "a", "value": 1, "at": "yesterday"}, "expected ISO 8601"),
        ("predictions", {"model": "m"}, "prediction 0: no prediction"),
        ("predictions", {**ONE, "latency_s": -1}, "latency_s"),
        ("predictions", {**ONE, "features": {"x": [1]}}, "features"),
        ("events", b'{"name": "e", "user": "u", "properties": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "deeper"),
        ("events", b'{"name": "e", "user": "u", "properties": ' + b"[" * 5000 + b"]" * 5000 + b"}", "event"),
        ("events", {"name": "e", "user": "u", "properties": 5}, "expected an object"),
        ("samples", {"name": "a b", "value": 1}, "not a metric name"),
    ],
)
def test_what_is_wrong_is_named(kind: str, body: object, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        send(kind, body)


@given(kind=st.sampled_from(sorted(Plain.paths)), body=st.binary(max_size=100) | JSON.map(json.dumps).map(str.encode))
def test_any_body_decodes_or_is_refused(kind: str, body: bytes) -> None:
    with suppress(BadInput):
        Plain().decode(kind, body, NOW)
