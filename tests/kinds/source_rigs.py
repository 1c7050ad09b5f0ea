"""One rig for every kind of source of configuration: how others write what it reads, and how it can fail."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelkeep.configuration.source import Source, open_sources
from tests.configuration import servers
from tests.configuration.servers import CANARY, KEYS, QUOTED, House
from tests.configuration.web_stub import Page
from tests.store.remote_servers import free_port

FIRST = {"db.pool": "8", "db.url": "pg://h", "name": "a b"}
SECOND = {"db.pool": "9", "db.url": "pg://h", "name": "a b"}


@dataclass
class Rig:
    """A kind of source with what it reads.

    Args:
        where: what a person gives to name it.
        put: makes others write exactly these dotted keys.
        clear: makes others take everything away; None where that cannot be.
        live: whether it can change.
        away: the same where nobody listens.
        denied: the same with a login that may not read.
        bad: makes others write what cannot be read.
        canaries: what must never be seen.
    """

    where: Any
    put: Callable[[Mapping[str, str]], None]
    clear: Callable[[], None] | None = None
    live: bool = True
    away: str = ""
    denied: str = ""
    bad: Callable[[], None] | None = None
    canaries: tuple[str, ...] = field(default=(CANARY, QUOTED))

    def open(self) -> Source:
        (source,) = open_sources(self.where)
        return source


Room = tuple[House, str, Path, pytest.MonkeyPatch]


def _consul(room: Room) -> Rig:
    home, mark, _, _ = room
    stub = home.consul
    stub.start()
    stub.tokens = {QUOTED: lambda verb, key: True, "eve": lambda verb, key: False}

    def put(values: Mapping[str, str]) -> None:
        for key, text in values.items():
            stub.put(f"{mark}/{key.replace('.', '/')}", text)

    address = f"consul://127.0.0.1:{{}}/{mark}?token={{}}"
    token = QUOTED.replace("%", "%25")
    return Rig(
        address.format(stub.port, token),
        put,
        lambda: stub.clear(f"{mark}/"),
        away=address.format(free_port(), token),
        denied=address.format(stub.port, "eve"),
        bad=lambda: stub.put(f"{mark}/db/pool", b"\xff"),
    )


def _etcd(room: Room) -> Rig:
    home, mark, _, _ = room
    port = home.server("etcd").port

    def put(values: Mapping[str, str]) -> None:
        for key, text in values.items():
            servers.etcd_put(port, f"{mark}/{key.replace('.', '/')}", text)

    address = f"etcd://{{}}:{QUOTED}@127.0.0.1:{{}}/{mark}"
    return Rig(
        address.format("root", port),
        put,
        lambda: servers.etcd_clear(port, f"{mark}/"),
        away=address.format("root", free_port()),
        denied=address.format("eve", port),
        bad=lambda: servers.etcd_put(port, f"{mark}/db", "a value and a folder"),
    )


def _zookeeper(room: Room) -> Rig:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]
    from kazoo.security import make_digest_acl  # type: ignore[import-untyped]

    home, mark, _, _ = room
    port = home.server("zookeeper").port
    acl = [make_digest_acl("ann", CANARY, all=True)]

    def act(do: Callable[[Any], object]) -> None:
        client = KazooClient(f"127.0.0.1:{port}", auth_data=[("digest", f"ann:{CANARY}")])
        client.start()
        try:
            do(client)
        finally:
            client.stop()
            client.close()

    def put(client: Any, values: Mapping[str, str]) -> None:
        for key, text in values.items():
            path = f"/{mark}/{key.replace('.', '/')}"
            client.ensure_path(path, acl=acl)
            client.set(path, text.encode())

    address = f"zookeeper://{{}}:{QUOTED}@127.0.0.1:{{}}/{mark}"
    return Rig(
        address.format("ann", port),
        lambda values: act(lambda client: put(client, values)),
        lambda: act(lambda client: client.delete(f"/{mark}", recursive=True)),
        away=address.format("ann", free_port()),
        denied=address.format("eve", port),
        bad=lambda: act(lambda client: client.set(f"/{mark}/db/pool", b"\xff")),
    )


def _redis(room: Room) -> Rig:
    import redis

    home, mark, _, _ = room
    port = home.server("redis").port

    def act(do: Callable[[Any], object]) -> None:
        with redis.Redis(port=port, username="ann", password=CANARY) as client:
            do(client)

    address = f"redis://{{}}:{QUOTED}@127.0.0.1:{{}}/0/{mark}?poll=0.1"
    return Rig(
        address.format("ann", port),
        lambda values: act(lambda client: client.hset(mark, mapping=dict(values))),
        lambda: act(lambda client: client.delete(mark)),
        away=address.format("ann", free_port()),
        denied=address.format("eve", port),
        bad=lambda: act(lambda client: client.hset(mark, "db.pool", b"\xff")),
    )


def void(_: object) -> None:
    """Takes what an expression gives, where only what it does matters."""


def _table(mark: str, values: Mapping[str, str]) -> list[str]:
    rows = ", ".join(f"('{key}', '{text}')" for key, text in values.items())
    made = f"CREATE TABLE IF NOT EXISTS {mark} (key varchar(500) PRIMARY KEY, value text)"
    return [made, f"DELETE FROM {mark}", *([f"INSERT INTO {mark} VALUES {rows}"] if rows else [])]


def _postgresql(room: Room) -> Rig:
    home, mark, _, _ = room
    port = home.server("postgresql").port
    address = f"postgresql://{{}}:{QUOTED}@127.0.0.1:{{}}/postgres#{mark}?poll=0.1"
    return Rig(
        address.format("ann", port),
        lambda values: void(servers.pg(port, *_table(mark, values))),
        lambda: void(servers.pg(port, f"DROP TABLE {mark}")),
        away=address.format("ann", free_port()),
        denied=address.format("eve", port),
        bad=lambda: void(servers.pg(port, f"INSERT INTO {mark} VALUES ('db', 'a value and a folder')")),
    )


def _sqlite(room: Room) -> Rig:
    _, mark, folder, _ = room
    path = folder / "conf.db"

    def act(*statements: str) -> None:
        line = sqlite3.connect(path)
        for statement in statements:
            line.execute(statement)
        line.commit()
        line.close()

    return Rig(
        f"sqlite:///{path}#{mark}?poll=0.05",
        lambda values: act(*_table(mark, values)),
        lambda: act(f"DROP TABLE {mark}"),
        bad=lambda: act(f"INSERT INTO {mark} VALUES ('db', 'a value and a folder')"),
    )


def _http(room: Room) -> Rig:
    home, mark, _, _ = room
    path = f"/closed/{mark}.yaml"

    def put(body: bytes) -> None:
        home.web.pages[path] = Page(body)

    address = f"http://ann:{{}}@127.0.0.1:{{}}{path}#poll=0.05"
    return Rig(
        address.format(QUOTED, home.web.port),
        lambda values: put(_yaml_text(values).encode()),
        lambda: void(home.web.pages.pop(path)),
        away=address.format(QUOTED, free_port()),
        denied=address.format("wrong", home.web.port),
        bad=lambda: put(b"a: [1,"),
    )


def _s3(room: Room) -> Rig:
    home, mark, _, _ = room
    port = home.server("moto").port
    client = servers.aws("s3", port)
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="conf", CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
    address = (
        f"s3://conf/{mark}/app.yaml?endpointurl=http://127.0.0.1:{{}}&access_key_id=AKIATEST"
        f"&secret_access_key={QUOTED}&poll=0.05"
    )
    put: Callable[[bytes], object] = lambda body: client.put_object(Bucket="conf", Key=f"{mark}/app.yaml", Body=body)  # noqa: E731
    return Rig(
        address.format(port),
        lambda values: void(put(_yaml_text(values).encode())),
        lambda: void(client.delete_object(Bucket="conf", Key=f"{mark}/app.yaml")),
        away=address.format(free_port()) + "&read_timeout=1&connect_timeout=1",
        bad=lambda: void(put(b"a: [1,")),
    )


def _identity(room: Room) -> int:
    home, _, _, patch = room
    for name, value in KEYS.items():
        patch.setenv(name, value)
    return home.server("moto").port


def _ssm(room: Room) -> Rig:
    mark = room[1]
    port = _identity(room)
    client = servers.aws("ssm", port)

    def put(values: Mapping[str, str]) -> None:
        for key, text in values.items():
            client.put_parameter(
                Name=f"/{mark}/{key.replace('.', '/')}", Value=text, Type="SecureString", Overwrite=True
            )

    address = f"ssm:///{mark}?poll=0.05&endpoint=http://127.0.0.1:{{}}"
    return Rig(
        address.format(port),
        put,
        lambda: client.delete_parameters(Names=[f"/{mark}/{key.replace('.', '/')}" for key in FIRST]) and None,
        away=address.format(free_port()),
        bad=lambda: client.put_parameter(Name=f"/{mark}/db", Value="both", Type="String") and None,
        canaries=(KEYS["AWS_SECRET_ACCESS_KEY"], "pg://h"),
    )


def _secretsmanager(room: Room) -> Rig:
    mark = room[1]
    port = _identity(room)
    client = servers.aws("secretsmanager", port)

    def put(text: str) -> None:
        try:
            client.put_secret_value(SecretId=f"{mark}/Db", SecretString=text)
        except client.exceptions.ResourceNotFoundException:
            client.create_secret(Name=f"{mark}/Db", SecretString=text)

    address = f"secretsmanager://{mark}/Db?poll=0.05&endpoint=http://127.0.0.1:{{}}"
    return Rig(
        address.format(port),
        lambda values: put(json.dumps(_nested(values))),
        lambda: client.delete_secret(SecretId=f"{mark}/Db", ForceDeleteWithoutRecovery=True) and None,
        away=address.format(free_port()),
        bad=lambda: put("no object"),
        canaries=(KEYS["AWS_SECRET_ACCESS_KEY"], "pg://h"),
    )


def _nested(values: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, text in values.items():
        *above, last = key.split(".")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
        node[last] = int(text) if text.isdecimal() else text
    return tree


def _yaml_text(values: Mapping[str, str]) -> str:
    return json.dumps(_nested(values))  # which is YAML, too


def _toml_text(values: Mapping[str, str]) -> str:
    return "".join(f"{key} = {text if text.isdecimal() else json.dumps(text)}\n" for key, text in values.items())


def _ini_text(values: Mapping[str, str]) -> str:
    rows = [key.rpartition(".") for key in values]
    tops = "".join(f"{name} = {values[name]}\n" for above, _, name in rows if not above)
    inner = "".join(f"{name} = {values[f'{above}.{name}']}\n" for above, _, name in rows if above)
    return f"[db]\n{inner}[top]\n{tops}"


def _dotenv_text(values: Mapping[str, str]) -> str:
    return "".join(f"{key.replace('.', '__').upper()}='{text}'\n" for key, text in values.items())


def _file(name: str, text: Callable[[Mapping[str, str]], str], bad: str) -> Callable[[Room], Rig]:
    def made(room: Room) -> Rig:
        path = room[2] / name

        def put(body: str) -> None:
            fresh = path.with_suffix(".fresh")
            fresh.write_text(body)
            fresh.replace(path)

        return Rig(str(path), lambda values: put(text(values)), path.unlink, bad=lambda: put(bad), canaries=())

    return made


def _environment(room: Room) -> Rig:
    def put(values: Mapping[str, str]) -> None:
        for key, text in values.items():
            room[3].setenv(f"RIG_{key.replace('.', '__').upper()}", text)

    return Rig("env:RIG_", put, live=False, canaries=())


def _dotlist(room: Room) -> Rig:
    from modelkeep.configuration.sources.dotlist import Dotlist

    rig = Rig(None, lambda values: None, live=False, canaries=())

    def put(values: Mapping[str, str]) -> None:
        rig.where = Dotlist([f"{key}={text}" for key, text in values.items()])

    rig.put = put
    return rig


def _objects(room: Room) -> Rig:
    rig = Rig(None, lambda values: None, live=False, canaries=())

    def put(values: Mapping[str, str]) -> None:
        rig.where = _nested(values)

    rig.put = put
    return rig


RIGS: dict[str, tuple[str, Callable[[Room], Rig], str]] = {
    "consul": ("consul", _consul, ""),
    "etcd": ("etcd", _etcd, "etcd"),
    "zookeeper": ("zookeeper", _zookeeper, "zookeeper"),
    "redis": ("redis", _redis, "redis-server"),
    "postgresql": ("sql", _postgresql, "postgres"),
    "sqlite": ("sql", _sqlite, ""),
    "http": ("http", _http, ""),
    "s3": ("bucket", _s3, "moto_server"),
    "ssm": ("ssm", _ssm, "moto_server"),
    "secretsmanager": ("secretsmanager", _secretsmanager, "moto_server"),
    "yaml": ("yaml", _file("app.yaml", _yaml_text, "a: [1,"), ""),
    "json": ("json", _file("app.json", _yaml_text, '{"a": '), ""),
    "toml": ("toml", _file("app.toml", _toml_text, "a = ["), ""),
    "ini": ("ini", _file("app.ini", _ini_text, "no section"), ""),
    "dotenv": ("dotenv", _file("app.env", _dotenv_text, "A='"), ""),
    "environment": ("environment", _environment, ""),
    "dotlist": ("dotlist", _dotlist, ""),
    "objects": ("objects", _objects, ""),
}
"""Rig → the plugin, what makes it, and the program that it needs."""
CHANGING = [name for name in RIGS if name not in {"environment", "dotlist", "objects"}]
REMOTE = ["consul", "etcd", "zookeeper", "redis", "postgresql", "http", "s3", "ssm", "secretsmanager"]
LOGINS = ["consul", "etcd", "zookeeper", "redis", "postgresql", "http"]
WRITING = ["consul", "etcd", "zookeeper", "redis", "postgresql", "sqlite"]
