"""etcd 3: `etcd://127.0.0.1:2379/app`.

Source: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Mapping
from typing import ClassVar, Final

from modelkeep.configuration.address import Address
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, tree_of
from modelkeep.configuration.tree import Node, Reading, parts
from modelkeep.configuration.web import Web
from modelkeep.core.errors import BadInput, Missing


class Etcd:
    """The keys below a path; with `format=` the one key there, which holds a whole file.

    Spoken through etcd's JSON gateway; changes arrive by its watch. `user:password@` logs in, `tls=1` speaks HTTPS.

    Args:
        where: `etcd://host:port/path`. Keys begin with the path as written here, with a slash before it when
            `slash=1`.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        self._address = Address.parse(where, ("tls", "format", "slash"))
        self.name: Final = self._address.shown
        options = self._address.options
        scheme = "https" if options.get("tls") in {"1", "true"} else "http"
        self._web = Web(f"{scheme}://{self._address.host or '127.0.0.1'}:{self._address.port or 2379}", self.name)
        self._prefix = ("/" if options.get("slash") in {"1", "true"} else "") + self._address.path
        self._revision = 0
        self._pass = ""
        self._closed = threading.Event()

    def read(self) -> Reading:
        """Gives all keys at one revision."""
        answer = self._asked("/v3/kv/range", self._range())
        self._revision = _number(answer.get("header"), "revision")
        rows = answer.get("kvs")
        pairs = [(_text(row["key"]), _bytes(row.get("value"))) for row in rows] if isinstance(rows, list) else []
        if not pairs:
            raise Missing(f"{self.name}: there are no keys", hint="Put one there: etcdctl put KEY VALUE")
        if "format" in self._address.options:
            return document(pairs[0][1], pairs[0][0], self._address.options["format"])
        return tree_of(pairs, self._prefix, "etcd")

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the first event after the revision that was read; a compacted revision means: read again."""
        if self._closed.is_set():
            return False
        request = {**self._range(), "start_revision": str(self._revision + 1)}
        line = self._web.connect(wait_s)
        until = time.monotonic() + wait_s
        try:
            body = json.dumps({"create_request": request})
            line.request("POST", "/v3/watch", body, {"Content-Type": "application/json", **self._headers()})
            answer = line.getresponse()
            if answer.status >= 400:
                raise BadInput(f"{self.name} answered {answer.status} to a watch")
            while time.monotonic() < until:
                told = answer.readline()
                if not told:
                    return False
                result = json.loads(told).get("result", {})
                if result.get("events") or result.get("canceled"):
                    return True
        except TimeoutError:
            return False
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._web.unreachable(error) from None
        finally:
            line.close()
        return False

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets keys in one transaction; etcd itself keeps earlier revisions until they are compacted."""
        requests: list[Mapping[str, Mapping[str, str]]] = []
        for key, value in values.items():
            name = _code("/".join([self._prefix, *(str(part) for part in parts(key))]))
            text = value if isinstance(value, str) else json.dumps(value)
            verb = (
                {"request_delete_range": {"key": name}}
                if value is None
                else {"request_put": {"key": name, "value": _code(text)}}
            )
            requests.append(verb)
        self._asked("/v3/kv/txn", {"success": requests})

    def close(self) -> None:
        self._closed.set()

    def _range(self) -> dict[str, object]:
        if "format" in self._address.options:
            return {"key": _code(self._prefix)}
        first = f"{self._prefix}/".encode() if self._prefix else b"\0"
        last = first[:-1] + bytes([first[-1] + 1]) if self._prefix else b"\0"
        return {"key": base64.b64encode(first).decode(), "range_end": base64.b64encode(last).decode()}

    def _headers(self) -> dict[str, str]:
        if self._address.user and not self._pass:
            login = {"name": self._address.user, "password": self._address.password}
            answer = self._web.ask("POST", "/v3/auth/authenticate", body=json.dumps(login).encode()).json(self.name)
            self._pass = str(answer.get("token", "")) if isinstance(answer, dict) else ""
        return {"Authorization": self._pass} if self._pass else {}

    def _asked(self, path: str, request: Mapping[str, object]) -> dict[str, object]:
        answer = self._web.ask("POST", path, body=json.dumps(request).encode(), headers=self._headers())
        found = answer.json(self.name)
        if not isinstance(found, dict):
            raise BadInput(f"{self.name} answered no object", hint="Is that etcd 3.4 or newer?")
        return found


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _bytes(code: object) -> bytes:
    return base64.b64decode(code) if isinstance(code, str) else b""


def _text(code: object) -> str:
    return _bytes(code).decode(errors="replace")


def _number(header: object, name: str) -> int:
    return int(header.get(name, 0)) if isinstance(header, dict) else 0


plugin: type[Source] = Etcd
