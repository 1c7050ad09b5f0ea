"""`modelkeep serve`: one server on one folder, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import uvicorn

from modelkeep.core.errors import BadInput, Conflict, Denied, Unreachable
from modelkeep.server.app import App
from modelkeep.server.door import is_loopback
from modelkeep.server.house import House
from modelkeep.server.settings import Settings

TOLD: Final = "server.json"
_GRACE_S: Final = 10
_BACKLOG: Final = 1024
_CONNECTIONS: Final = 10_000
"""Open connections; most of them idle, kept by processes that send now and then."""

_TURN_S: Final = 0.0005
"""How long a thread may compute while others wait: readers at work must not hold up an acknowledgement."""

log: Final = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then takes no more, seals and returns.

    Raises:
        Conflict: another server has the folder or the port.
        Denied: the address is not loopback and there is no token.
        BadInput: the address cannot be listened on, or a setting is wrong.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("alembic", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _open_files()
    sys.setswitchinterval(_TURN_S)
    server = Serving(settings)

    def stop(*_: object) -> None:
        server.ask_to_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(lambda url: print(f"modelkeep serves at {url}", file=sys.stderr, flush=True))  # noqa: T201
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_files() -> None:
    """Lets the process hold as many files and connections as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _CONNECTIONS if most == resource.RLIM_INFINITY else min(most, 4 * _CONNECTIONS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Serving:
    """One server: a socket, a house and the loop between them.

    Args:
        settings: what it is told; port 0 takes a free one.
    """

    def __init__(self, settings: Settings) -> None:
        self._socket = listen(settings.host, settings.port)
        try:
            port = int(self._socket.getsockname()[1])
            self.settings: Final = msgspec.structs.replace(settings, port=port)
            self.house: Final = _house(self.settings)
            try:
                self._guard()
                self.app = App(self.house)
            except BaseException:
                self.house.stop()
                raise
        except BaseException:
            self._socket.close()
            raise
        self.url: Final = self.settings.address.rstrip("/") if not settings.link else _local(self.settings)
        self._server = _Quiet(
            uvicorn.Config(
                self.app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE_S,
                limit_concurrency=_CONNECTIONS,
                backlog=_BACKLOG,
                h11_max_incomplete_event_size=64 << 10,
                ws="websockets-sansio",
                ws_max_size=64 << 10,
                ws_per_message_deflate=False,
            )
        )
        self._thread: threading.Thread | None = None

    def run(self, ready: Callable[[str], object] | None = None) -> None:
        """Serves until it is asked to stop.

        Args:
            ready: called with the address as soon as it answers.
        """
        told = self.house.folder / TOLD
        try:
            self.house.start()
            gc.collect()
            gc.freeze()
            with _announced(told, self.url):
                if ready is not None:
                    ready(self.url)
                with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as loop:
                    loop.run(self._server.serve(sockets=[self._socket]))
        finally:
            gc.unfreeze()
            self._socket.close()
            self.house.stop()
            self.app.close()

    def ask_to_stop(self) -> None:
        """Makes `run` end; may be called from anywhere, again and again."""
        self._server.should_exit = True
        self.app.consul.end()

    def start(self) -> None:
        """Runs in a thread; returns when it answers."""
        up = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(lambda _: up.set(),), name="modelkeep-serving")
        self._thread.start()
        if not up.wait(60):
            raise Unreachable("the server did not start within a minute")

    def stop(self) -> None:
        """Ends the thread that `start` began."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join()

    def _guard(self) -> None:
        if not is_loopback(self.settings.host) and not self.house.tokens.exist():
            raise Denied(
                f"{self.settings.host} is reached from elsewhere and there is no token",
                hint="Start on 127.0.0.1, make one with `modelkeep token create`, then start with this address.",
            )


class _Quiet(uvicorn.Server):
    """A server that leaves signals to whoever runs it, and so ends with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Gives a listening socket.

    Raises:
        Conflict: the port is taken.
        BadInput: the address is not one of this machine.

    >>> with listen("127.0.0.1", 0) as made:
    ...     made.getsockname()[0]
    '127.0.0.1'
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f"host {host!r}: {error}", hint="Name an address of this machine.") from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        if error.errno in {98, 48}:
            raise Conflict(
                f"port {port} on {host} is taken", hint="Stop what listens there, or take another with --port."
            ) from None
        raise BadInput(f"{host}:{port}: {error.strerror}", hint="Name an address of this machine.") from None
    made.set_inheritable(False)
    return made


def _local(settings: Settings) -> str:
    return msgspec.structs.replace(settings, link="").address.rstrip("/")


def _house(settings: Settings) -> House:
    try:
        return House(settings)
    except Conflict as error:
        told = announced(settings.folder)
        if told:
            raise Conflict(f"{error.message}; it serves at {told}", hint=error.hint) from None
        raise


def announced(folder: Path) -> str:
    """Gives the address that the server of a folder wrote there, empty when none did."""
    try:
        return str(json.loads((folder / TOLD).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextlib.contextmanager
def _announced(path: Path, url: str) -> Iterator[None]:
    """Tells the command line where this server is, as long as it serves."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    text = json.dumps({"url": url, "pid": os.getpid()})
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
