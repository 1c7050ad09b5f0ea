"""A web server with documents, ETags and logins, that can also misbehave."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """One document.

    Args:
        body: its bytes.
        kind: its Content-Type.
        status: what is answered.
        headers: further ones.
        tags: whether it has an ETag.
        drip_s: pause between any two bytes.
    """

    body: bytes = b""
    kind: str = "text/plain"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    tags: bool = True
    drip_s: float = 0.0
    short: int = 0


class WebStub:
    """Serves `pages` by path; those below /closed/ to who logs in as ann or brings the token.

    Args:
        password: of ann, and the token.
    """

    def __init__(self, password: str) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str], int]] = []
        basic = base64.b64encode(f"ann:{password}".encode()).decode()
        self.logins = {f"Basic {basic}", f"Bearer {password}"}
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up."""


def _handler(stub: WebStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = stub.pages.get(self.path.partition("?")[0], Page(status=404))
            if self.path.startswith("/closed/") and self.headers.get("Authorization") not in stub.logins:
                page = Page(b"who are you?", status=401)
            tag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
            if page.tags and page.status == 200 and self.headers.get("If-None-Match") == tag:
                page = Page(status=304)
            stub.asked.append((self.path, dict(self.headers.items()), page.status))
            self.send_response(page.status)
            for name, value in {"Content-Type": page.kind, **page.headers}.items():
                self.send_header(name, value)
            if page.tags and page.status == 200:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(page.body) + page.short))
            self.end_headers()
            if page.drip_s:
                for place in range(len(page.body)):
                    self.wfile.write(page.body[place : place + 1])
                    time.sleep(page.drip_s)
            else:
                self.wfile.write(page.body)
            if page.short:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
