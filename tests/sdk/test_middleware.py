"""ASGI and WSGI: requests counted and timed, answers untouched."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import wsgiref.validate
from io import BytesIO

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import modelkeep as mk
from modelkeep.sdk.meters import MOST_SERIES, Meters


def totals(sending) -> dict[tuple[str, str, str], float]:
    assert mk.flush()
    from modelkeep.sdk import client

    client.here()._measure(force=True)
    assert mk.flush()
    found = {}
    for series, value in sending.series().items():
        labels = dict(series)
        if labels["__name__"] == "http_requests_total":
            found[labels["method"], labels["status"], labels["route"]] = value
    return found


async def plain(request):
    mk.log_prediction("m", {"a": 1}, 1)
    logging.getLogger("app").warning("served")
    return PlainTextResponse("ok", headers={"X-Own": "1"})


async def streamed(request):
    async def pieces():
        for number in range(3):
            yield f"{number}"
            await asyncio.sleep(0.02)

    return StreamingResponse(pieces())


async def broken(request):
    raise RuntimeError


APP = Starlette(routes=[Route("/plain/{id}", plain), Route("/streamed", streamed), Route("/broken", broken)])


def get(app, *paths: str, **headers: str) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [await client.get(path, headers=headers) for path in paths]

    return asyncio.run(ask())


def test_asgi_counts_and_leaves_the_answer_alone(sending) -> None:
    bare, watched = get(APP, "/plain/1", "/streamed"), get(mk.ASGI(APP), "/plain/1", "/streamed")
    assert [(one.status_code, one.content, one.headers) for one in bare] == [
        (one.status_code, one.content, one.headers) for one in watched
    ]
    get(mk.ASGI(APP), "/broken", "/nowhere")
    counted = totals(sending)
    assert sum(counted.values()) == 4
    assert {(method, status) for method, status, _ in counted} == {("GET", "200"), ("GET", "500"), ("GET", "404")}
    seconds = {
        dict(series)["route"]: value
        for series, value in sending.series().items()
        if dict(series)["__name__"] == "http_request_duration_seconds_sum"
    }
    assert max(seconds.values()) > 0.05, "a streamed answer is timed to its end"


def test_asgi_joins_logs_and_predictions_by_trace(sending) -> None:
    mk.logging.install("WARNING")
    try:
        get(mk.ASGI(APP), "/plain/1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        get(mk.ASGI(APP), "/plain/1", **{"x-request-id": "r7"})
        get(mk.ASGI(APP), "/plain/1")
    finally:
        mk.logging.uninstall()
    assert mk.flush()
    traces = [row["trace_id"] for row in sending.logs]
    assert traces[:2] == ["0af7651916cd43dd8448eb211c80319c", "r7"]
    assert len(traces[2]) == 32
    assert [row["prediction_id"] for row in sending.logs] == sending.ids


def test_asgi_passes_errors_lifespan_and_websockets_through(sending) -> None:
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))
        if scope["type"] == "http":
            raise LookupError

    async def nothing(*_):
        raise AssertionError

    watched = mk.ASGI(app)
    for kind in ("lifespan", "websocket"):
        asyncio.run(watched({"type": kind}, nothing, nothing))
    assert seen == [("lifespan", nothing, nothing), ("websocket", nothing, nothing)]
    with pytest.raises(LookupError):
        asyncio.run(watched({"type": "http", "method": "BREW", "headers": []}, nothing, nothing))
    assert totals(sending) == {("other", "500", ""): 1}


def call(app, path: str = "/", **environ: str) -> tuple[str, list[tuple[str, str]], bytes]:
    said: list[object] = []

    def start(status, headers, exc_info=None):
        said[:] = [status, headers]
        return lambda data: None

    given = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **environ,
    }
    answer = app(given, start)
    try:
        body = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return said[0], said[1], body  # type: ignore[return-value]


def test_wsgi_counts_lists_and_streams_and_keeps_the_protocol(sending) -> None:
    closed = []

    class Stream:
        def __iter__(self):
            for _ in range(3):
                time.sleep(0.02)
                yield b"x"

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Stream() if environ["PATH_INFO"] == "/stream" else [b"ok"]

    checked = wsgiref.validate.validator(mk.WSGI(wsgiref.validate.validator(app)))
    assert call(checked) == ("200 OK", [("Content-Type", "text/plain")], b"ok")
    assert call(checked, "/stream")[2] == b"xxx"
    assert closed == [True]
    assert totals(sending) == {("GET", "200", ""): 2}


def test_wsgi_errors_before_and_during_the_answer(sending) -> None:
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/":
            raise LookupError
        start_response("200 OK", [])
        return (1 / 0 for _ in range(1))

    with pytest.raises(LookupError):
        call(mk.WSGI(app))
    with pytest.raises(ZeroDivisionError):
        call(mk.WSGI(app), "/stream")
    assert totals(sending) == {("GET", "500", ""): 2}


def test_wsgi_joins_what_a_streamed_answer_logs(sending) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        made = mk.log_prediction("m", {"a": 1}, 1)
        logging.getLogger("app").warning(made)
        yield b"x"
        logging.getLogger("app").warning(made)

    mk.logging.install("WARNING")
    try:
        call(mk.WSGI(app), HTTP_X_REQUEST_ID="r7")
        logging.getLogger("app").warning("outside")
    finally:
        mk.logging.uninstall()
    assert mk.flush()
    assert [row["trace_id"] for row in sending.logs] == ["r7", "r7", None]
    assert [row["prediction_id"] for row in sending.logs][:2] == sending.messages[:2]


def test_series_of_one_meter_are_bounded() -> None:
    meters = Meters()
    for number in range(MOST_SERIES + 100):
        meters.request({"route": str(number)}, 0.01)
    counts = [value for labels, value in meters.read() if labels["__name__"] == "http_requests_total"]
    assert len(counts) == MOST_SERIES + 1
    assert max(counts) == 100
