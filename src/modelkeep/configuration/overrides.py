"""The grammar of overrides: `lr=0.1,0.01`, `+new=1`, `~old`, `depth=range(1,5)`, `mode=choice(a,b)`.

Values are what Hydra's documentation says of its override grammar; whoever swept with `--multirun` writes the same
here. What only chooses among configuration groups (`glob`) is refused; `interval` is for an optimiser.

Source: https://hydra.cc/docs/advanced/override_grammar/extended/
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
class Interval:
    """All numbers between two, both among them; an optimiser chooses.

    Args:
        low: the least.
        high: the largest.
        log: whether orders of magnitude count alike.
        whole: whether there are whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        text = f"interval({self.low!r},{self.high!r})"
        text = f"tag(log,{text})" if self.log else text
        return f"int({text})" if self.whole else text


@dataclass(frozen=True, slots=True)
class Sweep:
    """One key and the values that it is to get, one after the other.

    Args:
        key: dotted.
        values: none where there is an interval.
        kind: what is done to the key.
        interval: what an optimiser chooses from.
        ordered: whether the values are a range, so that neighbours are alike.
    """

    key: str
    values: tuple[Node, ...]
    kind: Kind = "set"
    interval: Interval | None = None
    ordered: bool = False

    def overrides(self) -> list[Override]:
        """Gives one override for each value."""
        return [Override(self.key, value, self.kind) for value in self.values]


class _Many(tuple[Node, ...]):
    """Values to be swept, where one value may stand."""

    __slots__ = ()


class _Range(_Many):
    """Numbers in equal steps."""

    __slots__ = ()


_Found = Node | _Many | Interval


class _Named(dict[str, Node]):
    """`name=value` arguments of a function."""


