"""How old samples may get, with a guard against a clock that jumps."""

from __future__ import annotations

import time
from typing import Final

from modelkeep.core.clock import DAY, HOUR, SECOND, Clock

_AHEAD_NS: Final = DAY
_LEAP_NS: Final = HOUR
_REST_NS: Final = 30 * DAY
_WAIT_S: Final = 24 * 3600.0
_NEVER: Final = -(2**63)


class Retention:
    """Tells before when samples may go.

    A clock that leaps ahead while the server runs, or has gone on by more than a month since it ran last, deletes
    nothing for a day: time enough to see it. And nothing is old by more than a day beyond the newest sample.

    Args:
        clock: tells the time.
        keep_ns: how long samples are kept.
        before_ns: the clock when the engine was sealed last, 0 when never.

    >>> from modelkeep.core.clock import Fixed
    >>> retention = Retention(Fixed(100 * DAY), 90 * DAY, 99 * DAY)
    >>> retention.before_ns(retention.now_ns(), newest_ns=100 * DAY) // DAY
    10
    >>> retention.before_ns(retention.now_ns(), newest_ns=50 * DAY) // DAY
    -39
    """

    def __init__(self, clock: Clock, keep_ns: int, before_ns: int) -> None:
        self._clock = clock
        self._keep = keep_ns
        self._seen: tuple[int, float] | None = None
        self._closed_until = 0.0
        if before_ns and clock.now_ns() - before_ns > _REST_NS:
            self._wait()

    def now_ns(self) -> int:
        """Gives the clock's time and watches how it goes."""
        now_ns, steady_s = self._clock.now_ns(), time.monotonic()
        if self._seen is not None:
            before_ns, before_s = self._seen
            if now_ns - before_ns > (steady_s - before_s) * SECOND + _LEAP_NS:
                self._wait()
        self._seen = (now_ns, steady_s)
        return now_ns

    def before_ns(self, now_ns: int, newest_ns: int) -> int:
        """Gives the time before which samples may go."""
        if time.monotonic() < self._closed_until:
            return _NEVER
        return max(min(now_ns, newest_ns + _AHEAD_NS) - self._keep, _NEVER)

    def _wait(self) -> None:
        self._closed_until = time.monotonic() + _WAIT_S
