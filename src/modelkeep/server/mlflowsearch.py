"""MLflow's filters and orders over its registry: `name LIKE 'churn%' AND tags.team = 'risk'`, `version_number DESC`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'[^']*'|"[^"]*")|(?P<word>[A-Za-z_][\w]*(?:\.(?:`[^`]*`|"[^"]*"|[\w.\-]+))?|`[^`]*`)
    |(?P<number>-?\d+(?:\.\d+)?)|(?P<sign>!=|<=|>=|=|<|>|\(|\)|,))""",
    re.VERBOSE,
)
_LONGEST: Final = 10_000
_ATTRIBUTES: Final = {
    "name": "name",
    "version": "version",
    "version_number": "version",
    "run_id": "run_id",
    "source_path": "source",
    "creation_timestamp": "creation_timestamp",
    "last_updated_timestamp": "last_updated_timestamp",
}
_PROMPT: Final = "mlflow.prompt.is_prompt"
_HINT: Final = (
    "For example name = 'churn', name LIKE 'churn%', tags.team = 'risk', version_number > 3, with AND between."
)

Value = str | float
Test = Callable[["Searched"], bool]


@dataclass(frozen=True, slots=True)
class Searched:
    """A row of an answer with what it is ordered by; `number` is 0 for a model."""

    row: dict[str, Json]
    name: str
    number: int
    at_ns: int

    def tag(self, key: str) -> str | None:
        """Gives the value of a tag."""
        tags = self.row.get("tags")
        for one in tags if isinstance(tags, list) else ():
            if isinstance(one, dict) and one.get("key") == key:
                return str(one.get("value"))
        return None


def chosen(rows: Sequence[Searched], text: str) -> list[Searched]:
    """Gives the rows that a filter lets through.

    Raises:
        BadInput: the filter cannot be read.

    >>> rows = [Searched({"name": name}, name, 0, 0) for name in ("churn", "churn-eu", "fraud")]
    >>> [one.name for one in chosen(rows, "name LIKE 'churn%' AND name != 'churn'")]
    ['churn-eu']
    """
    tests = list(_tests(text)) if text.strip() else []
    return [one for one in rows if all(test(one) for test in tests)]


def ordered(rows: Sequence[Searched], by: Sequence[str]) -> list[Searched]:
    """Gives rows in an order: names as they rise, the newest version first unless something else is asked.

    Raises:
        BadInput: an order cannot be read.
    """
    found = sorted(rows, key=lambda one: (one.name, -one.number))
    for clause in reversed(by):
        key, _, direction = clause.strip().strip("`").partition(" ")
        direction = direction.strip().upper() or "ASC"
        name = key.strip('`"').removeprefix("attributes.").removeprefix("attribute.")
        if name not in _ORDERS or direction not in {"ASC", "DESC"}:
            raise BadInput(f"Invalid order_by clause '{clause[:60]}'", hint=f"There are: {', '.join(_ORDERS)}.")
        found.sort(key=_ORDERS[name], reverse=direction == "DESC")
    return found


def _moment(one: Searched) -> tuple[str, int]:
    return "", one.at_ns


def _created(one: Searched) -> tuple[str, int]:
    value = one.row.get("creation_timestamp")
    return "", value if isinstance(value, int) else 0


_ORDERS: Final[dict[str, Callable[[Searched], tuple[str, int]]]] = {
    "name": lambda one: (one.name, 0),
    "version_number": lambda one: ("", one.number),
    "creation_timestamp": _created,
    "last_updated_timestamp": _moment,
}


def _tests(text: str) -> Iterator[Test]:
    words = _words(text)
    while True:
        yield _clause(words)
        if not words:
            return
        if words.pop(0)[1].upper() != "AND" or not words:
            raise BadInput(f"Invalid filter '{text[:80]}'", hint=_HINT)


