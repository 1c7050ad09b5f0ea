"""Ingest over HTTP: every form, every refusal with what and where, and what was acknowledged survives."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from pathlib import Path

import pytest
import zstandard

from modelkeep.core.encoding import Envelope, Facts, Logs, Predictions, Samples, encode
from modelkeep.server.settings import AlertSettings, Limits
from tests.server.conftest import Running, running

NOW = time.time_ns()
DAY = 86_400 * 10**9
APRIL = 1_364_774_400 * 10**9


def predictions(at: list[int], **changes: object) -> Predictions:
    rows = len(at)
    given = {
        "model": "m",
        "version": "1",
        "release": "r",
        "ids": [f"p{row}-{at[row]}" for row in range(rows)],
        "at": at,
        "features": {"x": [1.0] * rows},
        "prediction": [True] * rows,
        "score": [0.5] * rows,
    }
    return Predictions(**{**given, **changes})  # type: ignore[arg-type]


def fact(at: int, name: str = "a") -> Facts:
    return Facts([name], [None], ["label"], [1], [""], [at])


def send(server: Running, token: str, *, packed: str = "", **parts: object) -> tuple[int, dict[str, object]]:
    body = encode(Envelope(token=token, **parts))  # type: ignore[arg-type]
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}
    headers = {"Content-Encoding": packed} if packed else {}
    answer = server.client.post("/api/v1/ingest", content=pack.get(packed, bytes)(body), headers=headers)
    return answer.status_code, answer.json()


def count(server: Running, table: str = "prediction", where: str = "true") -> int:
    rows = server.post("/api/v1/sql", {"sql": f"select count(*) from {table} where {where}"})["rows"]
    return int(rows[0][0])  # type: ignore[index]


@pytest.mark.parametrize("packed", ["", "gzip", "deflate", "zstd"])
def test_an_envelope_is_kept_once(server: Running, packed: str) -> None:
    at = [NOW - row for row in range(100)]
    before = count(server)
    envelope = {"predictions": [predictions(at, ids=[f"{packed}{row}" for row in range(100)])]}
    assert send(server, f"t{packed}", packed=packed, **envelope) == (200, {"kept": 100, "repeated": False})
    assert count(server) == before + 100
    assert send(server, f"t{packed}", packed=packed, **envelope) == (200, {"kept": 100, "repeated": True})
    assert count(server) == before + 100


def test_plain_forms_are_kept_and_found(server: Running) -> None:
    told = server.post("/api/v1/predictions", {"model": "plain", "features": {"x": 1, "c": "a"}, "prediction": "yes"})
    (made,) = told["ids"]  # type: ignore[misc]
    assert server.post("/api/v1/facts", {"id": made, "value": "no", "model": "plain"}) == {"kept": 1, "repeated": False}
    (found,) = server.get("/api/v1/predictions", id=made)["predictions"]  # type: ignore[misc]
    assert (found["features"], found["prediction"]) == ({"x": 1.0, "c": "a"}, "yes")
    assert [(one["kind"], one["value"]) for one in found["facts"]] == [("label", "no")]
    lines = b'{"name":"buy","user":"u"}\n{"name":"buy","user":"v","properties":{"a":[1]}}'
    assert server.client.post("/api/v1/events", content=lines).json()["kept"] == 2
    assert count(server, "event") == 2
    server.post("/api/v1/logs", {"message": "hello plain world", "level": "error"})
    logs = server.get("/api/v1/logs", q='"plain world"')["logs"]
    assert [row["level"] for row in logs] == ["ERROR"]  # type: ignore[union-attr]
    server.post("/api/v1/samples", {"name": "queue", "labels": {"job": "x"}, "value": 7})
    data = server.get("/api/v1/query", query="queue")["data"]
    assert data["result"][0]["value"][1] == "7"  # type: ignore[index]
    reference = {"model": "plain", "version": "1", "features": {"x": [1, 2, 3]}, "label": ["no", "yes", "no"]}
    assert server.post("/api/v1/references", reference)["kept"] == 3


def test_an_idempotency_key_makes_plain_bodies_repeatable(server: Running) -> None:
    body = {"model": "key", "features": {"x": 1}, "prediction": 1}
    first = server.post("/api/v1/predictions", body, **{"Idempotency-Key": "k1"})
    again = server.post("/api/v1/predictions", body, **{"Idempotency-Key": "k1"})
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert first["ids"] == again["ids"]
    assert count(server, where="model = 'key'") == 1


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"facts": [fact(NOW + DAY)]}, "fact row 0: at is"),
        ({"predictions": [predictions([NOW, NOW + DAY])]}, "prediction m row 1: at is"),
        ({"facts": [fact(10**9)]}, "before 1990"),
        ({"samples": [Samples([{"__name__": "up"}], [0], [-5], [1.0])]}, "before 1990"),
        ({"predictions": [predictions([NOW], features={"x": [1.0, 2.0]})]}, "column features.x has 2 values"),
        ({"form": 9}, "form: 9 is not known"),
    ],
)
def test_a_bad_envelope_is_refused_as_a_whole(server: Running, parts: dict[str, object], says: str) -> None:
    good = fact(NOW, "whole")
    status, told = send(server, f"bad{says}", **{**parts, "facts": [good, *parts.get("facts", [])]})  # type: ignore[misc]
    assert status == 400
    assert says in told["error"]["message"]  # type: ignore[index]
    assert count(server, "fact", "id = 'whole'") == 0


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/api/v1/ingest", b"", {}, 400),
        ("/api/v1/ingest", b"\xff" * 50, {}, 400),
        ("/api/v1/facts", b'{"id": "a"', {}, 400),
        ("/api/v1/facts", b'{"id": "a", "value": NaN}', {}, 400),
        ("/api/v1/events", b'{"name":"e","user":"u","properties":' + b"[" * 900 + b"]" * 900 + b"}", {}, 400),
        ("/api/v1/facts", b"not gzip", {"Content-Encoding": "gzip"}, 400),
        ("/api/v1/facts", gzip.compress(b"{}")[:-6], {"Content-Encoding": "gzip"}, 400),
        ("/api/v1/facts", gzip.compress(gzip.compress(b"{}")), {"Content-Encoding": "gzip, gzip"}, 400),
        ("/api/v1/facts", gzip.compress(bytes(200 << 20), 9), {"Content-Encoding": "gzip"}, 413),
        ("/api/v1/facts", bytes(17 << 20), {}, 413),
    ],
)
def test_bad_bodies(server: Running, path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = server.client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["name"] == "BadInput"
    assert answer.json()["error"]["message"]


def test_a_body_of_unknown_length_is_bounded_too(server: Running) -> None:
    answer = server.client.post("/api/v1/facts", content=(bytes(1 << 20) for _ in range(18)))
    assert answer.status_code == 413


def test_a_slow_body_is_ended(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits=Limits(body_seconds=0.3)) as server:
        with socket.create_connection((server.client.base_url.host, server.client.base_url.port or 0)) as peer:
            peer.sendall(b"POST /api/v1/facts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            peer.settimeout(5)
            told = peer.recv(4096)
        assert b" 408 " in told.partition(b"\r\n")[0]
        text = server.client.get("/metrics").text
        assert 'modelkeep_ingest_refused_total{reason="BadInput"} 1.0' in text


def test_bodies_beyond_the_room_for_them_are_busy(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits=Limits(waiting_bytes=1_000)) as server:
        answer = server.client.post("/api/v1/facts", content=bytes(2_000))
        assert (answer.status_code, answer.json()["error"]["name"]) == (429, "Busy")
        assert server.post("/api/v1/facts", {"id": "a", "value": 1})["kept"] == 1


def test_what_sdks_dropped_is_summed(server: Running) -> None:
    send(server, "d1", process="a", dropped={"queue": 2})
    send(server, "d2", process="a", dropped={"queue": 5})
    send(server, "d3", process="b", dropped={"queue": 1, "spool": 4})
    text = server.client.get("/metrics").text
    assert 'modelkeep_sdk_dropped_total{reason="queue"} 6.0' in text
    assert 'modelkeep_sdk_dropped_total{reason="spool"} 4.0' in text


def test_what_was_acknowledged_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        assert send(server, "keep", predictions=[predictions([NOW, NOW + 1])])[0] == 200
    with running(tmp_path / "data") as server:
        assert count(server) == 2
        assert send(server, "keep", predictions=[predictions([NOW, NOW + 1])])[1]["repeated"] is True
        assert count(server) == 2


def test_the_clock_of_events_follows_predictions(tmp_path: Path) -> None:
    with running(tmp_path / "data", clock="events") as server:
        status = server.get("/api/v1/status")
        assert status["clock"]["now"] == "1970-01-01T00:00:00Z"  # type: ignore[index]
        assert send(server, "1", predictions=[predictions([APRIL])])[0] == 200
        assert server.get("/api/v1/status")["clock"]["now"] == "2013-04-01T00:00:00Z"  # type: ignore[index]
        logs = [Logs("s", "h", [APRIL + DAY], [9], ["INFO"], ["l"], ["m"], [None], [None], ["{}"])]
        code, told = send(server, "2", logs=logs)
        assert code == 400
        assert "ahead of the newest prediction" in told["error"]["message"]  # type: ignore[index]
        together = {"predictions": [predictions([APRIL + DAY])], "facts": [fact(APRIL + DAY)], "logs": logs}
        assert send(server, "3", **together)[0] == 200
        assert send(server, "4", predictions=[predictions([time.time_ns() + DAY])])[0] == 400
        assert send(server, "5", facts=[fact(APRIL - 100 * DAY), fact(APRIL + 9 * DAY)])[0] == 200
        told = server.post("/api/v1/predictions", {"model": "m", "features": {}, "prediction": 1})
        assert server.get("/api/v1/status")["clock"]["now"] == "2013-04-02T00:00:00Z"  # type: ignore[index]
        end = time.monotonic() + 20
        while time.monotonic() < end:
            clock = server.get("/api/v1/status")["clock"]
            if clock["evaluated_to"] == clock["now"]:  # type: ignore[index]
                break
            time.sleep(0.1)
        assert clock["evaluated_to"] == clock["now"]  # type: ignore[index]
    with running(tmp_path / "data", clock="events") as server:
        assert server.get("/api/v1/status")["clock"]["now"] == "2013-04-02T00:00:00Z"  # type: ignore[index]


def test_a_full_disk_is_busy_and_reads_go_on(tmp_path: Path) -> None:
    with running(tmp_path / "data", disk_floor_bytes=1 << 60) as server:
        answer = server.client.post("/api/v1/facts", json={"id": "a", "value": 1})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["name"] == "Busy"
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/healthz").status_code == 200
        assert server.get("/api/v1/models") == {"models": []}


def test_a_stopping_server_takes_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        server.house.close_gate("the server is stopping")
        answer = server.client.post("/api/v1/facts", content=json.dumps({"id": "a", "value": 1}))
        assert answer.status_code == 429
        assert "stopping" in answer.json()["error"]["message"]


def test_rules_see_all_of_a_first_body_that_spans_weeks(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    end = APRIL // 10**9 + 2 * 86_400
    expr = f"sum by (model) (model_predictions_total) > 0 and on () vector(time()) < {end}"
    rules.write_text(f"groups: [{{name: g, interval: 1h, rules: [{{alert: Early, expr: '{expr}'}}]}}]")
    alerts = AlertSettings(rules=[str(rules)], defaults=False)
    with running(tmp_path / "data", clock="events", alerts=alerts) as server:
        days = predictions([APRIL + day * DAY for day in range(60)])
        assert send(server, "1", predictions=[days])[0] == 200
        server.house.evaluate()
        found = server.get("/api/v1/alerts/history")["transitions"]
        assert [(one["rule"], one["to"], one["at"]) for one in found] == [  # type: ignore[union-attr]
            ("Early", "firing", "2013-04-01T01:00:00Z"),
            ("Early", "resolved", "2013-04-03T00:00:00Z"),
        ]
