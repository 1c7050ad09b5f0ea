"""A web server as a place of blobs: kept connections, one host and no other, refusals understood."""

from __future__ import annotations

import base64
import http.client
import os
import re
import ssl
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.core.secret import NONE, Secret
from modelkeep.store.options import Options
from modelkeep.store.remote import Download, Moved, Outcome, Stat, Upload
from modelkeep.store.transfers import PATIENCE, Mark, Partial, checked, counted, each, many

AT_ONCE: Final = 16
_PIECE: Final = 1 << 20
_HOPS: Final = 5
_BODY_LIMIT: Final = 64 << 20
_RETRIED: Final = frozenset({408, 425, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)\Z")
_CONTENT_SIZE: Final = "Content-Length"


@dataclass(frozen=True, slots=True)
class Door:
    """How a web server is entered.

    Args:
        url: its address without name and password.
        headers: sent with every request; they may hold secrets and are not shown.
        tls: how certificates are checked; None without TLS.
        connect_s: how long to wait for a connection.
        read_s: how long to wait for bytes.
    """

    url: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None
    connect_s: float
    read_s: float

    def __repr__(self) -> str:
        return f"Door({self.url!r})"


def door(url: str, options: Mapping[str, str], *, kind: Literal["http", "webdav"]) -> tuple[Door, Options]:
    """Gives the way in that an address and DVC's options describe, and the options themselves.

    Raises:
        BadInput: an option cannot be used.
        Denied: a password is needed and none is found.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not parts.hostname:
        raise BadInput(f"{parts.scheme}:// names no host", hint=f"Write {parts.scheme}://host/folder.")
    plain = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    given = Options(plain, options)
    secure = parts.scheme in {"https", "webdavs"}
    read_s = given.number("read_timeout", given.number("timeout", 60))
    return (
        Door(
            url=f"{'https' if secure else 'http'}://{host}{parts.path.rstrip('/')}",
            headers={
                "User-Agent": "modelkeep",
                **_authorization(given, unquote(parts.username or ""), parts.password, kind),
            },
            tls=_tls(given) if secure else None,
            connect_s=given.number("connect_timeout", 15),
            read_s=read_s,
        ),
        given,
    )


def _tls(given: Options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority = given.authority()
    if authority is not None:
        try:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise BadInput("ssl_verify names no PEM file", hint="It begins with -----BEGIN CERTIFICATE-----.") from None
    if not given.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.text("cert_path"):
        try:
            context.load_cert_chain(given.text("cert_path"), given.text("key_path") or None)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"cert_path: {given.text('cert_path')} cannot be used", hint=str(error)[:200]) from None
    return context


def _authorization(given: Options, user: str, password: str | None, kind: str) -> dict[str, str]:
    """Gives the headers that say who asks."""
    if given.text("bearer_token_command"):
        raise BadInput(
            "bearer_token_command is not run: the file that names it comes with the repository",
            hint="Run it yourself and set MODELKEEP_WEBDAV_TOKEN to what it prints.",
        )
    prefix = f"MODELKEEP_{kind.upper()}"
    user = given.text("user", f"{prefix}_USER") or user
    way = given.text("auth").lower()
    if way not in {"", "basic", "custom"}:
        raise BadInput(f"auth: {way} is not spoken here", hint="Use basic over https, or custom.")
    custom = given.text("custom_auth_header")
    token = given.secret("token", f"{prefix}_TOKEN") if kind == "webdav" else NONE
    asks = bool(user or custom or way or given.flag("ask_password")) and not token
    secret = Secret(unquote(password)) if password else given.secret("password", f"{prefix}_PASSWORD") if asks else NONE
    if asks and not secret:
        raise Denied(
            f"{given.url}: no password for {user or custom or 'it'}",
            hint=f"Set {prefix}_PASSWORD, or: keyring set modelkeep:{given.url} password",
        )
    if not asks:
        return {"Authorization": f"Bearer {_header(token)}"} if token else {}
    if custom:
        return {custom: _header(secret)}
    pair = f"{user}:{secret.reveal()}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _header(secret: Secret) -> str:
    text = secret.reveal()
    if not text.isprintable() or not text.isascii():
        raise BadInput("a secret has signs that a header cannot carry", hint="Is there a line break at its end?")
    return text


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said, its body as far as it was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def size(self) -> int | None:
        """How long the whole thing is, if the server said so."""
        found = _RANGE.match(self.headers.get("Content-Range", ""))
        text = found.group(2) if found else self.headers.get(_CONTENT_SIZE, "")
        return int(text) if text.isdigit() else None


Body = Callable[[], Iterable[bytes]]
"""Gives a request's body, anew for every attempt."""
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""A request's headers, or what gives them anew for every attempt."""
Sink = Callable[[int, Mapping[str, str], http.client.HTTPResponse], None]
"""Takes the body of an answer of status 200 or 206 as it comes."""


class _Request(NamedTuple):
    method: str
    target: str
    headers: Headers
    body: Body | None
    size: int
    sink: Sink | None

    def said(self, more: Mapping[str, str]) -> dict[str, str]:
        own = self.headers() if callable(self.headers) else self.headers
        return {**more, **own, **({} if self.body is None else {_CONTENT_SIZE: str(self.size)})}


class Web:
    """Asks one server; connections are kept, requests that fail for a while are repeated with pauses.

    Args:
        door: the way in.
    """

    def __init__(self, door: Door) -> None:
        self._door: Final = door
        parts = urlsplit(door.url)
        self._host: Final = parts.netloc
        self._path: Final = parts.path
        self._free: list[http.client.HTTPConnection] = []
        self._lock: Final = threading.Lock()

    def __repr__(self) -> str:
        return f"Web({self._door.url!r})"

    def address(self, key: str) -> str:
        """Gives the whole address of a key."""
        return f"{self._door.url}/{quote(key)}" if key else self._door.url

    def ask(
        self,
        method: str,
        key: str,
        headers: Headers | None = None,
        *,
        body: Body | None = None,
        size: int = 0,
        sink: Sink | None = None,
    ) -> Answer:
        """Gives what the server answers in the end, whatever its status is.

        Args:
            method: the verb.
            key: below the address.
            headers: of this request.
            body: what is sent.
            size: of the body, in bytes.
            sink: takes the body of a good answer; else it is given whole.

        Raises:
            Unreachable: nobody answers, or the server is in trouble.
            Busy: the server asks to come back later.
            Denied: it points to another host.
        """
        target = f"{self._path}/{quote(key)}" if key else self._path or "/"
        request = _Request(method, target, headers or {}, body, size, sink)
        return PATIENCE.insist(lambda: self._hop(request))

    def _hop(self, request: _Request) -> Answer:
        for _ in range(_HOPS):
            answer = self._once(request)
            if answer.status not in {301, 302, 303, 307, 308}:
                return answer
            request = request._replace(target=self._same_host(request.target, answer.headers.get("Location", "")))
        raise Unreachable(f"{self._door.url}: redirected {_HOPS} times", hint="Check the address.")

    def _same_host(self, target: str, location: str) -> str:
        parts = urlsplit(urljoin(f"{urlsplit(self._door.url).scheme}://{self._host}{target}", location))
        if (parts.scheme, parts.netloc) != (urlsplit(self._door.url).scheme, self._host):
            other = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
            raise Denied(
                f"{self._door.url} points to another host, {other}",
                hint=f"If you trust it, make {other} the remote's url.",
            )
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _once(self, request: _Request) -> Answer:
        link = self._link()
        kept = False
        try:
            answer, kept = self._talk(link, request)
        except (http.client.HTTPException, OSError) as error:
            raise _unreachable(error, self._door.url) from None
        finally:
            if kept:
                with self._lock:
                    self._free.append(link)
            else:
                link.close()
        self._judge(answer)
        return answer

    def _talk(self, link: http.client.HTTPConnection, request: _Request) -> tuple[Answer, bool]:
        """Gives the answer, and whether the connection can be used again."""
        whole = True
        try:
            body = request.body() if request.body else None
            link.request(request.method, request.target, body=body, headers=request.said(self._door.headers))
        except (BrokenPipeError, ConnectionResetError):  # it may have answered before it had heard everything
            whole = False
        with link.getresponse() as found:
            said = {name.title(): value for name, value in found.getheaders()}
            data = b""
            if request.sink is not None and found.status in {200, 206}:
                request.sink(found.status, said, found)
            else:
                data = found.read(_BODY_LIMIT)
            if found.length:
                raise ConnectionResetError(0, "the connection was cut")
            whole = whole and found.isclosed() and not found.will_close
            return Answer(found.status, said, data), whole

    def _judge(self, answer: Answer) -> None:
        where = self._door.url
        if answer.status == 429 or (answer.status == 503 and "Retry-After" in answer.headers):
            after = answer.headers.get("Retry-After", "")
            raise Busy(
                f"{where}: {answer.status}",
                hint="Run it again later.",
                retry_after_s=float(after) if after.isdigit() else 1.0,
            )
        if answer.status in _RETRIED:
            raise Unreachable(f"{where}: the server answers {answer.status}", hint="Run the command again later.")

    def _link(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._free:
                return self._free.pop()
        link: http.client.HTTPConnection
        if self._door.tls is not None:
            link = http.client.HTTPSConnection(self._host, timeout=self._door.connect_s, context=self._door.tls)
        else:
            link = http.client.HTTPConnection(self._host, timeout=self._door.connect_s)
        try:
            link.connect()
            link.sock.settimeout(self._door.read_s)
        except OSError as error:
            link.close()
            raise _unreachable(error, self._door.url) from None
        return link

    def close(self) -> None:
        """Ends every connection."""
        with self._lock:
            for link in self._free:
                link.close()
            self._free.clear()


def _unreachable(error: Exception, where: str) -> Error:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Denied(
            f"{where}: its TLS certificate is not trusted: {error.verify_message}",
            hint="Name the file of its authority: modelkeep remote modify NAME ssl_verify FILE",
        )
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
    else:
        reason = "the connection was cut" if isinstance(error, http.client.IncompleteRead) else "that is no HTTP"
    return Unreachable(f"{where}: {reason}", hint="Check the address and the network, then run the command again.")


class Site:
    """What reading is like on any web server: the part that http and webdav share.

    Args:
        door: the way in.
        given: `jobs` limits how much happens at once.
    """

    def __init__(self, door: Door, given: Options) -> None:
        self._web: Final = Web(door)
        self._name: Final = given.url
        self._at_once: Final = given.number("jobs", AT_ONCE)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def stat(self, key: str) -> Stat | None:
        """Tells of one blob; None when it is not there."""
        answer = self._web.ask("HEAD", checked(key))
        if answer.status in {405, 501}:
            answer = self._web.ask("GET", key, {"Range": "bytes=0-0"})
        if answer.status in {404, 410}:
            return None
        self._good(answer, key, {200, 204, 206})
        return Stat(key, answer.size or 0, answer.headers.get("Etag", "").removeprefix("W/").strip('"'))

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there, by asking for each."""
        asked = many(lambda key: (key, self.stat(key) is not None), keys, at_once=self._at_once)
        return {key for key, there in asked if there}

    def read(self, key: str) -> bytes:
        """Gives a small blob whole.

        Raises:
            Missing: it is not there.
        """
        answer = self._web.ask("GET", checked(key))
        self._good(answer, key, {200})
        return answer.body

    def download(self, items: Iterable[Download], moved: Moved) -> Iterator[Outcome]:
        """Fetches many at once, each from where an earlier attempt ended."""
        return each(partial(self._fetch, hear=counted(moved)), items, at_once=self._at_once)

    def _fetch(self, item: Download, hear: Moved) -> None:
        checked(item.key)
        with Partial(item.path, item.size) as file:
            if item.size and file.held == item.size:
                return

            def take(status: int, headers: Mapping[str, str], answer: http.client.HTTPResponse) -> None:
                found = _RANGE.match(headers.get("Content-Range", "")) if status == 206 else None
                if file.held and (found is None or found.group(1) != str(file.held)):
                    file.restart()
                while data := answer.read(_PIECE):
                    file.write(data)
                    hear(len(data))

            def asked() -> Mapping[str, str]:
                rest = {"Range": f"bytes={file.held}-"} if file.held else {}
                return {"Accept-Encoding": "identity", **rest}

            answer = self._web.ask("GET", item.key, asked, sink=take)
            if answer.status == 416:
                if answer.size == file.held:
                    return
                file.restart()
                answer = self._web.ask("GET", item.key, asked, sink=take)
            self._good(answer, item.key, {200, 206})
            size = answer.size if item.size is None else item.size
            if size is not None and file.held != size:
                raise Unreachable(
                    f"{item.key}: {file.held} bytes came where {size} were announced", hint="Run the command again."
                )

    def _good(self, answer: Answer, key: str, statuses: Collection[int]) -> None:
        """Raises what a refusal means."""
        if answer.status in statuses:
            return
        where = f"{self._name}: {key}" if key else self._name
        if answer.status in {404, 410}:
            raise Missing(f"{key} is not on {self._name}", hint="Push it from where it was added: modelkeep push")
        if answer.status in {401, 403, 407}:
            raise Denied(f"{where}: refused with {answer.status}", hint="Check name, password and what they may do.")
        if answer.status == 507:
            raise Busy(f"{where}: the server has no room", hint="Make room there.", retry_after_s=60)
        raise Unreachable(f"{where}: the server answers {answer.status}", hint="Check the address of the remote.")

    def close(self) -> None:
        """Ends every connection."""
        self._web.close()


def payload(item: Upload, hear: Moved) -> Body:
    """Gives the body of an upload; what is sent a second time is not counted twice.

    Raises:
        Unreachable: the file is not as long as was announced.
    """
    mark = Mark(hear)

    def pieces(source: Iterator[bytes]) -> Iterator[bytes]:
        sent = 0
        for data in source:
            yield data
            sent += len(data)
            mark.reach(sent)

    def begin() -> Iterable[bytes]:
        if isinstance(item.source, bytes):
            return pieces(iter([item.source]) if item.source else iter(()))
        return pieces(_from_file(item))

    return begin


def _from_file(item: Upload) -> Iterator[bytes]:
    assert not isinstance(item.source, bytes)
    with Path(item.source).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != item.size:
            raise Unreachable(
                f"{item.key}: {size} bytes where {item.size} were announced",
                hint="The file changed: run the command again.",
            )
        while data := file.read(_PIECE):
            yield data
