"""Clocks: everything that needs "now" takes one of these, so that live and replay share their code."""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


class Clock(Protocol):
    """Tells the time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...


class Wall:
    """The machine's clock.

    >>> Wall().now_ns() > 1_700_000_000 * SECOND
    True
    """

    def now_ns(self) -> int:
        return time.time_ns()


class Fixed:
    """A clock that stands where it was put.

    >>> clock = Fixed(5)
    >>> clock.now_ns()
    5
    >>> clock.at_ns = 7
    >>> clock.now_ns()
    7
    """

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def now_ns(self) -> int:
        return self.at_ns


class Events:
    """The clock of events: the newest prediction seen is now; it never goes back.

    Before the first event it stands at 0.

    >>> clock = Events()
    >>> clock.advance(100)
    >>> clock.advance(40)
    >>> clock.now_ns()
    100
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns
        self._lock = threading.Lock()

    def advance(self, at_ns: int) -> None:
        """Moves the watermark to `at_ns` unless it is already later."""
        with self._lock:
            self._now = max(self._now, at_ns)

    def now_ns(self) -> int:
        return self._now
