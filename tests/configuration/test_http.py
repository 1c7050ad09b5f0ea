from __future__ import annotations

from itertools import count

import pytest

from modelkeep.configuration.sources.http import Http
from modelkeep.configuration.web import Web
from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from tests.configuration.servers import CANARY, QUOTED, house
from tests.configuration.web_stub import Page, WebStub

_numbers = count()


@pytest.fixture
def stub() -> WebStub:
    return house().web


@pytest.fixture
def path() -> str:
    return f"/http{next(_numbers)}"


def opened(stub: WebStub, path: str, options: str = "") -> Http:
    return Http(f"http://127.0.0.1:{stub.port}{path}{options}")


@pytest.mark.parametrize(
    ("name", "kind", "options", "body"),
    [
        ("/app.yaml", "text/plain", "", b"a: 1"),
        ("/app", "application/json; charset=utf-8", "", b'{"a": 1}'),
        ("/app", "text/plain", "#format=toml", b"a = 1"),
        ("/app.json", "application/yaml", "", b'{"a": 1}'),
    ],
)
def test_formats(stub: WebStub, path: str, name: str, kind: str, options: str, body: bytes) -> None:
    stub.pages[path + name] = Page(body, kind)
    source = opened(stub, path + name, options)
    assert source.read().tree == {"a": 1}
    source.close()


def test_a_format_that_nobody_tells(stub: WebStub, path: str) -> None:
    stub.pages[path] = Page(b"a: 1")
    source = opened(stub, path)
    with pytest.raises(BadInput, match="cannot tell the format"):
        source.read()
    source.close()


def test_what_is_unchanged_is_not_sent_again(stub: WebStub, path: str) -> None:
    stub.pages[f"{path}.yaml"] = Page(b"a: 1")
    source = opened(stub, f"{path}.yaml", "#poll=0.05")
    seen = source.read()
    assert str(seen.mark("a")).endswith(f"{path}.yaml:1")
    assert not source.watch(seen.version, 0.3)
    statuses = [status for asked, _, status in stub.asked if asked == f"{path}.yaml"]
    assert statuses[0] == 200
    assert len(statuses) > 1
    assert set(statuses[1:]) == {304}
    stub.pages[f"{path}.yaml"] = Page(b"a: 2", tags=False)
    assert source.watch(seen.version, 5)
    seen = source.read()
    assert not source.watch(seen.version, 0.2)
    source.close()


def test_logins_go_to_the_server_and_options_do_not(stub: WebStub, path: str) -> None:
    page = f"/closed{path}.yaml"
    stub.pages[page] = Page(b"a: 1")
    for where in (
        f"http://127.0.0.1:{stub.port}{page}?x=1&y#token={QUOTED.replace('+', '%2B')}",
        f"http://ann:{QUOTED}@127.0.0.1:{stub.port}{page}",
    ):
        source = Http(where)
        assert source.read().tree == {"a": 1}
        assert CANARY not in source.name
        assert QUOTED not in source.name
        source.close()
    assert [asked for asked, _, _ in stub.asked if asked.startswith(page)] == [f"{page}?x=1&y", page]
    stranger = opened(stub, page)
    with pytest.raises(Denied):
        stranger.read()
    stranger.close()


@pytest.mark.parametrize(
    ("page", "kind", "reason"),
    [
        (Page(status=404), Missing, "answered 404"),
        (Page(status=403), Denied, "answered 403"),
        (Page(status=500), Unreachable, "answered 500"),
        (Page(status=418), BadInput, "answered 418"),
        (Page(status=429, headers={"Retry-After": "7"}), Busy, "asks to wait"),
        (Page(status=302, headers={"Location": "http://example.org/x"}), BadInput, "redirects to another host"),
        (Page(status=302, headers={"Location": "https://127.0.0.1/x"}), BadInput, "redirects to another host"),
        (Page(status=302, headers={"Location": "http://[x"}), BadInput, "redirects to no address"),
        (Page(status=301, headers={"Location": "?again"}), BadInput, "again and again"),
        (Page(b"a: 1", short=10), Unreachable, "IncompleteRead"),
        (Page(b"a" * ((16 << 20) + 1)), BadInput, "more than 16 MB"),
        (Page(b"\xff"), BadInput, "not UTF-8"),
        (Page(b"a: [1"), BadInput, ".yaml:"),
    ],
)
def test_answers_that_are_none(stub: WebStub, path: str, page: Page, kind: type[Error], reason: str) -> None:
    stub.pages[f"{path}.yaml"] = page
    source = opened(stub, f"{path}.yaml")
    with pytest.raises(kind, match=reason) as caught:
        source.read()
    if isinstance(caught.value, Busy):
        assert caught.value.retry_after_s == 7
    source.close()


def test_a_redirect_on_the_same_host_is_followed(stub: WebStub, path: str) -> None:
    stub.pages[f"{path}.yaml"] = Page(status=307, headers={"Location": "/real.yaml"})
    stub.pages["/real.yaml"] = Page(b"a: 1")
    source = opened(stub, f"{path}.yaml")
    assert source.read().tree == {"a": 1}
    source.close()


def test_a_server_that_drips_is_not_waited_for(stub: WebStub, path: str) -> None:
    stub.pages[path] = Page(b"a" * 200, drip_s=0.02)
    web = Web("http", "127.0.0.1", stub.port, "it")
    with pytest.raises(Unreachable, match="timed out"):
        web.ask("GET", path, timeout_s=0.2)


def test_what_http_does_not_allow_is_not_quoted(stub: WebStub, path: str) -> None:
    source = opened(stub, path, f"#format=yaml&token=a%0a{QUOTED}")
    with pytest.raises(BadInput, match="does not allow") as caught:
        source.read()
    assert "canary" not in str(caught.value)
    web = Web("http", "127.0.0.1", stub.port, "it")
    with pytest.raises(Unreachable, match="InvalidURL"):
        web.ask("GET", f"/a b?token={CANARY}")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("http://h/x#poll=0", "no time in seconds"),
        ("http://h/x#poll=nan", "no time in seconds"),
        ("http://h/x#what=1", "no option 'what'"),
        ("http:///x", "no such address"),
        ("http://h:port/x", "no such address"),
    ],
)
def test_addresses_that_are_none(where: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        Http(where)
