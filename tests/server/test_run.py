"""The server as people start it: one per folder, loopback unless there is a token, a clean end."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from modelkeep.core.errors import BadInput, Conflict, Denied
from modelkeep.server.run import Serving
from modelkeep.server.settings import AlertSettings, Settings
from tests.server.conftest import running
from tests.server_process import ServerProcess


def test_a_process_serves_tells_where_and_ends_with_zero(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    client = server.start()
    told = tmp_path / "data" / "server.json"
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    assert json.loads(told.read_text()) == {"url": client.url, "pid": server.process.pid}  # type: ignore[union-attr]
    client.post("/api/v1/facts", {"id": "a", "value": 1})
    second = subprocess.run(
        [sys.executable, "-m", "modelkeep", "serve", "--data", str(tmp_path / "data"), "--port", "0"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert second.returncode == 4
    assert str(server.process.pid) in second.stderr  # type: ignore[union-attr]
    assert client.url in second.stderr
    assert server.stop() == 0
    assert not told.exists()
    client = server.start()
    assert client.post("/api/v1/sql", {"sql": "select count(*) from fact"})["rows"] == [[1]]
    server.kill()
    client = server.start()
    assert client.post("/api/v1/sql", {"sql": "select count(*) from fact"})["rows"] == [[1]]
    assert server.stop() == 0


def test_another_address_needs_a_token(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path / "data"), port=0, host="0.0.0.0")
    with pytest.raises(Denied, match="no token"):
        Serving(settings)
    with running(tmp_path / "data") as server:
        _, text = server.house.tokens.create("x", ["read"])
    with running(tmp_path / "data", host="0.0.0.0") as server:
        port = server.serving.settings.port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/v1/models").status_code == 401
            assert client.get("/api/v1/models", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with running(tmp_path / "one") as server, pytest.raises(Conflict, match="is taken"):
        Serving(Settings(data=str(tmp_path / "two"), port=server.serving.settings.port))
    with pytest.raises(BadInput):
        Serving(Settings(data=str(tmp_path / "two"), port=0, host="192.0.2.1"))


def test_a_wrong_setting_lets_go_of_the_folder(tmp_path: Path) -> None:
    alerts = AlertSettings(route="nobody")
    with pytest.raises(BadInput, match="nobody"):
        Serving(Settings(data=str(tmp_path / "data"), port=0, alerts=alerts))
    with running(tmp_path / "data") as server:
        assert server.client.get("/readyz").status_code == 200


def test_a_graceful_end_answers_what_is_in_work(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        url = server.serving.url

        def body() -> object:
            yield b'{"id": "slow", '
            time.sleep(0.5)
            server.serving.ask_to_stop()
            time.sleep(0.5)
            yield b'"value": 1}'

        with httpx.Client(base_url=url, timeout=20) as client:
            answer = client.post("/api/v1/facts", content=body())  # type: ignore[arg-type]
        assert answer.json() == {"kept": 1, "repeated": False}
    with running(tmp_path / "data") as server:
        assert server.post("/api/v1/sql", {"sql": "select count(*) from fact"})["rows"] == [[1]]


def test_no_secret_is_logged(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    client = server.start()
    made = client.post("/api/v1/tokens", {"name": "x", "scopes": ["admin"]})
    text = str(made["token"])
    with httpx.Client(base_url=client.url) as web:
        for header in (f"Bearer {text}", f"Bearer {text}x", f"Basic {text}"):
            web.get(f"/api/v1/label/{text}/values", headers={"Authorization": header})
            web.post("/api/v1/ingest", content=b"\xff", headers={"Authorization": header})
    assert server.stop() == 0
    assert text not in server.log.read_text()
