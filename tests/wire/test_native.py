"""modelkeep's own form: columns in, batches out; everything wrong is named."""

from __future__ import annotations

import math
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.encoding import (
    Envelope,
    Events,
    Facts,
    Logs,
    Predictions,
    Reference,
    Release,
    Samples,
    encode,
)
from modelkeep.core.errors import BadInput
from modelkeep.core.layouts import KINDS
from modelkeep.wire import native

MANY_KEYS = msgspec.json.encode({str(n): 1 for n in range(300)}).decode()
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)


def envelope(**parts: object) -> bytes:
    return encode(Envelope(token="t" * 32, **parts))  # type: ignore[arg-type]


def predictions(rows: int = 2, **changes: object) -> Predictions:
    given_ = {
        "model": "m",
        "version": "1",
        "release": "r",
        "ids": [f"p{row}" for row in range(rows)],
        "at": list(range(rows)),
        "features": {"x": [1.5] * rows, "city": ["a"] * rows},
        "prediction": [True] * rows,
        "score": [0.5] * rows,
    }
    return Predictions(**{**given_, **changes})  # type: ignore[arg-type]


def test_every_kind_has_its_layout() -> None:
    data = envelope(
        releases=[Release("r", 1, "m", "1", code="abc")],
        references=[Reference("m", "1", {"x": [1, 2]}, [True, False], [0.1, 0.9])],
        predictions=[predictions()],
        facts=[Facts(["a", "b"], ["m", None], ["label", "feedback"], [True, "bad"], ["", "ui"], [1, 2])],
        events=[Events([1], ["buy"], ["u"], [None], [2.0], ['{"a":1}'])],
        logs=[Logs("s", "h", [1], [9], ["INFO"], ["root"], ["hello"], [None], ["p0"], ["{}"])],
        samples=[Samples([{"__name__": "up", "job": "x"}], [0, 0], [1, 2], [1.0, math.nan])],
        dropped={"full": 3},
    )
    decoded = native.parts(data, sender="ci")
    assert decoded.rows == 12 - 1
    assert decoded.dropped == {"full": 3}
    assert decoded.newest_prediction_ns == 1
    assert [part.kind for part in decoded.parts] == [
        "release", "reference", "prediction", "fact", "event", "log", "sample",
    ]  # fmt: skip
    for part in decoded.parts:
        for name, _ in KINDS[part.kind]:
            assert name in part.batch.schema.names
    by_kind = {part.kind: part for part in decoded.parts}
    assert by_kind["release"].batch.to_pylist()[0]["deployer"] == "ci"
    assert by_kind["prediction"].meta("release") == "r"
    assert by_kind["prediction"].batch.column("features.city").to_pylist() == ["a", "a"]
    facts = by_kind["fact"].batch.to_pylist()
    assert [(row["value"], row["text"]) for row in facts] == [(1.0, None), (None, "bad")]
    assert by_kind["sample"].batch.column("series").to_pylist()[0] == '{"__name__":"up","job":"x"}'


@pytest.mark.parametrize(
    ("values", "kept", "kind"),
    [
        ([True, None], [True, None], "bool"),
        ([1, 2.5], [1.0, 2.5], "double"),
        ([1, True], [1.0, 1.0], "double"),
        ([2**60 + 1, None], [float(2**60 + 1), None], "double"),
        (["a", None], ["a", None], "string"),
        (["a", 2], ["a", "2"], "string"),
        ([None, None], [None, None], "double"),
    ],
)
def test_types_of_a_feature(values: list[object], kept: list[object], kind: str) -> None:
    part = native.parts(envelope(predictions=[predictions(features={"x": values})])).parts[0]
    assert part.batch.column("features.x").to_pylist() == kept
    assert str(part.batch.schema.field("features.x").type) == kind


