"""The decorator: same function, every call recorded."""

from __future__ import annotations

import asyncio
import inspect
import time

import numpy as np
import pandas as pd
import pytest

import modelkeep as mk


def test_a_share_is_the_score_and_the_latency_is_measured(sending) -> None:
    @mk.watch("m")
    def predict(features, scale=1.0):
        time.sleep(0.01)
        features["changed"] = True
        return 0.75

    assert predict({"a": 1}) == 0.75
    assert mk.flush()
    [row] = sending.rows()
    assert row["features"] == {"a": 1}
    assert (row["score"], row["prediction"]) == (0.75, True)
    assert 8e6 < row["latency_ns"] < 1e9
    assert predict.__name__ == "predict"


@pytest.mark.parametrize(
    ("answer", "prediction", "score", "scores"),
    [
        (0.25, False, 0.25, {}),
        (np.float32(0.5), True, 0.5, {}),
        (np.array([0.5]), True, 0.5, {}),
        (np.array([[0.5, 0.5]]), True, 0.5, {}),
        (1.5, 1.5, None, {}),
        (1, 1, None, {}),
        (True, True, None, {}),
        ("cat", "cat", None, {}),
        (None, None, None, {}),
        ({"prediction": "yes", "score": 0.9}, "yes", 0.9, {}),
        ({"score": 0.9}, True, 0.9, {}),
        ({"cat": 0.9, "dog": 0.1}, "cat", None, {"cat": 0.9, "dog": 0.1}),
        ({"anything": "else"}, '{"anything":"else"}', None, {}),
        ([1, 2], "[1,2]", None, {}),
        (float("nan"), "nan", None, {}),
    ],
)
def test_answers_of_one_row(sending, answer, prediction, score, scores) -> None:
    @mk.watch("m")
    def predict(features):
        return answer

    assert predict({"a": 1}) is answer
    assert mk.flush()
    [row] = sending.rows()
    assert row["prediction"] == prediction or str(row["prediction"]) == prediction
    assert row["score"] == score
    assert row["scores"] == scores


FRAME = pd.DataFrame({"a": [1, 2, 3]})


@pytest.mark.parametrize(
    ("answer", "predictions", "scores"),
    [
        (np.array([0.25, 0.5, 0.75]), [False, True, True], [0.25, 0.5, 0.75]),
        (np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]), [False, True, True], [0.25, 0.5, 0.75]),
        (np.array([5, 6, 7]), [5, 6, 7], [None] * 3),
        (["x", "y", "z"], ["x", "y", "z"], [None] * 3),
        (pd.Series([0.25, 0.5, 0.75]), [False, True, True], [0.25, 0.5, 0.75]),
        (np.array([[1.5], [2.5], [3.5]]), [1.5, 2.5, 3.5], [None] * 3),
        ([{"prediction": 1, "score": 0.25}] * 3, [1, 1, 1], [0.25] * 3),
    ],
)
def test_answers_of_a_table(sending, answer, predictions, scores) -> None:
    @mk.watch("m")
    def predict(frame):
        return answer

    predict(FRAME)
    assert mk.flush()
    rows = sending.rows()
    assert [row["prediction"] for row in rows] == predictions
    assert [row["score"] for row in rows] == scores
    assert [row["features"]["a"] for row in rows] == [1, 2, 3]


def test_several_classes_of_a_table(sending) -> None:
    @mk.watch("m")
    def predict(frame):
        return np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])

    predict(FRAME)
    assert mk.flush()
    assert [row["prediction"] for row in sending.rows()] == [0, 2, 1]
    assert sending.rows()[0]["scores"] == {"0": 0.5, "1": 0.3, "2": 0.2}


def test_what_is_feature_and_score_can_be_said(sending) -> None:
    @mk.watch("m", features="row", score="probability", version="7")
    def by_name(other, row):
        return {"probability": 0.2, "prediction": "no"}

    @mk.watch("m", features=lambda x, y: {"sum": x + y}, score=lambda answer: answer / 10)
    def by_function(x, y):
        return 5

    by_name({"wrong": 1}, {"right": 1})
    by_name({"wrong": 1}, row={"right": 2})
    by_function(1, y=2)
    assert mk.flush()
    rows = {str(row["features"]): row for row in sending.rows()}
    assert set(rows) == {"{'right': 1}", "{'right': 2}", "{'sum': 3}"}
    assert (rows["{'right': 1}"]["score"], rows["{'right': 1}"]["prediction"]) == (0.2, "no")
    assert rows["{'right': 1}"]["version"] == "7"
    assert (rows["{'sum': 3}"]["score"], rows["{'sum': 3}"]["prediction"]) == (0.5, 5)


