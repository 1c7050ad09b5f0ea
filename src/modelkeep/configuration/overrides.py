"""The grammar of overrides: `lr=0.1,0.01`, `+new=1`, `~old`, `depth=range(1,5)`, `mode=choice(a,b)`.

Values are what Hydra's documentation says of its override grammar; whoever swept with `--multirun` writes the same
here. Options that only choose among configuration groups (`glob`) or need an optimiser (`interval`) are refused.

Source: https://hydra.cc/docs/advanced/override_grammar/extended/
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, cast

from modelkeep.configuration.tree import Node
from modelkeep.core.errors import BadInput

Kind = Literal["set", "add", "force", "delete"]

_HEAD: Final = re.compile(r"(\+\+|\+|~)?([A-Za-z_][\w./@:-]*(?:\[\d+\][\w./-]*)*)(=)?", re.ASCII)
_KINDS: Final[dict[str, Kind]] = {"": "set", "+": "add", "++": "force", "~": "delete"}
_INT: Final = re.compile(r"[+-]?(?:0|[1-9]\d*(?:_\d+)*)\Z", re.ASCII)
_FLOAT: Final = re.compile(
    r"[+-]?(?:(?:\d+(?:_\d+)*)?\.\d+(?:_\d+)*(?:[eE][+-]?\d+)?|\d+(?:_\d+)*\.(?:[eE][+-]?\d+)?"
    r"|\d+(?:_\d+)*[eE][+-]?\d+|inf|nan)\Z",
    re.ASCII | re.IGNORECASE,
)
_CALL: Final = re.compile(r"\s*([A-Za-z_]\w*)\(")
_WORDS: Final[dict[str, Node]] = {"true": True, "false": False, "null": None}
_SPECIAL: Final = frozenset("()[]{}:=,'\" \t")
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class Override:
    """One key and what becomes of it in one run.

    Args:
        key: dotted.
        value: what it gets; what it must have, or None, where it is deleted.
        kind: `set` a key that is there, `add` one that is not, `force` either, `delete` one.
    """

    key: str
    value: Node
    kind: Kind = "set"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One key and the values that it is to get, one after the other."""

    key: str
    values: tuple[Node, ...]
    kind: Kind = "set"

    def overrides(self) -> list[Override]:
        """Gives one override for each value."""
        return [Override(self.key, value, self.kind) for value in self.values]


class _Many(tuple[Node, ...]):
    """Values to be swept, where one value may stand."""

    __slots__ = ()


class _Named(dict[str, Node]):
    """`name=value` arguments of a function."""


