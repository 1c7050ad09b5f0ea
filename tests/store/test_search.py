"""The query language: what parses to what, and that the index and the test of one line always agree."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.store.text.days import Day, Span, compiled, count, newest
from modelkeep.store.text.lines import Line, condition, path
from modelkeep.store.text.ranges import between, escape
from modelkeep.store.text.search import (
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
    Wild,
    parse,
)


def word(text: str) -> Or:
    return Or((Phrase(text), Is("trace_id", text), Is("prediction_id", text)))


def understood(text: str) -> Node | None:
    """The tree of a text, None when it is refused with its column."""
    with contextlib.suppress(BadInput):
        return parse(text)
    with pytest.raises(BadInput, match=r"query, column \d+: "):
        parse(text)
    return None


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("", Everything()),
        ("  *  ", Everything()),
        ("a", word("a")),
        ("a b", And((word("a"), word("b")))),
        ("a AND b OR c", Or((And((word("a"), word("b"))), word("c")))),
        ("a (b OR c)", And((word("a"), Or((word("b"), word("c")))))),
        ("NOT a", Not(word("a"))),
        ("-a", Not(word("a"))),
        ("NOT -a", word("a")),
        ("+a", word("a")),
        ("ANDROID", word("ANDROID")),
        ('"OR"', word("OR")),
        ('"two words"', word("two words")),
        (r'"say \"hi\""', word('say "hi"')),
        ("conn*", Phrase("conn", prefix=True)),
        ("c?nn*", Like("message", ("c", Wild.ONE, "nn", Wild.ANY))),
        (r"conn\*", word("conn*")),
        ("message:x", Phrase("x")),
        ('message:"x y"', Phrase("x y")),
        ("message:(x OR y)", Or((Phrase("x"), Phrase("y")))),
        ("host: db1", Is("host", "db1")),
        ("host:db*", Like("host", ("db", Wild.ANY))),
        ("host:*", Has("host")),
        ('host:""', Not(Has("host"))),
        ("trace_id:a:b[0]", Is("trace_id", "a:b[0]")),
        ("level:ERROR", Is("level", "error")),
        ("level:warn", Or((Is("level", "warn"), Is("level", "warning")))),
        ("level:>=warn", Between("severity", 13.0, None)),
        ("severity:17", Between("severity", 17.0, 17.0)),
        ("severity:[9 TO 13}", Between("severity", 9.0, 13.0, high_in=False)),
        ("severity:<error", Between("severity", None, 17.0, low_in=False, high_in=False)),
        ("attributes.a.b:5", Is("attributes.a.b", "5")),
        ("attributes.n:>0.5", Between("attributes.n", 0.5, None, low_in=False, high_in=False)),
        ('attributes.n:>"5"', Between("attributes.n", "5", None, low_in=False, high_in=False)),
        ("attributes.v:[1.2 TO b]", Between("attributes.v", "1.2", "b")),
        ("attributes.v:[* TO *]", Has("attributes.v")),
        ("attributes.v:{* TO 3]", Between("attributes.v", None, 3.0, low_in=False)),
    ],
)
def test_what_parses_to_what(text, node):
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("(a", 3, "expected )"),
        ("a)", 2, "unexpected )"),
        ("a AND", 6, "ends"),
        ("OR a", 1, "before AND and OR"),
        ('x "y', 3, "not closed"),
        ("user:bob", 1, "no field 'user'"),
        ("attributes.:x", 1, "no field"),
        ("12:30:01", 1, "no field '12'"),
        ("host:[a b]", 9, "expected TO"),
        ("host:[a TO b", 13, "expected ] or }"),
        ("host:", 6, "the end"),
        ("severity:high", 10, "number or a level"),
        ("severity:[1 TO x]", 11, "number or a level"),
        ("message:>a", 10, "no order"),
        ("a -", 4, "ends"),
        ("a - b", 3, "no letter or digit"),
        ("a-b*c", 1, "one word"),
        ("(" * 60, 41, "groups"),
        ("a " * 600, 1001, "conditions"),
        ("host:" + "x" * 2000, 6, "2000 characters"),
    ],
)
def test_what_is_wrong_is_told_with_its_column(text, column, says):
    with pytest.raises(BadInput, match=re.escape(f"column {column}: ")) as caught:
        parse(text)
    assert says in caught.value.message


def test_a_very_long_query_is_refused():
    with pytest.raises(BadInput, match="at most 10000"):
        parse("a" * 10_001)


@given(st.text(alphabet='ab:*?"()[]{}<>=-+\\ ANDORTO1.', max_size=30) | st.text(max_size=20))
def test_any_text_is_a_query_or_bad_input(text):
    node = understood(text)
    if node is None:
        return
    condition(node)
    with contextlib.suppress(BadInput):
        compiled(node)


def test_what_is_too_long_for_the_index_is_refused():
    compiled(parse("host:" + "x" * 700 + "*"))
    compiled(parse('attributes.at:["2020-01-01T00:00:00Z" TO "2021-12-31T23:59:59Z"}'))
    with pytest.raises(BadInput, match="too long"):
        compiled(parse("host:" + "x" * 1020 + "*"))
    with pytest.raises(BadInput, match="too long"):
        compiled(parse("a " + "x" * 1020 + "*"))


# A small world in which conditions often hit.
WORDS = st.sampled_from(["alpha", "Beta", "beta-2", "été", "ΑΣ", "x_y", "12", "İz", "naïve", "ß", "日本", "a1"])
MESSAGES = st.lists(WORDS, max_size=5).map(" ".join) | st.text(max_size=12)
NAMES = st.sampled_from(["h1", "h10", "h2", "H1", "a b", "ab*", "", "é", "\U0010ffff", "a\nb"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 15),
    st.sampled_from([5.0, 5.5, -0.0, 1e300, -1e-7, 2**63 + 5, 0.1]),
    st.sampled_from(["5", "5.0", "abc", "abd", "true", "2020-01-01T00:00:00Z", "", "a=b", "\ud7ff", "ab"]),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b.c", "b", "d e", "f~", "9"]),
    LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.sampled_from(["c", "x"]), LEAVES, max_size=2),
    max_size=3,
)
RECORDS = st.tuples(
    st.integers(0, 5),
    st.sampled_from([9, 13, 17, 21, None]),
    st.sampled_from(["INFO", "WARNING", "warn", "ERROR", None]),
    NAMES,
    NAMES,
    NAMES,
    MESSAGES,
    NAMES | st.none(),
    st.just("p1") | st.none(),
    ATTRIBUTES.map(json.dumps) | st.just("not json") | st.none(),
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def escaped(text: str) -> str:
    return "".join(f"\\{one}" if not one.isalnum() else one for one in text)


FIELD = st.sampled_from(["service", "host", "logger", "trace_id"])
ATTRIBUTE = st.sampled_from(["a", "b.c", "b", r"d\ e", "f~", "9", "none"]).map("attributes.{}".format)
SCALAR = LEAVES.map(lambda leaf: leaf if isinstance(leaf, str) else json.dumps(leaf))
BOUND = st.one_of(
    SCALAR.map(quoted), st.integers(-3, 12).map(str), st.sampled_from(["5.0", "*", "1e-7", "1e16", "-2.5"])
)
RANGE = st.tuples(st.sampled_from("[{"), BOUND, BOUND, st.sampled_from("]}")).map(
    lambda r: f"{r[0]}{r[1]} TO {r[2]}{r[3]}"
)
ORDER = st.tuples(st.sampled_from([">", ">=", "<", "<="]), BOUND.filter(lambda one: one != "*")).map("".join)
WILD = st.lists(st.sampled_from(["*", "?", "a", "b", "h", "1", r"\*", "é"]), min_size=1, max_size=4).map("".join)
LEAF = st.one_of(
    WORDS.map(quoted),
    st.tuples(WORDS, WORDS).map(lambda pair: quoted(" ".join(pair))),
    WORDS.map(lambda one: f"message:{escaped(one[:2])}*"),
    st.tuples(WORDS, WORDS).map(lambda pair: escaped(f"{pair[0]} {pair[1][:1]}") + "*"),
    WILD.filter(lambda one: one.isalnum() or "\\" not in one).map("message:{}".format),
    st.tuples(FIELD, st.one_of(NAMES.map(quoted), WILD, RANGE, ORDER)).map(":".join),
    st.tuples(ATTRIBUTE, st.one_of(SCALAR.map(quoted), WILD, RANGE, ORDER, st.just("5"), st.just("true"))).map(
        ":".join
    ),
    st.sampled_from(
        ["level:error", "level:warn", "level:w*", "level:>=warn", "severity:[9.5 TO 17}", "severity:0", "*"]
    ),
    st.sampled_from(["severity:>17", "severity:{13 TO 13}", "level:*", "message:*", "prediction_id:p1", "p1"]),
)
QUERY = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} OR {pair[1]})"),
        inner.map("NOT {}".format),
    ),
    max_leaves=4,
)


@settings(max_examples=40)
@given(st.lists(RECORDS, min_size=1, max_size=12), st.lists(QUERY, min_size=10, max_size=25))
def test_index_and_line_agree(records, queries):
    lines = [Line(seq, tuple(record)) for seq, record in enumerate(records)]
    with tempfile.TemporaryDirectory() as place:
        day = Day(Path(place) / "day", heap_bytes=15_000_000)
        for part in (lines[::2], lines[1::2]):
            if part:
                day.write(part)
        day.show()
        whole = Span(-(1 << 62), 1 << 62)
        for text in queries:
            node = understood(text)
            if node is None:
                continue
            test, query = condition(node), compiled(node)
            expected = sorted(((line.at, line.seq) for line in lines if test(line)), reverse=True)
            found = [(line.at, line.seq) for line in newest(day.searcher, query, whole, 100)]
            assert found == expected, text
            assert count(day.searcher, query, whole) == len(expected)
        day.rest()


@given(
    st.lists(st.text(alphabet="ab\x00\U0010ffff\ud7ff\ue000é", max_size=4), min_size=3, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_a_range_is_an_expression(texts, low_in, high_in):
    low, high, text = texts
    inside = (low < text or (low_in and low == text)) and (text < high or (high_in and text == high))
    pattern = between(low, high, low_in=low_in, high_in=high_in)
    spelled = re.sub(r"\\x\{(\w+)\}", lambda one: f"\\U{int(one[1], 16):08x}", "(?!)" if pattern is None else pattern)
    assert (re.fullmatch(spelled, text) is not None) == inside
    assert escape("a") == "a"


@given(st.text(max_size=20), st.text(max_size=20))
def test_paths_stay_different(left, right):
    assert (path(left) == path(right)) is (left == right)
