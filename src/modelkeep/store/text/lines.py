"""One log record in searchable form, and a query as a test of it: how the newest records are searched."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import orjson
import tantivy

from modelkeep.core.shapes import Json
from modelkeep.store.text.search import (
    ATTRIBUTES,
    RAW,
    And,
    Between,
    Everything,
    Has,
    Is,
    Like,
    Node,
    Not,
    Or,
    Phrase,
    Pieces,
    Wild,
    number,
)

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST: Final = 1024
"""Characters of a field, an attribute's path or its value that can be searched for."""
PRESENT: Final = ("trace_id", "prediction_id")
"""Fields whose presence has a term of its own, because they have too many values to be listed."""
MOST_LEAVES: Final = 256
"""Attribute values of one record that can be searched for."""
ROW_BITS: Final = 24

_COLUMNS: Final = (
    "at",
    "severity",
    "level",
    "service",
    "host",
    "logger",
    "message",
    "trace_id",
    "prediction_id",
    "attributes",
)
_PLAIN: Final = re.compile(r"\w+\Z", re.ASCII)
_ODD: Final = re.compile(r"\W", re.ASCII)
_WORD_BYTES: Final = 32_000
_DEEPEST: Final = 32

Text = str | None
Columns = tuple[int | None, int | None, Text, Text, Text, Text, Text, Text, Text, Text]
"""The values of `core.layouts.LOG`, in order."""
Test = Callable[["Line"], bool]


def analyzer() -> tantivy.TextAnalyzer:
    """Gives what cuts a message into words: runs of letters and digits, in small letters."""
    simple = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return simple.filter(tantivy.Filter.remove_long(_WORD_BYTES)).filter(tantivy.Filter.lowercase()).build()


class _Cutter(threading.local):
    """Each thread's own analyzer: one that works for a thread refuses every other."""

    def __init__(self) -> None:
        self.cut: Final = analyzer().analyze


_cutter: Final = _Cutter()


def words(text: str) -> list[str]:
    """Gives the words of a text as they are indexed.

    >>> words("Card_number 12.5 ms: FAILED")
    ['card', 'number', '12', '5', 'ms', 'failed']
    """
    return _cutter.cut(text)


@lru_cache(maxsize=10_000)
def path(name: str) -> str:
    """Gives an attribute's name with everything but letters, digits and underscores spelled as numbers.

    >>> path("user.id")
    'user~2e~id'
    """
    return name if _PLAIN.match(name) else _ODD.sub(lambda found: f"~{ord(found[0]):x}~", name[:LONGEST])


def present(name: str) -> str:
    """Gives the term that says a record has one of the fields in `PRESENT`; no attribute is spelled like it."""
    return f"~{name}"


class Line:
    """One log record.

    Args:
        seq: unique: the journal position in the high bits, the row within the entry in the low ones.
        values: nulls allowed.
    """

    __slots__ = ("_words", "at", "cut", "numbers", "pairs", "raw", "seq", "severity", "values")

    def __init__(self, seq: int, values: Columns) -> None:
        self.seq = seq
        self.values = values
        at, severity, level, service, host, logger, _, trace_id, prediction_id, attributes = values
        self.at: int = at or 0
        self.severity: int = severity or 0
        raw = (level.lower() if level else None, service, host, logger, trace_id, prediction_id)
        self.raw = {name: value for name, value in zip(RAW, raw, strict=True) if value}
        self.pairs: list[str] = []
        self.numbers: dict[str, list[float]] = {}
        self.cut = False
        self._words: list[str] | None = None
        for name, value in self.raw.items():
            if len(value) > LONGEST:
                self.raw[name] = value[:LONGEST]
                self.cut = True
        for name in PRESENT:
            if name in self.raw:
                self.pairs.append(present(name))
        if attributes and attributes != "{}":
            self._index(attributes)

    @property
    def message(self) -> str:
        """The text, empty when there is none."""
        return self.values[6] or ""

    def words(self) -> list[str]:
        """The message's words, cut once."""
        if self._words is None:
            self._words = words(self.message)
        return self._words

    def row(self) -> dict[str, Json]:
        """The record as it is answered: its columns, attributes as an object, `id` for the place in the order."""
        row: dict[str, Json] = dict(zip(_COLUMNS, self.values, strict=True))
        row["attributes"] = _object(self.values[9])
        row["id"] = cursor(self.at, self.seq)
        return row

    def _index(self, text: str) -> None:
        pairs, numbers = self.pairs, self.numbers
        most = len(pairs) + 2 * MOST_LEAVES
        for name, leaf in islice(_leaves("", _object(text)), MOST_LEAVES + 1):
            if len(pairs) == most:
                self.cut = True
                return
            place = path(name)
            spelled = leaf if isinstance(leaf, str) else _spelled(leaf)
            if len(spelled) > LONGEST or len(name) > LONGEST:
                self.cut = True
                spelled = spelled[:LONGEST]
            pairs += (place, f"{place}={spelled}")
            if isinstance(leaf, int | float) and not isinstance(leaf, bool):
                numbers.setdefault(place, []).append(float(leaf))


def _spelled(leaf: bool | float) -> str:
    if isinstance(leaf, bool):
        return "true" if leaf else "false"
    return str(leaf)


