from __future__ import annotations

import ipaddress
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts import outbound
from modelkeep.alerts.outbound import Outbound, public
from modelkeep.core.errors import BadInput, Busy, Denied, Error, Unreachable

from .servers import http

LOCAL = Outbound(allow=("127.0.0.1",), timeout_s=2)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1%25lo]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
def test_addresses_that_are_not_public_are_refused(host):
    with pytest.raises((Denied, Unreachable)):
        Outbound().target(f"http://{host}:80/")


def test_names_are_resolved_then_pinned():
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["169.254.169.254", "9.9.9.9"] if len(asked) == 1 else ["127.0.0.1"]

    door = Outbound(resolve=resolve)
    target = door.target("https://hooks.example/path?x=1#f")
    assert (target.address, target.host, target.port, target.path) == ("9.9.9.9", "hooks.example", 443, "/path?x=1")
    with pytest.raises(Denied, match="not a public address"):
        door.target("https://hooks.example/")
    assert asked == ["hooks.example", "hooks.example"], "one look each; the connection uses what was checked"


def test_what_is_allowed():
    def door(*allow):
        return Outbound(allow=allow, resolve=lambda host, port: ["10.1.2.3"])

    assert door("10.0.0.0/8").check("any", 1) == "10.1.2.3"
    assert door("HOOKS.internal").check("hooks.internal.", 1) == "10.1.2.3"
    assert door(".internal").check("a.internal", 1) == "10.1.2.3"
    for allow in ((".internal",), ("internal",), ("10.2.0.0/16",), ("evil-internal",)):
        with pytest.raises(Denied):
            door(*allow).check("evilinternal", 1)
    with pytest.raises(BadInput, match="neither a network nor a host"):
        Outbound(allow=("10.0.0.0/99",))
    assert Outbound(allow=("127.0.0.0/8",)).check("[::ffff:127.0.0.1]".strip("[]"), 1)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "gopher://x/",
        "http://",
        "http:///x",
        "ftp://a/",
        "http://a b/",
        "http://a/\r\nX: y",
        "http://[",
        "http://a:99999/",
        "//a/",
    ],
)
def test_only_http_urls_go_out(url):
    with pytest.raises(BadInput):
        LOCAL.post(url, b"", {})


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_refused(text):
    door = Outbound(resolve=lambda host, port: ["9.9.9.9"])
    for url in (text, "http://" + text, "https://a/" + text):
        with suppress(Error):
            target = door.target(url)
            assert "\n" not in target.path + target.host
            assert " " not in target.path


@given(st.ip_addresses())
def test_public_says_no_whenever_the_standard_library_does(address):
    if not address.is_global or address.is_multicast:
        assert not public(address)
    if isinstance(address, ipaddress.IPv4Address):
        assert public(ipaddress.IPv6Address(f"::ffff:{address}")) == public(address)


@pytest.mark.parametrize(
    ("status", "headers", "error", "wait_s"),
    [
        (400, {}, BadInput, None),
        (404, {}, BadInput, None),
        (301, {"Location": "http://169.254.169.254/"}, BadInput, None),
        (408, {}, Unreachable, None),
        (429, {}, Busy, 1.0),
        (429, {"Retry-After": "17"}, Busy, 17.0),
        (500, {}, Unreachable, None),
        (502, {"Retry-After": "17"}, Unreachable, None),
        (503, {}, Unreachable, None),
        (503, {"Retry-After": "9"}, Busy, 9.0),
    ],
)
def test_what_an_answer_means(status, headers, error, wait_s):
    with http() as received:
        received.answers.append((status, headers))
        with pytest.raises(error, match=f"answered {status}: said") as caught:
            LOCAL.post(received.url + "/hook", b"{}", {})
        if wait_s is not None:
            assert caught.value.retry_after_s == wait_s
        assert len(received.requests) == 1, "redirects are not followed"


def test_a_post_arrives_with_credentials_of_its_url():
    with http() as received:
        answer = LOCAL.post(f"http://me:p%40ss@127.0.0.1:{received.port}/a?b=c", b"body", {"X-A": "1"})
        assert (answer.status, answer.body) == (200, b"said")
        [(path, headers, body)] = received.requests
        assert (path, body, headers["X-A"]) == ("/a?b=c", b"body", "1")
        assert headers["Authorization"] == "Basic bWU6cEBzcw=="
        assert headers["Host"] == f"127.0.0.1:{received.port}"


def test_nobody_there_and_nobody_answering():
    with http() as received:
        port = received.port
    with pytest.raises(Unreachable):
        LOCAL.post(f"http://127.0.0.1:{port}/", b"", {})
    began = time.monotonic()
    with http() as received:
        import threading

        received.slow = threading.Event()
        with pytest.raises(Unreachable):
            Outbound(allow=("127.0.0.1",), timeout_s=0.2).post(received.url, b"", {})
        received.slow.set()
    assert time.monotonic() - began < 3


def test_retry_after_in_every_form():
    assert outbound.seconds("  7 ") == 7
    assert outbound.seconds("999999999999") == 86_400
    assert outbound.seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for text in ("", "-1", "1.5", "soon", "²", "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert outbound.seconds(text) is None
