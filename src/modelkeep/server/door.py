"""The door: every request passes it. Host, Origin, route, token and scope are checked here and nowhere else."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Iterable
from typing import Final, Protocol

from starlette.types import Message, Receive, Scope, Send

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing
from modelkeep.server import answers, body
from modelkeep.server.own import Own
from modelkeep.server.routes import OPEN, Route, Routes

log: Final = logging.getLogger(__name__)

_OWN_LIMITS: Final = frozenset({"ingest", "signed"})
"""Scopes of routes that read their bodies themselves."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FRESH_S: Final = 0.25
_SOCKETS: Final = 1_000
"""WebSockets open at a time."""
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Held(Protocol):
    """A token that was found good."""

    @property
    def name(self) -> str: ...

    def allows(self, scope: str, /) -> bool: ...


class Keys(Protocol):
    """Where tokens are looked up."""

    def check(self, text: str, /) -> Held | None: ...

    def exist(self) -> bool: ...


class Logins(Protocol):
    """Where the cookies of logged-in people are looked up."""

    def of(self, scope: Scope, /) -> Held | None: ...


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_names(host: str, more: Iterable[str]) -> frozenset[str]:
    """Gives the names that a Host header may carry, without port, lower case.

    >>> sorted(host_names("10.0.0.5", ["models.example"]))
    ['10.0.0.5', '127.0.0.1', '[::1]', 'localhost', 'models.example']
    """
    own = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return _LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in more}


def without_port(netloc: str) -> str:
    """Gives the host of `host:port`.

    >>> without_port("[::1]:7300"), without_port("localhost")
    ('[::1]', 'localhost')
    """
    if netloc.startswith("["):
        return netloc.partition("]")[0] + "]"
    return netloc.partition(":")[0]