def read(batch: pa.RecordBatch, first: int) -> list[Line]:
    """Gives the rows of a log batch as lines numbered from `first` on."""
    columns = [batch.column(name).to_pylist() for name in _COLUMNS]
    rows = cast("Iterator[Columns]", zip(*columns, strict=True))
    return [Line(first + row, values) for row, values in enumerate(rows)]


def cursor(at: int, seq: int) -> str:
    """Gives the place of a record in the order newest first, as text."""
    return f"{at}-{seq}"


def _object(text: str | None) -> dict[str, Json]:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {"": text}
    return found if isinstance(found, dict) else {"": found}


def _leaves(name: str, value: Json, depth: int = 0) -> Iterator[tuple[str, bool | float | str]]:
    if depth == _DEEPEST:
        yield name, orjson.dumps(value).decode()
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner, depth + 1)
    elif value is not None and (not isinstance(value, float) or math.isfinite(value)):
        yield name, value


def condition(node: Node) -> Test:
    """Gives a query as a test of a line.

    >>> line = Line(0, (0, 17, "ERROR", "shop", "h", "l", "Card refused", None, None, '{"n": {"ms": 12}}'))
    >>> from modelkeep.store.text.search import parse
    >>> [condition(parse(text))(line) for text in ("refused level:error", "attributes.n.ms:>12")]
    [True, False]
    """
    if isinstance(node, And):
        parts = [condition(part) for part in node.parts]
        return lambda line: all(part(line) for part in parts)
    if isinstance(node, Or):
        parts = [condition(part) for part in node.parts]
        return lambda line: any(part(line) for part in parts)
    if isinstance(node, Not):
        inner = condition(node.part)
        return lambda line: not inner(line)
    if isinstance(node, Everything):
        return lambda line: True
    return _leaf(node)


def _leaf(node: Phrase | Is | Like | Has | Between) -> Test:
    if isinstance(node, Phrase):
        return _phrase(words(node.text), node.prefix)
    if node.field.startswith(ATTRIBUTES):
        return _attribute(path(node.field.removeprefix(ATTRIBUTES)), node)
    return _message(node) if node.field == "message" else _field(node.field, node)


def _message(node: Is | Like | Has | Between) -> Test:
    if not isinstance(node, Like):
        return lambda line: bool(line.message)
    match = expression(lowered(node.pieces)).fullmatch
    return lambda line: any(match(word) for word in line.words())


def _field(field: str, node: Is | Like | Has | Between) -> Test:
    if isinstance(node, Is):
        value = node.value[:LONGEST]
        return lambda line: line.raw.get(field) == value
    if isinstance(node, Has):
        return lambda line: field in line.raw
    if isinstance(node, Like):
        match = expression(node.pieces).fullmatch
        return lambda line: field in line.raw and match(line.raw[field]) is not None
    inside = _inside(node)
    if field == "severity":
        return lambda line: inside(line.severity)
    return lambda line: field in line.raw and inside(line.raw[field])


def _attribute(place: str, node: Is | Like | Has | Between) -> Test:
    start = f"{place}="
    if isinstance(node, Has):
        return lambda line: place in line.pairs
    if isinstance(node, Is):
        pair, wanted = start + node.value[:LONGEST], number(node.value)
        return lambda line: pair in line.pairs or wanted in line.numbers.get(place, ())
    skip = len(start)
    if isinstance(node, Like):
        match = expression(node.pieces).fullmatch
        return lambda line: any(pair.startswith(start) and match(pair, skip) for pair in line.pairs)
    inside = _inside(node)
    if isinstance(node.low, float) or isinstance(node.high, float):
        return lambda line: any(map(inside, line.numbers.get(place, ())))
    return lambda line: any(pair.startswith(start) and inside(pair[skip:]) for pair in line.pairs)


def _phrase(wanted: list[str], prefix: bool) -> Test:
    if not wanted:
        return lambda line: False
    size, last, head = len(wanted), wanted[-1], wanted[:-1]

    def test(line: Line) -> bool:
        found = line.words()
        for start in range(len(found) - size + 1):
            end = found[start + size - 1]
            if (end.startswith(last) if prefix else end == last) and found[start : start + size - 1] == head:
                return True
        return False

    return test


def _inside(node: Between) -> Callable[[float | str], bool]:
    low, high, low_in, high_in = node.low, node.high, node.low_in, node.high_in

    def test(value: float | str) -> bool:
        above = low is None or value > low or (low_in and value == low)  # type: ignore[operator]
        return above and (high is None or value < high or (high_in and value == high))  # type: ignore[operator]

    return test


def lowered(pieces: Pieces) -> Pieces:
    """Gives the pieces in small letters, as the words of a message are."""
    return tuple(piece if isinstance(piece, Wild) else "".join(words(piece)) for piece in pieces)


def expression(pieces: Pieces) -> re.Pattern[str]:
    """Gives the pieces as a regular expression for the whole text.

    >>> bool(expression(("a.", Wild.ANY)).fullmatch("a.b"))
    True
    """
    spelled = {Wild.ANY: ".*", Wild.ONE: "."}
    return re.compile("".join(spelled[one] if isinstance(one, Wild) else re.escape(one) for one in pieces), re.DOTALL)
