"""The typed API: exact shapes of docs/reference/http.md, clear refusals, and what schemathesis makes of it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from modelkeep.server import words
from tests.server.conftest import Running

NOW = time.time()


@pytest.fixture(scope="module", autouse=True)
def history(server: Running) -> None:
    """Two hundred predictions with labels, a reference, logs, a release."""
    rows = [
        {"model": "m", "version": "1", "id": f"p{row}", "features": {"x": row % 17, "c": "ab"[row % 2]},
         "prediction": row % 3 == 0, "score": (row % 10) / 10, "at": NOW - 7200 - row, "latency_s": 0.01}
        for row in range(200)
    ]  # fmt: skip
    reference = {
        "model": "m",
        "version": "1",
        "features": {"x": [row % 13 for row in range(200)], "c": ["ab"[row % 2] for row in range(200)]},
        "label": [row % 3 == 0 for row in range(200)],
        "score": [(row % 10) / 10 for row in range(200)],
    }
    server.post("/api/v1/references", reference)
    server.post("/api/v1/predictions", rows)
    server.post(
        "/api/v1/facts",
        [{"id": f"p{row}", "value": row % 3 == 0, "model": "m", "at": NOW - 3600} for row in range(150)],
    )
    server.post(
        "/api/v1/logs", [{"message": f"line {row}", "level": "INFO", "attributes": {"n": row}} for row in range(5)]
    )
    server.house.evaluate()


ANSWERS: dict[str, tuple[dict[str, object], type[words.Told]]] = {
    "/api/v1/models": ({}, words.ModelsTold),
    "/api/v1/quality": ({"model": "m", "by": "hour"}, words.QualityTold),
    "/api/v1/drift": ({"model": "m", "by": "day", "measure": ["psi"], "feature": ["x", "c"]}, words.DriftTold),
    "/api/v1/predictions": ({"model": "m", "limit": 5}, words.PredictionsTold),
    "/api/v1/logs": ({"q": "line", "limit": 2}, words.LogsTold),
    "/api/v1/releases": ({}, words.ReleasesTold),
    "/api/v1/alerts": ({}, words.AlertsTold),
    "/api/v1/alerts/history": ({"from": "now-1h"}, words.TransitionsTold),
    "/api/v1/rules": ({}, words.GroupsTold),
    "/api/v1/silences": ({}, words.SilencesTold),
    "/api/v1/outbox": ({}, words.OutboxTold),
    "/api/v1/tokens": ({}, words.TokensTold),
}


@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_answers_have_the_written_shape(server: Running, path: str) -> None:
    parameters, told = ANSWERS[path]
    told.model_validate(server.get(path, **parameters), strict=True)


def test_models_quality_and_drift(server: Running) -> None:
    (model,) = server.get("/api/v1/models")["models"]  # type: ignore[misc]
    assert [(one["version"], one["predictions"]) for one in model["versions"]] == [("1", 200)]
    told = server.get("/api/v1/quality", model="m")
    (row,) = told["rows"]  # type: ignore[misc]
    assert (told["task"], row["predictions"], row["labels"], row["coverage"]) == ("binary", 200, 150, 0.75)
    assert (
        row["metrics"]["accuracy"]["low"] <= row["metrics"]["accuracy"]["value"] <= row["metrics"]["accuracy"]["high"]
    )
    past = server.get("/api/v1/quality", model="m", as_of="now-2d")["rows"]
    assert all(one["labels"] == 0 for one in past)  # type: ignore[union-attr]
    rows = server.get("/api/v1/drift", model="m", measure="psi", feature="x")["rows"]
    assert {(one["feature"], *one["measures"]) for one in rows} == {("x", "psi")}  # type: ignore[union-attr]


def test_predictions_come_newest_first_with_their_facts(server: Running) -> None:
    found: Any = server.get("/api/v1/predictions", model="m", version="1", limit=3, to="now")["predictions"]
    assert [one["id"] for one in found] == ["p0", "p1", "p2"]
    assert found[0]["features"] == {"x": 0.0, "c": "a"}
    assert [fact["kind"] for fact in found[0]["facts"]] == ["label"]
    assert found[0]["latency_s"] == 0.01
    assert server.get("/api/v1/predictions", id="nobody")["predictions"] == []
    assert server.get("/api/v1/predictions", model="m", version="2")["predictions"] == []


def test_sql_answers_and_is_cut(server: Running) -> None:
    told = server.post("/api/v1/sql", {"sql": "select id, at, score from prediction order by at desc", "limit": 2})
    words.SqlTold.model_validate(told, strict=True)
    assert told["truncated"] is True
    assert [column["name"] for column in told["columns"]] == ["id", "at", "score"]  # type: ignore[union-attr]
    told = server.post(
        "/api/v1/sql", {"sql": "select 2::hugeint ** 100 as n, 'nan'::double as f, date '2013-04-01' as d"}
    )
    assert told["rows"][0][1:] == [None, "2013-04-01"]  # type: ignore[index]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "copy prediction to '/tmp/x'",
        "install httpfs",
        "attach '/tmp/x.db'",
        "select 1; drop table prediction",
        "pragma database_list",
        "not sql",
    ],
)
def test_sql_reaches_nothing_else(server: Running, query: str) -> None:
    answer = server.client.post("/api/v1/sql", json={"sql": query})
    assert answer.status_code in {400, 403}, answer.text
    assert "root:" not in answer.text


def test_logs_page_by_cursor(server: Running) -> None:
    first: Any = server.get("/api/v1/logs", q="line", limit=2)
    second: Any = server.get("/api/v1/logs", q="line", limit=2, before=first["next"])
    seen = [row["message"] for row in (*first["logs"], *second["logs"])]
    assert first["count"] == 5
    assert len(set(seen)) == 4


def test_silences_come_and_go(server: Running) -> None:
    made = server.post(
        "/api/v1/silences", {"matchers": {"model": "m"}, "duration": "2h", "by": "ann", "reason": "maintenance"}
    )
    found: Any = server.get("/api/v1/silences")["silences"]
    (one,) = [entry for entry in found if entry["id"] == made["id"]]
    assert (one["matchers"], one["by"], one["reason"]) == ({"model": "m"}, "ann", "maintenance")
    assert server.client.delete(f"/api/v1/silences/{made['id']}").json() == {"id": made["id"]}
    assert server.client.delete("/api/v1/silences/nobody").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/api/v1/quality", None, 400, "model: Field required"),
        ("GET", "/api/v1/quality?model=m&form=now-1h", None, 400, "parameter 'form' is not known"),
        ("GET", "/api/v1/quality?model=m&by=year", None, 400, "by: Input should be"),
        ("GET", "/api/v1/quality?model=m&from=soon", None, 400, "from: 'soon' is not a time"),
        ("GET", "/api/v1/quality?model=m&timezone=Moon", None, 400, "Moon"),
        ("GET", "/api/v1/quality?model=nobody", None, 404, "nobody"),
        ("GET", "/api/v1/predictions?limit=0", None, 400, "limit"),
        ("GET", "/api/v1/predictions?from=1e300", None, 400, "from"),
        ("GET", "/api/v1/logs?q=%22", None, 400, ""),
        ("GET", "/api/v1/alerts?state=sad", None, 400, "state"),
        ("POST", "/api/v1/sql", {"sql": ""}, 400, "sql"),
        ("POST", "/api/v1/sql", {"sql": "select 1", "limits": 2}, 400, "limits: Extra inputs"),
        ("POST", "/api/v1/sql", [1], 400, "body"),
        ("POST", "/api/v1/silences", {"matchers": {}, "duration": "1h", "by": "a", "reason": "b"}, 400, "matchers"),
        ("POST", "/api/v1/silences", {"matchers": {"a": "b"}, "by": "a", "reason": "b"}, 400, "duration or to"),
        ("POST", "/api/v1/silences", {"matchers": {"a": "b"}, "to": "1", "by": "a", "reason": "b"}, 400, "ends"),
        ("POST", "/api/v1/alerts/nobody/ack", {"by": "a"}, 404, "nobody"),
        ("POST", "/api/v1/alerts/test", {"channel": "nobody"}, 404, "nobody"),
        ("POST", "/api/v1/alerts/replay", {"from": "now", "to": "now-1h"}, 400, "earlier"),
        ("POST", "/api/v1/alerts/replay", {"from": "now-1h", "to": "now", "rules": "groups: 5"}, 400, "rules:1"),
        ("POST", "/api/v1/tokens", {"name": "x", "scopes": ["root"]}, 400, "scopes"),
        ("POST", "/api/v1/tokens", {"name": "x", "scopes": ["read"], "expires": "1990-01-01"}, 400, "expired"),
    ],
)
def test_what_is_wrong_is_named(server: Running, method: str, path: str, body: object, status: int, says: str) -> None:
    answer = server.client.request(method, path, json=body)
    told = answer.json()["error"]
    assert (answer.status_code, set(told)) == (status, {"name", "message", "hint"}), answer.text
    assert says in told["message"]


def test_a_test_notification_and_the_drill_go_all_the_way(server: Running) -> None:
    told: Any = server.post("/api/v1/alerts/test", {})
    words.TestTold.model_validate(told, strict=True)
    assert told["channel"] == "loopback"
    steps: Any = server.post("/api/v1/drill", {})["steps"]
    assert [(step["name"], step["ok"]) for step in steps] == [
        ("ingest", True), ("rule", True), ("channel", True), ("read-back", True),
    ], steps  # fmt: skip
    sent: Any = server.get("/api/v1/outbox", state="sent")["notifications"]
    assert len(sent) >= 2


def test_a_replay_stores_nothing(server: Running) -> None:
    rules = f"groups: [{{name: g, interval: 1m, rules: [{{alert: Late, expr: vector(time()) > {time.time() - 300}}}]}}]"
    before = server.get("/api/v1/alerts/history")
    told = server.post("/api/v1/alerts/replay", {"from": "now-10m", "to": "now", "rules": rules})
    words.TransitionsTold.model_validate(told, strict=True)
    assert told["transitions"]
    assert server.get("/api/v1/alerts/history") == before


def test_status_tells_what_people_look_for(server: Running) -> None:
    told: Any = server.get("/api/v1/status")
    assert told["journal"]["last"] >= 4
    assert {reader["name"] for reader in told["readers"]} == {
        "rows", "series", "text", "quality", "releases", "configurations", "trainings", "serving"
    }  # fmt: skip
    assert all(not reader["failure"] for reader in told["readers"])
    assert told["disk"]["free_bytes"] > 0
    assert told["rooms"]["quality"]["labels"] == 150


schemathesis.checks.load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    *(
        schemathesis.checks.CHECKS.get_one(name)
        for name in (
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "negative_data_rejection",
            "allow_header_conformance",
        )
    ),
]
SENDING = ("/api/v1/drill", "/api/v1/alerts/test")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis_finds_nothing(server: Running, mode: GenerationMode) -> None:
    """Every typed operation, by right and wrong parameters: no crash, the written status and shape."""
    _, token = server.house.tokens.create("schemathesis", ["admin"])
    own = {"Authorization": f"Bearer {token}"}
    document = server.client.get("/openapi.json", headers=own).json()
    for operations in document["paths"].values():
        for one in operations.values():
            del one["security"]
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == sum(map(len, document["paths"].values())) >= 42
    for operation in operations:
        if operation.path in SENDING:
            continue

        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=str(server.client.base_url), headers=own, checks=CHECKS, timeout=20)

        with suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
            check()
