"""Consul's key-value API: by hand, by py-consul, by our own source, and with everything that blocks."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import consul
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelkeep as mk
from modelkeep.core.errors import BadInput, Missing
from modelkeep.server import consul as served
from modelkeep.server.settings import Limits
from modelkeep.store.entries import Entries
from modelkeep.store.pairs import LARGEST_BYTES, Pairs
from tests.server.conftest import Running, running

KV = "/v1/kv"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with one token of each scope."""
    with running(tmp_path_factory.mktemp("closed") / "data") as server:
        made = {scope: server.house.tokens.create(f"the-{scope}", [scope])[1] for scope in ("read", "write", "admin")}
        server.serving.app.door.look_again()
        yield server, made


def put(server: Running, key: str, value: bytes | str, **query: object) -> str:
    answer = server.client.put(f"{KV}/{key}", content=value, params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.text


def keys(server: Running, prefix: str, **query: object) -> object:
    return server.client.get(f"{KV}/{prefix}", params={"keys": "", **query}).json()  # type: ignore[dict-item]


def py_consul(server: Running, token: str | None = None) -> Any:
    url = httpx.URL(server.serving.url)
    return consul.Consul(host=url.host, port=url.port, token=token)


# --- by hand ---


def test_a_key_as_consul_gives_it(server: Running) -> None:
    assert put(server, "one/a", b"\xff\x00", flags=(1 << 64) - 1) == "true"
    answer = server.client.get(f"{KV}/one/a")
    (row,) = answer.json()
    assert row | {"CreateIndex": 0, "ModifyIndex": 0} == {
        "LockIndex": 0, "Key": "one/a", "Flags": (1 << 64) - 1, "Value": base64.b64encode(b"\xff\x00").decode(),
        "CreateIndex": 0, "ModifyIndex": 0,
    }  # fmt: skip
    assert answer.headers["x-consul-index"] == str(row["ModifyIndex"])
    assert server.client.get(f"{KV}/one/a", params={"raw": ""}).content == b"\xff\x00"
    put(server, "one/empty", b"")
    assert server.client.get(f"{KV}/one/empty").json()[0]["Value"] is None
    put(server, "one/ü %2F?x", b"1")
    assert server.client.get(f"{KV}/one/ü %2F?x").json()[0]["Key"] == "one/ü /"


def test_nothing_is_404_with_an_index_and_no_body(server: Running) -> None:
    put(server, "some", b"1")
    answer = server.client.get(f"{KV}/nothing/here", params={"recurse": ""})
    assert (answer.status_code, answer.content) == (404, b"")
    assert int(answer.headers["x-consul-index"]) >= 1
    assert server.client.get(f"{KV}/").status_code == 400


def test_below_a_prefix(server: Running) -> None:
    for name in ("tree/a", "tree/b/c", "tree/b/d", "tree/Be", "trees"):
        put(server, name, name)
    rows = server.client.get(f"{KV}/tree/", params={"recurse": ""}).json()
    assert [row["Key"] for row in rows] == ["tree/Be", "tree/a", "tree/b/c", "tree/b/d"]
    assert keys(server, "tree/") == ["tree/Be", "tree/a", "tree/b/c", "tree/b/d"]
    assert keys(server, "tree/", separator="/") == ["tree/Be", "tree/a", "tree/b/"]
    assert keys(server, "tree/b") == ["tree/b/c", "tree/b/d"]
    assert keys(server, "tre", separator="/") == ["tree/", "trees"]


def test_check_and_set(server: Running) -> None:
    assert put(server, "cas", b"1", cas=7) == "false"
    assert put(server, "cas", b"1", cas=0) == "true"
    assert put(server, "cas", b"2", cas=0) == "false"
    index = server.client.get(f"{KV}/cas").json()[0]["ModifyIndex"]
    assert put(server, "cas", b"2", cas=index) == "true"
    assert server.client.delete(f"{KV}/cas", params={"cas": index}).text == "false"
    assert server.client.delete(f"{KV}/cas", params={"cas": index + 1}).text == "true"
    assert server.client.get(f"{KV}/cas").status_code == 404
    assert server.client.delete(f"{KV}/cas").text == "true"


def test_the_same_value_again_is_no_write(server: Running) -> None:
    put(server, "same", b"1")
    before = server.client.get(f"{KV}/same").headers["x-consul-index"]
    put(server, "same", b"1")
    assert server.client.get(f"{KV}/same").headers["x-consul-index"] == before


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("PUT", "/x", {"acquire": "session"}, 400),
        ("PUT", "/x", {"cas": "-1"}, 400),
        ("PUT", "/x", {"flags": str(1 << 64)}, 400),
        ("PUT", f"/{'k' * 1100}", {}, 400),
        ("GET", "/x", {"index": "one"}, 400),
        ("GET", "/x", {"index": "1", "wait": "soon"}, 400),
        ("DELETE", "/", {}, 400),
        ("POST", "/x", {}, 405),
        ("GET", "/never", {"dc": "east", "stale": "", "pretty": ""}, 404),
    ],
)
def test_what_cannot_be_done_is_said(
    server: Running, method: str, path: str, query: dict[str, str], status: int
) -> None:
    assert server.client.request(method, KV + path, params=query, content=b"1").status_code == status


