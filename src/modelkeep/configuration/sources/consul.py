"""Consul's key-value store: `consul://127.0.0.1:8500/app`.

Source: https://developer.hashicorp.com/consul/api-docs/kv and /api-docs/features/blocking
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote, urlencode

from modelkeep.configuration.address import Address
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, tree_of
from modelkeep.configuration.tree import Node, Reading, parts
from modelkeep.configuration.web import Answer, Web
from modelkeep.core.errors import BadInput, Missing

_SPARE_S: Final = 5.0


class Consul:
    """The keys below a path; with `format=` the one key there, which holds a whole file.

    A token comes from CONSUL_HTTP_TOKEN or `token=`; `tls=1` speaks HTTPS, `dc=` names a data centre, `stale=1` lets
    any server answer. Changes arrive by blocking queries.

    Args:
        where: `consul://host:port/path`.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        self._address = Address.parse(where, ("token", "tls", "dc", "stale", "format", "ns"))
        self.name: Final = self._address.shown
        options = self._address.options
        token = options.get("token") or os.environ.get("CONSUL_HTTP_TOKEN", "")
        scheme = "https" if options.get("tls") in {"1", "true"} else "http"
        root = f"{scheme}://{self._address.host or '127.0.0.1'}:{self._address.port or 8500}"
        self._web = Web(root, self.name, {"X-Consul-Token": token} if token else {})
        self._index = 0
        self._closed = threading.Event()

    def read(self) -> Reading:
        answer = self._asked({})
        self._index = _index(answer)
        return self._reading(answer)

    def watch(self, seen: str, wait_s: float) -> bool:
        """Blocks in a query that Consul answers when something below the path changes.

        An index that goes back (a server was restored) begins anew; one that moved without a change of the keys is told
        from a real change by the caller, who compares versions.
        """
        if self._closed.is_set():
            return False
        wait: dict[str, str] = {}
        if self._index:
            wait = {"index": str(self._index), "wait": f"{max(1, int(wait_s * 1000))}ms"}
        answer = self._asked(wait, timeout_s=wait_s + wait_s / 16 + _SPARE_S)
        index = _index(answer)
        moved = index != self._index
        self._index = 0 if index < self._index else index
        return moved and self._reading(answer).version != seen

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys, each by itself; Consul keeps no history."""
        for key, value in values.items():
            path = "/".join([self._address.path, *(str(part) for part in parts(key))]).strip("/")
            text = value if isinstance(value, str) else json.dumps(value)
            method, body = ("DELETE", None) if value is None else ("PUT", text.encode())
            self._web.ask(method, self._path(path, {}), body=body)

    def close(self) -> None:
        self._closed.set()

    def _asked(self, query: Mapping[str, str], timeout_s: float = 10.0) -> Answer:
        recurse: dict[str, str] = {} if "format" in self._address.options else {"recurse": "true"}
        path = self._path(self._address.path, {**recurse, **query})
        try:
            return self._web.ask("GET", path, timeout_s=timeout_s)
        except Missing:
            raise Missing(f"{self.name}: there are no keys", hint="Put one there: consul kv put PATH VALUE") from None

    def _path(self, key: str, query: Mapping[str, str]) -> str:
        named = {name: self._address.options[name] for name in ("dc", "ns") if name in self._address.options}
        text = urlencode(named | dict(query))
        stale = "stale" if self._address.options.get("stale") in {"1", "true"} else ""
        return f"/v1/kv/{quote(key)}?{'&'.join(one for one in (text, stale) if one)}"

    def _reading(self, answer: Answer) -> Reading:
        rows = answer.json(self.name)
        if not isinstance(rows, list):
            raise BadInput(f"{self.name} answered no list of keys", hint="Is that Consul?")
        pairs = [(str(row["Key"]), base64.b64decode(row.get("Value") or "")) for row in rows]
        if "format" in self._address.options:
            return document(pairs[0][1], pairs[0][0], self._address.options["format"])
        return tree_of(pairs, self._address.path, "consul")


def _index(answer: Answer) -> int:
    text = answer.headers.get("x-consul-index", "")
    return int(text) if text.isdigit() else 0


plugin: type[Source] = Consul
