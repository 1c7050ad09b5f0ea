from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.security import make_digest_acl  # type: ignore[import-untyped]

from modelkeep.configuration.sources.zookeeper import Zookeeper
from modelkeep.core.errors import BadInput, Conflict, Denied, Unreachable
from tests.configuration.following import each_is_seen, flood_is_coalesced, followed, in_thread, restart_is_survived
from tests.configuration.servers import CANARY, QUOTED, Server, house, until

pytestmark = pytest.mark.needs("zookeeper")
_numbers = count()


@pytest.fixture
def server() -> Server:
    return house().server("zookeeper")


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    made = KazooClient(f"127.0.0.1:{server.port}", connection_retry={"max_tries": -1, "max_delay": 0.5})
    made.start()
    yield made
    made.stop()
    made.close()


@pytest.fixture
def path(client: Any) -> str:
    path = f"/zk{next(_numbers)}"
    client.ensure_path(f"{path}/n")
    return path


def put(client: Any, path: str, number: int) -> None:
    client.retry(client.set, f"{path}/n", str(number).encode())


def address(server: Server, path: str) -> str:
    return f"zookeeper://127.0.0.1:{server.port}{path}"


def test_fifty_of_fifty(server: Server, client: Any, path: str) -> None:
    each_is_seen(address(server, path), lambda number: put(client, path, number))


def test_a_flood_is_coalesced(server: Server, client: Any, path: str) -> None:
    flood_is_coalesced(address(server, path), lambda number: put(client, path, number))


def test_a_restart_is_survived(server: Server, client: Any, path: str) -> None:
    restart_is_survived(address(server, path), lambda number: put(client, path, number), server)


def test_an_expired_session_is_made_anew(server: Server, client: Any, path: str) -> None:
    put(client, path, 0)
    with followed(address(server, path)) as (cfg, _, _):
        (source,) = cfg.sources
        assert isinstance(source, Zookeeper)
        until(lambda: source._client is not None and source._client.connected)
        assert source._client is not None
        before = source._client.client_id
        other = KazooClient(f"127.0.0.1:{server.port}", client_id=before)
        other.start()
        other.stop()  # which ends the session of both
        other.close()
        until(lambda: source._client is not None and source._client.connected and source._client.client_id != before)
        put(client, path, 1)
        until(lambda: cfg["n"] == 1)
        put(client, path, 2)
        until(lambda: cfg["n"] == 2)


def test_two_values_of_one_transaction_are_never_mixed(server: Server, client: Any, path: str) -> None:
    for name in ("a", "b"):
        client.create(f"{path}/{name}", b"0")
    source = Zookeeper(address(server, path))

    def change() -> None:
        for number in range(1, 300):
            transaction = client.transaction()
            for name in ("a", "b"):
                transaction.set_data(f"{path}/{name}", str(number).encode())
            transaction.commit()

    thread = in_thread(change)
    mixed = 0
    while thread.is_alive():
        tree = source.read().tree
        mixed += tree["a"] != tree["b"] and not source._stirred.is_set()
    thread.join()
    assert mixed == 0
    assert source.read().tree["a"] == 299
    source.close()


def test_a_login_opens_and_new_nodes_are_closed_alike(server: Server, client: Any, path: str) -> None:
    acl = [make_digest_acl("ann", CANARY, all=True)]
    client.create(f"{path}/secret", b"", acl=acl)
    where = f"zookeeper://{{}}127.0.0.1:{server.port}{path}/secret"
    owner = Zookeeper(where.format(f"ann:{QUOTED}@"))
    owner.write({"a.b": 1, "a.c": "x"})
    assert owner.read().tree == {"a": {"b": 1, "c": "x"}}
    for login in ("", "ann:wrong@"):
        stranger = Zookeeper(where.format(login))
        with pytest.raises(Denied, match="refuses"):
            stranger.read()
        with pytest.raises(Denied):
            stranger.write({"a.b": 2})
        stranger.close()
    owner.write({"a.b": None})
    assert owner.read().tree == {"a": {"c": "x"}}
    with pytest.raises(Conflict, match="NotEmptyError"):
        owner.write({"a": None, "d": 1})
    assert owner.read().tree == {"a": {"c": "x"}}
    owner.close()


def test_one_node_may_hold_a_file(server: Server, client: Any, path: str) -> None:
    client.create(f"{path}/app.yaml", b"db:\n  pool: 8\n")
    source = Zookeeper(f"{address(server, path)}/app.yaml?format=yaml")
    reading = source.read()
    assert reading.tree == {"db": {"pool": 8}}
    assert str(reading.mark("db.pool")) == f"{path}/app.yaml:2"
    with pytest.raises(BadInput, match="one whole file"):
        source.write({"a": 1})
    client.set(f"{path}/app.yaml", b"db: 1")
    assert source.watch(reading.version, 5)
    source.close()


def test_nodes_that_come_and_go_are_heard(server: Server, client: Any, path: str) -> None:
    source = Zookeeper(address(server, path))
    seen = source.read().version
    client.create(f"{path}/deep/er/still", b"1", makepath=True)
    assert source.watch(seen, 5)
    seen = source.read().version
    client.delete(f"{path}/deep", recursive=True)
    assert source.watch(seen, 5)
    assert source.read().tree == {}
    source.close()


@pytest.mark.parametrize("where", ["zookeeper:///app", "zookeeper://a:x/app", "zookeeper://ann:pw@/app", "zk://a,,b/x"])
def test_addresses_that_are_none(where: str) -> None:
    with pytest.raises(BadInput, match="no such host"):
        Zookeeper(where)


def test_a_closed_source_refuses(server: Server, path: str) -> None:
    source = Zookeeper(address(server, path))
    source.close()
    with pytest.raises(Unreachable, match="is closed"):
        source.read()
    assert not source.watch("", 1)


@pytest.mark.slow
def test_how_soon_a_callback_hears(server: Server, client: Any, path: str, tmp_path: Path) -> None:
    """Prints figures; run with -s."""

    def write(number: int) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(f"n: {number}\n")
        fresh.replace(tmp_path / "app.yaml")

    rows = {
        "ZooKeeper": each_is_seen(
            address(server, path), lambda number: put(client, path, number), times=200, pause_s=0.08, least_s=0.05
        ),
        "file": each_is_seen(str(tmp_path / "app.yaml"), write, times=100, pause_s=0.12, least_s=0.05),
    }
    for name, times in rows.items():
        p50, p98 = statistics.median(times), statistics.quantiles(times, n=50)[-1]
        print(f"{name}: p50 {p50 * 1e3:.1f} ms, p98 {p98 * 1e3:.1f} ms of {len(times)}")  # noqa: T201
