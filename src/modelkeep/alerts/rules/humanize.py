"""Numbers as people read them, with the names and the results of Prometheus' template functions.

Source: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

from modelkeep.core.clock import SECOND
from modelkeep.core.times import iso

_LARGE: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL: Final = ("", "m", "u", "n", "p", "f", "a", "z", "y")
_BINARY: Final = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")


def number(value: float) -> str:
    """Gives a number with the fewest digits that tell it from its neighbours; exponents from 1e+06 on.

    >>> number(0.5), number(3.0), number(1234567.0), number(1e-5), number(float("inf")), number(float("nan"))
    ('0.5', '3', '1.234567e+06', '1e-05', '+Inf', 'NaN')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = int(exponent) + len(text)
    if value == 0:
        text, point = "0", 1
    if -4 <= point - 1 < 6:
        whole = text[:point].ljust(max(point, 1), "0") if point > 0 else "0"
        rest = text[point:] if point > 0 else "0" * -point + text
        shown = f"{whole}.{rest}" if rest else whole
    else:
        shown = f"{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1:+03d}"
    return f"-{shown}" if sign else shown


def _four(value: float, unit: str = "") -> str:
    if not math.isfinite(value):
        return number(value) + unit
    return f"{value:.4g}{unit}"


def humanize(value: float) -> str:
    """Gives a number with an SI prefix.

    >>> humanize(1234567), humanize(0.3), humanize(0)
    ('1.235M', '300m', '0')
    """
    if value == 0 or not math.isfinite(value):
        return _four(value)
    if abs(value) >= 1:
        return _four(*_scale(value, 1000, _LARGE))
    return _four(*_shrink(value))


def humanize1024(value: float) -> str:
    """Gives a number with a binary prefix.

    >>> humanize1024(2048), humanize1024(0.5)
    ('2ki', '0.5')
    """
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    return _four(*_scale(value, 1024, _BINARY))


def humanize_percentage(value: float) -> str:
    """Gives a ratio as a percentage.

    >>> humanize_percentage(0.1234)
    '12.34%'
    """
    return _four(value * 100, "%")


def humanize_duration(value: float) -> str:
    """Gives seconds as days, hours, minutes and seconds.

    >>> humanize_duration(93784), humanize_duration(0.0123), humanize_duration(0)
    ('1d 2h 3m 4s', '12.3ms', '0s')
    """
    if not math.isfinite(value):
        return _four(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        return _four(*_shrink(value)) + "s"
    sign, whole = "-" if value < 0 else "", int(abs(value))
    days, hours, minutes, seconds = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60, whole % 60
    if whole < 60:
        return f"{sign}{_four(abs(value))}s"
    parts = (f"{days}d ", f"{hours}h ", f"{minutes}m ", f"{seconds}s")
    return sign + "".join(parts[0 if days else 1 if hours else 2 :])


def humanize_timestamp(value: float) -> str:
    """Gives unix seconds as a date.

    >>> humanize_timestamp(1364774400)
    '2013-04-01T00:00:00Z'
    """
    if not math.isfinite(value) or not -6e10 < value < 2e11:
        return number(value)
    return iso(round(value * 1000) * (SECOND // 1000))


def _scale(value: float, by: int, units: tuple[str, ...]) -> tuple[float, str]:
    unit = 0
    while abs(value) >= by and unit + 1 < len(units):
        value, unit = value / by, unit + 1
    return value, units[unit]


def _shrink(value: float) -> tuple[float, str]:
    unit = 0
    while abs(value) < 1 and unit + 1 < len(_SMALL):
        value, unit = value * 1000, unit + 1
    return value, _SMALL[unit]
