"""Prometheus' own query paths, so that Grafana and everything else that speaks to Prometheus speaks to this server.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson
import promql_parser as ast
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Labels, Matcher, SeriesSource
from modelkeep.core.shapes import Json
from modelkeep.core.times import duration_ns, time_ns
from modelkeep.metrics.promql.answer import answer_json
from modelkeep.metrics.promql.syntax import matchers, parse
from modelkeep.server.answers import completeness
from modelkeep.server.crew import Crew
from modelkeep.server.routes import Routes

if TYPE_CHECKING:
    from modelkeep.server.house import House

EVER: Final = (0, 1 << 62)
"""The whole of time, in ns, for questions that name none."""
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

Values = dict[str, list[str]]
Work = Callable[[Values], bytes]


def add(routes: Routes, house: House, crew: Crew) -> None:
    """Enters all paths."""
    asks = Questions(house)
    for path, work in (
        ("/api/v1/query", asks.query),
        ("/api/v1/query_range", asks.query_range),
        ("/api/v1/series", asks.series),
        ("/api/v1/labels", asks.labels),
    ):
        routes.add("GET POST", path, "read", _page(house, crew, work))
    routes.add("GET", "/api/v1/label/{name}/values", "read", _page(house, crew, asks.label_values))
    routes.add("GET", "/metrics", "read", _metrics(house, crew))


def _page(house: House, crew: Crew, work: Work) -> ASGIApp:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        values = _values(scope, await request.body() if scope["method"] == "POST" else b"")

        def answered() -> tuple[bytes, bool]:
            start = time.perf_counter()
            complete = house.caught_up("series", "quality", "trainings")
            body = work(values)
            house.own.time("modelkeep_query_seconds", time.perf_counter() - start, room="metrics")
            return body, complete

        body, complete = await crew.run(answered)
        response = Response(body, media_type="application/json", headers=completeness(complete))
        await response(scope, receive, send)

    return page


def _metrics(house: House, crew: Crew) -> ASGIApp:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await crew.run(house.own.look)
        await PlainTextResponse(house.own.text(), media_type=TEXT)(scope, receive, send)

    return page


def _values(scope: Scope, body: bytes) -> Values:
    found: Values = {name: [text] for name, text in scope.get("path_params", {}).items()}
    try:
        text = scope["query_string"].decode("ascii") + "&" + body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise BadInput("parameters: not a form of at most 1000 UTF-8 fields") from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


class Questions:
    """What each path gives for its parameters.

    Args:
        house: which knows.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._sources: Sequence[SeriesSource] = house.sources

    def query(self, values: Values) -> bytes:
        """Gives the value of a query at one moment."""
        query, at_ns, as_of = _one(values, "query"), self._time(values, "time"), self._time(values, "as_of")
        return answer_json(self._house.promql.instant(query, self._now() if at_ns is None else at_ns, as_of_ns=as_of))

    def query_range(self, values: Values) -> bytes:
        """Gives the values of a query at steps."""
        query = _one(values, "query")
        start, end = (self._time(values, name) for name in ("start", "end"))
        if start is None or end is None:
            raise BadInput("start and end are needed", hint="Unix seconds, ISO 8601 or now-1h.")
        if end < start:
            raise BadInput('invalid parameter "end": end timestamp must not be before start time')
        step = _step(_one(values, "step"))
        as_of = self._time(values, "as_of")
        return answer_json(self._house.promql.range(query, start, end, step, as_of_ns=as_of))

    def series(self, values: Values) -> bytes:
        """Gives the label sets that match."""
        if not values.get("match[]"):
            raise BadInput("no match[] parameter provided")
        return _data([dict(pairs) for pairs in sorted(self._matching(values))])

    def labels(self, values: Values) -> bytes:
        """Gives the names of labels."""
        return _data(sorted({name for pairs in self._matching(values) for name, _ in pairs}))

    def label_values(self, values: Values) -> bytes:
        """Gives the values of one label."""
        (wanted, *_) = values["name"]
        if not wanted.replace("_", "a").isalnum() or not wanted.isascii() or wanted[0].isdigit():
            raise BadInput(f"invalid label name: {wanted[:60]!r}")
        found = {value for pairs in self._matching(values) for name, value in pairs if name == wanted}
        return _data(sorted(found))

    def _matching(self, values: Values) -> set[Labels]:
        start, end = self._time(values, "start"), self._time(values, "end")
        selectors = [_selector(text) for text in values.get("match[]", [])] or [[Matcher(NAME, "!=", "")]]
        return {
            pairs
            for selector in selectors
            for source in self._sources
            for pairs in source.series(selector, start or 0, EVER[1] if end is None else end)
        }

    def _now(self) -> int:
        return self._house.clocks.now_ns()

    def _time(self, values: Values, name: str) -> int | None:
        text = values.get(name, [""])[0]
        return moment(text, name, self._now()) if text else None


def moment(text: str, name: str, now_ns: int) -> int:
    """Gives a time that a parameter names.

    Raises:
        BadInput: it is none, or outside 1970 to 2116.

    >>> moment("now-1s", "from", 5 * SECOND) // SECOND
    4
    """
    try:
        at_ns = time_ns(text, now_ns=now_ns)
    except (OverflowError, ValueError):
        at_ns = -1
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}", hint=error.hint) from None
    if not 0 <= at_ns <= EVER[1]:
        raise BadInput(f"{name}: {text[:60]!r} is outside 1970 to 2116")
    return at_ns


def _one(values: Values, name: str) -> str:
    found = values.get(name, [""])[0]
    if not found:
        raise BadInput(f'invalid parameter "{name}": it is empty')
    return found


def _step(text: str) -> int:
    try:
        step = round(float(text) * SECOND)
    except (ValueError, OverflowError):
        step = duration_ns(text)
    if not 0 < step < EVER[1]:
        raise BadInput("zero or negative query resolution step widths are not accepted. Try a positive integer")
    return step


def _selector(text: str) -> Sequence[Matcher]:
    node = parse(text)
    if not isinstance(node, ast.VectorSelector):
        raise BadInput(f"match[]: {text[:60]!r} is not a selector of series")
    return matchers(node)


def _data(found: Sequence[Json]) -> bytes:
    return orjson.dumps({"status": "success", "data": found})