def parse(text: str) -> Sweep:
    r"""Gives the key and values of one argument.

    Raises:
        BadInput: it does not follow the grammar; with the place in it.

    >>> parse("lr=0.1,1e-2").values, parse("depth=range(1,5)").values, parse("x=[1,2],[3]").values
    ((0.1, 0.01), (1, 2, 3, 4), ([1, 2], [3]))
    >>> parse("+who='a,b',c\\,d"), parse("~db.pool")
    (Sweep(key='who', values=('a,b', 'c,d'), kind='add'), Sweep(key='db.pool', values=(None,), kind='delete'))
    """
    head = _HEAD.match(text)
    if head is None or (not head[3] and (head[1] != "~" or head.end() != len(text))):
        raise BadInput(f"override {text!r} is not key=value", hint="Write lr=0.1,0.01 or ~key; quote it for the shell.")
    kind = _KINDS[head[1] or ""]
    if "@" in head[2] or "/" in head[2] or ":" in head[2]:
        raise BadInput(f"override {text!r}: there are no configuration groups here", hint="Name another source file.")
    if not head[3]:
        return Sweep(head[2], (None,), kind)
    reader = _Reader(text, head.end())
    found = reader.top()
    values = found if isinstance(found, _Many) else (found,)
    if kind == "delete" and len(values) != 1:
        raise BadInput(f"override {text!r}: a deletion cannot be swept")
    return Sweep(head[2], tuple(values), kind)


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self._text, self._at = text, at

    def top(self) -> Node | _Many:
        """The whole right side: one value, or several between commas."""
        if not self._text[self._at :].strip():
            return ""
        found = [self._value()]
        while self._taken(","):
            found.append(self._value())
        self._space()
        if self._at < len(self._text):
            raise self._wrong(f"{self._text[self._at]!r} is not expected")
        if len(found) == 1:
            return found[0]
        if any(isinstance(one, _Many) for one in found):
            raise self._wrong("a sweep inside of a sweep")
        return _Many(cast("list[Node]", found))

    def _value(self) -> Node | _Many:
        self._space()
        call = _CALL.match(self._text, self._at)
        if call:
            self._at = call.end()
            return self._called(call[1])
        if self._text[self._at : self._at + 1] == "[":
            return self._list()
        if self._text[self._at : self._at + 1] == "{":
            return self._mapping()
        return self._primitive()

    def _called(self, name: str) -> Node | _Many:
        given: list[Node | _Many] = []
        named = _Named()
        while not self._taken(")"):
            if (given or named) and not self._taken(","):
                raise self._wrong("a comma or a closing bracket is missing")
            word = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)").match(self._text, self._at)
            if word:
                self._at = word.end()
                named[word[1]] = self._one()
            else:
                given.append(self._value())
        function = _FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(_FUNCTIONS)
            raise BadInput(f"override {self._text!r}: there is no {name}()", hint=f"There are {known}.")
        try:
            return function(given, named)
        except (TypeError, ValueError, KeyError) as error:
            raise BadInput(f"override {self._text!r}: {name}(): {error}", hint=function.__doc__ or "") from None

    def _one(self) -> Node:
        found = self._value()
        if isinstance(found, _Many):
            raise self._wrong("a sweep cannot stand here")
        return found

    def _list(self) -> Node:
        self._at += 1
        found: list[Node] = []
        while not self._taken("]"):
            if found and not self._taken(","):
                raise self._wrong("a comma or ] is missing")
            found.append(self._one())
        return found

    def _mapping(self) -> Node:
        self._at += 1
        found: dict[str, Node] = {}
        while not self._taken("}"):
            if found and not self._taken(","):
                raise self._wrong("a comma or } is missing")
            name = self._primitive(ends=",:}")
            if not self._taken(":"):
                raise self._wrong("a colon is missing")
            found[cast("str", name)] = self._one()
        return found

    def _primitive(self, ends: str = ",)]}") -> Node:
        self._space()
        if self._text[self._at : self._at + 1] in {"'", '"'}:
            return self._quoted()
        plain, escaped = "", False
        while self._at < len(self._text) and self._text[self._at] not in ends:
            char = self._text[self._at]
            following = self._text[self._at + 1 : self._at + 2]
            if char == "\\" and following and (following in _SPECIAL or following == "\\"):
                plain, escaped = plain + following, True
                self._at += 2
            elif self._text.startswith("${", self._at):
                plain += self._interpolation()
            elif char in "([{\"'":
                raise self._wrong(f"{char} in a text without quotes")
            else:
                plain += char
                self._at += 1
        plain = plain.rstrip(" \t") if not escaped else plain
        if not plain:
            raise self._wrong("a value is missing")
        return plain if escaped else _typed(plain)

    def _interpolation(self) -> str:
        """What stands in `${…}`, which is resolved later."""
        begin, depth = self._at, 0
        while self._at < len(self._text):
            char = self._text[self._at]
            depth += (char == "{") - (char == "}")
            self._at += 1
            if char == "}" and depth == 0:
                return self._text[begin : self._at]
        raise self._wrong("an interpolation is not closed")

    def _quoted(self) -> str:
        quote = self._text[self._at]
        begin = self._at = self._at + 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == quote:
                inner = self._text[begin : self._at]
                self._at += 1
                return re.sub(rf"((?:\\\\)*)\\{quote}|(\\\\)+\Z", lambda found: _unescaped(found[0], quote), inner)
            self._at += 2 if char == "\\" else 1
        raise self._wrong("a quote is not closed")

    def _taken(self, sign: str) -> bool:
        self._space()
        if self._text.startswith(sign, self._at):
            self._at += 1
            return True
        if self._at >= len(self._text) and sign in ")]}":
            raise self._wrong(f"{sign} is missing")
        return False

    def _space(self) -> None:
        while self._text[self._at : self._at + 1] in {" ", "\t"}:
            self._at += 1

    def _wrong(self, what: str) -> BadInput:
        return BadInput(f"override {self._text!r}, character {self._at + 1}: {what}", hint="Quote texts: key='a,b'")


