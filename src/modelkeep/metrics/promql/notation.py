"""Numbers as Prometheus writes them: the shortest text that reads back as the same number."""

from __future__ import annotations

import math
from decimal import Decimal


def plain(value: float) -> str:
    """Gives a float without an exponent.

    >>> plain(1e21), plain(1e-7), plain(-0.0), plain(float("inf")), plain(0.1)
    ('1000000000000000000000', '0.0000001', '-0', '+Inf', '0.1')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def number(value: float) -> str:
    """Gives a float as it stands in answers: with an exponent from 1e21 on and below 1e-6.

    >>> number(1e20), number(1.5e21), number(1e-6), number(1e-7), number(float("nan"))
    ('100000000000000000000', '1.5e+21', '0.000001', '1e-07', 'NaN')
    """
    size = abs(value)
    return repr(value) if size < math.inf and (size >= 1e21 or 0 < size < 1e-6) else plain(value)
