"""A small world for alerts: series made of columns, clocks that are put, channels that remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelkeep.alerts.alerts import Alerts
from modelkeep.alerts.channel import Channel, Notification
from modelkeep.alerts.rules import RuleGroup, parse_rules
from modelkeep.core.clock import MINUTE, Events, Fixed
from modelkeep.core.series import STALE_BITS, Labels
from modelkeep.store.entries import Entries

STALE = float(np.array([STALE_BITS], np.int64).view(np.float64)[0])
START = 1_364_774_400 * 1_000_000_000


@dataclass(frozen=True)
class Answer:
    labels: Sequence[Labels]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass
class Table:
    """Answers `x` with columns at whole minutes; a value is there when it is not None."""

    series: dict[Labels, list[float | None]] = field(default_factory=dict)
    start_ns: int = START
    step_ns: int = MINUTE
    calls: list[tuple[str, int, int, int]] = field(default_factory=list)
    failure: Exception | None = None

    def range(self, query: str, start_ns: int, end_ns: int, step_ns: int, *, as_of_ns: int | None = None) -> Answer:
        self.calls.append((query, start_ns, end_ns, as_of_ns or 0))
        if self.failure is not None:
            raise self.failure
        times = np.arange(start_ns, end_ns + 1, step_ns, dtype=np.int64)
        at = (times - self.start_ns) // self.step_ns
        values = np.full((len(self.series), len(times)), STALE)
        for row, column in enumerate(self.series.values()):
            for position, index in enumerate(at.tolist()):
                value = column[index] if 0 <= index < len(column) else None
                if value is not None:
                    values[row, position] = value
        keep = [row for row in range(len(values)) if (values[row].view(np.int64) != STALE_BITS).any()]
        labels = list(self.series)
        return Answer([labels[row] for row in keep], times, values[keep])


@dataclass
class Memory:
    """Keeps what it is told; raises what it is given first."""

    messages: list[Notification] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def send(self, notification: Notification) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.messages.append(notification)


def rules(*lines: str, interval: str = "1m", limit: int = 0) -> list[RuleGroup]:
    """One group; each line is the flow mapping of a rule without braces."""
    body = ", ".join("{" + line + "}" for line in lines)
    return parse_rules(f"groups: [{{name: g, interval: {interval}, limit: {limit}, rules: [{body}]}}]")


@dataclass
class World:
    """Alerts over a table, restartable."""

    folder: Path
    groups: Sequence[RuleGroup]
    table: Table = field(default_factory=Table)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    wall: Fixed = field(default_factory=lambda: Fixed(2_000_000_000 * 1_000_000_000))

    def __post_init__(self) -> None:
        self.told = Memory()
        self.start()

    def start(self) -> Alerts:
        self.entries = Entries(self.folder / "entries.db")
        self.alerts = Alerts(
            self.entries,
            self.table,
            rules=self.groups,
            channels={"told": self.told, **self.channels},
            route="told",
            events_clock=self.events,
            wall=self.wall,
            link="http://127.0.0.1:7300/",
            **self.options,  # type: ignore[arg-type]
        )
        return self.alerts

    def restart(self) -> Alerts:
        """As after kill -9: only what is on disk is left."""
        self.entries.close()
        return self.start()

    def at(self, minute: float, *, wall_s: float = 0) -> int:
        """Moves the clock of events to a minute after the start, evaluates and delivers."""
        self.events.advance(START + round(minute * MINUTE))
        self.wall.at_ns += round(wall_s * 1e9)
        count = self.alerts.evaluate()
        self.alerts.deliver(wait_s=5)
        return count

    def said(self) -> list[tuple[str, str]]:
        """State and title of every message so far, and forgets them."""
        said = [(message.state, message.title) for message in self.told.messages]
        self.told.messages.clear()
        return said

    def story(self) -> list[tuple[int, str, str]]:
        """Every transition: minute, from and to."""
        return [((one.at_ns - START) // MINUTE, one.from_state, one.to_state) for one in self.alerts.history()]


def drilled(folder: Path) -> World:
    """A world with one rule and nothing in it."""
    return World(folder, rules("alert: High, expr: x > 1"))
