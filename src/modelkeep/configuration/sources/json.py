"""JSON files, every key with its line, duplicate keys refused.

Source: RFC 8259.
"""

from __future__ import annotations

import json
import re
from typing import ClassVar, Final

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, join
from modelkeep.core.errors import BadInput

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|\n|[^\s"{}\[\],:]+')


class Json(File):
    """A JSON file; its top is an object."""

    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def parse(self, text: str) -> Reading:
        try:
            tree = json.loads(text if text.strip() else "{}", parse_constant=_refused)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{self.name}:{error.lineno}:{error.colno}: {error.msg}", hint="Mend the JSON there."
            ) from None
        except RecursionError:
            raise BadInput(f"{self.name}: nested too deep") from None
        except ValueError as error:
            what = str(error) if "JSON" in str(error) else "a number is too long"
            raise BadInput(f"{self.name}: {what}", hint="Quote it if it is a text.") from None
        if not isinstance(tree, dict):
            raise BadInput(f"{self.name}:1: the top is not an object", hint='Write {"key": value}.')
        return Reading(tree, _marks(text, self.name))


def _refused(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _marks(text: str, name: str) -> dict[str, Mark]:
    """Gives the line of every key of a valid JSON text.

    Raises:
        BadInput: an object has a key twice.
    """
    marks: dict[str, Mark] = {}
    line = 1
    stack: list[tuple[str, int]] = []  # the container's key, and the place in a list or -1
    names: list[dict[str, int]] = []
    key, waiting, named = "", "", False
    for piece in _TOKEN.findall(text):
        if piece == "\n":
            line += 1
        elif piece in "{[":
            inner = _here(stack, key, named)
            stack.append((inner, -1 if piece == "{" else 0))
            names.append({})
            _mark(marks, inner, name, line)
            named = False
        elif piece in "}]":
            stack.pop()
            names.pop()
            named = False
        elif piece == ",":
            folder, place = stack[-1]
            stack[-1] = (folder, place + 1 if place >= 0 else -1)
            named = False
        elif piece == ":":
            key, named = waiting, True
            path = join(stack[-1][0], key)
            if key in names[-1]:
                raise BadInput(
                    f"{name}:{line}: {path} stands at line {names[-1][key]} already", hint="Keep one of the two."
                )
            names[-1][key] = line
            marks[path] = Mark(name, line)
        else:
            waiting = json.loads(piece) if piece.startswith('"') else ""
            if stack and stack[-1][1] >= 0:
                _mark(marks, _here(stack, key, named), name, line)
    return marks


def _here(stack: list[tuple[str, int]], key: str, named: bool) -> str:
    if not stack:
        return ""
    folder, place = stack[-1]
    return join(folder, place) if place >= 0 else join(folder, key) if named else folder


def _mark(marks: dict[str, Mark], key: str, name: str, line: int) -> None:
    if key:
        marks.setdefault(key, Mark(name, line))


plugin: type[Source] = Json