def test_plain_arguments_are_the_features_by_name(sending) -> None:
    class Model:
        @mk.watch("m")
        def predict(self, income, age=40):
            return 0.5

    Model().predict(41_000, age=30)
    assert mk.flush()
    assert sending.rows()[0]["features"] == {"income": 41_000, "age": 30}


def test_errors_are_recorded_by_type_and_raised_again(sending) -> None:
    @mk.watch("m")
    def predict(features):
        raise LookupError(features)

    with pytest.raises(LookupError):
        predict({"a": 1})
    with pytest.raises(LookupError):
        predict(FRAME)
    assert mk.flush()
    rows = sending.rows()
    assert [row["error"] for row in rows] == ["LookupError"] * 4
    assert all(row["prediction"] is None and row["latency_ns"] > 0 for row in rows)


def test_coroutines(sending) -> None:
    @mk.watch("m")
    async def predict(features):
        await asyncio.sleep(0.01)
        if features["a"] < 0:
            raise ValueError
        return 0.5

    async def many():
        return await asyncio.gather(*(predict({"a": number}) for number in range(50)))

    assert inspect.iscoroutinefunction(predict)
    assert asyncio.run(many()) == [0.5] * 50
    with pytest.raises(ValueError):
        asyncio.run(predict({"a": -1}))
    assert mk.flush()
    rows = sending.rows()
    assert len(rows) == 51
    assert [row["error"] for row in rows].count("ValueError") == 1
    assert all(row["latency_ns"] > 8e6 for row in rows if row["error"] is None)


def test_generators_are_one_prediction(sending) -> None:
    @mk.watch("text")
    def words(prompt):
        sent = yield "a"
        try:
            yield sent or "b"
        except KeyError:
            yield "caught"
        return "end"

    assert inspect.isgeneratorfunction(words)
    assert list(words({"prompt": "x"})) == ["a", "b"]
    running = words({"prompt": "y"})
    next(running)
    assert running.send("sent") == "sent"
    assert running.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == "end"
    early = words({"prompt": "z"})
    next(early)
    early.close()
    assert mk.flush()
    found = {row["features"]["prompt"]: row["prediction"] for row in sending.rows()}
    assert found == {"x": "ab", "y": "asentcaught", "z": "a"}


def test_a_generator_that_fails(sending) -> None:
    @mk.watch("text")
    def words(prompt):
        yield "a"
        raise OSError

    with pytest.raises(OSError):
        list(words({"prompt": "x"}))
    assert mk.flush()
    assert [row["error"] for row in sending.rows()] == ["OSError"]


def test_async_generators(sending) -> None:
    @mk.watch("text")
    async def words(prompt):
        for number in range(3):
            await asyncio.sleep(0)
            if prompt["fail"] and number == 2:
                raise OSError
            yield {"step": number}

    async def consume(fail, most=9):
        found = []
        stream = words({"fail": fail})
        async for piece in stream:
            found.append(piece)
            if len(found) == most:
                await stream.aclose()
                break
        return found

    assert inspect.isasyncgenfunction(words)
    assert len(asyncio.run(consume(False))) == 3
    assert len(asyncio.run(consume(False, 1))) == 1
    with pytest.raises(OSError):
        asyncio.run(consume(True))
    assert mk.flush()
    assert [row["prediction"] for row in sending.rows()] == ['{"step":2}', '{"step":0}', None]
    assert [row["error"] for row in sending.rows()] == [None, None, "OSError"]


def test_a_watched_function_without_a_server_is_the_function() -> None:
    @mk.watch("m")
    def predict(features):
        return features

    features = object()
    assert predict(features) is features


def test_a_broken_extractor_never_reaches_the_model(sending) -> None:
    @mk.watch("m", features=lambda *_: 1 / 0, score=lambda _: 1 / 0)
    def predict(features):
        return 0.5

    assert predict({"a": 1}) == 0.5
    assert mk.flush()
    assert sending.rows() == []


def test_a_request_lends_its_id_to_a_watched_function(sending) -> None:
    @mk.watch("m")
    def predict(features):
        return 0.5

    with mk.request(id="order-7") as order:
        predict({"a": 1})
        assert order.prediction_id == "order-7"
    assert mk.flush()
    assert sending.ids == ["order-7"]
