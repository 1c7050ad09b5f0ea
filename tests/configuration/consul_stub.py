"""A strict stand-in for Consul's key-value API: blocking queries, an index that can be reset, tokens, transactions.

Source: https://developer.hashicorp.com/consul/api-docs/kv, /api-docs/txn and /api-docs/features/blocking
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_KNOWN = {
    "GET": {"recurse", "index", "wait", "raw", "keys", "separator", "dc", "ns", "stale", "consistent", "token"},
    "PUT": {"cas", "flags", "dc", "ns", "token"},
    "DELETE": {"recurse", "cas", "dc", "ns", "token"},
}
_WAIT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass
class Row:
    value: bytes
    created: int
    modified: int
    flags: int = 0


class Refusal(Exception):
    """What is answered instead: a status, a text, and the index where there is one."""

    def __init__(self, status: int, text: str, index: int = 0) -> None:
        super().__init__(text)
        self.status, self.text, self.index = status, text, index


class ConsulStub:
    """Listens on loopback from the start; `stop` and `start` go away and come back on the same port."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.gone: dict[str, int] = {}
        self.index = 10
        self.restored = 0
        self.tokens: dict[str, Callable[[str, str], bool]] = {}  # token → may it (verb, key)
        self.asked: list[str] = []
        self.waiting = 0
        self._turn = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        if self._thread is not None:
            return
        self._stopping = False
        self._server = _Listener(("127.0.0.1", self.port), _handler(self))
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Goes away, and leaves those who wait without an answer."""
        if self._thread is None:
            return
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._thread = None

    close = stop

    def put(self, key: str, value: str | bytes | None) -> None:
        """Changes a key as another client would."""
        with self._turn:
            self._set([(key, value.encode() if isinstance(value, str) else value)])

    def reset(self, index: int = 3) -> None:
        """The servers are restored from a copy: the index goes back."""
        with self._turn:
            self.index = index
            self.restored += 1
            self.gone.clear()
            for row in self.rows.values():
                row.created = row.modified = index
            self._turn.notify_all()

    def stir(self) -> None:
        """The index moves though no key of ours changed."""
        with self._turn:
            self._set([("elsewhere/x", b"1")])
            for row in self.rows.values():
                row.modified = self.index
            self._turn.notify_all()

    def clear(self, folder: str = "") -> None:
        """Takes away what lies below a folder; without one all keys and tokens."""
        with self._turn:
            self._set([(key, None) for key in list(self.rows) if key.startswith(folder)])
            if not folder:
                self.tokens.clear()

    def answer(self, method: str, target: str, body: bytes, token: str) -> tuple[int, dict[str, str], bytes]:
        split = urlsplit(target)
        self.asked.append(target)
        pairs = parse_qsl(split.query, keep_blank_values=True)
        query = dict(pairs)
        token = token or query.get("token", "")
        try:
            if split.path == "/v1/txn" and method == "PUT":
                return self._transaction(json.loads(body), token)
            if not split.path.startswith("/v1/kv/"):
                raise Refusal(404, "Invalid URL path: not a recognized HTTP API endpoint")
            if method not in _KNOWN:
                raise Refusal(405, f"method {method} not allowed")
            if set(query) - _KNOWN[method] or len(query) < len(pairs):
                raise Refusal(400, f"unknown or repeated parameters in {split.query}")
            key = unquote(split.path.removeprefix("/v1/kv/"))
            if method == "GET":
                return self._get(key, query, token)
            return self._change(method, key, query, body, token)
        except Refusal as no:
            headers = self._headers(no.index) if no.index else {}
            return no.status, headers, no.text.encode()

    def _get(self, key: str, query: dict[str, str], token: str) -> tuple[int, dict[str, str], bytes]:
        many = "recurse" in query or "keys" in query
        if not key and not many:
            raise Refusal(400, "Missing key name")
        self._allow("read", key, token)
        with self._turn:
            self._block(key, many, query)
            found = {name: row for name, row in sorted(self.rows.items()) if self._fits(name, key, many)}
            index = self._index(key, many)
            if not found:
                raise Refusal(404, "", index)
            if "keys" in query:
                return 200, self._headers(index), json.dumps(list(found)).encode()
            if "raw" in query:
                return 200, self._headers(index), found[key].value
            return 200, self._headers(index), json.dumps([_shown(name, row) for name, row in found.items()]).encode()

    def _block(self, key: str, many: bool, query: dict[str, str]) -> None:
        if "index" not in query:
            return
        if not query["index"].isdecimal():
            raise Refusal(400, "Invalid index")
        seen = int(query["index"])
        wait = _WAIT.match(query.get("wait", "5m"))
        if wait is None:
            raise Refusal(400, "Invalid wait time")
        until = time.monotonic() + min(600.0, float(wait[1]) * _UNITS[wait[2]])
        restored = self.restored
        self.waiting += 1
        while seen > 0 and self._index(key, many) <= seen and self.restored == restored and not self._stopping:
            left = until - time.monotonic()
            if left <= 0:
                break
            self._turn.wait(left)
        self.waiting -= 1
        if self._stopping:
            raise ConnectionAbortedError

    def _change(
        self, method: str, key: str, query: dict[str, str], body: bytes, token: str
    ) -> tuple[int, dict[str, str], bytes]:
        if not key and "recurse" not in query:
            raise Refusal(400, "Missing key name")
        self._allow("write", key, token)
        with self._turn:
            if "cas" in query and self._modified(key) != int(query["cas"]):
                return 200, {}, b"false"
            keys = [name for name in self.rows if self._fits(name, key, "recurse" in query)]
            self._set([(key, body)] if method == "PUT" else [(name, None) for name in keys])
        return 200, {}, b"true"

    def _transaction(self, steps: list[dict[str, Any]], token: str) -> tuple[int, dict[str, str], bytes]:
        if len(steps) > 64:
            raise Refusal(413, "Transaction contains too many operations (> 64)")
        changes: list[tuple[str, bytes | None]] = []
        for step in steps:
            one = step["KV"]
            if set(one) - {"Verb", "Key", "Value", "Namespace", "Flags"} or one["Verb"] not in {"set", "delete"}:
                raise Refusal(400, "Failed to parse body")
            self._allow("write", one["Key"], token)
            changes.append((one["Key"], base64.b64decode(one["Value"]) if one["Verb"] == "set" else None))
        with self._turn:
            self._set(changes)
        return 200, {}, b'{"Results":[],"Errors":null}'

    def _set(self, changes: list[tuple[str, bytes | None]]) -> None:
        self.index += 1
        for key, value in changes:
            if value is None:
                if self.rows.pop(key, None) is not None:
                    self.gone[key] = self.index
            else:
                old = self.rows.get(key)
                self.rows[key] = Row(value, old.created if old else self.index, self.index)
        self._turn.notify_all()

    def _allow(self, verb: str, key: str, token: str) -> None:
        if self.tokens and not self.tokens.get(token, _nothing)(verb, key):
            raise Refusal(403, f"Permission denied: token with AccessorID lacks permission 'key:{verb}' on {key!r}")

    def _fits(self, name: str, key: str, many: bool) -> bool:
        return name.startswith(key) if many else name == key

    def _index(self, key: str, many: bool) -> int:
        seen = [row.modified for name, row in self.rows.items() if self._fits(name, key, many)]
        seen += [index for name, index in self.gone.items() if self._fits(name, key, many)]
        return max(seen, default=self.index)

    def _modified(self, key: str) -> int:
        return self.rows[key].modified if key in self.rows else 0

    def _headers(self, index: int) -> dict[str, str]:
        return {"X-Consul-Index": str(max(1, index)), "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}


def _nothing(verb: str, key: str) -> bool:
    return False


def _shown(name: str, row: Row) -> dict[str, object]:
    value = base64.b64encode(row.value).decode() if row.value else None
    return {
        "LockIndex": 0,
        "Key": name,
        "Flags": row.flags,
        "Value": value,
        "CreateIndex": row.created,
        "ModifyIndex": row.modified,
    }


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up."""


def _handler(stub: ConsulStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("X-Consul-Token", "")
            status, headers, said = stub.answer(self.command, self.path, body, token)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
