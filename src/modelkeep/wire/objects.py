"""JSON objects that stay text: properties of events, attributes of logs. Checked here, so that readers need not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.wire.limits import STANDARD, Limits

EMPTY: Final = "{}"


def texts(values: Sequence[str], what: str, *, limits: Limits = STANDARD) -> None:
    """Checks that each text is one JSON object within the caps.

    Args:
        values: one text per row.
        what: which column, for the message.
        limits: depth and keys.

    Raises:
        BadInput: a text is no JSON, no object, too deep or has too many keys; the message names its row.

    >>> texts(['{"a": [1]}', "{}"], "properties")
    >>> texts(["[1]"], "properties")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: properties row 0: an array, expected a JSON object
    """
    for row, text in enumerate(values):
        if text != EMPTY:
            _one(text, f"{what} row {row}", limits)


def _one(text: str, where: str, limits: Limits) -> None:
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise BadInput(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: {_word(value)}, expected a JSON object")
    if text.count("{") + text.count("[") > limits.depth or text.count(":") > limits.keys:
        measure(value, where, limits=limits)


def _word(value: object) -> str:
    words = {list: "an array", str: "a text", bool: "a bool", type(None): "null"}
    return words.get(type(value), "a number")


def measure(value: Json, where: str, *, limits: Limits = STANDARD) -> None:
    """Checks depth and number of keys of a decoded value, without recursion.

    Raises:
        BadInput: a cap is passed.

    >>> measure({"a": {"b": 1}}, "properties", limits=Limits(depth=1))
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: properties: nested deeper than 1
    """
    level: list[Json] = [value]
    depth = keys = 0
    while level:
        below: list[Json] = []
        inner = False
        for item in level:
            if isinstance(item, dict):
                inner = True
                keys += len(item)
                below.extend(item.values())
            elif isinstance(item, list):
                inner = True
                below.extend(item)
        depth += inner
        if depth > limits.depth:
            raise BadInput(f"{where}: nested deeper than {limits.depth}")
        if keys > limits.keys:
            raise BadInput(f"{where}: more than {limits.keys} keys")
        level = below
