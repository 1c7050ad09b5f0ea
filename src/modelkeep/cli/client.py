"""The command line's way to a running server: standard library only, so that it works with the SDK alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from modelkeep.core.errors import KINDS, BadInput, Busy, Denied, Error, Unreachable
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    import http.client

DEFAULT_URL: Final = "http://127.0.0.1:7300"
Parameter = str | int | float | None


def find_url(folder: Path) -> str:
    """Gives the server's address: MODELKEEP_URL, else what a server wrote in `folder`/.modelkeep, else the default."""
    if url := os.environ.get("MODELKEEP_URL"):
        return url.rstrip("/")
    try:
        return str(json.loads((folder / ".modelkeep" / "server.json").read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        return DEFAULT_URL


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one server.

    Args:
        url: http or https address without path.
        token: sent as bearer token when not empty.
        timeout_s: for one answer.
    """

    url: str
    token: str = field(default="", repr=False)
    timeout_s: float = 60.0

    @classmethod
    def here(cls, *, timeout_s: float = 60.0) -> Client:
        """Gives the client for the server of this folder or of the environment."""
        return cls(find_url(Path.cwd()), os.environ.get("MODELKEEP_TOKEN", ""), timeout_s)

    def get(self, path: str, **parameters: Parameter) -> dict[str, Json]:
        """Gives the JSON object that the server answers.

        Raises:
            Error: whatever the server answered, as one of the seven errors.
        """
        return self._json("GET", path, parameters)

    def post(self, path: str, body: Mapping[str, Json]) -> dict[str, Json]:
        """Sends a JSON object and gives the one that comes back."""
        return self._json("POST", path, {}, json.dumps(body).encode())

    def delete(self, path: str) -> dict[str, Json]:
        """Deletes what the path names."""
        return self._json("DELETE", path, {})

    def ingest(self, body: bytes, media_type: str) -> dict[str, Json]:
        """Sends records in modelkeep's own form."""
        return self._json("POST", "/api/v1/ingest", {}, body, media_type)

    def clock_skew_s(self) -> float:
        """Gives how far the server's clock is ahead of this one, to about a second."""
        from email.utils import parsedate_to_datetime

        with self._answer("GET", "/healthz", {}, None, "") as response:
            told = response.headers.get("Date")
        if not told:
            raise BadInput(f"{self.url} does not tell its time", hint="Is this a modelkeep server?")
        return parsedate_to_datetime(told).timestamp() - time.time()

    def download(self, path: str, into: IO[bytes]) -> int:
        """Copies the answer's body into an open file and gives its size in bytes."""
        with self._answer("GET", path, {}, None, "") as response:
            start = into.tell()
            shutil.copyfileobj(response, into, 1 << 20)
            return into.tell() - start

    def _json(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Parameter],
        body: bytes | None = None,
        media_type: str = "application/json",
    ) -> dict[str, Json]:
        with self._answer(method, path, parameters, body, media_type) as response:
            text = response.read()
            if response.headers.get("Modelkeep-Incomplete"):
                sys.stderr.write("The server is still reading what it took; ask again for the newest records.\n")
        answer = json.loads(text) if text else {}
        if not isinstance(answer, dict):
            raise BadInput(
                f"{self.url}{path} answered something else than an object", hint="Is this a modelkeep server?"
            )
        return answer

    @contextmanager
    def _answer(
        self, method: str, path: str, parameters: Mapping[str, Parameter], body: bytes | None, media_type: str
    ) -> Iterator[http.client.HTTPResponse]:
        import http.client

        address = urlsplit(self.url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise BadInput(
                f"{self.url!r} is not a server's address", hint=f"Set MODELKEEP_URL, for example {DEFAULT_URL}."
            )
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname, address.port, timeout=self.timeout_s)
        query = urlencode({name: value for name, value in parameters.items() if value is not None}, quote_via=quote)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            headers["Content-Type"] = media_type
        try:
            connection.request(method, f"{path}?{query}" if query else path, body, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no answer from {self.url}: {error}", hint="Start it with `modelkeep serve`, or set MODELKEEP_URL."
            ) from None
        finally:
            connection.close()


def _error(response: http.client.HTTPResponse) -> Error:
    """Gives the server's error as the class that it names."""
    try:
        told = json.loads(response.read(1 << 20))["error"]
        if isinstance(told, str):  # on the Prometheus paths
            name, message, hint = "", told, ""
        else:
            name, message, hint = str(told["name"]), str(told["message"]), str(told.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        name, message, hint = "", f"the server answered {response.status} {response.reason}", ""
    if response.status == 401:
        return Denied(message, hint="Set MODELKEEP_TOKEN to a token of this server.", status=401)
    if response.status == 429:
        wait = response.headers.get("Retry-After", "1")
        return Busy(message, hint=hint, retry_after_s=float(wait) if wait.isdigit() else 1.0)
    for kind in KINDS:
        if kind.__name__ == name or (not name and kind.status == response.status):
            return kind(message, hint=hint)
    return Error(message, hint=hint, status=response.status)
