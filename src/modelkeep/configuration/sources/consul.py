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
from modelkeep.configuration.polled import ABSENT
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, path_of, refuse_whole, tree_of, written
from modelkeep.configuration.tree import Node, Reading
from modelkeep.configuration.web import Answer, Web
from modelkeep.core.errors import BadInput, Missing, Unreachable
from modelkeep.core.secret import Secret

_SPARE_S: Final = 5.0
_MOST_IN_ONE: Final = 64  # operations in a transaction


class Consul:
    """The keys below a path; with `format=` the one key there, which holds a whole file.

    A token comes from CONSUL_HTTP_TOKEN or `token=`; `tls=1` speaks HTTPS, `dc=` names a data centre, `ns=` a
    namespace, `stale=1` lets any server answer. Changes arrive by blocking queries.

    Args:
        where: `consul://host:port/path`.

    Raises:
        BadInput: an option that there is not.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address = Address.parse(where, ("token", "tls", "dc", "stale", "format", "ns"))
        self.name: Final = address.shown
        self._path = address.path
        self._format = address.options.get("format", "")
        self._named = {name: address.options[name] for name in ("dc", "ns") if name in address.options}
        self._stale = address.flag("stale")
        token = address.secret("token") or Secret(os.environ.get("CONSUL_HTTP_TOKEN", ""))
        scheme = "https" if address.flag("tls") else "http"
        host = address.host or "127.0.0.1"
        self._web = Web(scheme, host, address.port or 8500, self.name, {"X-Consul-Token": token} if token else {})
        self._index = 0
        self._last = ""
        self._closed = threading.Event()

    def read(self) -> Reading:
        """Gives all keys as one server has them at one moment.

        Raises:
            Missing: there are none.
            Denied: the token may not read there.
            BadInput: a value that is no text, or a key that is also a folder.
            Unreachable: nobody answers, or Consul has no leader.
        """
        answer = self._asked({})
        self._index = _index(answer)
        try:
            reading = self._reading(answer)
        except Missing:
            self._last = ABSENT
            raise
        self._last = reading.version
        return reading

    def watch(self, seen: str, wait_s: float) -> bool:
        """Blocks in a query that Consul answers when something below the path changes.

        An index that goes back (a server was restored) begins anew; one that moved without a change of the keys is told
        from a real change by their version.
        """
        if self._closed.is_set() or (self._last and self._last != seen):
            return not self._closed.is_set()
        wait: dict[str, str] = {}
        if self._index:
            wait = {"index": str(self._index), "wait": f"{max(1, int(wait_s * 1000))}ms"}
        try:
            answer = self._asked(wait, timeout_s=wait_s + wait_s / 16 + _SPARE_S)
        except Unreachable:
            if self._closed.is_set():
                return False
            raise
        index = _index(answer)
        try:
            changed = self._version(answer) != seen
        except BadInput:
            self._index = index  # what is wrong is told once
            raise
        if not changed:  # the index of a change is taken over by who reads it
            self._index = 0 if index < self._index else index
        return changed

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys, up to 64 in one transaction; Consul keeps no history.

        Raises:
            Denied: the token may not write there.
            BadInput: a value that no text stands for.
        """
        refuse_whole(self.name, self._format)
        steps: list[dict[str, dict[str, str]]] = []
        for key, value in values.items():
            step = {"Verb": "delete" if value is None else "set", "Key": path_of(self._path, key), **self._place()}
            if value is not None:
                step["Value"] = base64.b64encode(written(value, key).encode()).decode()
            steps.append({"KV": step})
        query = urlencode({"dc": self._named["dc"]}) if "dc" in self._named else ""
        for first in range(0, len(steps), _MOST_IN_ONE):
            body = json.dumps(steps[first : first + _MOST_IN_ONE]).encode()
            answer = self._web.send("PUT", f"/v1/txn?{query}", body=body)
            if answer.status == 409:
                raise BadInput(f"{self.name}: nothing was written", hint="Consul refuses one of the keys.")
            self._web.judged(answer)

    def close(self) -> None:
        """Ends a query that is waiting."""
        self._closed.set()
        self._web.close()

    def _place(self) -> dict[str, str]:
        return {"Namespace": self._named["ns"]} if "ns" in self._named else {}

    def _asked(self, query: Mapping[str, str], timeout_s: float = 10.0) -> Answer:
        """Asks for the keys; an answer of 404 is one: it has an index, too."""
        folder = {} if self._format else {"recurse": "true"}
        # a slash at the end: /app shall not give what lies below /apple
        path = quote(self._path if self._format or not self._path else f"{self._path}/")
        text = urlencode({**folder, **self._named, **query})
        stale = "stale" if self._stale else ""
        asked = "&".join(one for one in (text, stale) if one)
        answer = self._web.send("GET", f"/v1/kv/{path}?{asked}", timeout_s=timeout_s)
        return answer if answer.status == 404 else self._web.judged(answer)

    def _reading(self, answer: Answer) -> Reading:
        pairs = self._pairs(answer)
        if not pairs:
            raise Missing(f"{self.name}: there are no keys", hint="Put one there: consul kv put PATH VALUE")
        if self._format:
            return document(pairs[0][1], pairs[0][0], self._format)
        return tree_of(pairs, self._path, "consul")

    def _version(self, answer: Answer) -> str:
        try:
            return self._reading(answer).version
        except Missing:
            return ABSENT

    def _pairs(self, answer: Answer) -> list[tuple[str, bytes]]:
        if answer.status == 404:
            return []
        rows = answer.json(self.name)
        try:
            return [(str(row["Key"]), base64.b64decode(row.get("Value") or "")) for row in rows]  # type: ignore[attr-defined]
        except (TypeError, KeyError, AttributeError, ValueError):
            raise BadInput(f"{self.name} answered no list of keys", hint="Is that Consul?") from None


def _index(answer: Answer) -> int:
    text = answer.headers.get("x-consul-index", "")
    return int(text) if text.isdecimal() else 0


plugin: type[Source] = Consul
