"""One kept-alive connection to the server."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from modelkeep._version import __version__
from modelkeep.core.encoding import MEDIA_TYPE
from modelkeep.sdk.packages import Package

_LOCAL: Final = {"localhost", "127.0.0.1", "::1"}
_SLICE_S: Final = 0.2
_CONNECT_S: Final = 3.0
_STALE_S: Final = 1.0
_LATER: Final = frozenset({0, 401, 403, 404, 407, 408, 421, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        status: of HTTP; 0: nothing came back.
        message: the server's reason, or what went wrong on the way.
        retry_after_s: how long the server asks to wait.
        wishes: what it asks of this process besides.
    """

    status: int
    message: str = ""
    retry_after_s: float = 0.0
    wishes: str = ""

    @property
    def kept(self) -> bool:
        """Whether the server has it on disk."""
        return 200 <= self.status < 300

    @property
    def again(self) -> bool:
        """Whether the same request may succeed later: the server is away or busy, or the address or token wrong."""
        return self.status in _LATER or self.status >= 500 or 300 <= self.status < 400


class Connection:
    """Posts packages.

    Args:
        url: `http://host:port` with an optional path before `/api/v1/ingest`.
        token: bearer token, or empty.
        timeout_s: for one answer.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._secure = parts.scheme == "https"
        self._path = f"{parts.path.rstrip('/')}/api/v1/ingest"
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": MEDIA_TYPE, "User-Agent": f"modelkeep/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: HTTPConnection | None = None

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, so that compressing would only cost."""
        return self._host in _LOCAL

    def post(self, package: Package, idle: Callable[[], None]) -> Answer:
        """Sends one package and gives the answer; never raises for what the network or server does.

        Args:
            package: what to send.
            idle: called about five times a second while the answer is awaited; gives up by a BaseException.
        """
        reused, start = self._http is not None, time.monotonic()
        answer = self._attempt(package, idle)
        if answer.status == 0 and reused and time.monotonic() - start < _STALE_S:
            return self._attempt(package, idle)
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _attempt(self, package: Package, idle: Callable[[], None]) -> Answer:
        headers = self._headers
        if package.coding != "identity":
            headers = {**headers, "Content-Encoding": package.coding}
        try:
            http = self._open()
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read: the answer says why
                http.request("POST", self._path, package.body, headers)
            self._wait(http, idle)
            response = http.getresponse()
            body = response.read(65_536)
            if response.will_close or not response.isclosed():
                self.close()
        except Exception as error:  # noqa: BLE001
            self.close()
            return Answer(0, f"{type(error).__name__}: {error}")
        except BaseException:
            self.close()
            raise
        wishes = response.headers.get("Modelkeep-Wishes", "")
        return Answer(response.status, _reason(body, response.reason), _wait_s(response.headers), wishes)

    def _open(self) -> HTTPConnection:
        if self._http is None:
            kind = HTTPSConnection if self._secure else HTTPConnection
            self._http = kind(self._host, self._port, timeout=_CONNECT_S)
            self._http.connect()
            if self._http.sock is not None:
                self._http.sock.settimeout(self._timeout_s)
                self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._http

    def _wait(self, http: HTTPConnection, idle: Callable[[], None]) -> None:
        end = time.monotonic() + self._timeout_s
        while http.sock is not None:
            if _readable(http.sock, _SLICE_S):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"no answer in {self._timeout_s:g} s")
            idle()


def _readable(sock: socket.socket, timeout_s: float) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(timeout_s * 1000))
    return bool(select.select([sock], [], [], timeout_s)[0])


class _Error(msgspec.Struct):
    message: str = ""
    hint: str = ""


class _Body(msgspec.Struct):
    error: _Error


def _reason(body: bytes, phrase: str) -> str:
    try:
        error = msgspec.json.decode(body, type=_Body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return phrase
    return f"{error.message} {error.hint}".strip() or phrase


def _wait_s(headers: HTTPMessage) -> float:
    try:
        return max(0.0, min(600.0, float(headers.get("Retry-After", "") or 0)))
    except ValueError:
        return 0.0
