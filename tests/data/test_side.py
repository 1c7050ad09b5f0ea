"""Side files: what they hold comes back, and no link leads out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.data.formats import side
from modelkeep.data.formats.side import Side, stays_inside

names = st.text(st.characters(exclude_characters="/\0\\:.~", codec="utf-8"), min_size=1, max_size=6)
odd = [
    "bin/run.sh",
    "a",
    "true",
    "- x",
    "a: b",
    "#c",
    '"q"',
    "é",
    "x ",
    "123",
    "a/b/c",
    "Icon\r",
    "\n",
    "\x85",
    "\u2028",
]
paths = st.sampled_from(odd) | names
sides = st.builds(
    Side,
    executable=st.sets(paths, max_size=4).map(lambda found: tuple(sorted(found))),
    empty=st.sets(paths, max_size=3).map(lambda found: tuple(sorted(found))),
    symlinks=st.dictionaries(paths.filter(lambda path: "/" not in path), paths, max_size=3),
    chunked=st.booleans(),
    other=st.sampled_from([(), ("later:", "  more: 1"), ("# a comment",)]),
)


@given(sides)
def test_what_is_written_is_read_again(found: Side) -> None:
    assert side.parse(side.render(found), "x") == found


@given(sides)
def test_it_is_yaml(found: Side) -> None:
    from ruamel.yaml import YAML

    read = YAML(typ="safe", pure=True).load(side.render(found).decode()) or {}
    assert tuple(read.get("executable", ())) == found.executable
    assert read.get("symlinks", {}) == found.symlinks


def test_one_item_a_line(tmp_path: Path) -> None:
    metafile = tmp_path / "data.dvc"
    found = Side(executable=("run.sh", "a b"), empty=("logs",), symlinks={"latest": "2024"}, chunked=True)
    assert side.write(metafile, found)
    assert side.path_of(metafile).read_text() == (
        'executable:\n- "a b"\n- run.sh\nempty:\n- logs\nsymlinks:\n  latest: "2024"\nchunked: true\n'
    )
    assert not side.write(metafile, side.read(metafile)), "nothing changed"
    assert side.write(metafile, Side())
    assert not side.path_of(metafile).exists()
    assert not side.write(metafile, Side())
    assert side.read(metafile) == Side()


def test_a_newer_versions_keys_stay() -> None:
    data = b"colours:\n- red\n  deep: 1\nchunked: true\n"
    found = side.parse(data, "x")
    assert found.chunked
    assert side.render(found) == b"chunked: true\ncolours:\n- red\n  deep: 1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("executable:\n- ../x\n", "x.side:2: '../x' is no safe path"),
        ("empty:\n- .git/hooks\n", "x.side:2: '.git/hooks'"),
        ("symlinks:\n  a: /etc/passwd\n", "leads to '/etc/passwd', out of its folder"),
        ("symlinks:\n  a: ..\n", "out of its folder"),
        ("symlinks:\n  a/b: ../../x\n", "out of its folder"),
        ("symlinks:\n  a/b: c/../../../x\n", "out of its folder"),
        ("symlinks:\n  ../a: b\n", "'../a' is no safe path"),
        ("symlinks:\n  a: b\n  a/c: d\n", "behind the link 'a'"),
        ("symlinks:\n  a: b\n  a: c\n", "x.side:3: expected one target"),
        ("symlinks:\n  a\n", "x.side:2: expected a link"),
        ("executable: yes\n", "x.side:1: executable: expected its items"),
        ("chunked: maybe\n", "x.side:1: chunked"),
        ("chunked: true\nchunked: true\n", "x.side:2: chunked is there twice"),
        ("<<<<<<< HEAD\n", "x.side:1: merge conflict markers"),
        ('executable:\n- "a\n', "x.side:2: a quoted text without its end"),
        ('executable:\n- "a" b\n', "x.side:2: expected one path"),
        ("- a\n", "x.side:1: not a line of a side file"),
    ],
)
def test_what_leads_out_or_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        side.parse(text.encode(), "x.side")
    assert says in refused.value.message


def test_a_name_that_is_no_unicode() -> None:
    found = Side(executable=("\udcff.sh",))
    assert side.parse(side.render(found), "x") == found


def test_nothing_that_leads_out_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        side.write(tmp_path / "a.dvc", Side(symlinks={"a": "../../b"}))
    assert not list(tmp_path.iterdir())


@given(
    st.dictionaries(
        st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join),
        st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=4).map("/".join),
        max_size=4,
    )
)
def test_no_chain_of_links_that_passes_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str]
) -> None:
    try:
        side.render(Side(symlinks=links))
    except BadInput:
        return
    folder = tmp_path_factory.mktemp("links").resolve()
    for link, target in links.items():
        place = folder / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for link in links:
        real = os.path.realpath(folder / link)
        assert real == str(folder) or real.startswith(f"{folder}/")


def test_targets() -> None:
    assert stays_inside("a", "b")
    assert stays_inside("a", ".")
    assert stays_inside("a", "b/")
    assert stays_inside("x/a", "..")
    assert not stays_inside("a", "")
    assert not stays_inside("a", "b/../..")


@given(
    st.binary(max_size=60) | st.text("- \"':ab/.\n\\u0", max_size=30).map(lambda text: b"symlinks:\n  " + text.encode())
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = side.parse(data, "x")
    except BadInput:
        return
    assert side.parse(side.render(found), "x").symlinks == found.symlinks
