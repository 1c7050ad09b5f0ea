"""A document at an HTTP(S) address, asked again with its ETag: `https://config.example.org/app.yaml`."""

from __future__ import annotations

import base64
import hashlib
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from modelkeep.configuration.address import refuse_unknown, seconds, shown
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.source import Source, suffix_plugin
from modelkeep.configuration.textkeys import FORMATS, document
from modelkeep.configuration.tree import Reading
from modelkeep.configuration.web import Answer, Web
from modelkeep.core.errors import BadInput
from modelkeep.core.secret import Secret

_SAFE: Final = "/%:@!$&'()*+,;=~-._"


class Http(Polled[Answer]):
    """One document; its format is told by `#format=yaml`, its ending, or its Content-Type.

    Args:
        where: the address; `#poll=30` asks every 30 seconds instead of 10. `user:password@` logs in, a token goes as
            `#token=secret` into the Authorization header; nothing behind the hash sign is sent to the server.

    Raises:
        BadInput: the host is missing or wrong, or there is an option that there is not.
    """

    def __init__(self, where: str) -> None:
        plain = shown(where)
        try:
            split = urlsplit(where)
            host, port = split.hostname or "", split.port or 0
        except ValueError:
            host, port = "", 0
        if not host:
            raise BadInput(f"{plain}: no such address", hint="Write https://host:port/path.")
        options = dict(parse_qsl(split.fragment))
        refuse_unknown(options, ("format", "poll", "token"), plain)
        super().__init__(plain, seconds(options.get("poll", ""), 10.0, f"{plain}: poll"))
        headers: dict[str, str | Secret] = {
            "Accept": "application/yaml, application/json, application/toml, */*;q=0.1",
            "User-Agent": "modelkeep",
        }
        if "token" in options:
            headers["Authorization"] = Secret(f"Bearer {options['token']}")
        elif split.username is not None:
            login = f"{unquote(split.username)}:{unquote(split.password or '')}"
            headers["Authorization"] = Secret(f"Basic {base64.b64encode(login.encode()).decode()}")
        self._web = Web(split.scheme.lower(), host, port, plain, headers)
        query = f"?{quote(split.query, safe=f'{_SAFE}?')}" if split.query else ""
        self._path = Secret((quote(split.path, safe=_SAFE) or "/") + query)
        self._kind = options.get("format", "")
        self._tag = ""
        self._version = ""

    def fetch(self) -> Found[Answer]:
        """Gives the document."""
        answer = self._web.ask("GET", self._path.reveal())
        self._tag = answer.headers.get("etag", "")
        self._version = hashlib.sha256(answer.body).hexdigest()
        return Found(self._version, answer)

    def parse(self, found: Found[Answer]) -> Reading:
        """Reads the document in its format."""
        kind = self._kind
        if not kind and suffix_plugin(PurePosixPath(self.name).name) not in FORMATS:
            told = found.content.headers.get("content-type", "").lower()
            kind = next((name for name in FORMATS if name in told), "")
        return document(found.content.body, self.name, kind, version=found.version)

    def peek(self) -> str:
        """Asks whether there is another version; a server with ETags answers that without the document."""
        if not self._tag:
            return self.fetch().version
        answer = self._web.ask("GET", self._path.reveal(), headers={"If-None-Match": self._tag})
        if answer.status == 304:
            return self._version
        return hashlib.sha256(answer.body).hexdigest()

    def close(self) -> None:
        """Ends what is under way."""
        super().close()
        self._web.close()


plugin: type[Source] = Http
