"""What pages look at: each topic knows when something may be new and gives it as JSON, empty when nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.metrics.promql.answer import answer_json
from modelkeep.server.questions import Questions
from modelkeep.server.values import Row

if TYPE_CHECKING:
    from modelkeep.server.house import House

Params = Mapping[str, str | float]

RECENT: Final = 5
"""Steps of a series that are told again with each new one: what came late is mended."""
_FAR: Final = 300
"""More new steps than this are not told; the page asks again for all."""
_REST_S: Final = 10.0
_LINES: Final = 200
_TAIL_NS: Final = 120 * SECOND


class Topic:
    """One thing that is looked at.

    Args:
        what: its kind.
        every_s: the pause between two looks.

    `last` is what somebody is told who begins to look, empty for nothing.
    """

    def __init__(self, what: str, every_s: float) -> None:
        self.what = what
        self.working = False
        self.last = b""
        self._every_s = every_s
        self._next_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to look.

        Args:
            now_s: monotonic.
        """
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        return True

    def rest(self) -> None:
        """Waits longer before the next look: this one failed."""
        self._next_s = time.monotonic() + _REST_S

    def compute(self) -> bytes:
        """Gives what is new as JSON, empty when nothing is."""
        raise NotImplementedError


class _Whole(Topic):
    """Something that is told whole whenever it has changed."""

    def __init__(self, what: str, every_s: float, look: Callable[[], Row]) -> None:
        super().__init__(what, every_s)
        self._look = look

    def compute(self) -> bytes:
        found = orjson.dumps(self._look())
        if found == self.last:
            return b""
        self.last = found
        return found


class _Series(Topic):
    """The newest points of a PromQL query, on the grid of its step."""

    def __init__(self, house: House, query: str, step_s: float) -> None:
        super().__init__("series", 1.0)
        self._house, self._query, self._step = house, query, round(step_s * SECOND)
        self._told = 0

    def is_due(self, now_s: float) -> bool:
        return self._end() > self._told and super().is_due(now_s)

    def compute(self) -> bytes:
        end, step = self._end(), self._step
        if self._told and (end - self._told) // step > _FAR:
            self._told = end
            return b'{"reset":true}'
        start = max(0, min(end - (RECENT - 1) * step, self._told + step if self._told else end))
        found = answer_json(self._house.promql.range(self._query, start, end, step))
        self._told = end
        times = b'"start":%b,"end":%b,"step":%b' % (_seconds(start), _seconds(end), _seconds(step))
        self.last = b'{%b,"matrix":%b}' % (times, found)
        return self.last

    def _end(self) -> int:
        return self._house.clocks.now_ns() // self._step * self._step


class _Logs(Topic):
    """Log records that came since the last look.

    Who begins to listen is told those of the last two minutes, so that nothing falls between their own question and
    the first message.
    """

    def __init__(self, house: House, ask: Questions, query: str) -> None:
        super().__init__("logs", 1.0)
        self._house, self._ask, self._query = house, ask, query
        self._from = house.clocks.now_ns() - _TAIL_NS
        self._seen: set[str] = set()

    def compute(self) -> bytes:
        now = self._house.clocks.now_ns()
        start = f"{max(0, self._from) / SECOND:.3f}"
        found = self._ask.logs(query=self._query, start=start, end=None, limit=_LINES, before=None)
        self._from = now - _TAIL_NS
        rows = found["logs"]
        lines: list[Json] = list(rows) if isinstance(rows, list) else []
        names = {_name(line) for line in lines}
        fresh = [line for line in lines if _name(line) not in self._seen]
        self._seen = self._seen | names if len(self._seen) < 10 * _LINES else names
        if not fresh:
            return b""
        self.last = orjson.dumps({"logs": lines, "more": len(lines) == _LINES})
        return orjson.dumps({"logs": fresh, "more": len(fresh) == _LINES})


def _name(line: Json) -> str:
    return str(line.get("id", "")) if isinstance(line, dict) else ""


def _seconds(at_ns: int) -> bytes:
    return orjson.dumps(at_ns // SECOND if at_ns % SECOND == 0 else at_ns / SECOND)


def topic(house: House, what: str, params: Params) -> Topic:
    """Gives the topic that a page names.

    Args:
        house: which knows.
        what: series, logs, alerts, status, models or releases.
        params: as docs/reference/http.md has them.

    Raises:
        BadInput: there is no such topic, or a parameter is missing, unknown or wrong.
    """
    ask = Questions(house)
    if what == "series":
        query, step = _text(params, "query"), params.get("step")
        _only(params, "query", "step")
        if not query or not isinstance(step, int | float) or not 1 <= step <= 1e9:
            raise BadInput("series: expected a query and a step of at least 1 s")
        return _Series(house, query, float(step))
    if what == "logs":
        _only(params, "q")
        return _Logs(house, ask, _text(params, "q"))
    if what == "releases":
        _only(params, "model")
        model = _text(params, "model")
        return _Whole(what, 5.0, lambda: ask.releases(model or None))
    whole: dict[str, tuple[float, Callable[[], Row]]] = {
        "alerts": (1.0, lambda: ask.alerts(None)),
        "status": (2.0, ask.status),
        "models": (2.0, ask.models),
    }
    if what not in whole:
        raise BadInput(
            f"what: {what[:60]!r} is not known", hint=f"There are: series, logs, releases, {', '.join(whole)}."
        )
    _only(params)
    return _Whole(what, *whole[what])


def _text(params: Params, name: str) -> str:
    value = params.get(name, "")
    if not isinstance(value, str) or len(value) > 8_000:
        raise BadInput(f"{name}: expected a text of at most 8000 characters")
    return value


def _only(params: Params, *known: str) -> None:
    for name in params:
        if name not in known:
            raise BadInput(f"params: {name[:60]!r} is not known", hint=f"There are: {', '.join(known) or 'none'}.")
