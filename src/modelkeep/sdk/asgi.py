"""Middleware for any ASGI application: counts and times requests, and joins logs and predictions to them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import Final, cast

from modelkeep.core.ids import token
from modelkeep.sdk.client import here
from modelkeep.sdk.context import Request, Scope

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST: Final = 128
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class ASGI:
    """Wraps an application: `app.add_middleware(mk.ASGI)` or `app = mk.ASGI(app)`.

    Series: `http_requests_total` and `http_request_duration_seconds` by method, status and route. The duration ends
    with the last piece of the answer. Messages pass through untouched.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope.get("type") != "http":
            await self._app(scope, receive, send)
            return
        start, status = perf_counter(), "500"

        async def watching(message: Message) -> None:
            nonlocal status
            if message.get("type") == "http.response.start":
                status = str(message.get("status", ""))
            await send(message)

        try:
            with joined(_trace(scope)):
                await self._app(scope, receive, watching)
        except BaseException:
            status = "500"
            raise
        finally:
            count(str(scope.get("method", "")), status, _route(scope), perf_counter() - start)


def count(method: str, status: str, route: str, seconds: float) -> None:
    """Counts one request; never raises."""
    client = here()
    if client.on:
        try:
            named = method if method in _METHODS else "other"
            client.meters.request({"method": named, "status": status, "route": route}, seconds)
        except Exception as error:  # noqa: BLE001
            client.failed("middleware", error)


def joined(trace_id: str) -> Scope[Request]:
    """Gives a block whose logs carry one trace id, and the id of the latest prediction within."""
    made = Request(trace_id=trace_id)
    return Scope(made, {"request": made, "trace_id": trace_id, "prediction_id": None})


def trace_of(parent: str, request_id: str) -> str:
    """Gives the trace id of a W3C `traceparent`, else the request id, else a new one.

    >>> trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "")
    '0af7651916cd43dd8448eb211c80319c'
    """
    found = _PARENT.fullmatch(parent)
    return found[1] if found else request_id[:_LONGEST] or token()


def _trace(scope: Message) -> str:
    wanted = {b"traceparent": "", b"x-request-id": ""}
    for name, value in cast("Iterable[tuple[bytes, bytes]]", scope.get("headers") or ()):
        if name in wanted:
            wanted[name] = value.decode("latin-1")
    return trace_of(wanted[b"traceparent"], wanted[b"x-request-id"])


def _route(scope: Message) -> str:
    route = getattr(scope.get("route"), "path", None)
    if isinstance(route, str):
        return route
    endpoint = scope.get("endpoint")
    return str(getattr(endpoint, "__name__", "")) if endpoint is not None else ""
