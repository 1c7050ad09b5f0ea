"""Logging in: the cookie stands for the token, for as long as the token is good, and only from this server's pages."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelkeep.core.errors import Busy
from modelkeep.server import session
from modelkeep.server.session import Tries
from tests.server.conftest import Running, running


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with tokens, and nobody logged in."""
    with running(tmp_path / "data") as server:
        texts = {scope: server.house.tokens.create(scope, [scope])[1] for scope in ("ingest", "read", "write")}
        server.serving.app.door.look_again()
        yield server, texts


def login(server: Running, token: str, **headers: str) -> httpx.Response:
    return server.client.post("/api/v1/session", json={"token": token}, headers=headers)


def origin(server: Running) -> str:
    return str(server.client.base_url).rstrip("/")


def test_without_tokens_everybody_may_all(server: Running) -> None:
    told = server.get("/api/v1/session")
    assert (told["login"], told["name"]) == (False, "")
    assert set(told["scopes"]) == {"ingest", "read", "write", "admin"}  # type: ignore[call-overload]
    assert told["clock"]["kind"] == "wall"  # type: ignore[index]
    assert abs(told["clock"]["wall"] - time.time() * 1000) < 60_000  # type: ignore[index]


def test_a_stranger_learns_only_that_a_token_is_needed(closed: tuple[Running, dict[str, str]]) -> None:
    server, _ = closed
    told = server.get("/api/v1/session")
    assert told == {"login": True, "name": "", "scopes": [], "version": "", "clock": None}
    assert server.client.get("/api/v1/models").status_code == 401


def test_a_cookie_reads_and_logging_out_ends_it(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    answer = login(server, texts["read"])
    assert answer.json() == {"name": "read", "scopes": ["read"]}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert texts["read"] not in cookie
    assert server.client.get("/api/v1/models").status_code == 200
    assert server.get("/api/v1/session")["name"] == "read"
    kept = dict(server.client.cookies)
    assert server.client.delete("/api/v1/session").status_code == 200
    assert not server.client.cookies
    again = httpx.get(f"{origin(server)}/api/v1/models", cookies=kept)
    assert again.status_code == 401


def test_over_https_the_cookie_is_secure(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    host = origin(server).partition("//")[2]
    assert "Secure" in login(server, texts["read"], Origin=f"https://{host}").headers["set-cookie"]


def test_a_cookie_changes_things_only_from_a_page_of_this_server(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    login(server, texts["write"])
    silence = {"matchers": {"model": "m"}, "duration": "1h", "by": "x", "reason": "y"}

    def silenced(**headers: str) -> int:
        return server.client.post("/api/v1/silences", json=silence, headers=headers).status_code

    assert silenced() == 403
    assert silenced(Origin="http://evil.example") == 403
    assert silenced(Origin=origin(server)) == 200
    assert silenced(Origin=origin(server), **{"Sec-Fetch-Site": "cross-site"}) == 403


def test_a_reader_may_not_write(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    login(server, texts["read"])
    answer = server.client.post("/api/v1/drill", json={}, headers={"Origin": origin(server)})
    assert answer.status_code == 403
    assert "lacks the scope write" in answer.json()["error"]["message"]


def test_a_token_wins_over_a_cookie(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    login(server, texts["read"])
    assert server.client.get("/api/v1/models", headers={"Authorization": "Bearer mk_x"}).status_code == 401


def test_revoking_the_token_ends_the_session_at_once(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    login(server, texts["read"])
    server.house.tokens.revoke(texts["read"])
    assert server.client.get("/api/v1/models").status_code == 401


def test_a_session_outlives_a_restart_and_its_file_holds_no_secret(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        text = server.house.tokens.create("ann", ["read"])[1]
        server.serving.app.door.look_again()
        login(server, text)
        kept, port = dict(server.client.cookies), server.serving.settings.port
        path = tmp_path / "data" / "sessions.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert text not in path.read_text()
        assert all(value not in path.read_text() for value in kept.values())
    with running(tmp_path / "data", port=port) as server:
        answer = httpx.get(f"{origin(server)}/api/v1/models", cookies=kept)
        assert answer.status_code == 200


def test_a_damaged_file_logs_everybody_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sessions.json").write_text("{]")
    with running(tmp_path / "data") as server:
        text = server.house.tokens.create("ann", ["read"])[1]
        server.serving.app.door.look_again()
        assert login(server, text).status_code == 200
        assert json.loads((tmp_path / "data" / "sessions.json").read_text())


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"token": "mk_x"}', 401), (b"{}", 400), (b"nonsense", 400), (b'{"token": 5}', 400), (b'{"x": "y"}', 400)],
)
def test_what_is_no_token_is_refused(closed: tuple[Running, dict[str, str]], body: bytes, status: int) -> None:
    server, _ = closed
    answer = server.client.post("/api/v1/session", content=body)
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


def test_a_token_that_may_not_read_cannot_log_in(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    assert login(server, texts["ingest"]).status_code == 403


def test_wrong_tries_wait_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(session.time, "monotonic", lambda: now[0])
    tries = Tries()
    waits = [tries.wrong("a") for _ in range(20)]
    assert waits == sorted(waits)
    assert max(waits) == 5.0
    with pytest.raises(Busy):
        tries.check("a")
    tries.check("b")
    now[0] += 61
    tries.check("a")


def test_cookies_of_other_servers_are_no_matter(closed: tuple[Running, dict[str, str]]) -> None:
    server, _ = closed
    for cookie in ("modelkeep_session_1=x", 'a="', "=; ;;", "modelkeep_session_" + "9" * 4000):
        assert server.client.get("/api/v1/models", headers={"Cookie": cookie}).status_code == 401
