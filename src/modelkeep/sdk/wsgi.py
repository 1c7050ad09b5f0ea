"""Middleware for any WSGI application: the same as `asgi`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from time import perf_counter
from types import TracebackType
from typing import cast

from modelkeep.sdk.asgi import count, joined, trace_of

Environ = dict[str, object]
Fault = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None
Start = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, Start], Iterable[bytes]]


class WSGI:
    """Wraps an application: `app.wsgi_app = mk.WSGI(app.wsgi_app)`.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Serves one request; a streamed answer is timed to its end."""
        one = _Served(environ, start_response)
        around = copy_context()
        try:
            answer = around.run(self._enter, one, environ)
        except BaseException:
            one.done("500")
            raise
        if isinstance(answer, list | tuple):
            one.done()
            return answer
        return _Answer(answer, one, around)

    def _enter(self, one: _Served, environ: Environ) -> Iterable[bytes]:
        joined(one.trace_id).__enter__()
        return self._app(environ, one.start)


class _Served:
    """One request on its way."""

    def __init__(self, environ: Mapping[str, object], start_response: Start) -> None:
        self.trace_id = trace_of(str(environ.get("HTTP_TRACEPARENT", "")), str(environ.get("HTTP_X_REQUEST_ID", "")))
        self._environ = environ
        self._start_response = start_response
        self._begin = perf_counter()
        self._status = "500"
        self._route = ""
        self._counted = False

    def start(self, status: str, *rest: object, **named: object) -> Callable[[bytes], object]:
        self._status = str(status)[:3]
        self._route = _route(self._environ)
        return self._start_response(status, *rest, **named)

    def done(self, status: str = "") -> None:
        if not self._counted:
            self._counted = True
            count(str(self._environ.get("REQUEST_METHOD", "")), status or self._status, self._route, self._taken())

    def _taken(self) -> float:
        return perf_counter() - self._begin


def _route(environ: Mapping[str, object]) -> str:
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", "")
    return rule if isinstance(rule, str) else ""


class _Answer:
    """A streamed answer; ends once, whatever ends it."""

    def __init__(self, answer: Iterable[bytes], one: _Served, around: Context) -> None:
        self._answer = answer
        self._pieces: Iterator[bytes] = around.run(iter, answer)
        self._one = one
        self._around = around

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._around.run(next, self._pieces)
        except StopIteration:
            self._one.done()
            raise
        except BaseException:
            self._one.done("500")
            raise

    def close(self) -> None:
        close = getattr(self._answer, "close", None)
        try:
            if close is not None:
                self._around.run(cast("Callable[[], object]", close))
        finally:
            self._one.done()