def _unescaped(text: str, quote: str) -> str:
    """Backslashes count only before a quote: there two stand for one."""
    slashes = text.removesuffix(quote)
    return "\\" * (len(slashes) // 2) + (quote if text.endswith(quote) else "")


def _typed(text: str) -> Node:
    """Gives what a text without quotes is."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def _choice(given: Sequence[Node | _Many], named: _Named) -> _Many:
    """choice(a,b,c) takes the values one after the other."""
    if named or not given or any(isinstance(one, _Many) for one in given):
        raise ValueError("takes plain values")
    return _Many(cast("list[Node]", given))


def _range(given: Sequence[Node | _Many], named: _Named) -> _Many:
    """range(stop), range(start,stop) or range(start,stop,step); the stop is not among them."""
    names = ("start", "stop", "step")
    numbers = dict(zip(names[1:2] if len(given) == 1 and not named else names, given, strict=False)) | named
    start, stop, step = numbers.get("start", 0), numbers["stop"], numbers.get("step", 1)
    if len(given) > 3 or not all(type(one) in {int, float} for one in (start, stop, step)):
        raise ValueError("takes numbers")
    whole = all(type(one) is int for one in (start, stop, step))
    begin, end, by = (Decimal(cast("float", one)) for one in (start, stop, step))
    if not all(one.is_finite() for one in (begin, end, by)) or by == 0:
        raise ValueError("never ends")
    if (end - begin) / by > _MOST:
        raise ValueError(f"more than {_MOST:,} values")
    found: list[Node] = []
    while (begin < end) if by > 0 else (begin > end):
        found.append(int(begin) if whole else float(begin))
        begin += by
    return _Many(found)


def _sort(given: Sequence[Node | _Many], named: _Named) -> Node | _Many:
    """sort(a,b,c), sort(range(5),reverse=true) or sort([3,1,2])."""
    values, was_list = _members(given)
    ordered = sorted(values, key=lambda one: cast("float", one), reverse=bool(named.get("reverse", False)))
    return ordered if was_list else _Many(ordered)


def _shuffle(given: Sequence[Node | _Many], named: _Named) -> Node | _Many:
    """shuffle(a,b,c), shuffle(range(5)) or shuffle([1,2,3])."""
    values, was_list = _members(given)
    mixed = random.sample(values, len(values))
    return mixed if was_list else _Many(mixed)


def _tag(given: Sequence[Node | _Many], named: _Named) -> Node | _Many:
    """tag(name,values) is the values; the names are for optimisers."""
    if not given:
        raise ValueError("takes names and then values")
    return given[-1]


def _members(given: Sequence[Node | _Many]) -> tuple[list[Node], bool]:
    if len(given) == 1 and isinstance(given[0], _Many | list):
        return list(given[0]), not isinstance(given[0], _Many)
    if any(isinstance(one, _Many) for one in given):
        raise ValueError("takes values or one sweep")
    return cast("list[Node]", list(given)), False


def _cast(kind: Callable[[Node], Node]) -> Callable[[Sequence[Node | _Many], _Named], Node | _Many]:
    def function(given: Sequence[Node | _Many], named: _Named) -> Node | _Many:
        """int(), float(), str() and bool() change the type of a value, or of each of a list, mapping or sweep."""
        (one,) = given
        if isinstance(one, _Many):
            return _Many(deep(value) for value in one)
        return deep(one)

    def deep(node: Node) -> Node:
        if isinstance(node, list):
            return [deep(item) for item in node]
        if isinstance(node, dict):
            return {name: deep(value) for name, value in node.items()}
        return kind(node)

    return function


def _bool(node: Node) -> Node:
    if isinstance(node, str):
        if node.lower() not in {"true", "false"}:
            raise ValueError(f"{node!r} is neither true nor false")
        return node.lower() == "true"
    return bool(node)


def _str(node: Node) -> Node:
    return str(node).lower() if isinstance(node, bool) else "null" if node is None else str(node)


def _refused(what: str) -> Callable[[Sequence[Node | _Many], _Named], Node | _Many]:
    def function(given: Sequence[Node | _Many], named: _Named) -> Node | _Many:
        raise ValueError(what)

    return function


_FUNCTIONS: Final[dict[str, Callable[[Sequence[Node | _Many], _Named], Node | _Many]]] = {
    "choice": _choice,
    "range": _range,
    "sort": _sort,
    "shuffle": _shuffle,
    "tag": _tag,
    "int": _cast(lambda node: int(cast("float", node))),
    "float": _cast(lambda node: float(cast("float", node))),
    "str": _cast(_str),
    "bool": _cast(_bool),
    "glob": _refused("there are no configuration groups to choose from"),
    "interval": _refused("needs an optimiser; name the values, or use range()"),
}
