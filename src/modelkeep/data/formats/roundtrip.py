"""YAML for whatever is not plain: reading by ruamel.yaml, and edits that leave everything else as people wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.data.formats.plain import is_text

if TYPE_CHECKING:
    from ruamel.yaml import YAML

Change = Callable[["dict[str, Json]"], None]
"""Changes a document in place, key by key."""


def load(text: str, where: str) -> Json:
    """Gives what a YAML text holds; dates and other things that JSON lacks become text.

    Raises:
        BadInput: it is no YAML; the message names the line.
    """
    try:
        return _Plain(where).turned(_loaded(text, where, "safe"))
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply", hint=_HINT) from None


def edited(text: str, change: Change, where: str) -> str:
    """Gives a YAML text after a change, with its comments, its order and all that was not changed.

    Raises:
        BadInput: it is no YAML; the message names the line.
    """
    document = _loaded(text, where, "rt") if text.strip() else None
    if document is None:
        document = {}
    change(document)  # type: ignore[arg-type]
    return dumped(document)


def dumped(document: object) -> str:
    """Gives a document's YAML text in block style, as ruamel.yaml writes it.

    A text that ruamel.yaml would not read again as it was (some have odd line breaks or long runs of spaces) stands in
    double quotes instead.
    """
    text = _dump(document)
    try:
        if _yaml("safe").load(text) == document:
            return text
    except _faults():
        pass
    return _dump(_escaped(document), width=1 << 20)


def _dump(document: object, width: int | None = None) -> str:
    yaml = _yaml("rt")
    yaml.default_flow_style = False
    if width is not None:
        yaml.width = width
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _escaped(value: object) -> object:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _escaped(item)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            value[at] = _escaped(item)
    elif isinstance(value, str) and not is_text(value):
        return DoubleQuotedScalarString(value)
    return value


def line_of(text: str, keys: Sequence[str | int]) -> int:
    """Gives the line on which a value stands, from 1; the nearest one above it where it is not there."""
    place = _loaded(text, "", "rt")
    line = 0
    for key in keys:
        marks = getattr(place, "lc", None)
        try:
            line = (marks.item(key) if isinstance(key, int) else marks.key(key))[0] if marks is not None else line
            place = place[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
    return line + 1


def _loaded(text: str, where: str, kind: str) -> object:
    from ruamel.yaml.error import MarkedYAMLError

    try:
        loaded: object = _yaml(kind).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(error.problem or "no YAML").split())
        raise BadInput(f"{where}{at}: {problem}", hint=_HINT) from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply", hint=_HINT) from None
    except _faults() as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{where}: no YAML: {problem}", hint=_HINT) from None
    return loaded


def _faults() -> tuple[type[Exception], ...]:
    """What ruamel.yaml raises for texts that are no YAML, or YAML that it cannot build."""
    from ruamel.yaml.error import YAMLError

    return YAMLError, ValueError, TypeError, AttributeError, LookupError, AssertionError, OverflowError


_HINT = "Mend the line, or take the file back from git: `git checkout -- FILE`."


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML

    return YAML(typ=kind, pure=True)


class _Plain:
    """Turns what YAML gave into what JSON has; a value that is there twice by an alias is turned once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._done: dict[int, Json] = {}
        self._open: set[int] = set()

    def turned(self, value: object) -> Json:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, bytes) or not isinstance(value, Mapping | Sequence):
            return str(value)
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            raise BadInput(f"{self._where}: an alias that holds itself", hint=_HINT)
        self._open.add(id(value))
        found: Json
        if isinstance(value, Mapping):
            found = {str(key): self.turned(item) for key, item in value.items()}
        else:
            found = [self.turned(item) for item in value]
        self._open.remove(id(value))
        self._done[id(value)] = found
        return found
