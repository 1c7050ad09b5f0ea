"""Any text is answered or refused; nothing else happens."""

from __future__ import annotations

import contextlib
from pathlib import Path

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.metrics.promql.evaluate import PromQL
from modelkeep.metrics.promql.syntax import matchers, metric_names, parse

WRITTEN = (Path(__file__).parents[2] / "scripts/promql/expressions.txt").read_text().splitlines()[1:]
PIECES = st.sampled_from(
    [
        *["(", ")", "[5m]", "{", "}", "[", "]", '"', "`", "'", "\\", " @ ", " offset ", "-", "1e309", "0x", "5m", ":"],
        *[",", "#", " by ", " on() ", " group_left ", " bool ", "\x00", "é", "\n", "😀", "9" * 30, "NaN", " @ 1e18"],
        *[" offset 300y"],
    ]
)


@st.composite
def broken(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(WRITTEN))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 5))
        text = text[:at] + draw(st.one_of(PIECES, st.sampled_from(WRITTEN), st.just(""))) + text[at + cut :]
    return text


def ask(text: str) -> None:
    promql = PromQL([])
    with contextlib.suppress(BadInput):
        promql.range(text, 10**18, 10**18 + 10**11, 10**10)
    with contextlib.suppress(BadInput):
        promql.instant(text, 10**18)
    with contextlib.suppress(BadInput):
        metric_names(text)


@given(text=st.text(max_size=40))
def test_any_text_is_answered_or_refused(text: str) -> None:
    ask(text)


@settings(max_examples=300)
@given(text=broken())
def test_a_broken_query_is_answered_or_refused(text: str) -> None:
    ask(text)


@pytest.mark.slow
@settings(max_examples=50_000)
@given(text=broken())
def test_many_broken_queries_are_answered_or_refused(text: str) -> None:
    ask(text)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r'x{a=`\d"+`}', r'\d"+'),
        (r'x{a="\\d"}', r"\d"),
        (r"""x{a='it\'s'}""", "it's"),
        ('x{a="# no comment"} # a comment', "# no comment"),
        ("x{a=`two\nlines`}", "two\nlines"),
    ],
)
def test_strings_of_all_kinds(query: str, value: str) -> None:
    node = parse(query)
    assert isinstance(node, promql_parser.VectorSelector)
    assert [matcher.value for matcher in matchers(node)] == ["x", value]