def test_nan_stays_in_features_and_leaves_scores() -> None:
    item = predictions(features={"x": [math.nan, math.inf]}, score=[math.nan, 0.5])
    batch = native.parts(envelope(predictions=[item])).parts[0].batch
    assert math.isnan(batch.column("features.x").to_pylist()[0])
    assert batch.column("score").to_pylist() == [None, 0.5]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"predictions": [predictions(at=[1])]}, "model 'm': column at has 1 values, ids has 2"),
        ({"predictions": [predictions(features={"x": [1.0]})]}, "column features.x has 1 values"),
        ({"predictions": [predictions(model="")]}, "the name is empty"),
        ({"predictions": [predictions(model="a\nb")]}, "control"),
        ({"predictions": [predictions(model="m" * 300)]}, "at most 200"),
        ({"predictions": [predictions(features={"x" * 300: [1, 2]})]}, "at most 200"),
        ({"predictions": [predictions(features={str(n): [1, 2] for n in range(2001)})]}, "at most 2000"),
        ({"predictions": [predictions(ids=["", "b"])]}, "row 0: the id is empty"),
        ({"predictions": [predictions(ids=["a", "b" * 600])]}, "row 1: an id of 600"),
        ({"predictions": [predictions(at=[1, 2**63])]}, "at row 1"),
        ({"facts": [Facts(["a"], [None], ["label"], [None], [""], [1])]}, "value row 0: null"),
        ({"facts": [Facts(["a"], [None], ["label"], [math.nan], [""], [1])]}, "value row 0: not finite"),
        ({"facts": [Facts(["a"], [None], ["guess"], [1], [""], [1])]}, "kind row 0: 'guess'"),
        ({"events": [Events([1], ["e"], ["u"], [None], [None], ["[1]"])]}, "properties row 0: an array"),
        ({"events": [Events([1], ["e"], ["u"], [None], [None], ['{"a":' * 20 + "1" + "}" * 20])]}, "deeper than 16"),
        (
            {"events": [Events([1], ["e"], ["u"], [None], [None], [MANY_KEYS])]},
            "more than 256 keys",
        ),
        ({"samples": [Samples([{"__name__": "up"}], [1], [1], [1.0])]}, "series row 0: 1"),
        ({"samples": [Samples([{"__name__": "1up"}], [0], [1], [1.0])]}, "not a metric name"),
        ({"samples": [Samples([{"__name__": "up", "a-b": "x"}], [0], [1], [1.0])]}, "not a label name"),
        ({"logs": [Logs("s", "h", [1], [99], ["I"], ["r"], ["m"], [None], [None], ["{}"])]}, "severity row 0"),
        ({"form": 2}, "form: 2 is not known"),
        ({"references": [Reference("m", "1", {})]}, "no features"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(parts: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        native.parts(envelope(**parts))


def test_a_newer_form_is_named_even_when_its_shape_changed() -> None:
    data = msgspec.msgpack.encode({"form": 7, "token": 5})
    with pytest.raises(BadInput, match="form: 7"):
        native.parts(data)


def test_a_wrong_type_names_its_place() -> None:
    data = msgspec.msgpack.encode({"token": "t", "predictions": [{"model": 5}]})
    with pytest.raises(BadInput, match=r"\$.predictions\[0\].model"):
        native.parts(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        native.parts(data)


@given(data=st.data())
def test_flipped_bytes_decode_or_are_refused(data: st.DataObject) -> None:
    label = Facts(["a"], [None], ["label"], ["x"], [""], [1])
    good = bytearray(envelope(predictions=[predictions()], facts=[label], dropped={"a": 1}))
    for place in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=4)):
        good[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    for body in (bytes(good), bytes(good[:cut])):
        with suppress(BadInput):
            native.parts(body)


@given(values=st.lists(SCALARS, min_size=1, max_size=8))
def test_any_scalars_make_a_column(values: list[object]) -> None:
    item = predictions(len(values), features={"x": values}, prediction=values)
    part = native.parts(envelope(predictions=[item])).parts[0]
    kept = part.batch.column("features.x").to_pylist()
    assert [value is None for value in kept] == [value is None for value in values]
