"""JSON files beside the standard library, every line found a second way."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from modelkeep.configuration.sources.json import Json
from modelkeep.configuration.tree import leaves
from modelkeep.core.errors import BadInput

names = st.text(st.sampled_from('ab"\\{}[]:,é\n .'), max_size=4)
nodes = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), names),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, nodes, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_values_are_those_of_the_standard_library(tree: dict[str, object], indent: int | None, ascii_: bool) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_)
    assert Json("f.json").parse(text).tree == json.loads(text)


plain = st.recursive(
    st.integers(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), plain, max_size=3))
def test_every_value_has_its_line(tree: dict[str, object]) -> None:
    """The second way: every value becomes the number of the line that it is printed on."""
    lines = json.dumps(tree, indent=1).split("\n")
    numbers = iter(
        [number for number, line in enumerate(lines, 1) if line.strip(" ,").rpartition(" ")[2].lstrip("-").isdigit()]
    )
    reading = Json("f.json").parse("\n".join(lines))
    for key, value in leaves(tree):
        if value is not None:
            assert reading.mark(key).line == next(numbers), key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n"a": 1,\n"a": 2}', "f.json:3: a stands at line 2 already"),
        ('{"x": [{"a": 1,\n"\\u0061": 2}]}', "f.json:2: x[0].a stands at line 1 already"),
        ('{"a": NaN}', "f.json: NaN is no JSON"),
        ('{"a": 1', "f.json:1:8: Expecting ',' delimiter"),
        ('{\n"a" 1}', "f.json:2:5: Expecting ':' delimiter"),
        ("[1]", "f.json:1: the top is not an object"),
        ('{"a": ' + "[" * 100_000, "f.json: nested too deep"),
        ('{"a": ' + "9" * 10_000 + "}", "f.json: a number is too long"),
    ],
    ids=range(8),
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        Json("f.json").parse(text)
    assert caught.value.message == told


def test_an_empty_file_says_nothing() -> None:
    assert Json("f.json").parse("").tree == {}
    assert Json("f.json").parse(" \n").tree == {}