def test_a_value_is_bounded(server: Running) -> None:
    assert put(server, "large", b"x" * LARGEST_BYTES) == "true"
    assert server.client.put(f"{KV}/large", content=b"x" * (LARGEST_BYTES + 1)).status_code == 413


# --- blocking ---


def test_a_write_ends_a_blocked_query(server: Running) -> None:
    put(server, "block/a", b"1")
    index = server.client.get(f"{KV}/block/", params={"recurse": ""}).headers["x-consul-index"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, f"{server.serving.url}{KV}/block/?recurse&index={index}&wait=60s", timeout=70)
        while not server.serving.app.consul.waiting:
            time.sleep(0.005)
        put(server, "elsewhere", b"1")
        assert not waiting.done()
        put(server, "block/b", b"2")
        answer = waiting.result(20)
    assert [row["Key"] for row in answer.json()] == ["block/a", "block/b"]
    assert int(answer.headers["x-consul-index"]) > int(index)


def test_who_waits_for_the_first_key_of_all_is_told(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        index = server.client.get(f"{KV}/a").headers["x-consul-index"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(httpx.get, f"{server.serving.url}{KV}/a?index={index}&wait=60s", timeout=70)
            while not server.serving.app.consul.waiting:
                time.sleep(0.005)
            put(server, "a", b"1")
            assert waiting.result(20).status_code == 200


def test_a_removal_ends_a_blocked_query(server: Running) -> None:
    put(server, "gone/a", b"1")
    index = server.client.get(f"{KV}/gone/", params={"recurse": ""}).headers["x-consul-index"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, f"{server.serving.url}{KV}/gone/?recurse&index={index}&wait=60s", timeout=70)
        while not server.serving.app.consul.waiting:
            time.sleep(0.005)
        server.client.delete(f"{KV}/gone/", params={"recurse": ""})
        answer = waiting.result(20)
    assert (answer.status_code, int(answer.headers["x-consul-index"]) > int(index)) == (404, True)


def test_a_wait_ends_by_itself_with_the_same_index(server: Running) -> None:
    put(server, "still", b"1")
    index = server.client.get(f"{KV}/still").headers["x-consul-index"]
    answer = server.client.get(f"{KV}/still", params={"index": index, "wait": "50ms"})
    assert (answer.status_code, answer.headers["x-consul-index"]) == (200, index)


def test_an_index_from_before_a_restore_is_answered_now(server: Running) -> None:
    put(server, "restored", b"1")
    answer = server.client.get(f"{KV}/restored", params={"index": 10**9, "wait": "60s"}, timeout=20)
    assert answer.status_code == 200


def test_a_peer_that_goes_away_is_not_waited_for(server: Running) -> None:
    put(server, "left", b"1")
    index = server.client.get(f"{KV}/left").headers["x-consul-index"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.serving.url}{KV}/left", params={"index": index, "wait": "60s"}, timeout=0.3)
    end = time.monotonic() + 10
    while server.serving.app.consul.waiting and time.monotonic() < end:
        time.sleep(0.01)
    assert server.serving.app.consul.waiting == 0


def test_too_many_who_wait_are_answered_busy_and_a_stop_lets_all_go(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits=Limits(requests=4)) as server:
        put(server, "a", b"1")
        with ThreadPoolExecutor(2) as pool:
            url = f"{server.serving.url}{KV}/a"
            waiting = [pool.submit(httpx.get, url, params={"index": 2, "wait": "600s"}, timeout=60) for _ in range(2)]
            while server.serving.app.consul.waiting < 2:
                time.sleep(0.005)
            refused = server.client.get(f"{KV}/a", params={"index": 2, "wait": "1s"})
            assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
            assert server.client.get(f"{KV}/a").status_code == 200
            server.serving.stop()
            assert [one.result(20).status_code for one in waiting] == [200, 200]


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("1h2m", 3720), ("", 300), ("0", 300), ("1500ms", 1.5)])
def test_waits_as_go_writes_them(text: str, seconds: float) -> None:
    assert served._seconds(text) == pytest.approx(seconds)


