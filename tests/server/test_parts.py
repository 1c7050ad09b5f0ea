"""The small parts of the server by themselves: bounds of time, crews, rounds, values, pauses."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from decimal import Decimal

import pytest

from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import Busy
from modelkeep.server.crew import Crew
from modelkeep.server.own import Own
from modelkeep.server.rounds import Round
from modelkeep.server.stamps import Bounds
from modelkeep.server.values import plain


def test_a_crew_refuses_what_does_not_fit() -> None:
    crew, gate = Crew("test", 1, waiting=1), threading.Event()

    async def ask() -> list[object]:
        first, second = (asyncio.ensure_future(crew.run(gate.wait)) for _ in range(2))
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await crew.run(gate.wait)
        gate.set()
        return [await first, await second]

    assert asyncio.run(ask()) == [True, True]
    assert crew.busy == 0
    crew.close()
    with pytest.raises(Busy):
        asyncio.run(crew.run(gate.wait))


def test_a_crew_hands_on_errors() -> None:
    crew = Crew("test", 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(crew.run(lambda: 1 // 0))
    assert crew.busy == 0
    crew.close()


def test_a_round_goes_on_after_a_failure_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    own, calls = Own(), []

    def work() -> None:
        calls.append(1)
        raise ValueError("again")

    turn = Round("test", 0.005, work, own)
    turn.start()
    end = time.monotonic() + 5
    while len(calls) < 4 and time.monotonic() < end:
        time.sleep(0.005)
    turn.stop()
    assert len(calls) >= 4
    assert own.totals("modelkeep_round_failures")["modelkeep_round_failures_total"] == len(calls)
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_bounds_with_the_clock_of_events() -> None:
    bounds = Bounds(wall_ns=1_000 * MINUTE, watermark_ns=0)
    assert bounds.latest("log", 0) == 1_010 * MINUTE
    assert bounds.latest("log", 50 * MINUTE) == 60 * MINUTE
    assert bounds.latest("release", 50 * MINUTE) == 1_010 * MINUTE


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("inf"), None),
        (Decimal("1.5"), 1.5),
        (dt.datetime(2013, 4, 1, tzinfo=dt.UTC), "2013-04-01T00:00:00Z"),
        (dt.date(2013, 4, 1), "2013-04-01"),
        (dt.timedelta(seconds=2), 2.0),
        (b"\x01\xff", "01ff"),
        ({("m", "x"): 1}, {"m x": 1}),
        ({1}, [1]),
        (-(2**63), str(-(2**63))),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_any_value_becomes_json(value: object, told: object) -> None:
    assert plain(value) == told
