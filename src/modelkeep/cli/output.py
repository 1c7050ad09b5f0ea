"""What commands print: JSON for programs, aligned columns for people; talk goes to stderr."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json

F = TypeVar("F", bound=Callable[..., object])
_NUMBER: Final = re.compile(r"-|[-+]?[\d,.]+(e[-+]?\d+)?%?|[-+]?inf|nan")
_CONTROL: Final = {"Cc", "Cf", "Zl", "Zp"}


def json_option(command: F) -> F:
    """Adds `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")(command)


def print_json(value: Json) -> None:
    """Prints a value as indented JSON."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def clean(text: str) -> str:
    """Gives a text without anything that could steer a terminal.

    >>> clean("a\\x1b[31mb")
    'a�[31mb'
    """
    if text.isascii() and text.isprintable():
        return text
    import unicodedata

    return "".join("\ufffd" if unicodedata.category(char) in _CONTROL else char for char in text)


def cell(value: Json) -> str:
    """Gives a value as one cell: numbers to four digits after the point, nothing as a dash.

    >>> cell(0.123456), cell(None), cell(12), cell(True)
    ('0.1235', '-', '12', 'yes')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"
    if isinstance(value, str):
        return clean(value)
    import json

    return clean(json.dumps(value, ensure_ascii=False)) if isinstance(value, dict | list) else str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[Json]], *, empty: str = "Nothing found.") -> str:
    """Gives rows as aligned columns under a head; numbers stand right.

    >>> print(table(["name", "rows"], [["a", 5], ["bcd", 12]]))
    name  rows
    a        5
    bcd     12
    """
    values = [list(row) for row in rows]
    if not values:
        return empty
    texts = [[cell(value) for value in row] for row in values]
    right = [all(_NUMBER.fullmatch(row[at]) for row in texts) for at in range(len(head))]
    widths = [max(len(row[at]) for row in [list(head), *texts]) for at in range(len(head))]
    lines = [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *texts]
    ]
    return "\n".join(lines)


def rows_of(answer: dict[str, Json], key: str) -> list[dict[str, Json]]:
    """Gives the list of objects under a key of an answer; whatever is not an object is left out."""
    found = answer.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def names_in(rows: Iterable[dict[str, Json]], key: str) -> list[str]:
    """Gives the names of the objects under a key of many rows, each once, in the order of their first appearance.

    >>> names_in([{"m": {"b": 1}}, {"m": {"a": 1, "b": 2}}, {"m": None}], "m")
    ['b', 'a']
    """
    objects = (row.get(key) for row in rows)
    return list(dict.fromkeys(name for found in objects if isinstance(found, dict) for name in found))


def texts_of(row: dict[str, Json]) -> str:
    """Gives an object's members as `name=value` pairs.

    >>> texts_of({"model": "m", "n": 3})
    'model=m n=3'
    """
    return " ".join(f"{name}={cell(value)}" for name, value in row.items())
