from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from modelkeep.configuration.sources.consul import Consul
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable
from tests.configuration.consul_stub import ConsulStub
from tests.configuration.following import each_is_seen, flood_is_coalesced, followed, in_thread, restart_is_survived
from tests.configuration.servers import Server, until

_numbers = count()


@pytest.fixture(scope="module")
def stub() -> Iterator[ConsulStub]:
    made = ConsulStub()
    yield made
    made.close()


@pytest.fixture
def path(stub: ConsulStub) -> Iterator[str]:
    yield f"consul{next(_numbers)}"
    stub.clear()


def address(stub: ConsulStub, path: str, options: str = "") -> str:
    return f"consul://127.0.0.1:{stub.port}/{path}{options}"


def test_fifty_of_fifty(stub: ConsulStub, path: str) -> None:
    each_is_seen(address(stub, path), lambda number: stub.put(f"{path}/n", str(number)))


def test_a_flood_is_coalesced(stub: ConsulStub, path: str) -> None:
    flood_is_coalesced(address(stub, path), lambda number: stub.put(f"{path}/n", str(number)))


def test_a_restart_is_survived(stub: ConsulStub, path: str) -> None:
    server = Server(stub.port, lambda port: None)
    server.start, server.stop = stub.start, stub.stop  # type: ignore[method-assign]
    restart_is_survived(address(stub, path), lambda number: stub.put(f"{path}/n", str(number)), server)


def test_an_index_that_goes_back_begins_anew(stub: ConsulStub, path: str) -> None:
    stub.put(f"{path}/n", "0")
    with followed(address(stub, path)) as (cfg, watch, _):
        for number in range(1, 4):
            until(lambda: stub.waiting)
            stub.reset(2)
            stub.put(f"{path}/n", str(number))
            until(lambda number=number: cfg["n"] == number)  # type: ignore[misc]
        assert watch.counts().failures == 0


def test_an_index_that_moves_alone_is_no_change(stub: ConsulStub, path: str) -> None:
    stub.put(f"{path}/n", "0")
    source = Consul(address(stub, path))
    seen = source.read().version
    told: list[bool] = []
    thread = in_thread(lambda: told.append(source.watch(seen, 5)))
    until(lambda: stub.waiting)
    stub.stir()
    thread.join(5)
    assert told == [False]
    source.close()


def test_it_asks_as_the_api_is_written(stub: ConsulStub, path: str) -> None:
    stub.put(f"{path}/db/pool", "8")
    stub.put(f"{path}/db/", "")
    stub.put(f"{path}s/other", "1")
    stub.asked.clear()
    source = Consul(address(stub, path, "?dc=one&stale=1"))
    reading = source.read()
    assert reading.tree == {"db": {"pool": 8}}
    assert str(reading.mark("db.pool")) == f"consul {path}/db/pool"
    assert not source.watch(reading.version, 0.05)
    first, second = stub.asked
    assert first == f"/v1/kv/{path}/?recurse=true&dc=one&stale"
    assert second.startswith(f"/v1/kv/{path}/?recurse=true&dc=one&index=")
    assert "&wait=50ms" in second
    source.close()


def test_tokens(stub: ConsulStub, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.put(f"{path}/n", "1")
    stub.tokens = {"all": lambda verb, key: True, "reader": lambda verb, key: verb == "read"}
    nobody = Consul(address(stub, path))
    with pytest.raises(Denied, match="answered 403"):
        nobody.read()
    reader = Consul(address(stub, path, "?token=reader"))
    assert reader.read().tree == {"n": 1}
    with pytest.raises(Denied):
        reader.write({"n": 2})
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "all")
    owner = Consul(address(stub, path))
    owner.write({"n": 2})
    assert reader.read().tree == {"n": 2}
    for source in (nobody, reader, owner):
        source.close()


def test_a_token_taken_away_while_it_is_followed(stub: ConsulStub, path: str) -> None:
    stub.put(f"{path}/n", "1")
    stub.tokens = {"t": lambda verb, key: True}
    with followed(address(stub, path, "?token=t")) as (cfg, _, _):
        until(lambda: stub.waiting)
        stub.tokens = {"other": lambda verb, key: True}
        stub.put(f"{path}/n", "2")
        until(lambda: any(change.state == "unreachable" for change in cfg.history()))
        (gone,) = [change for change in cfg.history() if change.state == "unreachable"]
        assert "answered 403" in gone.error
        stub.tokens = {}
        until(lambda: cfg["n"] == 2)