# --- who may ---


def test_tokens_come_in_consul_s_header_too(closed: tuple[Running, dict[str, str]]) -> None:
    server, tokens = closed
    for name in ("X-Consul-Token", "Authorization"):
        lead = "Bearer " if name == "Authorization" else ""
        can = {who: {name: lead + text} for who, text in tokens.items()}
        assert server.client.put(f"{KV}/a", content=b"1", headers=can["admin"]).text == "true"
        assert server.client.get(f"{KV}/a", headers=can["read"]).status_code == 200
        for who in ("read", "write"):
            assert server.client.put(f"{KV}/a", content=b"2", headers=can[who]).status_code == 403
            assert server.client.delete(f"{KV}/a", headers=can[who]).status_code == 403
    assert server.client.get(f"{KV}/a").status_code == 401
    assert server.client.get(f"{KV}/a", headers={"X-Consul-Token": "mk_x"}).status_code == 401


def test_every_write_has_its_author_and_secrets_are_masked(closed: tuple[Running, dict[str, str]]) -> None:
    server, tokens = closed
    admin = {"X-Consul-Token": tokens["admin"]}
    server.client.put(f"{KV}/who/password", content=b"hunter2", headers=admin)
    server.client.put(f"{KV}/who/url", content=b"pg://a:hunter2@h", headers=admin)
    server.client.delete(f"{KV}/who/url", headers=admin)
    answer = server.client.get("/api/v1/configurations/kv", params={"prefix": "who/"}, headers=admin)
    found = [(row["key"], row["value"], row["author"]) for row in answer.json()["writes"]]
    assert found == [
        ("who/url", None, "the-admin"), ("who/url", "pg://a:***@h", "the-admin"), ("who/password", "***", "the-admin"),
    ]  # fmt: skip
    body = {"prefix": "who/", "index": 0, "reason": "none of it"}
    path = "/api/v1/configurations/kv/rollback"
    assert server.client.post(path, json=body, headers={"X-Consul-Token": tokens["write"]}).status_code == 403
    assert server.client.post(path, json=body | {"dry": True}, headers=admin).json() == {"keys": ["who/password"]}
    assert server.client.get(f"{KV}/who/password", headers=admin).status_code == 200
    assert server.client.post(path, json=body, headers=admin).json() == {"keys": ["who/password"]}
    assert server.client.get(f"{KV}/who/password", headers=admin).status_code == 404
    answer = server.client.get("/api/v1/configurations/kv", params={"prefix": "who/", "limit": 1}, headers=admin)
    assert answer.json()["writes"][0]["reason"] == "none of it"


# --- other clients ---


