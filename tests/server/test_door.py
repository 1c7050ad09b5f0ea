"""The door and the table of routes: nothing passes that was not entered, nobody who may not."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput
from modelkeep.server.routes import OPEN, SCOPES, Routes
from tests.server.conftest import Running, running

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md"
ALLOWED = {
    "ingest": {"none", "ingest"},
    "read": {"none", "read"},
    "write": {"none", "read", "write"},
    "admin": set(SCOPES),
}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with one token of each scope."""
    with running(tmp_path_factory.mktemp("closed") / "data") as server:
        texts = {scope: server.house.tokens.create(scope, [scope])[1] for scope in SCOPES if scope not in OPEN}
        server.serving.app.door.look_again()
        yield server, texts


def concrete(path: str) -> str:
    return re.sub(r"\{\w+\}", "nobody", path)


def test_every_route_by_every_token(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    wrong = texts["admin"][:-1] + ("0" if texts["admin"][-1] != "0" else "1")
    seen = 0
    for route in server.serving.app.routes.all():
        if route.path == "/api/v1/backup":
            continue
        for scope, text in {"nobody": "", "wrong": wrong, "nonsense": "mk_x", **texts}.items():
            headers = {"Authorization": f"Bearer {text}"} if text else {}
            answer = server.client.request(route.method, concrete(route.path), headers=headers, content=b"")
            seen += 1
            where = f"{route.method} {route.path} with {scope}"
            if route.scope == "none":
                assert answer.status_code == 200, where
            elif route.scope == "signed":
                assert answer.status_code == 401, where  # no token stands for a signature
            elif route.scope == "page":
                assert answer.status_code in {200, 400, 404}, where
                assert not text or text not in answer.text
            elif scope not in ALLOWED:
                assert answer.status_code == 401, where
                assert answer.headers["www-authenticate"].startswith("Bearer")
            elif route.scope in ALLOWED[scope]:
                assert answer.status_code not in {401, 403}, where
            else:
                assert answer.status_code == 403, where
                assert answer.json().get("error") or answer.json().get("error_code")
    assert seen > 250


def test_backup_needs_admin(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    for scope in ("ingest", "read", "write"):
        answer = server.client.get("/api/v1/backup", headers={"Authorization": f"Bearer {texts[scope]}"})
        assert answer.status_code == 403
    assert server.client.get("/api/v1/backup").status_code == 401


def test_routes_that_do_not_exist_tell_nothing_to_strangers(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    assert server.client.get("/api/v1/nothing").status_code == 401
    assert server.client.put("/api/v1/sql").status_code == 401
    known = {"Authorization": f"bearer {texts['read']}"}
    assert server.client.get("/api/v1/nothing", headers=known).status_code == 404
    answer = server.client.put("/api/v1/sql", headers=known)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_revoked_token_is_refused_at_once(closed: tuple[Running, dict[str, str]]) -> None:
    server, texts = closed
    admin = {"Authorization": f"Bearer {texts['admin']}"}
    made = server.client.post("/api/v1/tokens", headers=admin, json={"name": "x", "scopes": ["read"]}).json()
    own = {"Authorization": f"Bearer {made['token']}"}
    assert server.client.get("/api/v1/models", headers=own).status_code == 200
    assert made["token"] not in server.client.get("/api/v1/tokens", headers=admin).text
    assert server.client.delete(f"/api/v1/tokens/{made['id']}", headers=admin).status_code == 200
    assert server.client.get("/api/v1/models", headers=own).status_code == 401
    assert server.client.delete("/api/v1/tokens/nobody", headers=admin).status_code == 404


def test_the_routes_are_those_of_the_page(server: Running) -> None:
    written: dict[tuple[str, str], str] = {}
    for cells in re.findall(r"^\| (`(?:GET|POST|DELETE)[^|]*)\| (\w+) \|", DOCS.read_text(), re.MULTILINE):
        for entry in re.findall(r"`([A-Z, ]+) (/[^`]*)`", cells[0]):
            for method in entry[0].split(", "):
                written[method, entry[1]] = cells[1]
    real = {(route.method, route.path): route.scope for route in server.serving.app.routes.all()}
    assert real == written


def test_the_typed_routes_are_those_of_openapi(server: Running) -> None:
    document = server.get("/openapi.json")
    typed = {
        (method.upper(), path): operation["x-scope"]
        for path, operations in document["paths"].items()  # type: ignore[attr-defined]
        for method, operation in operations.items()
    }
    real = {(route.method, route.path): route.scope for route in server.serving.app.routes.all()}
    assert typed.items() <= real.items()
    assert len(typed) >= 22


@pytest.mark.parametrize("scope", ["", "nothing", "none", None])
def test_a_route_without_a_scope_cannot_be_entered(scope: str) -> None:
    async def answer(*_: object) -> None: ...

    with pytest.raises(BadInput):
        Routes().add("GET", "/x", scope, answer)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/api/v1/models", "/v1/kv/{key...}", "/metrics", "/openapi.json", "/api/2.0/x"])
def test_no_route_with_data_can_be_a_file_of_the_page(path: str) -> None:
    async def answer(*_: object) -> None: ...

    with pytest.raises(BadInput):
        Routes().add("GET", path, "page", answer)
    with pytest.raises(BadInput):
        Routes().add("POST", "/x", "page", answer)


def test_a_route_is_entered_once() -> None:
    async def answer(*_: object) -> None: ...

    routes = Routes()
    routes.add("GET", "/x", "read", answer)
    with pytest.raises(BadInput, match="twice"):
        routes.add("GET", "/x", "admin", answer)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:7300", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:7300", 403),
        ("", 403),
    ],
)
def test_only_own_names_are_served(server: Running, host: str, status: int) -> None:
    assert server.client.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://{host}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"}, 200),
    ],
)
def test_pages_of_others_change_nothing(server: Running, headers: dict[str, str], status: int) -> None:
    host = str(server.client.base_url.netloc, "ascii")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    answer = server.client.post("/api/v1/facts", json={"id": "a", "value": 1}, headers=sent)
    assert answer.status_code == status, answer.text


