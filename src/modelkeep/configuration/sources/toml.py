"""TOML files, every key with its line.

Source: TOML 1.0, https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from datetime import time as clock
from typing import ClassVar, Final, cast

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, join
from modelkeep.core.errors import BadInput

_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_PART: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY: Final = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_LINE: Final = re.compile(rf"[ \t]*(?:\[\[[ \t]*({_KEY})[ \t]*\]\]|\[[ \t]*({_KEY})[ \t]*\]|({_KEY})[ \t]*=)")
_SPLIT: Final = re.compile(_PART)
_VALUE: Final = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""+|\'\'\'.*?\'\'\'+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[\[\]{}]|\n|[^"'#\[\]{}\n]+''',
    re.DOTALL,
)


class Toml(File):
    """A TOML file; dates become texts in the form that they have there."""

    suffixes: ClassVar[tuple[str, ...]] = (".toml",)

    def parse(self, text: str) -> Reading:
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            told = _PLACE.match(str(error))
            message, line, column = told.groups() if told else (str(error), None, None)
            twice = (
                _twice(text, int(line)) if line and message.startswith(("Cannot overwrite", "Cannot declare")) else ""
            )
            if twice:
                raise BadInput(f"{self.name}:{line}: {twice}", hint="Keep one of the two.") from None
            where = f"{self.name}:{line}:{column}" if line else f"{self.name}:{text.count(chr(10)) + 1}"
            raise BadInput(f"{where}: {message}", hint="Mend the TOML there.") from None
        except RecursionError:
            raise BadInput(f"{self.name}: nested too deep") from None
        return Reading(cast("Tree", _plain(tree)), _marks(text, self.name))


def _plain(node: object) -> Node:
    if isinstance(node, dict):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, datetime | date | clock):
        return node.isoformat()
    return cast("Node", node)


def _twice(text: str, line: int) -> str:
    """Says what a line says again."""
    before: dict[str, int] = {}
    for key, there in _keys(text):
        if there == line and key in before:
            return f"{key} stands at line {before[key]} already"
        before[key] = there
    return ""


def _marks(text: str, name: str) -> dict[str, Mark]:
    """Gives the line of every key; keys inside inline tables have the line of the table."""
    marks: dict[str, Mark] = {}
    for key, line in _keys(text):
        marks.setdefault(key, Mark(name, line))
    return marks


def _keys(text: str) -> Iterator[tuple[str, int]]:
    """Gives every key and header of a TOML text with its line."""
    tables: dict[str, int] = {}
    folder, at, line = "", 0, 1
    while at < len(text):
        found = _LINE.match(text, at)
        if found is None:
            end = text.find("\n", at)
            at, line = (len(text) if end < 0 else end + 1), line + 1
            continue
        many, one, key = found.groups()
        if many is not None or one is not None:
            folder = _path(many if many is not None else one, tables, "")
            if many is not None:
                tables[folder] = tables.get(folder, -1) + 1
                folder = join(folder, tables[folder])
            yield folder, line
        else:
            yield _path(key, {}, folder), line
        at, line = _behind(text, found.end(), line)


def _path(key: str, tables: dict[str, int], folder: str) -> str:
    """Gives a dotted key; a part that is an array of tables stands for its newest table."""
    for number, part in enumerate(parts := _SPLIT.findall(key)):
        plain = part[1:-1] if part[0] in "\"'" else part
        folder = join(folder, plain)
        if folder in tables and number < len(parts) - 1:
            folder = join(folder, tables[folder])
    return folder


def _behind(text: str, at: int, line: int) -> tuple[int, int]:
    """Gives the place behind the value or header that ends here, and its line."""
    depth = 0
    while at < len(text):
        found = _VALUE.match(text, at)
        if found is None:
            at += 1
            continue
        piece, at = found[0], found.end()
        line += piece.count("\n")
        depth += (piece in "[{") - (piece in "]}")
        if piece == "\n" and depth <= 0:
            break
    return at, line


plugin: type[Source] = Toml
