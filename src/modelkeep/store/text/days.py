"""The log records of one day in a tantivy index: writing, forgetting, and answering queries newest first."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import tantivy

from modelkeep.core.errors import BadInput, Busy, Corrupt
from modelkeep.store.text.lines import LONGEST, PRESENT, Line, analyzer, lowered, path, present, words
from modelkeep.store.text.ranges import between, escape
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

_ANY: Final = "(?s:.)*"
_WORDS: Final = "words"

Query = tantivy.Query
MUST: Final = tantivy.Occur.Must


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in ("at", "severity"):
        builder.add_integer_field(name, fast=True, indexed=True)
    builder.add_unsigned_field("seq", fast=True, indexed=True)
    for name in (*RAW, "pairs"):
        builder.add_text_field(name, fast=name not in PRESENT, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("message", tokenizer_name=_WORDS)
    builder.add_json_field("numbers", fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_bytes_field("source", stored=True)
    return builder.build()


SCHEMA: Final = _schema()
_ANALYZER: Final = analyzer()


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a day a question is about.

    Args:
        start: the first `at`.
        end: behind the last `at`.
        before: records from this (at, seq) on are left out of the answer, not of the count.
    """

    start: int
    end: int
    before: tuple[int, int] | None = None


class Day:
    """One day's index; one thread writes, any thread asks a `searcher` it took.

    Attributes are two fields: `pairs` holds `path=value` for every value, so that terms, prefixes, wildcards and
    ranges of text work; `numbers` holds the numeric ones for ranges of numbers.

    Args:
        folder: made when missing.
        heap_bytes: memory of a writer, at least 15 MB.
    """

    def __init__(self, folder: Path, *, heap_bytes: int = 30_000_000) -> None:
        self.folder: Final = folder
        self._heap = heap_bytes
        self._writer: tantivy.IndexWriter | None = None
        self._doubt = False
        if folder.exists() and not tantivy.Index.exists(str(folder)):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._index = tantivy.Index(SCHEMA, path=str(folder))
            self._index.register_tokenizer(_WORDS, _ANALYZER)
            self._index.config_reader("manual")
            self.searcher = self._index.searcher()
        except ValueError as error:
            raise Corrupt(f"{folder}: {error}", hint="Restore the folder, or delete it to lose that day.") from None

    def write(self, lines: Sequence[Line]) -> None:
        """Adds lines and makes them durable, not yet visible; lines are newer than any written before.

        Raises:
            Busy: the disk refused; nothing was added, the same call can be made again.
        """
        try:
            writer = self._open()
            if self._doubt:
                writer.delete_documents_by_query(_seqs_from(lines[0].seq))
            self._doubt = True
            for line in lines:
                writer.add_document(_document(line))
            writer.commit()
            self._doubt = False
        except (ValueError, OSError) as error:
            self._writer = None
            raise Busy(f"{self.folder}: {error}", hint="Is the disk full?", retry_after_s=5.0) from None

    def forget(self, seq: int) -> None:
        """Deletes every line whose seq is at least `seq`, durably and visibly."""
        writer = self._open()
        writer.delete_documents_by_query(_seqs_from(seq))
        writer.commit()
        self.show()

    def show(self) -> None:
        """Makes what was written visible to searchers taken from now on."""
        self._index.reload()
        self.searcher = self._index.searcher()

    def rest(self) -> None:
        """Ends merging and gives the writer's memory back; the next write opens one again."""
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def _open(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(self._heap, 1)
        return self._writer


def count(searcher: tantivy.Searcher, query: tantivy.Query, span: Span) -> int:
    """Gives how many records of a day match."""
    return _count(searcher.search(within(query, span.start, span.end), limit=1))


def newest(searcher: tantivy.Searcher, query: tantivy.Query, span: Span, limit: int) -> list[Line]:
    """Gives the newest matching records before the span's cursor, newest first, at most `limit`."""
    if span.before is None:
        return _ordered(searcher, within(query, span.start, span.end), limit)
    at, seq = span.before
    same: list[Line] = []
    if span.start <= at < span.end:
        older = Query.range_query(SCHEMA, "seq", tantivy.FieldType.Unsigned, None, seq, include_upper=False)
        ties = _all_of([within(query, at, at + 1), older])
        same = [_line(searcher, address) for _, address in _hits(searcher, ties, limit, "seq")]
    end = min(span.end, at)
    if len(same) == limit or end <= span.start:
        return same
    return same + _ordered(searcher, within(query, span.start, end), limit - len(same))


def _ordered(searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> list[Line]:
    hits = _hits(searcher, query, limit, "at")
    if len(hits) == limit:
        last = hits[-1][0]
        hits = [hit for hit in hits if hit[0] != last]
        hits += _hits(searcher, within(query, last, last + 1), limit - len(hits), "seq")
    lines = [_line(searcher, address) for _, address in hits]
    lines.sort(key=lambda line: (line.at, line.seq), reverse=True)
    return lines


def _hits(
    searcher: tantivy.Searcher, query: tantivy.Query, limit: int, field: str
) -> list[tuple[int, tantivy.DocAddress]]:
    found = searcher.search(query, limit=limit, count=False, order_by_field=field)
    return list(found.hits)


def _count(found: tantivy.SearchResult) -> int:
    return int(getattr(found, "count"))  # noqa: B009  the stub leaves it out


def _line(searcher: tantivy.Searcher, address: tantivy.DocAddress) -> Line:
    source = searcher.doc(address).get_first("source")
    if not isinstance(source, bytes):
        raise Corrupt("a log record has no source")
    seq, values = orjson.loads(source)
    return Line(seq, tuple(values))


def _document(line: Line) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer("at", line.at)
    document.add_unsigned("seq", line.seq)
    document.add_integer("severity", line.severity)
    for name, value in line.raw.items():
        document.add_text(name, value)
    for pair in line.pairs:
        document.add_text("pairs", pair)
    if line.numbers:
        document.add_json("numbers", line.numbers)
    if line.message:
        document.add_text("message", line.message)
    document.add_bytes("source", orjson.dumps((line.seq, line.values)))
    return document


def _seqs_from(seq: int) -> tantivy.Query:
    return Query.range_query(SCHEMA, "seq", tantivy.FieldType.Unsigned, seq, None)


def within(query: tantivy.Query, start: int, end: int) -> tantivy.Query:
    """Gives a query of what also lies between two times, the later one exclusive."""
    times = Query.range_query(SCHEMA, "at", tantivy.FieldType.Integer, start, end, include_upper=False)
    return _all_of([query, times])


def _all_of(parts: Sequence[tantivy.Query]) -> tantivy.Query:
    return Query.boolean_query([(MUST, part) for part in parts])


def _any_of(parts: Sequence[tantivy.Query]) -> tantivy.Query:
    return Query.boolean_query([(tantivy.Occur.Should, part) for part in parts])


def compiled(node: Node) -> tantivy.Query:
    """Gives a query tree as a tantivy query; it finds exactly the lines that `lines.condition` accepts."""
    if isinstance(node, And):
        return _all_of([compiled(part) for part in node.parts])
    if isinstance(node, Or):
        return _any_of([compiled(part) for part in node.parts])
    if isinstance(node, Not):
        return Query.boolean_query([(MUST, Query.all_query()), (tantivy.Occur.MustNot, compiled(node.part))])
    return Query.all_query() if isinstance(node, Everything) else _leaf(node)


def _leaf(node: Phrase | Is | Like | Has | Between) -> tantivy.Query:
    if isinstance(node, Phrase):
        return _phrase(words(node.text), node.prefix)
    if node.field.startswith(ATTRIBUTES):
        return _attribute(path(node.field.removeprefix(ATTRIBUTES)), node)
    return _field(node.field, node)


def _phrase(wanted: list[str], prefix: bool) -> tantivy.Query:
    if not wanted:
        return Query.empty_query()
    if not prefix:
        return _term("message", wanted[0]) if len(wanted) == 1 else Query.phrase_query(SCHEMA, "message", list(wanted))
    last = escape(wanted[-1]) + _ANY
    begins = _matching("message", last)
    if len(wanted) == 1:
        return begins
    return Query.regex_phrase_query(SCHEMA, "message", [*map(escape, wanted[:-1]), last])


def _field(field: str, node: Is | Like | Has | Between) -> tantivy.Query:
    if isinstance(node, Is):
        return _term(field, node.value[:LONGEST])
    if isinstance(node, Has):
        return _term("pairs", present(field)) if field in PRESENT else Query.exists_query(field)
    if isinstance(node, Like):
        return _matching(field, _pattern(lowered(node.pieces) if field == "message" else node.pieces))
    if field == "severity":
        return _severities(node)
    return _texts(field, node, "", "")


def _attribute(place: str, node: Is | Like | Has | Between) -> tantivy.Query:
    if isinstance(node, Has):
        return _term("pairs", place)
    start = f"{place}="
    if isinstance(node, Is):
        same, value = _term("pairs", start + node.value[:LONGEST]), number(node.value)
        return same if value is None else _any_of([same, Query.term_query(SCHEMA, f"numbers.{place}", value)])
    if isinstance(node, Like):
        return _matching("pairs", escape(start) + _pattern(node.pieces))
    if isinstance(node.low, float) or isinstance(node.high, float):
        return _numbers(place, node)
    return _texts("pairs", node, start, f"{place}>")


def _texts(field: str, node: Between, start: str, after: str) -> tantivy.Query:
    """A range of texts: of those that begin with `start` and come before `after`."""
    low = start if node.low is None else f"{start}{node.low}"
    high = None if node.high is None else f"{start}{node.high}"
    low_in, high_in = node.low is None or node.low_in, node.high_in
    if high is None and after:
        high, high_in = after, False
    pattern = between(low, high, low_in=low_in, high_in=high_in)
    return Query.empty_query() if pattern is None else _matching(field, pattern)


def _numbers(place: str, node: Between) -> tantivy.Query:
    ends = []
    if node.low is not None:
        ends.append(f"numbers.{place}:{'>=' if node.low_in else '>'}{node.low!r}")
    if node.high is not None:
        ends.append(f"numbers.{place}:{'<=' if node.high_in else '<'}{node.high!r}")
    if len(ends) == 2:
        opening, closing = "[" if node.low_in else "{", "]" if node.high_in else "}"
        ends = [f"numbers.{place}:{opening}{node.low!r} TO {node.high!r}{closing}"]
    return _PARSER.parse_query(ends[0], ["message"])


_PARSER: Final = tantivy.Index(SCHEMA)
_PARSER.register_tokenizer(_WORDS, _ANALYZER)


def _severities(node: Between) -> tantivy.Query:
    low = None if node.low is None else _edge(float(node.low), up=True, closed=node.low_in)
    high = None if node.high is None else _edge(float(node.high), up=False, closed=node.high_in)
    if low is not None and high is not None and low > high:
        return Query.empty_query()
    if low is None and high is None:
        return Query.all_query()
    return Query.range_query(SCHEMA, "severity", tantivy.FieldType.Integer, low, high)


def _edge(value: float, *, up: bool, closed: bool) -> int:
    """The whole number nearest to the end of a range and inside it."""
    whole = int(value // 1)
    if whole == value:
        return whole if closed else whole + (1 if up else -1)
    return whole + 1 if up else whole


def _term(field: str, value: str) -> tantivy.Query:
    return Query.term_query(SCHEMA, field, value)


def _matching(field: str, pattern: str) -> tantivy.Query:
    try:
        return Query.regex_query(SCHEMA, field, pattern)
    except ValueError:
        raise BadInput("a wildcard or a range of text is too long to search for", hint="Use a shorter one.") from None


def _pattern(pieces: Pieces) -> str:
    spelled = {Wild.ANY: _ANY, Wild.ONE: "(?s:.)"}
    return "".join(spelled[piece] if isinstance(piece, Wild) else escape(piece) for piece in pieces)