def test_many_keys_are_written_in_transactions(stub: ConsulStub, path: str) -> None:
    source = Consul(address(stub, path))
    before = stub.index
    source.write({f"k{number}": number for number in range(100)})
    assert stub.index == before + 2
    assert source.read().tree == {f"k{number}": number for number in range(100)}
    source.close()


def test_one_key_may_hold_a_file(stub: ConsulStub, path: str) -> None:
    stub.put(f"{path}/app.json", '{"a": {"b": 1}}')
    source = Consul(address(stub, f"{path}/app.json", "?format=json"))
    reading = source.read()
    assert reading.tree == {"a": {"b": 1}}
    stub.put(f"{path}/app.json", "{}")
    assert source.watch(reading.version, 5)
    with pytest.raises(BadInput, match="one whole file"):
        source.write({"a": 1})
    source.close()


@pytest.mark.parametrize(("status", "kind"), [(500, Unreachable), (400, BadInput), (404, Missing), (429, Exception)])
def test_what_it_answers_is_understood(
    stub: ConsulStub, path: str, status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "answer", lambda *_: (status, {}, b"no"))
    source = Consul(address(stub, path))
    with pytest.raises(kind):
        source.read()
    source.close()


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"5", b'[{"Value": "eA=="}]', b'[{"Key": "a", "Value": "\xc3\xa4"}]']
)
def test_answers_that_are_not_consuls(
    stub: ConsulStub, path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "answer", lambda *_: (200, {"X-Consul-Index": "5"}, body))
    source = Consul(address(stub, path))
    with pytest.raises((BadInput, Missing)):
        source.read()
    source.close()


class TestTheStub:
    """Driven by a client that knows nothing of ours."""

    @pytest.fixture
    def client(self, stub: ConsulStub) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            consul = pytest.importorskip("consul")
        made = consul.Consul(host="127.0.0.1", port=stub.port)
        yield made
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.http.close() if hasattr(made.http, "close") else None

    def test_put_get_delete(self, stub: ConsulStub, path: str, client: Any) -> None:
        assert client.kv.put(f"{path}/a", "1")
        index, row = client.kv.get(f"{path}/a")
        assert row["Value"] == b"1"
        assert row["ModifyIndex"] == int(index) == stub.index
        client.kv.put(f"{path}/b", "2")
        _, rows = client.kv.get(path, recurse=True)
        assert [row["Key"] for row in rows] == [f"{path}/a", f"{path}/b"]
        _, keys = client.kv.get(path, keys=True)
        assert keys == [f"{path}/a", f"{path}/b"]
        assert client.kv.delete(f"{path}/a")
        assert client.kv.get(f"{path}/a")[1] is None

    def test_it_blocks_until_something_changes(self, stub: ConsulStub, path: str, client: Any) -> None:
        client.kv.put(f"{path}/a", "1")
        index, _ = client.kv.get(f"{path}/a")
        assert client.kv.get(f"{path}/a", index=index, wait="50ms")[0] == index
        told: list[Any] = []
        thread = in_thread(lambda: told.append(client.kv.get(f"{path}/a", index=index, wait="10s")))
        until(lambda: stub.waiting)
        stub.put(f"{path}/a", "2")
        thread.join(5)
        assert told[0][1]["Value"] == b"2"
        assert int(told[0][0]) > int(index)

    def test_our_writes_are_read_by_it(self, stub: ConsulStub, path: str, client: Any) -> None:
        source = Consul(address(stub, path))
        source.write({"db.pool": 8, "name": "ä"})
        assert client.kv.get(f"{path}/db/pool")[1]["Value"] == b"8"
        assert client.kv.get(f"{path}/name")[1]["Value"] == "ä".encode()
        client.kv.put(f"{path}/db/pool", "9")
        assert source.read().tree == {"db": {"pool": 9}, "name": "ä"}
        source.close()
