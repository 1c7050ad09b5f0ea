"""How the server answers: JSON, errors by the one table, and the headers that every answer carries."""

from __future__ import annotations

import math
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Scope, Send

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.core.shapes import Json

Headers = list[tuple[bytes, bytes]]

SAFE: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every answer: nothing here is to be framed, sniffed, cached or run.

Source: https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

PROMETHEUS: Final = ("/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels", "/api/v1/label/")
"""Paths that answer errors as Prometheus does."""


MLFLOW: Final = "/api/2.0/mlflow/"
"""Paths that answer errors as MLflow does begin so."""


async def json(send: Send, body: bytes, *, status: int = 200, headers: Headers | None = None) -> None:
    """Sends a JSON body."""
    await answer(send, body, status=status, media_type=b"application/json", headers=headers)


async def answer(send: Send, body: bytes, *, status: int, media_type: bytes, headers: Headers | None = None) -> None:
    """Sends a whole answer."""
    sent = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def error(send: Send, found: Error, path: str) -> None:
    """Sends an error in the form that its path uses."""
    body = _body(found, path)
    await json(send, orjson.dumps(body), status=found.status, headers=error_headers(found))


async def refuse_socket(scope: Scope, send: Send, found: Error) -> None:
    """Answers a WebSocket that is not let in, as HTTP where the server in front can."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = orjson.dumps(plain_error(found))
    headers = [(b"content-type", b"application/json"), *error_headers(found), *SAFE]
    await send({"type": "websocket.http.response.start", "status": found.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def error_headers(found: Error) -> Headers:
    """Gives the headers that belong to an error.

    >>> error_headers(Busy("full", retry_after_s=1.5))
    [(b'retry-after', b'2')]
    """
    headers: Headers = []
    if isinstance(found, Busy):
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(found.retry_after_s))))
    if found.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="modelkeep"'))
    if found.status in {408, 413}:
        headers.append((b"connection", b"close"))
    return headers


def _body(found: Error, path: str) -> dict[str, Json]:
    if path.startswith(MLFLOW):
        return mlflow_error(found)
    return prometheus_error(found) if is_prometheus(path) else plain_error(found)


def response(found: Error) -> Response:
    """Gives an error as a response of Starlette."""
    made = Response(orjson.dumps(plain_error(found)), status_code=found.status, media_type="application/json")
    made.raw_headers.extend(error_headers(found))
    return made


def is_prometheus(path: str) -> bool:
    """Whether a path answers as Prometheus does.

    >>> is_prometheus("/api/v1/label/job/values"), is_prometheus("/api/v1/quality")
    (True, False)
    """
    return path in PROMETHEUS or path.startswith(PROMETHEUS[-1])


def plain_error(found: Error) -> dict[str, Json]:
    """Gives an error as docs/reference/http.md has it.

    >>> plain_error(Missing("no model 'x'"))
    {'error': {'name': 'Missing', 'message': "no model 'x'", 'hint': ''}}
    """
    return {"error": {"name": found.name, "message": clean(found.message), "hint": clean(found.hint)}}


def prometheus_error(found: Error) -> dict[str, Json]:
    """Gives an error as Prometheus has it.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview

    >>> prometheus_error(BadInput("no query"))
    {'status': 'error', 'errorType': 'bad_data', 'error': 'no query'}
    """
    kinds: dict[type[Error], str] = {
        BadInput: "bad_data",
        Missing: "not_found",
        Busy: "too_many_requests",
        Denied: "unauthorized",
    }
    kind = kinds.get(type(found), "unavailable" if isinstance(found, Unreachable) else "internal")
    text = f"{found.message}. {found.hint}" if found.hint else found.message
    return {"status": "error", "errorType": kind, "error": clean(text)}


def mlflow_error(found: Error) -> dict[str, Json]:
    """Gives an error as MLflow has it.

    Source: https://mlflow.org/docs/latest/api_reference/rest-api.html

    >>> mlflow_error(Missing("no model 'x'"))
    {'error_code': 'RESOURCE_DOES_NOT_EXIST', 'message': "no model 'x'"}
    """
    codes: dict[int, str] = {
        400: "INVALID_PARAMETER_VALUE",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "RESOURCE_DOES_NOT_EXIST",
        409: "RESOURCE_CONFLICT",
        429: "REQUEST_LIMIT_EXCEEDED",
        503: "TEMPORARILY_UNAVAILABLE",
    }
    code = codes.get(found.status, "INVALID_PARAMETER_VALUE" if isinstance(found, BadInput) else "INTERNAL_ERROR")
    text = f"{found.message}. {found.hint}" if found.hint else found.message
    return {"error_code": code, "message": clean(text)}


def clean(text: str) -> str:
    r"""Gives a text without control characters and halves of characters, for answers and terminals.

    >>> clean("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def completeness(complete: bool) -> dict[str, str]:
    """Gives the header that says whether an answer lacks records that were acknowledged before the question.

    >>> completeness(True), completeness(False)
    ({}, {'Modelkeep-Incomplete': 'readers are behind'})
    """
    return {} if complete else {"Modelkeep-Incomplete": "readers are behind"}
