"""The contract of every source of configuration: what is written is read, what changes is heard, failures are told."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from modelkeep.configuration.config import Config
from modelkeep.configuration.lastgood import LastGood
from modelkeep.configuration.make import config
from modelkeep.configuration.source import KIND, Source, Writable, open_sources
from modelkeep.configuration.tree import leaves
from modelkeep.core.errors import BadInput, Denied, Error, Missing, Unreachable
from tests.configuration import servers
from tests.configuration.servers import CANARY, KEYS, QUOTED, House, house, until
from tests.configuration.web_stub import Page
from tests.store.remote_servers import free_port

FIRST = {"db.pool": "8", "db.url": "pg://h", "name": "a b"}
SECOND = {"db.pool": "9", "db.url": "pg://h", "name": "a b"}
LIMIT_S = 5.0


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
_marks = count()


def parameters(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(RIGS[name][2]) if RIGS[name][2] else ()) for name in names]


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    home = house()
    yield RIGS[request.param][1]((home, f"rig{next(_marks)}", tmp_path, monkeypatch))
    home.consul.clear()


def rigs(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", parameters(names), indirect=True)


@pytest.fixture
def opened(rig: Rig) -> Iterator[Source]:
    rig.put(FIRST)
    source = rig.open()
    yield source
    source.close()


def flat(source: Source) -> dict[str, str]:
    """What it reads, as texts; INI has no keys without a section."""
    return {key.removeprefix("top."): str(value) for key, value in leaves(source.read().tree)}


def test_every_source_has_a_rig() -> None:
    assert set(KIND.names()) == {plugin for plugin, _, _ in RIGS.values()}


@rigs(list(RIGS))
def test_what_was_written_is_read(rig: Rig, opened: Source) -> None:
    reading = opened.read()
    assert flat(opened) == FIRST
    assert isinstance(opened, Source)
    assert opened.live is rig.live
    assert opened.name
    for key, _ in leaves(reading.tree):
        assert str(reading.mark(key))
    again = opened.read()
    assert (again.tree, again.version) == (reading.tree, reading.version)
    assert not opened.watch(reading.version, 0.01)


@rigs(CHANGING)
def test_what_changes_between_read_and_watch_is_heard(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    rig.put(SECOND)
    assert opened.watch(seen.version, LIMIT_S)
    assert flat(opened) == SECOND
    assert opened.read().version != seen.version


@rigs(CHANGING)
def test_what_changes_during_watch_is_heard(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(opened.watch(seen.version, LIMIT_S * 2)))
    thread.start()
    time.sleep(0.05)
    rig.put(SECOND)
    thread.join(LIMIT_S)
    assert told == [True]
    assert flat(opened) == SECOND


@rigs(CHANGING)
def test_what_somebody_else_read_first_is_heard_too(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    rig.put(SECOND)
    assert flat(opened) == SECOND
    assert opened.watch(seen.version, LIMIT_S)


@rigs(CHANGING)
def test_close_ends_a_waiting_watch(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(opened.watch(seen.version, 60)))
    thread.start()
    time.sleep(0.1)
    opened.close()
    thread.join(10)
    assert told == [False]
    opened.close()


@rigs(CHANGING)
def test_what_is_missing_is_told_and_its_coming_heard(rig: Rig) -> None:
    with rig_open(rig) as source, pytest.raises(Missing) as caught:
        source.read()
    assert caught.value.hint
    (there,) = open_sources(f"optional:{rig.where}")
    assert there.read().tree == {}
    assert not there.watch("absent", 0.01)
    rig.put(FIRST)
    assert there.watch("absent", LIMIT_S)
    assert flat(there) == FIRST
    assert rig.clear is not None
    seen = there.read().version
    rig.clear()
    assert there.watch(seen, LIMIT_S)
    assert there.read().tree == {}
    there.close()


@rigs(REMOTE)
def test_what_is_away_is_told_and_its_last_good_copy_holds(rig: Rig, tmp_path: Path) -> None:
    (source,) = open_sources(rig.away)
    with pytest.raises(Unreachable) as caught:
        source.read()
    assert caught.value.hint
    unseen(rig, source, source.name, caught.value, caught.value.hint, caught.value.__cause__)
    kept = LastGood(tmp_path / "kept", "a key of some length")
    rig.put(FIRST)
    good = rig.open()
    kept.save(source.name, good.read())
    good.close()
    with Config[object]([source], last_good=kept) as cfg:
        assert int(cfg["db.pool"]) == 8
        states = {change.state for change in cfg.history()}
        assert states == {"applied", "unreachable"}
        unseen(rig, cfg, cfg.tree() if rig.canaries[0] != CANARY else "", cfg.history())


@rigs(CHANGING)
def test_a_wrong_change_is_never_applied(rig: Rig) -> None:
    rig.put(FIRST)
    assert rig.bad is not None
    with config(rig.where) as cfg:
        name = "db.pool" if "db" in cfg.tree() else "top.db.pool"
        watch = cfg.watch()
        rig.bad()
        until(lambda: any(change.state == "rejected" for change in cfg.history()))
        assert int(cfg[name]) == 8
        time.sleep(0.2)
        refused = [change for change in cfg.history() if change.state == "rejected"]
        assert len(refused) == 1
        unseen(rig, *refused)
        assert watch.counts().applied == 0
        cfg.close()
        watch.stop()


@rigs(LOGINS)
def test_who_may_not_read_is_denied(rig: Rig) -> None:
    rig.put(FIRST)
    (source,) = open_sources(rig.denied)
    with pytest.raises(Denied) as caught:
        source.read()
    assert caught.value.hint
    unseen(rig, source, source.name, caught.value)
    source.close()


@rigs(WRITING)
def test_what_is_written_through_it_is_read_as_it_was(rig: Rig, opened: Source) -> None:
    assert isinstance(opened, Writable)
    other = rig.open()
    assert isinstance(other, Writable)
    seen = opened.read().version
    values: dict[str, Any] = {
        "db.pool": 10,
        "a.text": "8",
        "a.list": [1, "x"],
        "a.on": True,
        "a.word": "null",
        "new": 0.5,
    }
    other.write({**values, "name": None}, author="ann", reason="a test")
    assert opened.watch(seen, LIMIT_S)
    tree: Any = opened.read().tree
    assert tree == {
        "db": {"pool": 10, "url": "pg://h"},
        "a": {"text": "8", "list": [1, "x"], "on": True, "word": "null"},
        "new": 0.5,
    }
    with pytest.raises(BadInput, match=r"a\.bytes"):
        other.write({"a.bytes": b"\0"})
    other.close()


@rigs(REMOTE)
def test_no_credential_is_seen(rig: Rig, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO)
    rig.put(FIRST)
    seen: list[object] = []
    with config(rig.where) as cfg:
        seen += [cfg, cfg.sources, [source.name for source in cfg.sources], cfg.history(), cfg.explain("db.pool")]
        seen += [[str(cfg.snapshot().mark(key)) for key in cfg.snapshot().names()], cfg.snapshot()]
    for text in (f"{rig.where}&nonsense=1", f"{rig.where}?nonsense=1", f"{rig.where}&poll=x", rig.denied):
        opened: list[Source] = []
        try:
            opened = open_sources(text) if text else []
            for source in opened:
                seen += [source, source.name]
                source.read()
        except Error as error:
            seen += [error, error.hint, error.__dict__, error.args, error.__cause__]
        for source in opened:
            source.close()
    for source in open_sources(rig.where):
        source.close()
        with pytest.raises(Error) as caught:
            source.read()
        seen.append(caught.value)
    out = capsys.readouterr()
    unseen(rig, *seen, out.out, out.err, caplog.text)


def unseen(rig: Rig, *things: object) -> None:
    """Nothing of what is secret is in what people see."""
    for thing in things:
        text = f"{thing!r} {thing!s}"
        for canary in rig.canaries:
            assert canary not in text


class rig_open:  # noqa: N801
    """A source that is closed at the end of the block."""

    def __init__(self, rig: Rig) -> None:
        self._source = rig.open()

    def __enter__(self) -> Source:
        return self._source

    def __exit__(self, *_: object) -> None:
        self._source.close()