def parse(text: str) -> Sweep:
    r"""Gives the key and values of one argument.

    Raises:
        BadInput: it does not follow the grammar; with the place in it.

    >>> parse("lr=0.1,1e-2").values, parse("depth=range(1,5)").values, parse("x=[1,2],[3]").values
    ((0.1, 0.01), (1, 2, 3, 4), ([1, 2], [3]))
    >>> parse("+who='a,b',c\\,d"), parse("~db.pool")
    (Sweep(key='who', values=('a,b', 'c,d'), kind='add', interval=None, ordered=False),
     Sweep(key='db.pool', values=(None,), kind='delete', interval=None, ordered=False))
    >>> print(parse("lr=tag(log, interval(1e-5, 1e-1))").interval)
    tag(log,interval(1e-05,0.1))
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
    if isinstance(found, Interval):
        if kind == "delete":
            raise BadInput(f"override {text!r}: a deletion cannot be swept")
        return Sweep(head[2], (), kind, found)
    values = found if isinstance(found, _Many) else (found,)
    if kind == "delete" and len(values) != 1:
        raise BadInput(f"override {text!r}: a deletion cannot be swept")
    return Sweep(head[2], tuple(values), kind, ordered=isinstance(found, _Range))


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self._text, self._at = text, at

    def top(self) -> _Found:
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
        if any(isinstance(one, _Many | Interval) for one in found):
            raise self._wrong("a sweep inside of a sweep")
        return _Many(cast("list[Node]", found))

    def _value(self) -> _Found:
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

    def _called(self, name: str) -> _Found:
        given: list[_Found] = []
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
        if isinstance(found, _Many | Interval):
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


def _choice(given: Sequence[_Found], named: _Named) -> _Many:
    """choice(a,b,c) takes the values one after the other."""
    if named or not given or any(isinstance(one, _Many | Interval) for one in given):
        raise ValueError("takes plain values")
    return _Many(cast("list[Node]", given))


def _range(given: Sequence[_Found], named: _Named) -> _Many:
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
    return _Range(found)


def _sort(given: Sequence[_Found], named: _Named) -> _Found:
    """sort(a,b,c), sort(range(5),reverse=true) or sort([3,1,2])."""
    values, was_list = _members(given)
    ordered = sorted(values, key=lambda one: cast("float", one), reverse=bool(named.get("reverse", False)))
    return ordered if was_list else _Many(ordered)


def _shuffle(given: Sequence[_Found], named: _Named) -> _Found:
    """shuffle(a,b,c), shuffle(range(5)) or shuffle([1,2,3])."""
    values, was_list = _members(given)
    mixed = random.sample(values, len(values))
    return mixed if was_list else _Many(mixed)


def _tag(given: Sequence[_Found], named: _Named) -> _Found:
    """tag(name,values) is the values; tag(log,interval(1e-5,1e-1)) counts orders of magnitude alike."""
    if not given:
        raise ValueError("takes names and then values")
    found = given[-1]
    if isinstance(found, Interval) and "log" in given[:-1]:
        if found.low <= 0:
            raise ValueError("a logarithm needs an interval above 0")
        return replace(found, log=True)
    return found


def _interval(given: Sequence[_Found], named: _Named) -> Interval:
    """interval(low,high) is all numbers between two; int(interval(1,10)) is the whole ones."""
    numbers = dict(zip(("start", "end"), given, strict=False)) | named
    low, high = numbers.get("start"), numbers.get("end")
    if len(given) > 2 or len(numbers) != 2 or type(low) not in {int, float} or type(high) not in {int, float}:
        raise ValueError("takes two numbers")
    found = Interval(float(cast("float", low)), float(cast("float", high)))
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise ValueError("begins below its end")
    return found


def _members(given: Sequence[_Found]) -> tuple[list[Node], bool]:
    if len(given) == 1 and isinstance(given[0], _Many | list):
        return list(given[0]), not isinstance(given[0], _Many)
    if any(isinstance(one, _Many | Interval) for one in given):
        raise ValueError("takes values or one sweep")
    return cast("list[Node]", list(given)), False


def _cast(kind: Callable[[Node], Node]) -> Callable[[Sequence[_Found], _Named], _Found]:
    def function(given: Sequence[_Found], named: _Named) -> _Found:
        """int(), float(), str() and bool() change the type of a value, or of each of a list, mapping or sweep."""
        (one,) = given
        if isinstance(one, Interval):
            if kind not in {_int, _float}:
                raise ValueError("an interval has numbers")
            return _whole(one) if kind is _int else replace(one, whole=False)
        if isinstance(one, _Many):
            return (_Range if isinstance(one, _Range) and kind in {_int, _float} else _Many)(map(deep, one))
        return deep(one)

    def deep(node: Node) -> Node:
        if isinstance(node, list):
            return [deep(item) for item in node]
        if isinstance(node, dict):
            return {name: deep(value) for name, value in node.items()}
        return kind(node)

    return function


def _whole(interval: Interval) -> Interval:
    found = replace(interval, low=math.ceil(interval.low), high=math.floor(interval.high), whole=True)
    if found.low >= found.high or (found.log and found.low < 1):
        raise ValueError("no whole numbers are in the interval")
    return found


def _int(node: Node) -> Node:
    return int(cast("float", node))


def _float(node: Node) -> Node:
    return float(cast("float", node))


def _bool(node: Node) -> Node:
    if isinstance(node, str):
        if node.lower() not in {"true", "false"}:
            raise ValueError(f"{node!r} is neither true nor false")
        return node.lower() == "true"
    return bool(node)


def _str(node: Node) -> Node:
    return str(node).lower() if isinstance(node, bool) else "null" if node is None else str(node)


def _refused(what: str) -> Callable[[Sequence[_Found], _Named], _Found]:
    def function(given: Sequence[_Found], named: _Named) -> _Found:
        raise ValueError(what)

    return function


_FUNCTIONS: Final[dict[str, Callable[[Sequence[_Found], _Named], _Found]]] = {
    "choice": _choice,
    "range": _range,
    "sort": _sort,
    "shuffle": _shuffle,
    "tag": _tag,
    "int": _cast(_int),
    "float": _cast(_float),
    "str": _cast(_str),
    "bool": _cast(_bool),
    "glob": _refused("there are no configuration groups to choose from"),
    "interval": _interval,
}
