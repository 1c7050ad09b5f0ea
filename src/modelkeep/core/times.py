"""Times and durations as people write them, turned into ns."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND
from modelkeep.core.errors import BadInput

_UNITS: Final = {
    "ms": 1_000_000,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": DAY,
    "w": 7 * DAY,
    "y": 365 * DAY,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_RELATIVE: Final = re.compile(r"now(?:-(.+))?\Z")


def duration_ns(text: str) -> int:
    """Gives a duration such as `5m` or `1h30m` in ns.

    Args:
        text: numbers with the units ms, s, m, h, d, w, y (365 days), as in Prometheus.

    Raises:
        BadInput: the text is not a duration.

    >>> duration_ns("1h30m") // SECOND
    5400
    """
    total, end = 0, 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        total += round(float(part[1]) * _UNITS[part[2]])
        end = part.end()
    if not text or end != len(text):
        raise BadInput(f"{text!r} is not a duration", hint="Write it like 30s, 5m, 1h30m or 7d.")
    return total


def time_ns(text: str, *, now_ns: int) -> int:
    """Gives a time in ns: `now`, `now-1h`, unix seconds, or ISO 8601 (UTC unless it says otherwise).

    Raises:
        BadInput: the text is not a time.

    >>> time_ns("now-1h", now_ns=2 * HOUR) == HOUR
    True
    >>> time_ns("2013-04-01T00:00:00Z", now_ns=0) == time_ns("2013-04-01", now_ns=0)
    True
    >>> time_ns("1364774400.5", now_ns=0)
    1364774400500000000
    """
    if relative := _RELATIVE.match(text):
        return now_ns - (duration_ns(relative[1]) if relative[1] else 0)
    try:
        return round(float(text) * 1000) * 1_000_000
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text!r} is not a time", hint="Write it like 2026-01-31, 2026-01-31T08:00:00Z, now-1h or unix seconds."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return datetime_ns(moment)


def datetime_ns(moment: datetime) -> int:
    """Gives an aware datetime in ns, exactly.

    >>> datetime_ns(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005000
    """
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000


def iso(at_ns: int) -> str:
    """Gives a time in ns as ISO 8601 in UTC, to the millisecond when it has any.

    >>> iso(1364774400500000000)
    '2013-04-01T00:00:00.500Z'
    """
    seconds, rest = divmod(at_ns, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // 1_000_000:03d}Z" if rest else f"{text}Z"
