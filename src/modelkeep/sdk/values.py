r"""Any value of a caller, turned into one that can be sent.

| given | sent |
|---|---|
| None, bool, int of 64 bits, float (also NaN and infinities), text | itself |
| pandas NA and NaT; NaN in a column that also has text | null |
| larger int, Decimal, Fraction | float; text where a float cannot hold it |
| numpy scalar, array of one value, Enum | the value within |
| datetime, date, time | ISO 8601 text |
| timedelta | seconds |
| bytes | text; what is not UTF-8 as `\xff` |
| list, tuple, set, dict, array | JSON text |
| anything else | its `str`, at most 1,000 characters |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Final, cast

import msgspec

from modelkeep.core.encoding import Scalar

PLAIN: Final = frozenset({type(None), bool, int, float, str})
"""Types that are sent as they are, but for ints beyond 64 bits."""
_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_LEAST, _MOST = -(2**63), 2**63 - 1
_LONGEST: Final = 1000
_LONGEST_NAME: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABSENT: Final = frozenset({"NAType", "NaTType"})
_DEEPEST: Final = 15
_HUGE: Final = re.compile(r"\d{19}")


def scalar(value: object) -> Scalar:
    """Gives one value as it is sent; never raises.

    >>> from decimal import Decimal
    >>> [scalar(value) for value in (True, Decimal("0.5"), 2**70, b"ab", [1, "x"], None)]
    [True, 0.5, 1.1805916207174113e+21, 'ab', '[1,"x"]', None]
    """
    try:
        return _scalar(value)
    except Exception:  # noqa: BLE001
        return type(value).__name__


def _scalar(value: object) -> Scalar:
    kind = type(value)
    if kind is int:
        return _whole(cast("int", value))
    if kind in PLAIN:
        return cast("Scalar", value)
    if kind.__name__ in _ABSENT:
        return None
    for types, turn in _TURNS:
        if isinstance(value, types):
            return turn(value)
    return _foreign(value)


def _foreign(value: object) -> Scalar:
    if hasattr(value, "dtype"):
        return _array(value)
    if hasattr(value, "__index__"):
        return _whole(value.__index__())
    return clean(str(value)[:_LONGEST])


def _whole(value: int) -> Scalar:
    if _LEAST <= value <= _MOST:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return "inf" if value > 0 else "-inf"


def _fraction(value: object) -> Scalar:
    try:
        return float(cast("Decimal", value))
    except (OverflowError, ValueError):
        return str(value)[:_LONGEST]


def _array(value: object) -> Scalar:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if getattr(value, "size", 1) != 1:
        return json(cast("Callable[[], object]", getattr(value, "tolist", lambda: str(value)))())
    if kind == "M":
        text = str(value.astype("datetime64[us]")) if hasattr(value, "astype") else str(value)
        return None if text == "NaT" else text.strip("[]'")
    if kind == "m" and hasattr(value, "astype"):
        return float(value.astype("timedelta64[ns]").astype("int64")) / 1e9
    item = value.item() if hasattr(value, "item") else str(value)
    return scalar(item) if type(item) is not type(value) else clean(str(value)[:_LONGEST])


def clean(text: str) -> str:
    r"""Gives text that UTF-8 can hold: a lone surrogate becomes its escape.

    >>> clean("a\ud800")
    'a\\ud800'
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def named(text: object, otherwise: str = "") -> str:
    r"""Gives text as a name that the server takes: at most 200 characters, none of them a control character.

    >>> named("a\nb"), named("", "unnamed")
    ('a b', 'unnamed')
    """
    if type(text) is str and len(text) <= _LONGEST_NAME and text.isascii() and text.isprintable() and text:
        return text
    found = _CONTROL.sub(" ", clean(text if isinstance(text, str) else str(text)))[:_LONGEST_NAME]
    return found or otherwise


_TURNS: Final[tuple[tuple[type | tuple[type, ...], Callable[[object], Scalar]], ...]] = (
    (Enum, lambda value: scalar(cast("Enum", value).value)),
    (float, lambda value: float(cast("float", value))),
    (str, lambda value: "".join(cast("str", value))),
    (int, lambda value: _whole(int(cast("int", value)))),
    ((Decimal, Fraction), _fraction),
    ((datetime, date, time), lambda value: cast("datetime", value).isoformat()),
    (timedelta, lambda value: cast("timedelta", value).total_seconds()),
    ((bytes, bytearray, memoryview), lambda value: bytes(cast("bytes", value)).decode("utf-8", "backslashreplace")),
    ((Mapping, list, tuple, set, frozenset), lambda value: json(value)),  # noqa: PLW0108
)


def column(values: Sequence[object]) -> list[Scalar]:
    """Gives one value per row as they are sent; a column of plain values costs one look at their types.

    >>> column([1.5, None, 2**70])
    [1.5, None, 1.1805916207174113e+21]
    >>> column(["a", float("nan")])
    ['a', None]
    """
    found = list(values)
    types = set(map(type, found))
    if not types <= PLAIN:
        sent = [scalar(value) for value in found]
        return column(sent)
    if int in types and not _fits(found, types):
        sent = [scalar(value) for value in found]
        return _texts(sent)
    if str in types and float in types:
        return _texts(cast("list[Scalar]", found))
    return cast("list[Scalar]", found)


def numbers(values: Sequence[object]) -> list[float | None]:
    """Gives one float per row; what is no number is null.

    >>> numbers([1, 0.5, "x", None])
    [1.0, 0.5, None, None]
    """
    found = list(values)
    if set(map(type, found)) == {float}:
        return cast("list[float | None]", found)
    return [number(value) for value in found]


def number(value: object) -> float | None:
    """Gives one float, or None for what is no number.

    >>> number(True), number("0.5")
    (1.0, None)
    """
    sent = value if type(value) is float else scalar(value)
    try:
        return None if sent is None or isinstance(sent, str) else float(sent)
    except OverflowError:
        return None


def json(value: object) -> str:
    """Gives JSON text of any value; what JSON cannot hold is text, NaN and infinities are null. Never raises.

    Whole numbers beyond 64 bits are floats, what is nested deeper than 15 is cut.

    >>> json({"at": 1, 2: {"x": float("nan")}})
    '{"at":1,"2":{"x":null}}'
    """
    try:
        text = msgspec.json.encode(value, enc_hook=_inside).decode()
    except Exception:  # noqa: BLE001
        text = ""
    if text and not _HUGE.search(text) and text.count("{") + text.count("[") <= _DEEPEST:
        return text
    return msgspec.json.encode(_tame(value, 0)).decode()


def _inside(value: object) -> object:
    if hasattr(value, "dtype") and hasattr(value, "tolist") and getattr(value, "size", 1) != 1:
        return value.tolist()
    return scalar(value)


def _tame(value: object, deep: int) -> object:
    if deep >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {clean(str(key)): _tame(inner, deep + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tame(inner, deep + 1) for inner in value]
    sent = _inside(value)
    return clean(sent) if isinstance(sent, str) else sent if type(sent) in PLAIN else clean(str(sent)[:_LONGEST])


def _fits(values: Iterable[object], types: set[type]) -> bool:
    if types == {int}:
        whole = cast("list[int]", values)
        return min(whole) >= _LEAST and max(whole) <= _MOST
    return all(_LEAST <= value <= _MOST for value in values if type(value) is int)


def _texts(values: list[Scalar]) -> list[Scalar]:
    if not any(type(value) is str for value in values):
        return values
    return [None if type(value) is float and math.isnan(value) else value for value in values]
