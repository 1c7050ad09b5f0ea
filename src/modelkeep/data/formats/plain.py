"""The plain form that nearly every file of DVC's has, read and written without a YAML library.

A text that this module takes means the same to every YAML reader; whatever is not certain is left to one.
"""

from __future__ import annotations

import re
from typing import Final

from modelkeep.core.shapes import Json

_LINE: Final = re.compile(r"( *)((?:- )?)(?:([A-Za-z_][\w./@-]*):(?: +|\Z))?(.*)\Z", re.ASCII)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{1,17}\Z")
_HASH: Final = re.compile(r"[0-9a-f]{32}(?:\.dir)?\Z|[0-9a-f]{40}\Z")
_NUMERIC: Final = re.compile(r"[0-9]+(?:e[0-9]+)?\Z")
"""A hash that YAML would take for a number."""
_REST: Final = r"(?:[\w!\"$-/;-@\[-`{-~]|:(?=[^\s:])|(?<=[^\s])#| (?=[^\s#:]))*\Z"
_WORD: Final = re.compile(r"[^\W\d]" + _REST)
_RELATIVE: Final = re.compile(r"\.{0,2}/" + _REST)
_MORE: Final = re.compile(r"(?:[^\W_]|[/.~$_]|-(?=[^\s-]|-[^\s-]))" + _REST)
"""What may go on with a text that began a line above."""
_TYPED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_BOOLEANS: Final = {"true": True, "false": False}
_FOLDS: Final = 60
"""Longer values may be written over two lines."""
_Holder = dict[str, Json] | list[Json]


class _Unsure(Exception):
    """The text is not certainly plain."""


def read(text: str) -> dict[str, Json] | None:
    r"""Gives the mapping that a text holds; None: it is not certainly plain.

    >>> read("outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  path: a.csv\n")
    {'outs': [{'md5': 'd41d8cd98f00b204e9800998ecf8427e', 'size': 0, 'path': 'a.csv'}]}
    >>> read("outs: &a [1]\n")
    """
    lines = _Lines()
    try:
        for line in text.split("\n"):
            if line and not line.lstrip(" ").startswith("#"):
                lines.take(line)
            else:  # a blank line within a value is a line break of the value
                lines.open_end = False
    except _Unsure:
        return None
    return lines.document if lines.document and lines.waiting is None else None


class _Lines:
    """Block mappings and lists, line by line; holders stand in a stack with their column."""

    def __init__(self) -> None:
        self.document: dict[str, Json] = {}
        self.waiting: tuple[_Holder, str, int] | None = None
        """A key whose value is on the lines below."""
        self.open_end = False
        """Whether the last value may go on below."""
        self._stack: list[tuple[int, _Holder]] = [(0, self.document)]
        self._last: tuple[dict[str, Json], str, int] = (self.document, "", 0)

    def take(self, line: str) -> None:
        found = _LINE.match(line)
        if found is None:
            raise _Unsure
        spaces, dash, key, raw = found.groups()
        column, raw = len(spaces), raw.rstrip(" ")
        if key is None and not dash:
            self._go_on(column, raw)
            return
        if self.waiting is not None:
            self._open(column, bool(dash))
        while self._stack[-1][0] > column or (
            not dash and self._stack[-1][0] == column and isinstance(self._stack[-1][1], list)
        ):
            self._stack.pop()
            if not self._stack:
                raise _Unsure
        at, holder = self._stack[-1]
        if at != column:
            raise _Unsure
        if dash:
            if not isinstance(holder, list):
                raise _Unsure
            if key is None:
                holder.append(_certain(raw))
                self.open_end = False
                return
            item: dict[str, Json] = {}
            holder.append(item)
            self._stack.append((column + 2, item))
            column, holder = column + 2, item
        self._set(holder, key, raw, column)

    def _set(self, holder: _Holder, key: str, raw: str, column: int) -> None:
        if not isinstance(holder, dict) or key in holder or key.lower() in _TYPED:
            raise _Unsure
        self._last = (holder, key, column)
        self.open_end = False
        holder[key] = None
        if raw:
            value = holder[key] = _certain(raw)
            self.open_end = isinstance(value, str) and raw[0] != "'" and _HASH.match(raw) is None
        else:
            self.waiting = (holder, key, column)

    def _open(self, column: int, is_list: bool) -> None:
        """Begins what the line above announced."""
        if self.waiting is None:
            return
        holder, key, above = self.waiting
        if column < above + (not is_list):
            raise _Unsure
        inner: _Holder = [] if is_list else {}
        if isinstance(holder, dict):
            holder[key] = inner
        self._stack.append((column, inner))
        self.waiting = None

    def _go_on(self, column: int, raw: str) -> None:
        """A text that was too long for one line."""
        holder, key, above = self._last
        begun = holder.get(key)
        if column <= above or _MORE.match(raw) is None:
            raise _Unsure
        if self.waiting is not None:
            holder[key] = _certain(raw)
            self.waiting = None
            self.open_end = isinstance(holder[key], str) and _HASH.match(raw) is None
        elif self.open_end and isinstance(begun, str):
            holder[key] = f"{begun} {raw}"
        else:
            raise _Unsure


def write(document: dict[str, Json]) -> str | None:
    r"""Gives a document's text as ruamel.yaml writes it in block style; None: it holds something that is not plain.

    >>> write({"outs": [{"md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 0, "path": "a.csv"}]})
    'outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  path: a.csv\n'
    """
    lines: list[str] = []
    return "".join(f"{line}\n" for line in lines) if _mapping(document, "", lines) and lines else None


def _mapping(document: dict[str, Json], spaces: str, lines: list[str]) -> bool:
    for key, value in document.items():
        if re.fullmatch(r"[a-z_][a-z_0-9]*", key) is None or key in _TYPED:
            return False
        if isinstance(value, dict):
            lines.append(f"{spaces}{key}:")
            if not value or not _mapping(value, spaces + "  ", lines):
                return False
        elif isinstance(value, list):
            lines.append(f"{spaces}{key}:")
            if not value or not _items(value, spaces, lines):
                return False
        else:
            text = _scalar(value)
            if text is None:
                return False
            lines.append(f"{spaces}{key}: {text}")
    return True


def _items(values: list[Json], spaces: str, lines: list[str]) -> bool:
    for value in values:
        first = len(lines)
        if not isinstance(value, dict) or not value or not _mapping(value, spaces + "  ", lines):
            return False
        lines[first] = f"{spaces}- {lines[first][len(spaces) + 2 :]}"
    return True


def _certain(raw: str) -> Json:
    """What a value means, if that is certain."""
    if _HASH.match(raw) is not None:
        if _NUMERIC.match(raw) is None:
            return raw
    elif _INTEGER.match(raw) is not None:
        return int(raw)
    elif raw in _BOOLEANS:
        return _BOOLEANS[raw]
    elif is_text(raw):
        return raw
    elif _FLOAT.match(raw) is not None:
        return float(raw)
    elif len(raw) > 2 and raw[0] == raw[-1] == "'":
        inner = raw[1:-1]
        if inner.isascii() and inner.isprintable() and "'" not in inner:
            return inner
    raise _Unsure


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
    return value if is_text(value) else None


def is_text(raw: str) -> bool:
    """Gives whether a value without quotes is a text to every reader."""
    return raw.lower() not in _TYPED and (_WORD.match(raw) is not None or _RELATIVE.match(raw) is not None)
