"""The one way by which sources speak HTTP: bounded, verified, and never led to another host."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.core.secret import Secret

_LIMIT_BYTES: Final = 16 << 20
_PIECE_BYTES: Final = 65_536
_MOST_REDIRECTS: Final = 3
_TIMEOUT_S: Final = 10.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Args:
        status: of HTTP.
        headers: names in lower case.
        body: at most 16 MB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self, where: str) -> object:
        """Gives the body as JSON.

        Raises:
            BadInput: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise BadInput(f"{where} answered something that is no JSON", hint="Is that the right server?") from None


class Web:
    """A client for one server.

    Args:
        scheme: http or https.
        host: its name or number.
        port: 0 for the scheme's own.
        name: what people see in errors; without credentials.
        headers: sent with every request.
    """

    def __init__(
        self, scheme: str, host: str, port: int, name: str, headers: Mapping[str, str | Secret] | None = None
    ) -> None:
        self._scheme, self._host, self._port = scheme, host, port or (443 if scheme == "https" else 80)
        self._name = name
        self._headers = dict(headers or {})
        self._context = ssl.create_default_context() if scheme == "https" else None
        self._lines: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._closed = False

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Answer:
        """Sends one request.

        Raises:
            Unreachable: nobody answers in time, TLS fails, or the server has a fault of its own.
            Denied: 401 or 403.
            Missing: 404.
            Busy: 429; with the time that the server asks for.
            BadInput: any other refusal, a redirect to another host, or an answer that is too large.
        """
        return self.judged(self.send(method, path, body=body, headers=headers, timeout_s=timeout_s))

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Answer:
        """Sends one request and gives the answer of any status; `judged` tells what to make of it.

        Raises:
            Unreachable: nobody answers in time, or TLS fails.
            BadInput: a redirect to another host, or an answer that is too large.
        """
        until = time.monotonic() + timeout_s
        for _ in range(_MOST_REDIRECTS):
            try:
                with self.stream(method, path, body=body, headers=headers, timeout_s=timeout_s) as told:
                    answer = Answer(told.status, _lower(told), self._whole(told, until))
            except TimeoutError as error:
                raise self.unreachable(error) from None
            if answer.status not in _REDIRECTS:
                return answer
            path = self._led(path, answer.headers.get("location", ""))
        raise BadInput(f"{self._name} redirects again and again", hint="Give the address that it means.")

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Iterator[http.client.HTTPResponse]:
        """Sends one request and gives the answer to be read bit by bit; reading it waits at most `timeout_s` each time.

        Raises:
            TimeoutError: it took longer than `timeout_s` to read on.
            Unreachable: nobody answers, TLS fails, or the line breaks while it is read.
            BadInput: a character that HTTP does not allow.
        """
        line = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        if self._context is not None:
            line = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)
        held: socket.socket | None = None
        try:
            try:
                line.connect()
                held = self._hold(line.sock)
                sent = {**self._headers, **(headers or {})}
                line.request(method, path, body, {name: _plain(value) for name, value in sent.items()})
            except TimeoutError as error:
                raise self.unreachable(error) from None
            yield line.getresponse()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error) from None
        except (ValueError, AttributeError):  # a header that HTTP does not allow; or closed while it was read
            if self._closed:
                raise Unreachable(f"{self._name} is closed") from None
            raise BadInput(f"{self._name}: a character in path or token that HTTP does not allow") from None
        finally:
            self._release(held)
            line.close()

    def judged(self, answer: Answer) -> Answer:
        """Gives an answer that is none of a refusal.

        Raises:
            Error: what `ask` raises for its status.
        """
        status = answer.status
        if status < 400:
            return answer
        if status == 429:
            wait = answer.headers.get("retry-after", "")
            raise Busy(f"{self._name} asks to wait", retry_after_s=float(wait) if wait.isdecimal() else 1.0)
        kinds: dict[int, type[Error]] = {401: Denied, 403: Denied, 404: Missing}
        kind = kinds.get(status, Unreachable if status >= 500 else BadInput)
        raise kind(f"{self._name} answered {status}", hint=_HINTS.get(kind, ""))

    def unreachable(self, error: Exception) -> Unreachable:
        """Gives a failure of the line as ours; what HTTP's own complaints quote is not told."""
        if self._closed:
            return Unreachable(f"{self._name} is closed")
        reason = type(error).__name__ if isinstance(error, http.client.HTTPException) else _reason(error)
        return Unreachable(f"{self._name}: {reason}", hint="Is it running, and reachable from here?")

    def close(self) -> None:
        """Ends every request that is under way, and refuses further ones."""
        with self._guard:
            self._closed = True
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _hold(self, line: socket.socket) -> socket.socket:
        with self._guard:
            if self._closed:
                raise Unreachable(f"{self._name} is closed")
            self._lines.add(line)
        return line

    def _release(self, line: socket.socket | None) -> None:
        if line is not None:
            with self._guard:
                self._lines.discard(line)

    def _whole(self, answer: http.client.HTTPResponse, until: float) -> bytes:
        pieces = bytearray()
        while piece := answer.read1(_PIECE_BYTES):
            pieces += piece
            if len(pieces) > _LIMIT_BYTES:
                raise BadInput(f"{self._name} answered more than {_LIMIT_BYTES >> 20} MB", hint="Make it smaller.")
            if time.monotonic() > until:
                raise TimeoutError("timed out")
        if answer.length:  # less came than was said
            raise self.unreachable(http.client.IncompleteRead(b""))
        return bytes(pieces)

    def _led(self, path: str, to: str) -> str:
        """Gives the path of a redirect; credentials never go to another host."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            split = urlsplit(urljoin(f"{self._scheme}://{host}:{self._port}{path}", to))
            port = split.port or (443 if split.scheme == "https" else 80)
        except ValueError:
            raise BadInput(f"{self._name} redirects to no address", hint="Give the address that it means.") from None
        if (split.scheme, split.hostname, port) != (self._scheme, self._host.lower(), self._port):
            raise BadInput(f"{self._name} redirects to another host", hint="Give the address that it redirects to.")
        return f"{split.path}?{split.query}" if split.query else split.path


def _lower(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_HINTS: Final[dict[type[Error], str]] = {
    Denied: "Give a token that may read there.",
    Missing: "Is the path right?",
    Unreachable: "It has a fault of its own; it is asked again.",
}
