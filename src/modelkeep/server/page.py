"""The web page: files that the build made, handed out as they are; and one page of text where there are none."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.types import Receive, Scope, Send

from modelkeep.core.errors import Missing
from modelkeep.server import answers, body
from modelkeep.server.routes import Routes

STATIC: Final = Path(__file__).parent / "static"
PATHS: Final = (
    "/",
    "/model",
    "/drift",
    "/quality",
    "/predictions",
    "/logs",
    "/alerts",
    "/lineage",
    "/configuration",
    "/explore",
    "/system",
    "/report",
)
"""The views: each is the same file, which reads its address."""

POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""No script and no style but the page's own files, and no words to any other host.

Source: https://www.w3.org/TR/CSP3/
"""

_FOREVER: Final = b"public, max-age=31536000, immutable"
_CODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_COMMAND: Final = "python3 scripts/dev.py page"
_REINSTALL: Final = "pip install --force-reinstall --no-deps --no-cache-dir modelkeep"


@dataclass(frozen=True, slots=True)
class _File:
    """One file, and its smaller forms by content coding."""

    content: bytes
    media_type: bytes
    tag: bytes
    coded: dict[str, bytes]


class Page:
    """Enters and answers the routes of the page.

    Args:
        folder: what the build made.
        welcome: given to those who ask `/` without a browser.
    """

    def __init__(self, folder: Path, welcome: str) -> None:
        self._folder, self._welcome = folder, welcome.encode()
        self._stamp = 0
        self._files: dict[str, _File] = {}

    def add(self, routes: Routes) -> None:
        """Enters all paths."""
        for path in PATHS:
            routes.add("GET", path, "page", self.index)
        routes.add("GET", "/assets/{name}", "page", self.asset)

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a view's path."""
        if scope["path"] == "/" and "text/html" not in body.header(scope, b"accept"):
            text = b"text/plain; charset=utf-8"
            await answers.answer(send, self._welcome, status=200, media_type=text, headers=[(b"vary", b"accept")])
            return
        file = self._look().get("index.html")
        vary = (b"vary", b"accept, accept-encoding")
        if file is None:
            html = b"text/html; charset=utf-8"
            await answers.answer(send, _NOT_BUILT, status=200, media_type=html, headers=[vary])
            return
        headers = [(b"content-security-policy", POLICY), (b"cache-control", b"no-cache"), (b"etag", file.tag), vary]
        if body.header(scope, b"if-none-match").encode() == file.tag:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await _send(file, scope, send, headers)

    async def asset(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one of the files that the index names; its name changes with its content.

        Raises:
            Missing: there is none of this name.
        """
        name = scope["path_params"]["name"]
        file = self._look().get(f"assets/{name}")
        if file is None:
            raise Missing("no such file of the page", hint="Load the page again: it was built anew.")
        await _send(file, scope, send, [(b"cache-control", _FOREVER), (b"vary", b"accept-encoding")])

    def _look(self) -> dict[str, _File]:
        """Gives the files by name, read again when the page was built anew."""
        try:
            stamp = (self._folder / "index.html").stat().st_mtime_ns
        except OSError:
            return {}
        if stamp != self._stamp:
            self._files = _read(self._folder)
            self._stamp = stamp
        return self._files


def _read(folder: Path) -> dict[str, _File]:
    found: dict[str, _File] = {}
    for path in (folder / "index.html", *sorted((folder / "assets").glob("*"))):
        if path.suffix in {".br", ".gz"}:
            continue
        content = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        coded = {
            coding: path.with_name(path.name + end).read_bytes()
            for coding, end in _CODINGS
            if path.with_name(path.name + end).exists()
        }
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'.encode()
        text = b"; charset=utf-8" if kind.startswith("text/") else b""
        found[path.relative_to(folder).as_posix()] = _File(content, kind.encode() + text, tag, coded)
    return found


async def _send(file: _File, scope: Scope, send: Send, headers: answers.Headers) -> None:
    accepted = {
        word.partition(";")[0].strip()
        for word in body.header(scope, b"accept-encoding").split(",")
        if not word.replace(" ", "").endswith((";q=0", ";q=0.0"))
    }
    for coding, _ in _CODINGS:
        if coding in accepted and coding in file.coded:
            headers = [*headers, (b"content-encoding", coding.encode())]
            await answers.answer(send, file.coded[coding], status=200, media_type=file.media_type, headers=headers)
            return
    await answers.answer(send, file.content, status=200, media_type=file.media_type, headers=headers)


_NOT_BUILT: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>modelkeep</title></head><body>
<h1>modelkeep runs; its web page was not built</h1>
<p>When this package was installed, npm could not be reached. Everything else works: command line and HTTP API.</p>
<p>To add the page, with npm in reach, in a checkout:</p>
<pre>{_COMMAND}</pre>
<p>or, where modelkeep was installed without one:</p>
<pre>{_REINSTALL}</pre>
<p>Then load this page again.</p>
</body></html>
""".encode()
