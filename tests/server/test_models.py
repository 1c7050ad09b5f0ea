"""Models as they served, asked of a real server: timeline, shares, trainings, lineage, and what changed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from modelkeep.core import encoding
from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND
from modelkeep.core.encoding import Envelope, Predictions, Release, Trainings
from modelkeep.core.times import iso
from modelkeep.server import models as words
from tests.server.conftest import Running

NOW = time.time_ns() // DAY * DAY - DAY
"""Midnight of yesterday, UTC."""
REMOTE = "https://github.com/team/churn.git"
A, B = "a" * 40, "b" * 40
DATA = "0123456789abcdef0123456789abcdef"


def send(server: Running, **parts: object) -> None:
    envelope = Envelope(token=f"t{time.time_ns()}", process="host:1:x", **parts)  # type: ignore[arg-type]
    answer = server.client.post("/api/v1/ingest", content=encoding.encode(envelope))
    assert answer.status_code == 200, answer.text


def served(server: Running, id_: str, model: str, version: str, at_ns: int, count: int = 10, **more: object) -> None:
    """Tells a release with predictions, one a minute."""
    release = Release(id_, at_ns, model, version, **{"process": f"p-{id_}", "host": "h1", **more})  # type: ignore[arg-type]
    times = [at_ns + place * MINUTE for place in range(count)]
    rows = Predictions(
        model, version, id_, [f"{id_}-{place}" for place in range(count)], times, {"x": [1.0] * count}, [True] * count
    )
    send(server, releases=[release], predictions=[rows])


def trained(server: Running, id_: str, model: str, version: str, at_ns: int, **more: object) -> None:
    texts = ("code", "data_version", "config_version", "run", "error", "url")
    row: dict[str, Any] = {name: [""] for name in texts} | {"by": ["bob"], "source": ["mlflow"], "dirty": [False]}
    row |= {"ids": [id_], "at": [at_ns], "end": [at_ns + HOUR], "model": [model], "version": [version]}
    row |= {"status": ["finished"], "metrics": ['{"auc":0.91}'], "parameters": ['{"depth":6}']}
    send(server, trainings=[Trainings(host="", process="", **{**row, **more})])


@pytest.fixture(scope="module")
def told(server: Running) -> Running:
    """A server that heard of two versions of churn, a canary, a shadow, a rollback, and of another model."""
    extra = f'{{"remote":"{REMOTE}","branch":"main"}}'
    first = {"code": A, "author": "ann <ann@x>", "data_version": f"md5: {DATA}", "extra": extra}
    trained(server, "t1", "churn", "1", NOW - 3 * HOUR, code=[A], data_version=[DATA])
    served(server, "r1", "churn", "1", NOW, 60, **first)
    served(server, "r1b", "churn", "1", NOW + 5 * MINUTE, 60, **{**first, "host": "h2"})
    second = {"code": B, "author": "cy <cy@x>", "data_version": f"md5: {DATA}", "extra": extra}
    served(server, "c2", "churn", "2", NOW + HOUR, 20, **{**second, "extra": '{"role":"canary"}'})
    served(server, "s3", "churn", "3", NOW + HOUR, 40, extra='{"role":"shadow"}')
    served(server, "r2", "churn", "2", NOW + 3 * HOUR, 60, **second)
    served(server, "r1c", "churn", "1", NOW + 6 * HOUR, 5, **first)
    served(server, "o1", "other", "9", NOW + 3 * HOUR, 5, code=A)
    return server


def rows(server: Running, path: str, under: str, **parameters: object) -> list[dict[str, Any]]:
    found = server.get(path, **parameters)[under]
    assert isinstance(found, list)
    return found


def test_the_timeline_tells_what_served_when(told: Running) -> None:
    answer = told.get("/api/v1/models/timeline", model="churn")
    words.TimelineTold.model_validate(answer, strict=True)
    found: list[dict[str, Any]] = answer["timeline"]  # type: ignore[assignment]
    assert [(one["id"], one["version"], one["role"], one["processes"]) for one in found] == [
        ("r1c", "1", "live", 1), ("r2", "2", "live", 1), ("s3", "3", "shadow", 1), ("c2", "2", "canary", 1),
        ("r1", "1", "live", 2),
    ]  # fmt: skip
    last = found[-1]
    assert (last["hosts"], last["releases"], last["predictions"]) == (["h1", "h2"], ["r1", "r1b"], 120)
    assert (last["announced"], last["first_prediction"]) == (iso(NOW), iso(NOW))
    assert last["last_prediction"] == iso(NOW + 64 * MINUTE)
    assert last["link"] == f"https://github.com/team/churn/commit/{A}"
    assert last["authors"] == ["ann <ann@x>"]
    everyone = told.get("/api/v1/models/timeline", limit=2)
    assert (len(everyone["timeline"]), everyone["truncated"]) == (2, True)  # type: ignore[arg-type]
    early = rows(told, "/api/v1/models/timeline", "timeline", model="churn", to=iso(NOW + 30 * MINUTE))
    assert [one["id"] for one in early] == ["r1"]
    late = rows(told, "/api/v1/models/timeline", "timeline", model="churn", **{"from": iso(NOW + 5 * HOUR)})
    assert [one["id"] for one in late] == ["r1c"]
    assert [one["id"] for one in rows(told, "/api/v1/models/timeline", "timeline", version="9")] == ["o1"]


def test_shadows_do_not_count_in_the_share(told: Running) -> None:
    answer = told.get("/api/v1/models/share", model="churn", by="day")
    words.SharesTold.model_validate(answer, strict=True)
    found: list[dict[str, Any]] = answer["rows"]  # type: ignore[assignment]
    shares = {(one["version"], one["role"]): (one["predictions"], one["share"]) for one in found}
    assert shares == {
        ("1", "live"): (125, 125 / 205), ("2", "live"): (60, 60 / 205), ("2", "canary"): (20, 20 / 205),
        ("3", "shadow"): (40, None),
    }  # fmt: skip
    assert {one["from"] for one in found} == {iso(NOW)}
    hourly = rows(told, "/api/v1/models/share", "rows", model="churn", by="hour")
    assert {one["from"] for one in hourly} == {iso(NOW + hour * HOUR) for hour in (0, 1, 3, 6)}
    assert rows(told, "/api/v1/models/share", "rows", model="nobody") == []


def test_trainings_are_listed(told: Running) -> None:
    answer = told.get("/api/v1/trainings", model="churn")
    words.TrainingsTold.model_validate(answer, strict=True)
    (one,) = answer["trainings"]  # type: ignore[misc]
    assert (one["metrics"], one["parameters"], one["seconds"]) == ({"auc": 0.91}, {"depth": 6}, 3600)
    assert (one["by"], one["source"], one["version"]) == ("bob", "mlflow", "1")
    assert rows(told, "/api/v1/trainings", "trainings", status="failed") == []


def test_lineage_leads_from_data_to_predictions(told: Running) -> None:
    answer = told.get("/api/v1/lineage", data=DATA[:9])
    words.LineageTold.model_validate(answer, strict=True)
    nodes: list[dict[str, Any]] = answer["nodes"]  # type: ignore[assignment]
    edges = {(one["source"], one["target"]) for one in answer["edges"]}  # type: ignore[union-attr]
    assert [one["kind"] for one in nodes][:4] == ["data", "code", "code", "training"]
    assert {one["id"] for one in nodes if one["kind"] == "release"} == {
        "release:r1",
        "release:r2",
        "release:c2",
        "release:r1c",
    }
    assert {
        (f"data:{DATA}", "training:t1"), (f"code:{A}", "training:t1"), ("training:t1", "model:churn@1"),
        ("model:churn@1", "release:r1"), ("release:r1", "predictions:r1"), (f"data:{DATA}", "model:churn@2"),
    } <= edges  # fmt: skip
    of_release = told.get("/api/v1/lineage", release="o1")
    assert {one["kind"] for one in of_release["nodes"]} == {"code", "model", "release", "predictions"}  # type: ignore[union-attr]


def test_what_changed_before_a_moment_is_ranked(told: Running) -> None:
    answer = told.get("/api/v1/changes", model="churn", at=iso(NOW + 4 * HOUR))
    words.ChangesTold.model_validate(answer, strict=True)
    found: list[dict[str, Any]] = answer["changes"]  # type: ignore[assignment]
    assert [(one["id"], one["near"]) for one in found] == [
        ("r2", "own"), ("c2", "own"), ("r1", "own"), ("s3", "maybe"), ("t1", "maybe"), ("o1", "other"),
    ]  # fmt: skip
    first = found[0]
    assert first["title"] == "churn 2 took over from 1: code aaaaaaaa → bbbbbbbb"
    assert first["before_s"] == 3600
    assert (first["who"], first["link"]) == ("cy <cy@x>", f"https://github.com/team/churn/compare/{A}...{B}")
    assert first["command"] == "modelkeep code diff r1 r2"
    after = told.get("/api/v1/changes", model="churn", at=iso(NOW + 7 * HOUR))["changes"]
    assert after[0]["title"] == "churn 1 took over from 2: code bbbbbbbb → aaaaaaaa"  # type: ignore[index]
    between = told.get("/api/v1/changes", **{"from": iso(NOW + 2 * HOUR), "to": iso(NOW + 5 * HOUR)})
    assert {one["id"] for one in between["changes"]} == {"r2", "o1"}  # type: ignore[union-attr]


def test_what_nobody_knows_is_said(told: Running) -> None:
    for path, status in {
        "/api/v1/changes?alert=Nothing": 404,
        "/api/v1/changes?model=nobody": 404,
        "/api/v1/changes?at=yesterday": 400,
        "/api/v1/lineage": 400,
        "/api/v1/lineage?data=fffffffff": 404,
        "/api/v1/lineage?alert=Nothing": 404,
        "/api/v1/models/share": 400,
        "/api/v1/models/share?model=churn&by=year": 400,
        "/api/v1/trainings?status=done": 400,
        "/api/v1/models/timeline?mode=churn": 400,
    }.items():
        answer = told.client.get(path)
        assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True), path


def test_age_and_number_of_trainings_are_series(told: Running) -> None:
    def value(query: str, at_ns: int) -> list[tuple[dict[str, str], float]]:
        parameters = {"query": query, "time": at_ns / SECOND}
        answer = told.client.get("/api/v1/query", params=parameters).json()["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in answer]

    assert value("model_age_seconds", NOW) == [
        ({"__name__": "model_age_seconds", "model": "churn", "version": "1"}, 7200.0)
    ]
    assert value("min by (model) (model_age_seconds)", NOW + HOUR) == [({"model": "churn"}, 10800.0)]
    assert value("model_trained_total", NOW) == [({"__name__": "model_trained_total", "model": "churn"}, 1.0)]
    assert value("model_trained_total", NOW - 3 * HOUR) == []
    names = told.client.get("/api/v1/label/__name__/values").json()["data"]
    assert {"model_age_seconds", "model_trained_total"} <= set(names)
