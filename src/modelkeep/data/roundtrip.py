"""YAML for whatever is not plain: reading by ruamel.yaml, and edits that leave everything else as people wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from ruamel.yaml import YAML

Change = Callable[["dict[str, Json]"], None]
"""Changes a document in place, key by key."""


def load(text: str, where: str) -> Json:
    """Gives what a YAML text holds; dates and other things that JSON lacks become text.

    Raises:
        BadInput: it is no YAML; the message names the line.
    """
    return _json(_loaded(text, where, "safe"))


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
    """Gives a document's YAML text in block style, as ruamel.yaml writes it."""
    yaml = _yaml("rt")
    yaml.default_flow_style = False
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


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
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        loaded: object = _yaml(kind).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(error.problem or "no YAML").split())
        raise BadInput(f"{where}{at}: {problem}", hint=_HINT) from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply", hint=_HINT) from None
    except (
        YAMLError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
        AssertionError,
        OverflowError,
    ) as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{where}: no YAML: {problem}", hint=_HINT) from None
    return loaded


_HINT = "Mend the line, or take the file back from git: `git checkout -- FILE`."


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML

    return YAML(typ=kind, pure=True)


def _json(value: object, depth: int = 0) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > 50:
        return None
    if isinstance(value, Mapping):
        return {str(key): _json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_json(item, depth + 1) for item in value]
    return str(value)
