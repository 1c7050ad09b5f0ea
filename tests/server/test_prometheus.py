"""Prometheus' query paths: shapes of its own answers and errors, GET and POST alike."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.server.conftest import Running

NOW = int(time.time())


@pytest.fixture(scope="module", autouse=True)
def samples(server: Running) -> None:
    rows = [
        {"name": "jobs_total", "labels": {"job": job}, "value": float(step * 60), "at": NOW - 600 + step * 60}
        for job in ("a", "b")
        for step in range(11)
    ]
    server.post("/api/v1/samples", rows)


def ask(server: Running, path: str, **parameters: object) -> Any:
    one = server.client.get(path, params=parameters)  # type: ignore[arg-type]
    two = server.client.post(path, data=parameters)
    assert one.status_code == two.status_code == 200, one.text
    assert one.json() == two.json()
    assert one.json()["status"] == "success"
    return one.json()["data"]


def test_an_instant_query(server: Running) -> None:
    data = ask(server, "/api/v1/query", query='jobs_total{job="a"}', time=NOW)
    assert data == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "jobs_total", "job": "a"}, "value": [NOW, "600"]}],
    }
    data = ask(server, "/api/v1/query", query="sum(rate(jobs_total[5m]))", time=NOW)
    assert float(data["result"][0]["value"][1]) == pytest.approx(2.0)


@pytest.mark.parametrize("step", ["60", "1m", "60.0"])
def test_a_range_query(server: Running, step: str) -> None:
    data = ask(server, "/api/v1/query_range", query="jobs_total", start=NOW - 300, end=NOW, step=step)
    assert data["resultType"] == "matrix"
    assert len(data["result"]) == 2
    assert data["result"][0]["values"][-1] == [NOW, "600"]
    assert len(data["result"][0]["values"]) == 6


def test_series_labels_and_values(server: Running) -> None:
    found = ask(server, "/api/v1/series", **{"match[]": "jobs_total"})
    assert found == [{"__name__": "jobs_total", "job": name} for name in ("a", "b")]
    assert set(ask(server, "/api/v1/labels")) >= {"__name__", "job"}
    one = server.client.get("/api/v1/label/job/values", params={"match[]": 'jobs_total{job!="a"}'}).json()
    assert one == {"status": "success", "data": ["b"]}
    past = {"match[]": "jobs_total", "end": NOW - 86_400}
    assert ask(server, "/api/v1/series", **past) == []


def test_as_of_is_taken(server: Running) -> None:
    data = ask(server, "/api/v1/query", query="jobs_total", time=NOW, as_of=NOW - 86_400)
    assert data["resultType"] == "vector"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api/v1/query", {}),
        ("/api/v1/query", {"query": "sum("}),
        ("/api/v1/query", {"query": "up", "time": "soon"}),
        ("/api/v1/query", {"query": "up", "time": "1e300"}),
        ("/api/v1/query", {"query": "up", "time": "nan"}),
        ("/api/v1/query_range", {"query": "up", "start": 1, "end": 2}),
        ("/api/v1/query_range", {"query": "up", "start": 2, "end": 1, "step": 1}),
        ("/api/v1/query_range", {"query": "up", "start": 0, "end": 1e9, "step": 1}),
        ("/api/v1/query_range", {"query": "up", "start": 0, "end": 10, "step": 0}),
        ("/api/v1/query_range", {"query": "up", "start": 0, "end": 10, "step": "inf"}),
        ("/api/v1/series", {}),
        ("/api/v1/series", {"match[]": "sum(up)"}),
        ("/api/v1/labels", {"match[]": "{"}),
        ("/api/v1/label/a-b/values", {}),
    ],
)
def test_errors_are_prometheus_own(server: Running, path: str, parameters: dict[str, object]) -> None:
    answer = server.client.get(path, params=parameters)  # type: ignore[arg-type]
    told = answer.json()
    assert (answer.status_code, told["status"], told["errorType"]) == (400, "error", "bad_data"), told
    assert told["error"]


def test_other_errors_keep_the_form(server: Running) -> None:
    answer = server.client.delete("/api/v1/query")
    assert (answer.status_code, answer.json()["status"]) == (405, "error")
    answer = server.client.post("/api/v1/query", content=bytes(2 << 20))
    assert (answer.status_code, answer.json()["errorType"]) == (413, "bad_data")


@pytest.mark.parametrize("path", ["/api/v1/query?query=1", "/api/v1/models"])
def test_an_answer_that_lacks_records_says_so(server: Running, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Modelkeep-Incomplete" not in server.client.get(path).headers
    monkeypatch.setattr(server.house, "caught_up", lambda *_, **__: False)
    assert server.client.get(path).headers["Modelkeep-Incomplete"] == "readers are behind"