def test_py_consul_reads_writes_and_waits(closed: tuple[Running, dict[str, str]]) -> None:
    server, tokens = closed
    client = py_consul(server, tokens["admin"])
    assert client.kv.put("py/a", "1")
    assert client.kv.put("py/b/c", b"\x00", flags=3)
    index, row = client.kv.get("py/a")
    assert (row["Value"], row["ModifyIndex"]) == (b"1", int(index))
    _, rows = client.kv.get("py/", recurse=True)
    assert [(one["Key"], one["Flags"]) for one in rows] == [("py/a", 0), ("py/b/c", 3)]
    assert client.kv.get("py/", keys=True, separator="/")[1] == ["py/a", "py/b/"]
    assert client.kv.get("py/none")[1] is None
    assert client.kv.put("py/a", "2", cas=0) is False
    timer = threading.Timer(0.1, lambda: py_consul(server, tokens["admin"]).kv.put("py/a", "3"))
    timer.start()
    later, row = client.kv.get("py/a", index=index, wait="20s")
    timer.join()
    assert (row["Value"], int(later) > int(index)) == (b"3", True)
    assert client.kv.delete("py/", recurse=True)
    assert client.kv.get("py/", recurse=True)[1] is None
    with pytest.raises(consul.ACLPermissionDenied):
        py_consul(server, tokens["read"]).kv.put("py/a", "1")


def test_our_own_source_follows_every_write_and_a_rollback(server: Running) -> None:
    put(server, "app/db/pool", b"0")
    put(server, "app/name", b"churn")
    host = server.serving.url.removeprefix("http://")
    cfg = mk.config(f"consul://{host}/app")
    assert cfg.tree() == {"db": {"pool": 0}, "name": "churn"}
    assert str(cfg.explain("db.pool").mark) == "consul app/db/pool"
    seen: list[int] = []
    news = threading.Condition()

    def changed(_: object) -> None:
        with news:
            seen.append(cfg.get("db.pool"))
            news.notify_all()

    cfg.on_change(changed)
    start = int(server.client.get(f"{KV}/app/db/pool").json()[0]["ModifyIndex"])
    with cfg.watch():
        for number in range(1, 51):
            put(server, "app/db/pool", str(number))
            with news:
                assert news.wait_for(lambda number=number: seen and seen[-1] == number, 20), (number, seen)  # type: ignore[misc]
        assert seen == list(range(1, 51))
        server.post("/api/v1/configurations/kv/rollback", {"prefix": "app/", "index": start, "reason": "test"})
        with news:
            assert news.wait_for(lambda: seen[-1] == 0, 20)
    cfg.close()


# --- the store by itself ---

NAMES = st.sampled_from(["a", "a/b", "a/b/c", "A", "b", "a%", "ä"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "below", "rollback"]), NAMES, st.binary(max_size=3)), max_size=12
)


@given(steps=STEPS)
@settings(max_examples=25)
def test_the_store_is_a_dict_with_a_history(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    entries = Entries(tmp_path_factory.mktemp("pairs") / "entries.db")
    pairs, model = Pairs(entries), dict[str, bytes]()
    states: dict[int, dict[str, bytes]] = {0: {}}
    for kind, name, value in steps:
        if kind == "put":
            pairs.put(name, value)
            model[name] = value
        elif kind == "rollback":
            seq = max(states) * len(value) // 4
            pairs.rollback("", max(at for at in states if at <= seq))
            model = dict(states[max(at for at in states if at <= seq)])
        else:
            pairs.delete(name, below=kind == "below")
            model = {
                key: held
                for key, held in model.items()
                if not (key == name or (kind == "below" and key.startswith(name)))
            }
        states[max((write.seq for write in pairs.history(limit=1)), default=0)] = dict(model)
        index, found = pairs.look("", below=True)
        assert {one.key: one.value for one in found} == model
        assert index == max(1, *states)
        for prefix in ("a", "a/"):
            assert {one.key for one in pairs.look(prefix, below=True)[1]} == {k for k in model if k.startswith(prefix)}
    entries.close()


def test_a_write_that_never_was_cannot_be_gone_back_to(tmp_path: Path) -> None:
    pairs = Pairs(Entries(tmp_path / "entries.db"))
    pairs.put("a", b"1")
    with pytest.raises(Missing):
        pairs.rollback("", 3)
    with pytest.raises(BadInput):
        pairs.put("", b"")
