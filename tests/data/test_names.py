"""Paths from strangers: none leads out of its folder, and twins are found."""

from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.data.formats.names import safe_relpath, safe_relpaths, twins

SAFE = [
    "a",
    "a/b.csv",
    ".hidden/x",
    "a b",
    "..a",
    "a..",
    "a/...",
    ".gitignore",
    "x.git",
    "é/日本",
    "Icon\r",
    "git",
    ".dvcignore",
    "a:b/c",
]
UNSAFE = [
    "",
    "/etc/passwd",
    "..",
    "a/../b",
    "../x",
    ".",
    "./a",
    "a/",
    "a//b",
    "a\0b",
    ".git",
    ".git/hooks/post-checkout",
    "a/.GIT/config",
    ".dvc/config",
    "C:\\x",
    "c:/x",
    "..\\x",
    "a\\..\\x",
    ".git /x",
    "GIT~1/config",
    ".g\u200cit/config",
]
texts = st.text(st.sampled_from("ab./\\:~1 \n\0é\u200cGgITitDVCdvc"), max_size=12) | st.sampled_from(SAFE + UNSAFE)


@pytest.mark.parametrize("text", SAFE)
def test_a_safe_path_stays_as_it_is(text: str) -> None:
    assert safe_relpath(text, "x") == text
    safe_relpaths([text], "x")


@pytest.mark.parametrize("text", UNSAFE)
def test_an_unsafe_path_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match=r"^m\.dir: .* is no safe path"):
        safe_relpath(text, "m.dir")
    with pytest.raises(BadInput):
        safe_relpaths(["a", text, "b"], "m.dir")


def test_a_message_holds_nothing_that_steers_a_terminal() -> None:
    with pytest.raises(BadInput) as refused:
        safe_relpath("../\x1b[31m" + "x" * 5000, "m.dir")
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 300


@given(texts)
def test_what_passes_stays_below(text: str) -> None:
    try:
        safe_relpath(text, "x")
    except BadInput:
        return
    assert posixpath.normpath(posixpath.join("/root", text)) == f"/root/{text}"
    assert not {".git", ".dvc", ""} & set(text.lower().split("/"))


@given(st.lists(texts, max_size=6))
def test_many_are_judged_as_one_by_one(paths: list[str]) -> None:
    def refused(one: str) -> bool:
        try:
            safe_relpath(one, "x")
        except BadInput:
            return True
        return False

    bad = any(map(refused, paths))
    try:
        safe_relpaths(paths, "x")
    except BadInput:
        assert bad
    else:
        assert not bad


def test_twins_by_case_by_composition_and_by_folder() -> None:
    assert twins(["a", "A"]) == [("a", "A")]
    assert twins(["Data/x", "data/y"]) == [("Data", "data")]
    assert twins(["straße", "STRASSE"]) == [("straße", "STRASSE")]
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert twins([composed, apart]) == [(composed, apart)]
    assert twins(["a/b", "a/c", "b/a"]) == []


@given(st.lists(st.text(st.sampled_from("aAbB/éÉ"), min_size=1, max_size=5), max_size=8, unique=True))
def test_twins_are_equal_but_for_case(paths: list[str]) -> None:
    for one, other in twins(paths):
        assert one != other
        assert one.casefold() == other.casefold()
