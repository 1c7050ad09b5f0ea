"""Private servers for sources of configuration: real ones on loopback, strict stand-ins where there is no package."""

from __future__ import annotations

import atexit
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.configuration.consul_stub import ConsulStub
from tests.configuration.web_stub import WebStub
from tests.peers import program
from tests.store.remote_servers import free_port, running

CANARY = "canary+of/sources"
"""The password of every login; it must never be seen."""
QUOTED = "canary%2Bof%2Fsources"
"""The same as it stands in an address."""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "canarysecretkey", "AWS_REGION": "eu-central-1"}


class Server:
    """A server that can be stopped and started again where it was, with what it kept.

    Args:
        begin: starts it, on the same port each time.
    """

    def __init__(self, port: int, begin: Callable[[int], Any]) -> None:
        self.port = port
        self._begin = begin
        self._running: ExitStack | None = None

    def start(self) -> None:
        if self._running is None:
            self._running = ExitStack()
            self._running.enter_context(self._begin(self.port))

    def stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


class House:
    """Starts each server when it is first needed; all are stopped when the tests end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sources-"))
        self.folder.chmod(0o755)
        self._servers: dict[str, Server] = {}
        self.consul = ConsulStub()
        self.web = WebStub(CANARY)

    def server(self, name: str) -> Server:
        """Gives a server that runs, with its users made."""
        if name not in self._servers:
            place = self.folder / name
            place.mkdir()
            server = Server(free_port(), lambda port: globals()[name](place, port))
            server.start()
            globals().get(f"_users_of_{name}", lambda port: None)(server.port)
            self._servers[name] = server
        server = self._servers[name]
        server.start()
        return server

    def close(self) -> None:
        self.consul.close()
        self.web.close()
        for server in self._servers.values():
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def house() -> House:
    """The servers of this run of tests."""
    made = House()
    atexit.register(made.close)
    return made


@contextmanager
def redis(place: Path, port: int) -> Iterator[None]:
    (place / "users.acl").write_text(
        f"user default off\nuser ann on >{CANARY} ~* &* +@all\nuser eve on >{CANARY} ~other:* resetchannels +@read\n"
        f"user dev on >{CANARY} ~* resetchannels +@read +@connection +@pubsub\n"
    )
    command = [str(program("redis-server")), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "no", "--aclfile", str(place / "users.acl")]
    with running(command, port):
        yield


@contextmanager
def etcd(place: Path, port: int) -> Iterator[None]:
    peer = free_port()
    command = [str(program("etcd")), "--data-dir", str(place / "data"), "--unsafe-no-fsync", "--bcrypt-cost", "4"]
    command += [
        "--listen-client-urls",
        f"http://127.0.0.1:{port}",
        "--advertise-client-urls",
        f"http://127.0.0.1:{port}",
    ]
    command += ["--listen-peer-urls", f"http://127.0.0.1:{peer}", "--log-level", "error"]
    command += [
        "--auto-compaction-retention",
        "0",
        "--name",
        "one",
        "--initial-cluster",
        f"one=http://127.0.0.1:{peer}",
    ]
    command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
    with running(command, port):
        until(lambda: post(port, "/v3/maintenance/status", {})[0] == 200)
        yield


def _users_of_etcd(port: int) -> None:
    """Root may all, eve may read below other/ alone."""
    asked: list[tuple[str, dict[str, object]]] = [
        ("user/add", {"name": "root", "password": CANARY}),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "eve", "password": CANARY}),
        ("role/add", {"name": "other"}),
        (
            "role/grant",
            {"name": "other", "perm": {"permType": "READ", "key": _code("other/"), "range_end": _code("other0")}},
        ),
        ("user/grant", {"user": "eve", "role": "other"}),
        ("enable", {}),
    ]
    for path, body in asked:
        status, said = post(port, f"/v3/auth/{path}", body)
        assert status == 200, said


def etcd_do(port: int, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    """Asks etcd as root, without our source."""
    _, login = post(port, "/v3/auth/authenticate", {"name": "root", "password": CANARY})
    status, said = post(port, path, body, {"Authorization": str(login["token"])})
    assert status == 200, said
    return said


def etcd_put(port: int, key: str, text: str) -> None:
    """Changes a key as another client would."""
    etcd_do(port, "/v3/kv/put", {"key": _code(key), "value": _code(text)})


def etcd_clear(port: int, folder: str) -> None:
    """Takes away what lies below a folder."""
    end = folder[:-1] + chr(ord(folder[-1]) + 1)
    etcd_do(port, "/v3/kv/deleterange", {"key": _code(folder), "range_end": _code(end)})


@contextmanager
def zookeeper(place: Path, port: int) -> Iterator[None]:
    (place / "zoo.cfg").write_text(
        f"tickTime=500\ndataDir={place}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\nmaxClientCnxns=0\n"
    )
    jars = Path("/usr/share/java")
    command = [str(program("java")), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    command += ["-Dzookeeper.forceSync=no", "-Dzookeeper.nio.numSelectorThreads=1", "-Djava.net.preferIPv4Stack=true"]
    command += ["-cp", f"{jars / 'zookeeper.jar'}:{jars / 'slf4j-nop.jar'}"]
    command += ["org.apache.zookeeper.server.ZooKeeperServerMain", str(place / "zoo.cfg")]
    with running(command, port):
        yield


@contextmanager
def postgresql(place: Path, port: int) -> Iterator[None]:
    """PostgreSQL as the user postgres where the tests run as root, which it refuses to be."""
    home = program("postgres").parent
    wear = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data = place / "data"
    if not data.exists():
        if wear:
            shutil.chown(place, "postgres", "postgres")
        (place / "password").write_text(CANARY)
        (place / "password").chmod(0o644)
        made = [str(home / "initdb"), "-D", str(data), "-U", "ann", "--pwfile", str(place / "password")]
        made += ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*wear, *made], check=True, stdout=subprocess.DEVNULL, cwd=place)
    command = [*wear, str(home / "postgres"), "-D", str(data), "-p", str(port), "-k", str(place)]
    command += [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
        "-c",
        "shared_buffers=16MB",
        "-c",
        "max_connections=40",
    ]
    with running(command, port, cwd=place) as process:
        until(lambda: _accepts(port))
        yield
        process.send_signal(signal.SIGINT)  # ends at once, whoever is connected
        process.wait(20)


def pg(port: int, *statements: str, user: str = "ann") -> list[tuple[Any, ...]]:
    """Runs statements in a database without our source; gives the rows of the last."""
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=port, user=user, password=CANARY, dbname="postgres") as line:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            found = line.execute(statement.encode())
            rows = found.fetchall() if found.description else []
    return rows


def _accepts(port: int) -> bool:
    import psycopg

    with suppress(psycopg.OperationalError):
        pg(port, "SELECT 1")
        return True
    return False


def _users_of_postgresql(port: int) -> None:
    pg(port, f"CREATE ROLE eve LOGIN PASSWORD '{CANARY}'")


@contextmanager
def moto(place: Path, port: int) -> Iterator[None]:
    with running([str(program("moto_server")), "-H", "127.0.0.1", "-p", str(port)], port, cwd=place):
        yield


@cache
def aws(service: str, port: int) -> Any:
    """A client of AWS' own library."""
    import boto3  # type: ignore[import-untyped]

    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


def post(
    port: int, path: str, body: Mapping[str, object] | bytes, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Asks a server, whatever it answers."""
    link = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        link.request("POST", path, data, dict(headers or {}))
        answer = link.getresponse()
        text = answer.read()
        with suppress(ValueError):
            found = json.loads(text)
            return answer.status, found if isinstance(found, dict) else {"": found}
        return answer.status, {"": text.decode(errors="replace")}
    finally:
        link.close()


def until(happened: Callable[[], object], limit_s: float = 20.0) -> None:
    """Waits until something is so; how long it takes is no matter, that it comes is."""
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
