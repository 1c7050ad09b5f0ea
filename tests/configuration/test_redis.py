from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import redis

from modelkeep.configuration.sources.redis import Redis
from modelkeep.core.errors import BadInput, Denied
from tests.configuration.following import each_is_seen, flood_is_coalesced, restart_is_survived
from tests.configuration.servers import CANARY, QUOTED, Server, house

pytestmark = pytest.mark.needs("redis-server")
_numbers = count()


@pytest.fixture
def server() -> Server:
    return house().server("redis")


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port, username="ann", password=CANARY) as made:
        made.config_set("notify-keyspace-events", "")
        yield made


@pytest.fixture
def key() -> str:
    return f"redis{next(_numbers)}"


def address(server: Server, key: str, user: str = "ann", poll: str = "60") -> str:
    return f"redis://{user}:{QUOTED}@127.0.0.1:{server.port}/0/{key}?poll={poll}"


def test_fifty_of_fifty_of_who_says_what_it_writes(server: Server, client: Any, key: str) -> None:
    writer = Redis(address(server, key))
    each_is_seen(address(server, key), lambda number: writer.write({"n": number}, author="ann"))
    assert len(client.lrange(f"{key}:history", 0, -1)) == 51
    writer.close()


def test_fifty_of_fifty_where_the_server_tells(server: Server, client: Any, key: str) -> None:
    client.config_set("notify-keyspace-events", "KA")
    each_is_seen(address(server, key), lambda number: client.set(f"{key}:n", number))


def test_a_flood_is_coalesced(server: Server, client: Any, key: str) -> None:
    writer = Redis(address(server, key))
    flood_is_coalesced(address(server, key), lambda number: writer.write({"n": number}))
    writer.close()


def test_a_restart_is_survived(server: Server, client: Any, key: str) -> None:
    restart_is_survived(address(server, key, poll="0.1"), lambda number: client.hset(key, "n", number), server)


def test_keys_below_a_name(server: Server, client: Any, key: str) -> None:
    client.set(f"{key}:db:pool", "8")
    client.set(f"{key}:name", "x")
    client.set(f"{key}s:name", "another")
    client.lpush(f"{key}:list", "no value")
    source = Redis(address(server, key))
    reading = source.read()
    assert reading.tree == {"db": {"pool": 8}, "name": "x"}
    assert str(reading.mark("db.pool")) == f"redis {key}/db/pool"
    source.close()


def test_names_with_the_signs_of_patterns(server: Server, client: Any, key: str) -> None:
    client.set(f"{key}[a]*:n", "1")
    client.set(f"{key}ab:n", "2")
    source = Redis(address(server, f"{key}[a]*"))
    assert source.read().tree == {"n": 1}
    source.close()


def test_one_key_may_hold_a_file(server: Server, client: Any, key: str) -> None:
    client.set(key, "[db]\npool = 8\n")
    source = Redis(f"{address(server, key)}&format=ini")
    assert source.read().tree == {"db": {"pool": "8"}}
    assert str(source.read().mark("db.pool")) == f"{key}:2"
    with pytest.raises(BadInput, match="one whole file"):
        source.write({"a": 1})
    source.close()


def test_history_says_who_and_hides_secrets(server: Server, client: Any, key: str) -> None:
    source = Redis(address(server, key))
    source.write({"db.password": "hunter2", "n": 1}, author="ann", reason="first")
    source.write({"db.password": None})
    assert source.read().tree == {"n": 1}
    last, first = [json.loads(line) for line in client.lrange(f"{key}:history", 0, -1)]
    assert first["author"] == "ann"
    assert first["values"] == {"db.password": "***", "n": 1}
    assert last["values"] == {"db.password": None}
    source.close()


def test_who_may_not_listen_asks(server: Server, client: Any, key: str) -> None:
    client.hset(key, "n", 1)
    source = Redis(address(server, key, "dev", "0.05"))
    seen = source.read().version
    assert not source.watch(seen, 0.1)
    client.hset(key, "n", 2)
    assert source.watch(seen, 5)
    with pytest.raises(Denied):
        source.write({"n": 3})
    source.close()


def test_a_key_of_another_kind_is_told(server: Server, client: Any, key: str) -> None:
    client.lpush(key, "x")
    source = Redis(address(server, key))
    with pytest.raises(BadInput, match="WRONGTYPE"):
        source.write({"n": 3})
    source.close()


@pytest.mark.parametrize("where", ["redis://h", "redis://h/0", "redis://h/x/y"])
def test_addresses_without_a_key(where: str) -> None:
    with pytest.raises(BadInput, match="names no key"):
        Redis(where)