def _words(text: str) -> list[tuple[str, str]]:
    if len(text) > _LONGEST:
        raise BadInput(f"filter: {len(text)} characters, at most {_LONGEST} are allowed")
    found, place, end = list[tuple[str, str]](), 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise BadInput(f"Invalid filter '{text[:80]}' at character {place + 1}", hint=_HINT)
        found.append((match.lastgroup or "", match[match.lastgroup or 0]))
        place = match.end()
    return found


def _clause(words: list[tuple[str, str]]) -> Test:
    try:
        kind, key = words.pop(0)
        sign = words.pop(0)[1].upper()
        if sign == "IN":
            values: list[Value] = _list(words)
        else:
            values = [_value(*words.pop(0))]
    except IndexError:
        raise BadInput("Invalid filter: it ends too early", hint=_HINT) from None
    if kind != "word":
        raise BadInput(f"Invalid filter: {key[:60]} is no attribute", hint=_HINT)
    return _test(key, sign, values)


def _list(words: list[tuple[str, str]]) -> list[Value]:
    if words.pop(0)[1] != "(":
        raise BadInput("Invalid filter: IN expects a list", hint=_HINT)
    values = [_value(*words.pop(0))]
    while (sign := words.pop(0)[1]) != ")":
        if sign != ",":
            raise BadInput(f"Invalid filter: {sign[:60]} within a list", hint=_HINT)
        values.append(_value(*words.pop(0)))
    return values


def _value(kind: str, text: str) -> Value:
    if kind == "number":
        return float(text)
    if kind != "text":
        raise BadInput(f"Invalid filter: {text[:60]} is no value; texts stand in quotes", hint=_HINT)
    return text[1:-1]


def _test(key: str, sign: str, values: list[Value]) -> Test:
    first, _, rest = key.partition(".")
    if first in {"tags", "tag"} and rest:
        name = rest.strip('`"')
        compare = _compared(sign, values, number=False)
        if name == _PROMPT:  # models are no prompts
            return lambda one: compare("false")
        return lambda one: (found := one.tag(name)) is not None and compare(found)
    bare = (rest if first in {"attribute", "attributes"} else key).strip('`"')
    if bare not in _ATTRIBUTES:
        raise BadInput(f"Invalid attribute key '{bare[:60]}'", hint=f"There are: {', '.join(_ATTRIBUTES)}, tags.KEY.")
    field = _ATTRIBUTES[bare]
    number = field in {"version", "creation_timestamp", "last_updated_timestamp"}
    compare = _compared(sign, values, number=number)
    return lambda one: compare(str(one.row.get(field, "")))


def _compared(sign: str, values: list[Value], *, number: bool) -> Callable[[str], bool]:
    texts = [str(value) for value in values]
    if number:
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            raise BadInput(f"Invalid filter: {texts[0][:60]!r} is no number", hint=_HINT) from None
        return _numeric(sign, numbers)
    if sign == "IN":
        return lambda found: found in texts
    if sign in {"LIKE", "ILIKE"}:
        pieces = [re.escape(piece) for piece in re.split("([%_])", texts[0])]
        pattern = "".join({"%": ".*", "_": "."}.get(piece, piece) for piece in pieces)
        matching = re.compile(pattern, re.DOTALL | (re.IGNORECASE if sign == "ILIKE" else 0))
        return lambda found: matching.fullmatch(found) is not None
    if sign not in {"=", "!="}:
        raise BadInput(f"Invalid comparator {sign} of texts", hint="=, !=, LIKE, ILIKE or IN.")
    return lambda found: (found == texts[0]) is (sign == "=")


_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": float.__eq__,
    "!=": float.__ne__,
    "<": float.__lt__,
    "<=": float.__le__,
    ">": float.__gt__,
    ">=": float.__ge__,
}


def _numeric(sign: str, numbers: list[float]) -> Callable[[str], bool]:
    if sign == "IN":
        return lambda found: bool(found) and float(found) in numbers
    if sign not in _SIGNS:
        raise BadInput(f"Invalid comparator {sign} of numbers", hint="=, !=, <, <=, >, >= or IN.")
    test = _SIGNS[sign]
    return lambda found: bool(found) and test(float(found), numbers[0])
