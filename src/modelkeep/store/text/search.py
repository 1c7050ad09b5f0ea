"""The query language of logs: text in, a tree of conditions out.

- `timeout`: the word in the message, or a trace or prediction id; `"connection reset"`: the words in this order
- `level:error service:shop`: both, as with AND; `a OR (b AND NOT c) -d`: alternatives, groups, without
- `message:conn*`, `host:db?`: begins with; `?` is one character; `attributes.user:*`: has one
- `level:>=warn`, `severity:[13 TO 17]`, `attributes.latency:{0.5 TO *}`: ranges, `[` with and `{` without the end
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from modelkeep.core.errors import BadInput

ATTRIBUTES: Final = "attributes."
RAW: Final = ("level", "service", "host", "logger", "trace_id", "prediction_id")
FIELDS: Final = (*RAW, "severity", "message")
SEVERITIES: Final = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "fatal": 21,
    "critical": 21,
}

_MOST_CHARACTERS: Final = 10_000
_MOST_DEPTH: Final = 40
_MOST_CONDITIONS: Final = 500
_LONGEST: Final = 1024
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z")
_SAME_LEVEL: Final = ({"warn", "warning"}, {"fatal", "critical"})


class Wild(Enum):
    """A wildcard: any text, or any one character."""

    ANY = "*"
    ONE = "?"


Pieces = tuple[str | Wild, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    """Every record."""


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever the part is not."""

    part: Node


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words of the text one after another in the message; with `prefix` the last one only begins so."""

    text: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Is:
    """A field equals a text, an attribute also the number that the text spells."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Like:
    """A field, or for the message one of its words, has the form of the pieces."""

    field: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Has:
    """A field is there and not empty; an attribute is there and not null."""

    field: str


@dataclass(frozen=True, slots=True)
class Between:
    """A field lies between two texts or two numbers; None is an open end."""

    field: str
    low: float | str | None
    high: float | str | None
    low_in: bool = True
    high_in: bool = True


Node = Everything | And | Or | Not | Phrase | Is | Like | Has | Between


def parse(text: str) -> Node:
    """Gives the tree of a query; an empty one is everything.

    Raises:
        BadInput: the text is not a query; the message names the column, counted from 1.

    >>> parse("level:info -host:a*")
    And(parts=(Is(field='level', value='info'), Not(part=Like(field='host', pieces=('a', <Wild.ANY: '*'>)))))
    >>> parse("severity:[9 TO 13}")
    Between(field='severity', low=9.0, high=13.0, low_in=True, high_in=False)
    >>> parse("(a")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: query, column 3: expected )
    """
    if len(text) > _MOST_CHARACTERS:
        raise BadInput(f"the query has {len(text)} characters, at most {_MOST_CHARACTERS} are allowed")
    return _Parser(text).whole()


