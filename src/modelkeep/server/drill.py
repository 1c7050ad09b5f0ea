"""The drill: one synthetic bad event through ingest, rule, channel and read-back, each step timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from modelkeep.alerts.rules import parse_rules
from modelkeep.core.clock import SECOND
from modelkeep.core.encoding import Samples
from modelkeep.core.errors import Error, Unreachable
from modelkeep.core.ids import token
from modelkeep.core.series import NAME
from modelkeep.core.shapes import Json
from modelkeep.server.values import Row
from modelkeep.wire import native

if TYPE_CHECKING:
    from modelkeep.server.house import House

METRIC: Final = "modelkeep_drill"
_RULE: Final = "groups: [{{name: drill, interval: 1s, rules: [{{alert: Drill, expr: '{expr}'}}]}}]"
_APPLIED_S: Final = 10.0


def drill(house: House) -> Row:
    """Gives the answer of `POST /api/v1/drill`; a step that fails ends it."""
    mark, at_ns = token(), house.clocks.now_ns()
    expr = f'{METRIC}{{drill="{mark}"}} > 0'
    steps: list[Json] = []
    for name, work in (
        ("ingest", lambda: _ingest(house, mark, at_ns)),
        ("rule", lambda: _rule(house, expr, at_ns)),
        ("channel", lambda: _channel(house)),
        ("read-back", lambda: _read_back(house, expr, at_ns)),
    ):
        step, ok = _timed(name, work)
        steps.append(step)
        if not ok:
            break
    return {"steps": steps}


def _timed(name: str, work: Callable[[], str]) -> tuple[Json, bool]:
    start, ok = time.perf_counter(), True
    try:
        detail = work()
    except Error as error:
        ok, detail = False, f"{error.message}. {error.hint}".rstrip(". ")
    seconds = round(time.perf_counter() - start, 4)
    return {"name": name, "ok": ok, "seconds": seconds, "detail": detail}, ok


def _ingest(house: House, mark: str, at_ns: int) -> str:
    samples = Samples(labels=[{NAME: METRIC, "drill": mark}], series=[0], at=[at_ns], value=[1.0])
    receipt = house.journal.append([native.samples(samples)])
    if not house.feeds["series"].wait(receipt.seq, _APPLIED_S):
        raise Unreachable("the series engine has not taken the sample", hint="Look at readers in /api/v1/status.")
    return f"on disk as entry {receipt.seq}"


def _rule(house: House, expr: str, at_ns: int) -> str:
    groups = parse_rules(_RULE.format(expr=expr.replace("'", "''")), file="drill")
    moment = -(-at_ns // SECOND) * SECOND
    changes = house.alerts.replay(moment, moment + SECOND, groups)
    if not any(change.to_state == "firing" for change in changes):
        raise Unreachable("the rule did not fire on the sample")
    return f"fired on {METRIC}"


def _channel(house: House) -> str:
    done = house.alerts.drill()
    return f"channel {done.channel} took it after {done.latency_s:.3f} s"


def _read_back(house: House, expr: str, at_ns: int) -> str:
    found = house.promql.instant(expr, at_ns + SECOND)
    if len(found.labels) != 1:
        raise Unreachable("the sample cannot be read back")
    return "the sample is found by PromQL"
