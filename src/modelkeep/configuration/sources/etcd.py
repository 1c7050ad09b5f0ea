"""etcd 3: `etcd://127.0.0.1:2379/app`.

Source: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import ClassVar, Final

from modelkeep.configuration.address import Address
from modelkeep.configuration.polled import ABSENT
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, path_of, refuse_whole, tree_of, written
from modelkeep.configuration.tree import Node, Reading
from modelkeep.configuration.web import Answer, Web
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable
from modelkeep.core.secret import NONE, Secret

_MOST_LINE_BYTES: Final = 16 << 20
_LOGIN: Final = ("user name is empty", "authentication failed", "permission denied", "invalid auth token")


class Etcd:
    """The keys below a path; with `format=` the one key there, which holds a whole file.

    Spoken through etcd's JSON gateway (etcd 3.4 and newer); changes arrive by its watch. `user:password@` logs in,
    `tls=1` speaks HTTPS.

    Args:
        where: `etcd://host:port/path`. Keys begin with the path as written here; with a slash before it when `slash=1`.

    Raises:
        BadInput: an option that there is not.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        address = Address.parse(where, ("tls", "format", "slash"))
        self.name: Final = address.shown
        self._user, self._password = address.user, address.password
        self._format = address.options.get("format", "")
        self._path = ("/" if address.flag("slash") else "") + address.path
        scheme = "https" if address.flag("tls") else "http"
        self._web = Web(scheme, address.host or "127.0.0.1", address.port or 2379, self.name)
        self._revision = 0
        self._last = ""
        self._pass: Secret = NONE
        self._closed = threading.Event()

    def read(self) -> Reading:
        """Gives all keys at one revision.

        Raises:
            Missing: there are none.
            Denied: the login is wrong, or may not read there.
            BadInput: a value that is no text, or a key that is also a folder.
            Unreachable: nobody answers, or etcd has no leader.
        """
        answer = self._asked("/v3/kv/range", self._range())
        self._revision = _number(answer.get("header"), "revision")
        pairs = self._pairs(answer.get("kvs"))
        if not pairs:
            self._last = ABSENT
            raise Missing(f"{self.name}: there are no keys", hint="Put one there: etcdctl put KEY VALUE")
        if self._format:
            reading = document(pairs[0][1], pairs[0][0], self._format)
        else:
            reading = tree_of(pairs, self._path, "etcd")
        self._last = reading.version
        return reading

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the first event after the revision that was read; a compacted revision means: read again."""
        if self._closed.is_set() or not self._revision or (self._last and self._last != seen):
            return not self._closed.is_set()
        request = {**self._range(), "start_revision": str(self._revision + 1)}
        body = json.dumps({"create_request": request}).encode()
        headers: dict[str, str | Secret] = {"Content-Type": "application/json", **self._login()}
        try:
            with self._web.stream("POST", "/v3/watch", body=body, headers=headers, timeout_s=wait_s) as told:
                return self._heard(told, time.monotonic() + wait_s)
        except TimeoutError:
            return False
        except Denied:
            self._pass = NONE
            raise
        except Unreachable:
            if self._closed.is_set():
                return False
            raise

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys in one transaction; etcd itself keeps earlier revisions until they are compacted.

        Raises:
            Denied: the login may not write there.
            BadInput: a value that no text stands for.
        """
        refuse_whole(self.name, self._format)
        steps: list[Mapping[str, Mapping[str, str]]] = []
        for key, value in values.items():
            name = _code(path_of(self._path.removesuffix("/"), key))
            if value is None:
                steps.append({"request_delete_range": {"key": name}})
            else:
                steps.append({"request_put": {"key": name, "value": _code(written(value, key))}})
        self._asked("/v3/kv/txn", {"success": steps})

    def close(self) -> None:
        """Ends a watch that is waiting."""
        self._closed.set()
        self._web.close()

    def _pairs(self, rows: object) -> list[tuple[str, bytes]]:
        try:
            found = rows if isinstance(rows, list) else []
            return [(_bytes(row["key"]).decode(errors="replace"), _bytes(row.get("value"))) for row in found]
        except (TypeError, KeyError, AttributeError, ValueError):
            raise BadInput(f"{self.name} answered no list of keys", hint="Is that etcd 3.4 or newer?") from None

    def _heard(self, told: HTTPResponse, until: float) -> bool:
        """Reads what etcd tells, a line at a time: first that it watches, then what happens."""
        if told.status >= 400:
            self._judged(Answer(told.status, {}, told.read(_MOST_LINE_BYTES)))
        while time.monotonic() < until:
            line = told.readline(_MOST_LINE_BYTES)
            if not line:
                raise Unreachable(f"{self.name}: the watch ended", hint="It is begun anew.")
            try:
                message = json.loads(line)
            except ValueError:
                return True  # larger than a line may be: something happened
            if "error" in message:  # it is going away, or the pass has expired
                self._judged(Answer(503, {}, line))
            result = message.get("result", {})
            if result.get("canceled") and any(word in str(result.get("cancel_reason", "")) for word in _LOGIN):
                raise Denied(f"{self.name} refuses to be watched", hint="Give user:password@ before the host.")
            if result.get("events") or result.get("canceled"):
                return True
        return False

    def _range(self) -> dict[str, object]:
        if self._format:
            return {"key": _code(self._path)}
        folder = self._path if not self._path or self._path.endswith("/") else f"{self._path}/"
        if not folder:
            return {"key": _code("\0"), "range_end": _code("\0")}  # all keys
        return {"key": _code(folder), "range_end": _code(folder[:-1] + chr(ord("/") + 1))}

    def _login(self) -> dict[str, Secret]:
        if self._user and not self._pass:
            login = {"name": self._user, "password": self._password.reveal()}
            found = self._judged(self._web.send("POST", "/v3/auth/authenticate", body=json.dumps(login).encode()))
            self._pass = Secret(str(found.get("token", "")))
        return {"Authorization": self._pass} if self._pass else {}

    def _asked(self, path: str, request: Mapping[str, object]) -> dict[str, object]:
        body = json.dumps(request).encode()
        known = bool(self._pass)
        try:
            return self._judged(self._web.send("POST", path, body=body, headers=self._login()))
        except Denied:
            if not known:
                raise
        self._pass = NONE  # a pass of before a restart, or one that has expired
        return self._judged(self._web.send("POST", path, body=body, headers=self._login()))

    def _judged(self, answer: Answer) -> dict[str, object]:
        """Gives the answer's object; etcd says some refusals of a login with status 400."""
        if answer.status >= 400 and any(word.encode() in answer.body for word in _LOGIN):
            raise Denied(f"{self.name} refuses", hint="Give user:password@ before the host.")
        found = self._web.judged(answer).json(self.name)
        if not isinstance(found, dict):
            raise BadInput(f"{self.name} answered no object", hint="Is that etcd 3.4 or newer?")
        return found


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _bytes(code: object) -> bytes:
    return base64.b64decode(code) if isinstance(code, str) else b""


def _number(header: object, name: str) -> int:
    return int(header.get(name, 0)) if isinstance(header, dict) else 0


plugin: type[Source] = Etcd
