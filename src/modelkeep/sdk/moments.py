"""Times as callers have them, turned into ns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from time import time_ns as wall_ns
from typing import Final, Protocol, cast

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.times import datetime_ns, time_ns

_NANOSECONDS_FROM: Final = 10**14
"""A number from here on is ns (27 hours after 1970), below it unix seconds (the year 3,170,843)."""
_MOST: Final = 2**63 - 1

Moment = datetime | date | str | int | float
"""A datetime or date (UTC when it names no zone), ISO 8601 text, unix seconds, or ns since 1970."""


class _Array(Protocol):
    def astype(self, dtype: str) -> _Array: ...
    def tolist(self) -> object: ...


def moment_ns(moment: object) -> int:
    """Gives one time in ns; also takes pandas Timestamps and numpy datetime64.

    Args:
        moment: see `Moment`.

    Raises:
        BadInput: it is not a time between 1677 and 2262.

    >>> moment_ns("1970-01-01T00:00:02Z"), moment_ns(2.5), moment_ns(1_364_774_400_000_000_000)
    (2000000000, 2500000000, 1364774400000000000)
    """
    found = _moment_ns(moment)
    if not -_MOST <= found <= _MOST:
        raise BadInput(f"{moment!r} is not a time that fits 64 bits of ns", hint="Give a time between 1678 and 2261.")
    return found


def moments_ns(moments: object, rows: int) -> list[int] | int:
    """Gives one time for all rows, or one per row.

    Raises:
        BadInput: something is not a time, or there are not as many as rows.

    >>> moments_ns([1, 2.5], 2)
    [1000000000, 2500000000]
    """
    kind = getattr(getattr(moments, "dtype", None), "kind", "")
    if not hasattr(moments, "__len__") or isinstance(moments, str):
        return moment_ns(moments)
    if kind == "M" and hasattr(moments, "to_numpy"):
        moments = moments.to_numpy()
    if kind == "M" and hasattr(moments, "astype"):
        found = cast("list[int]", cast("_Array", moments).astype("datetime64[ns]").astype("int64").tolist())
    else:
        found = [moment_ns(moment) for moment in cast("Sequence[object]", moments)]
    if len(found) != rows:
        raise BadInput(f"{len(found)} times for {rows} rows", hint="Give one time, or one per row.")
    return found


def _moment_ns(moment: object) -> int:
    if isinstance(moment, datetime):
        exact = getattr(moment, "value", None)
        if isinstance(exact, int):
            return exact
        return datetime_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if isinstance(moment, date):
        return datetime_ns(datetime.combine(moment, time(), UTC))
    if isinstance(moment, str):
        return time_ns(moment, now_ns=wall_ns())
    if getattr(getattr(moment, "dtype", None), "kind", "") == "M":
        return cast("int", cast("_Array", moment).astype("datetime64[ns]").astype("int64").tolist())
    return _number_ns(moment)


def _number_ns(moment: object) -> int:
    if isinstance(moment, bool) or not hasattr(moment, "__float__"):
        raise BadInput(f"{moment!r} is not a time", hint="Give a datetime, ISO 8601 text, unix seconds or ns.")
    if hasattr(moment, "__index__"):
        whole = moment.__index__()
        return cast("int", whole) if abs(whole) >= _NANOSECONDS_FROM else cast("int", whole * SECOND)
    number = float(moment)
    if not math.isfinite(number):
        raise BadInput(f"{moment!r} is not a time", hint="Give a finite number.")
    return round(number) if abs(number) >= _NANOSECONDS_FROM else round(number * 1e6) * 1000