def number(text: str) -> float | None:
    """Gives the finite number that a text spells, else None.

    >>> number("1e3"), number("1e999"), number("nan")
    (1000.0, None, None)
    """
    if not _NUMBER.match(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class _Bound:
    text: str
    quoted: bool
    column: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._conditions = 0

    def whole(self) -> Node:
        if self._peek() == "":
            return Everything()
        node = self._either("")
        if self._peek():
            raise self._wrong(f"unexpected {self._peek()}", "Put the text in quotes.")
        return node

    def _wrong(self, message: str, hint: str = "", at: int | None = None) -> BadInput:
        return BadInput(f"query, column {(self._at if at is None else at) + 1}: {message}", hint=hint)

    def _peek(self) -> str:
        """The next character that is no space, empty at the end."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _keyword(self, word: str) -> bool:
        """Takes a word in capitals if it is next."""
        self._peek()
        after = self._at + len(word)
        if not self._text.startswith(word, self._at):
            return False
        if after < len(self._text) and not (self._text[after].isspace() or self._text[after] in '()"'):
            return False
        self._at = after
        return True

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise self._wrong(f"expected {character}")
        self._at += 1

    def _either(self, field: str) -> Node:
        parts = [self._both(field)]
        while self._keyword("OR"):
            parts.append(self._both(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self, field: str) -> Node:
        parts = [self._negated(field)]
        while self._peek() not in {"", ")"}:
            start = self._at
            if self._keyword("OR"):
                self._at = start
                break
            self._keyword("AND")
            parts.append(self._negated(field))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negated(self, field: str) -> Node:
        negative = False
        while True:
            if self._keyword("NOT") or self._sign("-"):
                negative = not negative
            elif not self._sign("+"):
                break
        node = self._single(field)
        return Not(node) if negative else node

    def _sign(self, sign: str) -> bool:
        found = self._peek() == sign and not self._text[self._at + 1 : self._at + 2].isspace()
        self._at += found
        return found

    def _single(self, field: str) -> Node:
        start = self._peek()
        if start == "":
            raise self._wrong("the query ends where a condition is expected")
        if start == "(":
            return self._group(field)
        at = self._at
        if self._keyword("AND") or self._keyword("OR"):
            raise self._wrong("expected a condition before AND and OR", 'As a word it needs quotes: "OR".', at)
        self._conditions += 1
        if self._conditions > _MOST_CONDITIONS:
            raise self._wrong(f"more than {_MOST_CONDITIONS} conditions")
        if start == '"':
            return self._leaf(field, (self._quoted(),), at)
        if field:
            return self._value(field)
        return self._word()

    def _group(self, field: str) -> Node:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise self._wrong(f"more than {_MOST_DEPTH} groups inside each other")
        self._take("(")
        node = self._either(field)
        self._take(")")
        self._depth -= 1
        return node

    def _word(self) -> Node:
        at = self._at
        pieces = self._pieces(' ()":')
        if self._text[self._at : self._at + 1] != ":":
            return self._leaf("", pieces, at)
        name = "".join(piece.value if isinstance(piece, Wild) else piece for piece in pieces)
        if name not in FIELDS and not (name.startswith(ATTRIBUTES) and len(name) > len(ATTRIBUTES)):
            known = ", ".join((*FIELDS, "attributes.<name>"))
            raise self._wrong(f"there is no field {name!r}", f"Fields: {known}. Put other text in quotes.", at)
        self._at += 1
        start = self._peek()
        if start == "(":
            return self._group(name)
        return self._single(name) if start == '"' else self._value(name)

    def _value(self, field: str) -> Node:
        start, at = self._peek(), self._at
        if start in {"[", "{"}:
            return self._range(field)
        if start in {">", "<"}:
            self._at += 1
            equal = self._text[self._at : self._at + 1] == "="
            self._at += equal
            bound = self._bound(' ()"')
            low, high = (bound, None) if start == ">" else (None, bound)
            return self._between(field, low, high, equal, equal)
        return self._leaf(field, self._pieces(' ()"'), at)

    def _range(self, field: str) -> Node:
        low_in = self._text[self._at] == "["
        self._at += 1
        low = self._bound(' ()"]}')
        if not self._keyword("TO"):
            raise self._wrong("expected TO", "Write a range like [1 TO 5] or {1 TO *}.")
        high = self._bound(' ()"]}')
        end = self._peek()
        if end not in {"]", "}"}:
            raise self._wrong("expected ] or }")
        self._at += 1
        ends = [None if bound.text == "*" and not bound.quoted else bound for bound in (low, high)]
        return self._between(field, ends[0], ends[1], low_in, end == "]")

    def _bound(self, stops: str) -> _Bound:
        quoted, at = self._peek() == '"', self._at
        if quoted:
            return _Bound(self._quoted(), quoted, at)
        pieces = self._pieces(stops)
        return _Bound("".join(one.value if isinstance(one, Wild) else one for one in pieces), quoted, at)

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        found: list[str] = []
        while (character := self._text[self._at : self._at + 1]) != '"':
            if character == "":
                raise self._wrong("the quotation mark is not closed", at=start)
            if character == "\\":
                self._at += 1
                character = self._text[self._at : self._at + 1]
            found.append(character)
            self._at += 1
        self._at += 1
        return "".join(found)

    def _pieces(self, stops: str) -> Pieces:
        """Takes a word up to a space or one of `stops`; a backslash makes the next character an ordinary one."""
        found: list[str | Wild] = []
        start = self._at
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in stops or character.isspace():
                break
            plain = character not in "*?"
            if character == "\\" and self._at + 1 < len(self._text):
                self._at += 1
                character, plain = self._text[self._at], True
            self._at += 1
            if not plain:
                found.append(Wild(character))
            elif found and isinstance(found[-1], str):
                found[-1] += character
            else:
                found.append(character)
        if not found:
            raise self._wrong(f"expected a value, not {self._text[start : start + 1] or 'the end'}")
        return tuple(found)

    def _leaf(self, field: str, pieces: Pieces, at: int) -> Node:
        literal = "".join(piece for piece in pieces if isinstance(piece, str))
        if len(literal) > _LONGEST:
            raise self._wrong(f"a value of {len(literal)} characters, at most {_LONGEST} are allowed", at=at)
        if pieces == (Wild.ANY,):
            return Has(field) if field in RAW or field.startswith(ATTRIBUTES) else Everything()
        wild = any(isinstance(piece, Wild) for piece in pieces)
        if field == "severity":
            return self._severity(literal, wild, at)
        if field in {"", "message"}:
            return self._words(field, pieces, wild, at)
        if field == "level":
            pieces = tuple(piece.lower() if isinstance(piece, str) else piece for piece in pieces)
            literal = literal.lower()
        if wild:
            return Like(field, pieces)
        if field == "level":
            same = next((names for names in _SAME_LEVEL if literal in names), {literal})
            return _or(Is(field, name) for name in sorted(same))
        return Not(Has(field)) if literal == "" and field in RAW else Is(field, literal)

    def _words(self, field: str, pieces: Pieces, wild: bool, at: int) -> Node:
        literal = "".join(piece for piece in pieces if isinstance(piece, str))
        if not any(character.isalnum() for character in literal):
            raise self._wrong("there is no letter or digit to search for", "Put the text in quotes.", at)
        if not wild:
            if field:
                return Phrase(literal)
            return Or((Phrase(literal), Is("trace_id", literal), Is("prediction_id", literal)))
        if len(pieces) == 2 and pieces[1] is Wild.ANY:
            return Phrase(literal, prefix=True)
        if not literal.isalnum():
            raise self._wrong("a wildcard in the message can only stand for a part of one word", at=at)
        return Like("message", pieces)

    def _severity(self, literal: str, wild: bool, at: int) -> Node:
        value = None if wild else self._severity_number(literal)
        if value is None:
            raise self._wrong("severity is a number or a level", "Write it like severity:17 or severity:>=warn.", at)
        return Between("severity", value, value)

    def _severity_number(self, text: str) -> float | None:
        found = SEVERITIES.get(text.lower())
        return number(text) if found is None else float(found)

    def _between(self, field: str, low: _Bound | None, high: _Bound | None, low_in: bool, high_in: bool) -> Node:
        bounds = [bound for bound in (low, high) if bound is not None]
        at = bounds[0].column if bounds else self._at
        if field == "message":
            raise self._wrong("the message has no order", "Ranges are for the other fields.", at)
        if any(len(bound.text) > _LONGEST for bound in bounds):
            raise self._wrong(f"a value of more than {_LONGEST} characters", at=at)
        if field in {"severity", "level"}:
            ends = [None if bound is None else self._severity_number(bound.text) for bound in (low, high)]
            if sum(end is not None for end in ends) != len(bounds):
                raise self._wrong(f"{field} is a number or a level", "Write it like level:>=warn.", at)
            return Between("severity", ends[0], ends[1], low_in, high_in)
        if not bounds:
            return Has(field)
        numbers = [None if bound is None or bound.quoted else number(bound.text) for bound in (low, high)]
        if field.startswith(ATTRIBUTES) and sum(one is not None for one in numbers) == len(bounds):
            return Between(field, numbers[0], numbers[1], low_in, high_in)
        return Between(field, low.text if low else None, high.text if high else None, low_in, high_in)


def _or(parts: Iterable[Node]) -> Node:
    found = tuple(parts)
    return found[0] if len(found) == 1 else Or(found)
