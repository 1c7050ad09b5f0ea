"""What is new, over a real WebSocket: who may listen, what is heard, and what a page that misbehaves is told."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from modelkeep.server import live, topics
from tests.server.conftest import Running, running

PATIENCE_S = 20.0


def address(server: Running) -> str:
    return str(server.client.base_url).replace("http", "ws", 1).rstrip("/") + "/api/v1/live"


@contextmanager
def open_(server: Running, **headers: str) -> Iterator[ClientConnection]:
    with connect(address(server), additional_headers=headers, open_timeout=PATIENCE_S) as page:
        yield page


def subscribe(page: ClientConnection, id_: object, what: str, **params: object) -> None:
    page.send(json.dumps({"op": "subscribe", "id": id_, "what": what, "params": params}))


def heard(page: ClientConnection, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Gives the first message that is wanted."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        message = json.loads(page.recv(timeout=PATIENCE_S))
        if wanted(message):
            return dict(message)
    raise AssertionError("nothing of the kind was heard")


def closed(page: ClientConnection) -> int:
    """Gives the code with which the server closes."""
    try:
        while True:
            page.recv(timeout=PATIENCE_S)
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd else 0


def of(id_: object) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message.get("id") == id_


def test_plain_http_is_told_to_come_otherwise(server: Running) -> None:
    answer = server.client.get("/api/v1/live")
    assert answer.status_code == 426


def test_the_time_is_told_at_once_and_again(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.0)
    with open_(server) as page:
        for _ in range(2):
            told = heard(page, lambda message: "now" in message)
            assert told["clock"] == "wall"
            assert abs(told["wall"] - time.time() * 1000) < 60_000


def test_alerts_models_and_status_come_when_subscribed(server: Running) -> None:
    with open_(server) as page:
        for what in ("alerts", "models", "status", "releases"):
            subscribe(page, what, what)
            assert set(heard(page, of(what))["data"]) >= {what if what != "status" else "version"}


def test_a_change_is_pushed_once(server: Running) -> None:
    with open_(server) as page:
        subscribe(page, 1, "models")
        heard(page, of(1))
        server.post("/api/v1/predictions", {"model": "pushed", "version": "1", "features": {"x": 1}, "prediction": 1})
        told = heard(page, lambda message: message.get("id") == 1 and "pushed" in json.dumps(message))
        assert any(one["model"] == "pushed" for one in told["data"]["models"])


def test_new_log_records_are_pushed_and_old_ones_are_not(server: Running) -> None:
    old = time.time() - 600
    server.post("/api/v1/logs", [{"message": "before", "service": "tail", "at": old}])
    with open_(server) as page:
        subscribe(page, "l", "logs", q="service:tail")
        subscribe(page, "s", "status")
        heard(page, of("s"))
        deadline = time.monotonic() + PATIENCE_S
        seen: list[str] = []
        while "after" not in seen and time.monotonic() < deadline:
            server.post("/api/v1/logs", [{"message": "after", "service": "tail"}, {"message": "x", "service": "other"}])
            told = heard(page, of("l"))
            seen += [line["message"] for line in told["data"]["logs"]]
        assert set(seen) == {"after"}


def test_who_begins_to_listen_misses_nothing_of_the_last_moments(server: Running) -> None:
    server.post("/api/v1/logs", [{"message": "just now", "service": "late"}])
    with open_(server) as one, open_(server) as other:
        for page in (one, other):
            subscribe(page, "l", "logs", q="service:late")
            assert [line["message"] for line in heard(page, of("l"))["data"]["logs"]] == ["just now"]


def test_series_are_told_on_the_grid_of_their_step(server: Running) -> None:
    now = time.time()
    rows = [
        {"name": "pushed_gauge", "labels": {"a": "b"}, "value": place, "at": now - 20 + place} for place in range(25)
    ]
    server.post("/api/v1/samples", rows)
    with open_(server) as page:
        subscribe(page, 7, "series", query="pushed_gauge", step=1)
        told = heard(page, lambda message: message.get("id") == 7 and message["data"]["matrix"]["data"]["result"])[
            "data"
        ]
        assert (told["end"] - told["start"]) / told["step"] >= topics.RECENT - 1
        (row,) = told["matrix"]["data"]["result"]
        assert row["metric"]["a"] == "b"
        assert all(told["start"] <= at <= told["end"] for at, _ in row["values"])
        later = heard(page, of(7))["data"]
        assert later["end"] > told["end"]
        assert later["start"] <= told["end"]


def test_pages_that_look_at_the_same_share_it(server: Running) -> None:
    app = server.serving.app.live
    with open_(server) as one, open_(server) as other:
        for page in (one, other):
            subscribe(page, "x", "series", query="pushed_gauge + 0", step=1)
            heard(page, of("x"))
        assert len(app._topics) == 1
        assert app.connections == 2
        one.send(json.dumps({"op": "unsubscribe", "id": "x"}))
        heard(other, of("x"))
    end = time.monotonic() + PATIENCE_S
    while (app.connections or app._topics) and time.monotonic() < end:
        time.sleep(0.05)
    assert not app._topics
    assert app.connections == 0


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("nonsense", "message"),
        ('{"op": "steal", "id": 1}', "message"),
        ('{"op": "subscribe", "id": [1], "what": "alerts"}', "id"),
        ('{"op": "subscribe", "id": 1, "what": "secrets"}', "secrets"),
        ('{"op": "subscribe", "id": 1, "what": "series", "params": {"query": "up", "step": 0}}', "series"),
        ('{"op": "subscribe", "id": 1, "what": "series", "params": {"step": 5}}', "series"),
        ('{"op": "subscribe", "id": 1, "what": "alerts", "params": {"x": 1}}', "params"),
        ('{"op": "subscribe", "id": 1, "what": "series", "params": {"query": "up{", "step": 5}}', ""),
        ('{"op": "subscribe", "id": 1, "what": "logs", "params": {"q": "AND"}}', "AND"),
        ('{"op": "subscribe", "id": 1, "x": "' + "y" * 20_000 + '"}', "characters"),
    ],
)
def test_what_is_wrong_is_told_and_the_connection_stays(server: Running, message: str, word: str) -> None:
    with open_(server) as page:
        page.send(message)
        told = heard(page, lambda said: "error" in said)
        assert told["error"]["name"] == "BadInput"
        assert word in told["error"]["message"]
        subscribe(page, "ok", "alerts")
        heard(page, of("ok"))


def test_a_page_may_look_at_so_many_things_and_no_more(server: Running) -> None:
    with open_(server) as page:
        for place in range(live.MOST + 1):
            subscribe(page, place, "series", query=f"x{place}", step=1000)
        assert heard(page, lambda said: "error" in said)["id"] == live.MOST
        subscribe(page, 0, "alerts")
        heard(page, lambda said: said.get("id") == 0 and "alerts" in said.get("data", {}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_others_hear_nothing(server: Running, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused, open_(server, **headers):
        pass
    assert refused.value.response.status_code == 403


def test_another_name_of_the_host_hears_nothing(server: Running) -> None:
    port = server.serving.settings.port
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://evil.example:{port}/api/v1/live", sock=plain).__enter__()
    assert refused.value.response.status_code == 403


def test_no_other_route_is_a_websocket(server: Running) -> None:
    for path in ("/api/v1/models", "/", "/nowhere"):
        with pytest.raises(InvalidStatus) as refused, connect(address(server).replace("/api/v1/live", path)):
            pass
        assert refused.value.response.status_code == 404


def test_a_token_or_the_cookie_of_a_page_is_needed_and_its_end_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_STILL_S", 0.2)
    with running(tmp_path / "data") as server:
        text = server.house.tokens.create("ann", ["read"])[1]
        sender = server.house.tokens.create("sender", ["ingest"])[1]
        server.serving.app.door.look_again()
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {sender}"}, 403)):
            with pytest.raises(InvalidStatus) as refused, open_(server, **headers):
                pass
            assert refused.value.response.status_code == status
        with open_(server, Authorization=f"Bearer {text}") as page:
            heard(page, lambda message: "now" in message)
        server.client.post("/api/v1/session", json={"token": text})
        cookie = "; ".join(f"{name}={value}" for name, value in server.client.cookies.items())
        with pytest.raises(InvalidStatus), open_(server, Cookie=cookie):
            pass
        origin = str(server.client.base_url).rstrip("/")
        with open_(server, Cookie=cookie, Origin=origin) as page:
            heard(page, lambda message: "now" in message)
            server.client.delete("/api/v1/session", headers={"Origin": origin})
            assert closed(page) == 1008


def test_a_clock_that_moved_far_says_ask_again(tmp_path: Path) -> None:
    with running(tmp_path / "data", clock="events") as server:

        def predict(at: str) -> None:
            row = {"model": "m", "version": "1", "features": {"x": 1}, "prediction": 1, "at": at}
            server.post("/api/v1/predictions", row)

        predict("2026-01-01T00:00:00Z")
        with open_(server) as page:
            subscribe(page, 1, "series", query="model_predictions_total", step=60)
            heard(page, of(1))
            predict("2026-02-01T00:00:00Z")
            told: list[dict[str, Any]] = []
            while not any(message.get("data") == {"reset": True} for message in told):
                told.append(heard(page, lambda message: True))
            assert any(message.get("now", 0) >= 1769817600000 for message in told if message.get("clock") == "events")


def test_the_server_stops_under_an_open_page(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server, open_(server) as page:
        heard(page, lambda message: "now" in message)
        server.serving.ask_to_stop()
        assert closed(page) in {1001, 1012}
