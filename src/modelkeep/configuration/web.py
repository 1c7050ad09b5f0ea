"""The one way by which sources speak HTTP: bounded, verified, and never led to another host."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable

_LIMIT_BYTES: Final = 16 << 20
_MOST_REDIRECTS: Final = 3
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Args:
        status: below 400.
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
        except ValueError:
            raise BadInput(f"{where} answered something that is no JSON") from None


class Web:
    """A client for one server.

    Args:
        root: `http://host:port` or `https://host:port`.
        name: what people see in errors; without credentials.
        headers: sent with every request.
    """

    def __init__(self, root: str, name: str, headers: Mapping[str, str] | None = None) -> None:
        split = urlsplit(root)
        self._scheme, self._host, self._port = split.scheme, split.hostname or "", split.port
        self._name = name
        self._headers = dict(headers or {})

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
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
        for _ in range(_MOST_REDIRECTS):
            answer = self._asked(method, path, body, {**self._headers, **(headers or {})}, timeout_s)
            if answer.status not in {301, 302, 303, 307, 308}:
                return self._judged(answer)
            path = self._led(path, answer.headers.get("location", ""))
        raise BadInput(f"{self._name} redirects again and again")

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Opens a connection, for answers that are read bit by bit; the caller closes it."""
        if self._scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def unreachable(self, error: Exception) -> Unreachable:
        """Gives a failure of the line as ours."""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(f"{self._name}: {reason}", hint="Is it running, and reachable from here?")

    def _asked(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        line = self.connect(timeout_s)
        try:
            line.request(method, path, body, dict(headers))
            answer = line.getresponse()
            data = answer.read(_LIMIT_BYTES + 1)
            found = {name.lower(): value for name, value in answer.getheaders()}
            if len(data) > _LIMIT_BYTES:
                raise BadInput(f"{self._name} answered more than {_LIMIT_BYTES >> 20} MB")
            return Answer(answer.status, found, data)
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error) from None
        finally:
            line.close()

    def _judged(self, answer: Answer) -> Answer:
        status = answer.status
        if status < 400:
            return answer
        if status == 429:
            wait = answer.headers.get("retry-after", "")
            raise Busy(f"{self._name} asks to wait", retry_after_s=float(wait) if wait.isdigit() else 1.0)
        kinds: dict[int, type[Error]] = {401: Denied, 403: Denied, 404: Missing}
        kind = kinds.get(status, Unreachable if status >= 500 else BadInput)
        raise kind(f"{self._name} answered {status}", hint=_HINTS.get(kind, ""))

    def _led(self, path: str, to: str) -> str:
        """Gives the path of a redirect; credentials never go to another host."""
        port = f":{self._port}" if self._port else ""
        split = urlsplit(urljoin(f"{self._scheme}://{self._host}{port}{path}", to))
        if (split.scheme, split.hostname, split.port) != (self._scheme, self._host, self._port):
            raise BadInput(f"{self._name} redirects to another host", hint="Give the address that it redirects to.")
        return f"{split.path}?{split.query}" if split.query else split.path


_HINTS: Final[dict[type[Error], str]] = {
    Denied: "Give a token that may read there.",
    Missing: "Is the path right?",
    Unreachable: "It has a fault of its own; it is asked again.",
}
