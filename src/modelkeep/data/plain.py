"""The plain form that nearly every `.dvc` file has, read and written without a YAML library.

A document that this module takes means the same to every YAML reader; whatever is not certain is left to one.
"""

from __future__ import annotations

import re
from typing import Final

from modelkeep.core.shapes import Json

_LINE: Final = re.compile(r"( {0,6})(- )?([a-z_][a-z_0-9]*):(?: (.+))?\Z")
_INTEGER: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_HASH: Final = re.compile(r"[0-9a-f]{32}(?:\.dir)?\Z|[0-9a-f]{40}\Z")
_NUMERIC: Final = re.compile(r"[0-9]+(?:e[0-9]+)?\Z")
"""A hash that YAML would take for a number."""
_WORD: Final = re.compile(r"[^\W\d](?:[\w./@+~=,()-]|:(?=[\w/])| (?=[\w./@+~=(]))*\Z")
_RELATIVE: Final = re.compile(r"\.{0,2}/[\w./@+~=-]+\Z")
_TYPED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_BOOLEANS: Final = {"true": True, "false": False}
_FOLDS: Final = 60
"""Longer values may be written over two lines."""


def read(text: str) -> tuple[dict[str, Json], bool] | None:
    """Gives a document, and whether `write` would give the same text again; None: not certainly plain.

    >>> read("outs:\\n- md5: d41d8cd98f00b204e9800998ecf8427e\\n  size: 0\\n  path: a.csv\\n")
    ({'outs': [{'md5': 'd41d8cd98f00b204e9800998ecf8427e', 'size': 0, 'path': 'a.csv'}]}, True)
    >>> read("outs: &a [1]\\n")
    """
    document: dict[str, Json] = {}
    exact = text.endswith("\n")
    places: dict[int, dict[str, Json]] = {0: document}
    waiting: tuple[dict[str, Json], str, int] | None = None  # a key whose value is on the lines below
    items: list[Json] | None = None
    for line in text.split("\n")[:-1] if exact else text.split("\n"):
        if not line or line.lstrip(" ").startswith("#"):
            exact = False
            continue
        found = _LINE.match(line)
        if found is None:
            return None
        spaces, dash, key, raw = found.groups()
        depth = len(spaces)
        if waiting is not None:
            holder, name, above = waiting
            place: dict[str, Json] = {}
            if dash and depth == above == 0:
                items = holder[name] = [place]
                places = {0: document, 2: place}
            elif not dash and depth == above + 2:
                holder[name] = place
                places = {**{at: one for at, one in places.items() if at <= above}, depth: place}
            else:
                return None
            waiting = None
        elif dash:
            if depth or items is None or 2 not in places:
                return None
            place = {}
            items.append(place)
            places = {0: document, 2: place}
        if dash:
            depth = 2
        elif depth == 0:
            items = None
        if depth not in places:
            return None
        into = places[depth]
        places = {at: one for at, one in places.items() if at <= depth}
        if key in into or key in _TYPED:
            return None
        if raw is None:
            waiting = (into, key, depth)
            into[key] = None
            continue
        value = _value(raw)
        if value is None:
            return None
        exact = exact and _scalar(value) == raw
        into[key] = value
    return None if waiting is not None or not document else (document, exact)


def write(document: dict[str, Json]) -> str | None:
    """Gives a document's text as ruamel.yaml writes it in block style; None: it holds something that is not plain.

    >>> write({"outs": [{"md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 0, "path": "a.csv"}]})
    'outs:\\n- md5: d41d8cd98f00b204e9800998ecf8427e\\n  size: 0\\n  path: a.csv\\n'
    """
    lines: list[str] = []
    return "".join(f"{line}\n" for line in lines) if _mapping(document, "", lines) and lines else None


def _mapping(document: dict[str, Json], spaces: str, lines: list[str]) -> bool:
    for key, value in document.items():
        if not re.fullmatch(r"[a-z_][a-z_0-9]*", key) or key in _TYPED:
            return False
        if isinstance(value, dict):
            lines.append(f"{spaces}{key}:")
            if not value or not _mapping(value, spaces + "  ", lines):
                return False
        elif isinstance(value, list):
            lines.append(f"{spaces}{key}:")
            if spaces or not value or not _items(value, lines):
                return False
        else:
            text = _scalar(value)
            if text is None:
                return False
            lines.append(f"{spaces}{key}: {text}")
    return True


def _items(values: list[Json], lines: list[str]) -> bool:
    for value in values:
        first = len(lines)
        if not isinstance(value, dict) or not value or not _mapping(value, "  ", lines):
            return False
        lines[first] = f"- {lines[first][2:]}"
    return True


def _value(raw: str) -> Json:
    """What a value means; None: not certain."""
    if _HASH.match(raw) is not None:
        return None if _NUMERIC.match(raw) else raw
    if _INTEGER.match(raw) is not None:
        return int(raw)
    if raw in _BOOLEANS:
        return _BOOLEANS[raw]
    if raw[0] == raw[-1] == "'" and len(raw) > 2 and raw[1:-1].isascii() and raw[1:-1].isprintable():
        return raw[1:-1] if "'" not in raw[1:-1] else None
    if raw.lower() in _TYPED:
        return None
    return raw if _WORD.match(raw) is not None or _RELATIVE.match(raw) is not None else None


def _scalar(value: Json) -> str | None:
    """How a value is written; None: not certain."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.isascii() or len(value) > _FOLDS:
        return None
    if _HASH.match(value) is not None:
        return f"'{value}'" if _NUMERIC.match(value) else value
    if value.lower() in _TYPED:
        return None
    return value if _WORD.match(value) is not None or _RELATIVE.match(value) is not None else None