def test_every_answer_carries_safe_headers(server: Running) -> None:
    for path in ("/", "/healthz", "/api/v1/models", "/nowhere", "/api/v1/query"):
        headers = server.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_head_and_options(server: Running) -> None:
    answer = server.client.head("/api/v1/models")
    assert (answer.status_code, answer.content) == (200, b"")
    assert server.client.options("/api/v1/models").status_code == 405


PIECES = ("..", "../..", "../../../../etc/passwd", "....//....//etc/passwd", "/etc/passwd", "..;/x", "\\..\\x", "C:\\x")
TRAVERSALS = [
    piece.replace("/", slash) + end
    for piece in PIECES
    for slash in ("/", "%2f", "%2F", "%252f", "%5c", "\\", "%c0%af", "//")
    for end in ("", "%00", "%00.json", "#x", "?x", ";x", "%0d%0aX: y")
]  # fmt: skip


def test_no_path_leads_out(server: Running) -> None:
    """Sent as raw bytes: a client library would tidy the paths."""
    places = {
        "/api/v1/label/{}/values": "GET",
        "/api/v1/alerts/{}/ack": "POST",
        "/api/v1/silences/{}": "DELETE",
        "/api/v1/tokens/{}": "DELETE",
        "/nothing/{}": "GET",
    }
    url = server.client.base_url
    connection = http.client.HTTPConnection(url.host, url.port)
    for place, method in places.items():
        for text in TRAVERSALS:
            raw = place.format(text.replace("\\", "%5C").partition("#")[0].partition("?")[0].replace(" ", "%20"))
            connection.request(method, raw, body=b"{}", headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status in {400, 404, 405}, (method, raw, body)
            assert b"root:" not in body
    connection.close()
