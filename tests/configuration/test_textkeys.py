from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.configuration.scalars import scalar
from modelkeep.configuration.textkeys import Grown, document, path_of, tree_of, written
from modelkeep.configuration.tree import Mark, Node, Reading, leaves
from modelkeep.core.errors import BadInput, Error

HERE = Mark("here")
values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(values)
def test_what_is_written_is_read_as_it_was(value: Node) -> None:
    try:
        text = written(value, "k")
    except BadInput:
        assert "inf" in repr(value)  # JSON has no infinities, and they stand in a container
        return
    found = scalar(text, HERE)
    assert found == value
    assert type(found) is type(value)


def test_numbers_that_are_none_and_bytes() -> None:
    assert math.isnan(float(str(scalar(written(math.nan, "k"), HERE))))
    assert scalar(written(-math.inf, "k"), HERE) == -math.inf
    bad: list[Node] = [b"x", [math.inf]]
    for value in bad:
        with pytest.raises(BadInput, match="k: a"):
            written(value, "k")


@given(st.text(alphabet="{}[]&*:,-!#|>'\"\\ \n019abx.%@~$"))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    with suppress(Error):
        scalar(text, HERE)


@given(st.lists(st.tuples(st.text(alphabet="ab./[]0\n$"), st.binary(max_size=3))))
def test_any_keys_are_a_tree_or_refused(pairs: list[tuple[str, bytes]]) -> None:
    reading = Reading({})
    with suppress(BadInput):
        reading = tree_of([(f"app/{key}", value) for key, value in pairs], "app", "store")
    for key, _ in leaves(reading.tree):
        assert reading.mark(key).source.startswith("store app")


@given(st.permutations([("app/a", b"1"), ("app/b/c", b"2"), ("app/b/", b""), ("app/d", b"")]))
def test_the_order_of_keys_is_no_matter(pairs: list[tuple[str, bytes]]) -> None:
    reading = tree_of(pairs, "app", "store")
    assert reading.tree == {"a": 1, "b": {"c": 2}, "d": ""}
    assert reading.version == tree_of(sorted(pairs), "app", "store").version
    assert reading.version != tree_of([*pairs, ("app/e", b"1")], "app", "store").version


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a.b", "a/b"), ("a.b.c", "a/b"), ("a/b", "a.b/c")])
def test_a_key_is_a_value_or_a_folder(keys: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match="already"):
        tree_of([(f"app/{key}", b"1") for key in keys], "app", "store")


def test_keys_that_are_none() -> None:
    for key in ("", "...", "[", "a[]"):
        with pytest.raises(BadInput, match="is no key"):
            Grown().add(key, "1", HERE)


def test_a_document_says_file_and_line() -> None:
    reading = document(b"\xef\xbb\xbfa:\n  b: 1\n", "s3://bucket/app.yaml")
    assert str(reading.mark("a.b")) == "s3://bucket/app.yaml:2"
    with pytest.raises(BadInput, match="cannot tell the format"):
        document(b"", "app")
    with pytest.raises(BadInput, match="cannot tell the format"):
        document(b"", "app", "sql")


def test_paths() -> None:
    assert path_of("app", "db.hosts[2].name") == "app/db/hosts/2/name"