class Door:
    """The outermost ASGI application.

    Args:
        routes: everything that can be asked for.
        tokens: who may ask.
        own: where refusals are counted.
        logins: who is logged in by cookie.
        host: the address listened on.
        hosts: more names of this server.
        requests: how many are worked on at a time.
        seconds: how long a body may take.
    """

    def __init__(
        self,
        routes: Routes,
        tokens: Keys,
        own: Own,
        *,
        logins: Logins,
        host: str,
        hosts: Iterable[str],
        requests: int,
        seconds: float,
    ) -> None:
        self._routes, self._tokens, self._own, self._logins = routes, tokens, own, logins
        self._names = host_names(host, hosts)
        self._loopback = is_loopback(host)
        self._most, self._seconds = requests, seconds
        self._inside = self._sockets = 0
        self._looked = (0.0, False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._http(scope, receive, _Outward(send))

    async def _http(self, scope: Scope, receive: Receive, send: _Outward) -> None:
        try:
            if self._inside >= self._most:
                raise Busy(f"{self._inside} requests are in work already")
            self._inside += 1
            try:
                await self._pass(scope, receive, send)
            finally:
                self._inside -= 1
        except Error as error:
            self._count(error)
            if send.started:
                log.warning("%s broke off: %s", answers.clean(scope["path"]), error)
            else:
                await answers.error(send, error, scope["path"])
        except Exception:
            self._own.add("modelkeep_errors_total")
            log.exception("%s %s failed", scope["method"], answers.clean(scope["path"]))
            if not send.started:
                await answers.error(send, Error("unexpected error; the server's log says more"), scope["path"])

    async def _pass(self, scope: Scope, receive: Receive, send: _Outward) -> None:
        self._check_host(scope)
        self._check_origin(scope)
        method, path = scope["method"], scope["path"]
        route, values, methods = self._routes.find(method, path)
        if route is None or route.scope not in OPEN:
            scope["modelkeep.token"] = self._admit(scope, route)
        if route is None:
            send.allow(methods)
            raise _unknown(path, method, methods)
        scope = {**scope, "method": route.method, "path_params": values}
        if method not in _SAFE and route.scope not in _OWN_LIMITS:
            small = await body.read(scope, receive, limit_bytes=body.SMALL, seconds=self._seconds)
            receive = body.again(small, receive)
        await route.answer(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a WebSocket in that asks for a route which answers such, or refuses it before it is open."""
        try:
            if self._sockets >= _SOCKETS:
                raise Busy(f"{self._sockets} connections are open already")
            self._check_host(scope)
            self._check_same(scope)
            route, _, _ = self._routes.find("GET", scope["path"])
            token = self._admit(scope, route)
            if route is None or not route.socket:
                raise Missing(f"no WebSocket at {answers.clean(scope['path'][:100])}")
        except Error as error:
            self._count(error)
            await answers.refuse_socket(scope, send, error)
            return
        self._sockets += 1
        try:
            await route.answer({**scope, "modelkeep.token": token}, receive, send)
        finally:
            self._sockets -= 1

    def _check_host(self, scope: Scope) -> None:
        host = body.header(scope, b"host").lower()
        if without_port(host) not in self._names:
            raise Denied(
                f"Host {answers.clean(host[:100])!r} is not a name of this server",
                hint="Add the name to the setting `hosts`, or use http://127.0.0.1.",
            )

    def _check_origin(self, scope: Scope) -> None:
        """Refuses what another site's page sends: an unsafe request comes from here, or from no page at all."""
        if scope["method"] not in _SAFE:
            self._check_same(scope)

    @staticmethod
    def _check_same(scope: Scope) -> None:
        origin = body.header(scope, b"origin").lower()
        same = not origin or origin.partition("://")[2] == body.header(scope, b"host").lower()
        if not same or body.header(scope, b"sec-fetch-site") in {"cross-site", "same-site"}:
            raise Denied("the request comes from another site's page", hint="Send it without a browser, or from here.")

    def whose(self, scope: Scope) -> Held | None:
        """Gives the token of a request, from its headers or its cookie; None when there is no good one."""
        kind, _, text = body.header(scope, b"authorization").partition(" ")
        if not kind and (named := body.header(scope, b"x-consul-token")):
            kind, text = "bearer", named
        if not kind:
            return self._logins.of(scope)
        return self._tokens.check(text.strip()) if kind.lower() == "bearer" else None

    def still(self, scope: Scope) -> bool:
        """Whether whoever opened a WebSocket may still read."""
        token = None if self.is_open() else self.whose(scope)
        return self.is_open() or (token is not None and token.allows("read"))

    def _admit(self, scope: Scope, route: Route | None) -> Held | None:
        if self.is_open():
            return None
        token = self.whose(scope)
        if token is not None and not body.header(scope, b"authorization"):
            _check_page(scope)
        if token is None:
            raise Denied(
                "no valid token",
                hint="Send `Authorization: Bearer mk_…`; `modelkeep token create` makes one.",
                status=401,
            )
        if route is not None and not token.allows(route.scope):
            raise Denied(
                f"the token {answers.clean(token.name)!r} lacks the scope {route.scope}",
                hint="Use another token, or make one with this scope.",
            )
        return token

    def is_open(self) -> bool:
        """Whether everybody is let in: on loopback, while no token was ever made."""
        if not self._loopback:
            return False
        at, exist = self._looked
        if not exist and time.monotonic() - at > _FRESH_S:
            exist = self._tokens.exist()
            self._looked = (time.monotonic(), exist)
        return not exist

    def look_again(self) -> None:
        """Makes the next request see tokens that were made just now."""
        self._looked = (0.0, self._looked[1])

    def _count(self, error: Error) -> None:
        if isinstance(error, Denied):
            self._own.add("modelkeep_denied_total", reason="token" if error.status == 401 else "forbidden")


def _check_page(scope: Scope) -> None:
    """Refuses what changes something by a cookie and does not say that it comes from a page of ours."""
    if scope.get("method", "GET") in _SAFE and scope["type"] == "http":
        return
    if not body.header(scope, b"origin") and not body.header(scope, b"x-consul-token"):
        raise Denied("a cookie without an Origin", hint="Send a token instead: `Authorization: Bearer mk_…`.")


class _Outward:
    """A `send` that adds the headers of every answer and knows whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._always = answers.SAFE
        self.started = False

    def allow(self, methods: list[str]) -> None:
        """Adds the methods that a path knows."""
        if methods:
            self._always = [*self._always, (b"allow", ", ".join(methods).encode())]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *((name, value) for name, value in self._always if name not in given),
            ]
        await self._send(message)


def _unknown(path: str, method: str, methods: list[str]) -> Error:
    shown = answers.clean(path[:100])
    if methods:
        return BadInput(f"{method} is not known for {shown}", hint=f"Use {' or '.join(methods)}.", status=405)
    return Missing(f"no route {shown}", hint="The routes are listed in docs/reference/http.md.")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
