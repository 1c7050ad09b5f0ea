"""A document at an HTTP(S) address, asked again with its ETag: `https://config.example.org/app.yaml`."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from modelkeep.configuration.secrecy import mask_url
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document
from modelkeep.configuration.tree import Reading
from modelkeep.configuration.web import Web
from modelkeep.core.errors import BadInput

_KINDS: Final = {"json": "json", "yaml": "yaml", "toml": "toml"}


class Http:
    """One document; its format is told by its ending, its Content-Type or `#format=yaml`.

    Args:
        where: the address; `#poll=30` asks every 30 seconds instead of 10. A token goes as `#token=secret` into the
            Authorization header; nothing behind the hash sign is sent to the server.

    Raises:
        BadInput: an option that there is not.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        split = urlsplit(where)
        options = dict(parse_qsl(split.fragment))
        unknown = sorted(set(options) - {"format", "poll", "token"})
        if unknown:
            raise BadInput(
                f"{mask_url(where)}: there is no option {unknown[0]!r}", hint="There are format, poll and token."
            )
        self.name: Final = f"{split.scheme}://{split.hostname}{f':{split.port}' if split.port else ''}{split.path}"
        headers = {"Accept": "application/yaml, application/json, application/toml, */*;q=0.1"}
        if "token" in options:
            headers["Authorization"] = f"Bearer {options['token']}"
        self._web = Web(
            f"{split.scheme}://{split.hostname}{f':{split.port}' if split.port else ''}", self.name, headers
        )
        self._path = split.path + (f"?{urlencode(parse_qsl(split.query))}" if split.query else "")
        self._kind = options.get("format", "")
        self._poll_s = float(options.get("poll", "10"))
        self._asked = 0.0
        self._tag = ""
        self._closed = threading.Event()

    def read(self) -> Reading:
        answer = self._web.ask("GET", self._path)
        self._asked, self._tag = time.monotonic(), answer.headers.get("etag", "")
        kind = self._kind
        if not kind:
            told = answer.headers.get("content-type", "").lower()
            kind = next((name for word, name in _KINDS.items() if word in told), "")
        return document(answer.body, self.name, kind, version=hashlib.sha256(answer.body).hexdigest())

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the next time to ask; says whether the server has another version."""
        left = self._asked + self._poll_s - time.monotonic()
        if self._closed.wait(max(0.0, min(wait_s, left))) or left > wait_s:
            return False
        self._asked = time.monotonic()
        answer = self._web.ask("GET", self._path, headers={"If-None-Match": self._tag} if self._tag else {})
        return answer.status != 304 and hashlib.sha256(answer.body).hexdigest() != seen

    def close(self) -> None:
        self._closed.set()


plugin: type[Source] = Http
