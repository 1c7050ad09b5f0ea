"""The page's files: handed out small, kept for ever or asked for again, and nothing beside them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import httpx
import pytest

from modelkeep.server.page import PATHS, Page
from modelkeep.server.routes import Routes
from tests.server.conftest import Running

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def built(tmp_path: Path, server: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A server whose page is a small one of the test's own."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<p>index</p>", encoding="utf-8")
    (tmp_path / "index.html.gz").write_bytes(gzip.compress(b"<p>index</p>"))
    (tmp_path / "assets" / "page-x.js").write_text("alert", encoding="utf-8")
    (tmp_path / "assets" / "page-x.js.gz").write_bytes(gzip.compress(b"alert"))
    (tmp_path / "secret.txt").write_text("not a file of the page", encoding="utf-8")
    show(server, Page(tmp_path, "welcome"), monkeypatch)
    return server


def show(server: Running, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a server give another page."""
    routes = Routes()
    page.add(routes)
    table = server.serving.app.routes
    find = table.find

    def found(method: str, path: str):  # type: ignore[no-untyped-def]
        return routes.find(method, path) if path in PATHS or path.startswith("/assets/") else find(method, path)

    monkeypatch.setattr(table, "find", found)


@pytest.mark.parametrize("path", PATHS)
def test_each_view_is_the_page_for_a_browser(built: Running, path: str) -> None:
    answer = built.client.get(path, headers=BROWSER)
    assert (answer.status_code, answer.text) == (200, "<p>index</p>")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-frame-options"] == "DENY"


def test_the_index_is_asked_for_again_and_not_sent_again(built: Running) -> None:
    first = built.client.get("/", headers=BROWSER)
    assert first.headers["cache-control"] == "no-cache"
    again = built.client.get("/", headers={**BROWSER, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = built.client.get("/", headers={**BROWSER, "If-None-Match": '"other"'})
    assert other.status_code == 200


def test_other_programs_get_words(built: Running) -> None:
    answer = built.client.get("/")
    assert answer.text == "welcome"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "accept" in answer.headers["vary"]


def test_assets_are_kept_for_ever_and_sent_small(built: Running) -> None:
    answer = built.client.get("/assets/page-x.js", headers={"Accept-Encoding": "gzip"})
    assert answer.text == "alert"
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")
    plain = built.client.get("/assets/page-x.js", headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == "alert"


NAMES = ["secret.txt", "..%2fsecret.txt", "page-x.js.gz", "%2e%2e", "%2e%2e%2findex.html", "x.js"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_beside_the_files_of_the_page(built: Running, name: str) -> None:
    answer = built.client.get(f"/assets/{name}")
    assert answer.status_code in {400, 404}
    assert "not a file" not in answer.text


def test_a_page_that_was_built_anew_is_seen(built: Running, tmp_path: Path) -> None:
    assert built.client.get("/", headers=BROWSER).text == "<p>index</p>"
    (tmp_path / "index.html").write_text("<p>newer</p>", encoding="utf-8")
    (tmp_path / "index.html.gz").unlink()
    assert built.client.get("/", headers=BROWSER).text == "<p>newer</p>"


def test_without_built_files_the_page_says_the_command(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(server, Page(tmp_path / "nothing", "welcome"), monkeypatch)
    answer = server.client.get("/model", headers=BROWSER)
    assert answer.status_code == 200
    assert "python3 scripts/dev.py page" in answer.text
    assert server.client.get("/assets/page-x.js").status_code == 404


def test_the_paths_are_those_of_the_views() -> None:
    """Each registered view has a path that the server knows."""
    views = Path(__file__).resolve().parents[2] / "ui" / "src" / "views.ts"
    found = re.findall(r'\{ path: "([^"]+)"', views.read_text(encoding="utf-8"))
    assert set(found) <= set(PATHS)
    assert {"/", "/model"} <= set(found)


def test_unknown_paths_are_no_pages(server: Running) -> None:
    assert server.client.get("/models", headers=BROWSER).status_code == 404
    assert isinstance(server.client, httpx.Client)
