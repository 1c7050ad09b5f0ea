"""The one table of routes: a path without a scope cannot be entered, and what is not entered does not exist."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from starlette.types import ASGIApp as Asgi

from modelkeep.core.errors import BadInput

Need = Literal["none", "page", "signed", "ingest", "read", "write", "admin"]
"""What a route asks of a token.

`none` is open to everybody and only for the two health routes; so is `page`, for the files of the web page, which hold
no data, and for the session, which asks for the token itself; and `signed`, for webhooks alone, whose messages prove
themselves by a signature.
"""

SCOPES: Final = ("none", "page", "signed", "ingest", "read", "write", "admin")
OPEN: Final = frozenset({"none", "page", "signed"})
"""What asks for no token."""
_HOLE: Final = re.compile(r"\{(\w+(?:\.\.\.)?)\}")
_HEALTH: Final = frozenset({"/healthz", "/readyz"})
_SESSION: Final = "/api/v1/session"
_SIGNED: Final = "/api/v1/webhooks/"


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Args:
        method: GET, POST, PUT or DELETE.
        path: with `{name}` for a part that may be anything but a slash, `{name...}` for anything that follows.
        scope: what a token must allow.
        answer: the ASGI application that answers.
        socket: whether it also answers WebSockets; all others are refused these.
    """

    method: str
    path: str
    scope: Need
    answer: Asgi
    socket: bool = False


class Routes:
    """All routes of one server.

    >>> async def answer(scope, receive, send): ...
    >>> routes = Routes()
    >>> routes.add("DELETE", "/api/v1/silences/{id}", "write", answer)
    >>> route, values, methods = routes.find("DELETE", "/api/v1/silences/7")
    >>> route.scope, values, methods
    ('write', {'id': '7'}, ['DELETE'])
    >>> routes.find("GET", "/nowhere")
    (None, {}, [])
    """

    def __init__(self) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._holed: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self._all: list[Route] = []

    def add(self, methods: str, path: str, scope: Need, answer: Asgi, *, socket: bool = False) -> None:
        """Enters a route.

        Args:
            methods: one or more, with spaces between.
            path: begins with a slash.
            scope: must be given; `none` is refused for all but the health routes, `page` for any of the API but the
                session, `signed` for all but webhooks.
            answer: the ASGI application.
            socket: whether it also answers WebSockets.

        Raises:
            BadInput: no scope, or the route is entered already.
        """
        if scope not in SCOPES or (scope in OPEN and not _may_be_open(scope, methods, path)):
            raise BadInput(f"route {path}: {scope!r} is no scope", hint="Every route needs one of: ingest, read, …")
        table = self._table(path)
        for method in methods.split():
            if method in table:
                raise BadInput(f"route {method} {path} is entered twice")
            table[method] = Route(method, path, scope, answer, socket)
            self._all.append(table[method])

    def find(self, method: str, path: str) -> tuple[Route | None, dict[str, str], list[str]]:
        """Gives the route of a request, the values of its path, and the methods that the path knows."""
        table = self._fixed.get(path)
        values: dict[str, str] = {}
        if table is None:
            table, values = self._match(path)
        wanted = "GET" if method == "HEAD" and "HEAD" not in table else method
        return table.get(wanted), values, sorted(table)

    def all(self) -> list[Route]:
        """Gives every route, in the order of entry."""
        return list(self._all)

    def _match(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        for pattern, table in self._holed:
            if found := pattern.fullmatch(path):
                return table, found.groupdict()
        return {}, {}

    def _table(self, path: str) -> dict[str, Route]:
        if "{" not in path:
            return self._fixed.setdefault(path, {})
        text = "".join(_hole(piece) if place % 2 else re.escape(piece) for place, piece in enumerate(_HOLE.split(path)))
        for pattern, table in self._holed:
            if pattern.pattern == text:
                return table
        made: dict[str, Route] = {}
        self._holed.append((re.compile(text, re.DOTALL), made))
        return made


def _may_be_open(scope: Need, methods: str, path: str) -> bool:
    if scope == "none":
        return path in _HEALTH
    if scope == "signed":
        return methods == "POST" and path.startswith(_SIGNED) and "{" not in path
    return path == _SESSION or (methods == "GET" and not path.startswith(("/api", "/v1", "/metrics", "/openapi")))


def _hole(name: str) -> str:
    return f"(?P<{name[:-3]}>.*)" if name.endswith("...") else f"(?P<{name}>[^/]+)"
