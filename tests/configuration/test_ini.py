"""INI files beside the standard library's ConfigParser."""

from __future__ import annotations

import configparser
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from modelkeep.configuration.make import config
from modelkeep.configuration.sources.ini import Ini
from modelkeep.core.errors import BadInput

KINDS = {
    "basic": configparser.BasicInterpolation(),
    "extended": configparser.ExtendedInterpolation(),
    "none": configparser.Interpolation(),
}

TEXTS = {
    "plain": "[db]\nhost = h\nport: 5\n[cache]\nsize=1\n",
    "defaults": "[DEFAULT]\nroot = /srv\nport = 1\n[a]\nport = 2\n[b]\n",
    "basic": "[DEFAULT]\nroot = /srv\n[a]\ndata = %(root)s/data\nlog = %(data)s/log\nshare = 100%%\n",
    "extended": "[paths]\nroot = /srv\n[a]\ndata = ${paths:root}/data\nlog = ${data}/log\nprice = $$5\n",
    "dollars": "[a]\nx = ${y}\ny = $HOME and ${oc.env:HOME}\n",
    "lines": "[a]\nmany =\n  one\n  two\n\n  three\nnext = 1\ntext = first\n    second\n",
    "no value": "[mysqld]\nskip-bdb\nuser = me\nempty =\n",
    "comments": "# top\n; top\n[a]\n# inner\nx = 1 ; not a comment\ny = 2 # nor this\n; end\n",
    "names": "[a b.c]\nMixed Case Key = Value\nkey.with.dots = 1\n[ spaced ]\nx=1\n[sec:tion]\ny=2\n[x]y]\nz=1\n",
    "signs": "[a]\nurl = http://h:80/?a=b\nx: y = z\na=b:c\n",
    "only defaults": "[DEFAULT]\na = 1\n",
    "empty": "",
    "indented": "[a]\n  x = 1\n  y = 2\n[b]\n\tz = 3\n   more\n",
    "unicode": "[ä]\nö = ü\n",
    "twice": "[a]\nx = 1\n[a]\ny = 2\n",
    "twice a key": "[a]\nx = 1\nX = 2\n",
    "no section": "x = 1\n",
    "garbage": "[a]\n= 1\n",
    "circle": "[a]\nx = %(y)s\ny = %(x)s\n",
    "unknown": "[a]\nx = %(nothing)s\n",
    "half": "[a]\nx = %(y\n",
    "unknown section": "[a]\nx = ${b:y}\n",
}


def theirs(text: str, kind: str) -> object:
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=KINDS[kind])
    try:
        parser.read_string(text)
    except AttributeError:  # CPython's, over a line that continues a key without a value
        return BadInput
    except configparser.Error:
        return BadInput
    try:
        sections = {name: {key: parser.get(name, key) for key in parser[name]} for name in parser.sections()}
        return sections or {key: parser.get("DEFAULT", key) for key in parser.defaults()}
    except configparser.Error:
        return BadInput


def ours(text: str, kind: str, folder: Path) -> object:
    path = folder / "app.ini"
    path.write_text(text, encoding="utf-8")
    try:
        return config(f"{path}?interpolation={kind}").snapshot()._tree
    except BadInput:
        return BadInput


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEXTS)
def test_values_are_those_of_configparser(name: str, kind: str, tmp_path: Path) -> None:
    assert ours(TEXTS[name], kind, tmp_path) == theirs(TEXTS[name], kind)


pieces = st.sampled_from(
    [
        "[a]",
        "[b]",
        "[DEFAULT]",
        "x = 1",
        "y: 2",
        "Z=%(x)s",
        "w = ${a:x}",
        "k",
        "  more",
        "",
        "# c",
        "; c",
        "q =",
        "[",
        "=",
        "x = ???",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=8), st.sampled_from(sorted(KINDS)))
def test_any_text_is_read_as_configparser_reads_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], kind: str
) -> None:
    text = "\n".join(lines)
    assert ours(text, kind, tmp_path_factory.getbasetemp()) == theirs(text, kind)


@settings(max_examples=100, deadline=None)
@given(st.lists(pieces, max_size=8))
def test_every_key_has_the_line_that_a_second_parser_finds(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        reading = Ini("app.ini?interpolation=none").parse(text)
    except BadInput:
        return
    defaults = configparser.ConfigParser(allow_no_value=True, interpolation=None)
    defaults.read_string(text)
    sections = [name for name in reading.tree if isinstance(reading.tree[name], dict)]
    for name in sections:
        for key in reading.tree[name]:  # type: ignore[union-attr]
            line = reading.mark(f"{name}.{key}").line
            assert lines[line - 1].strip().lower().startswith(key)
            # what ends before that line does not have it yet
            if key in defaults["DEFAULT"]:
                continue
            before = configparser.ConfigParser(allow_no_value=True, interpolation=None)
            before.read_string("\n".join(lines[: line - 1]))
            holder = before[name] if name in before else before["DEFAULT"]
            assert key not in holder
            after = configparser.ConfigParser(allow_no_value=True, interpolation=None)
            after.read_string("\n".join(lines[:line]))
            assert key in (after[name] if name in after else after["DEFAULT"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nx = 1\n[b]\n[a]\n", "app.ini:4: section 'a' stands twice"),
        ("[a]\nx = 1\n\nX = 2\n", "app.ini:4: a.x stands twice"),
        ("x = hunter2\n", "app.ini:1: a value before the first [section]"),
        ("[a]\n= hunter2\n", "app.ini:2: not a line of name = value"),
        ("[a]\nb = 1\nx = %(nothing)s\n", "app.ini:3: a.x refers to 'nothing', which is not there"),
        ("[a]\nx = %(y)s\ny = %(x)s\n", "app.ini:2: a.x: its references turn in a circle"),
        ("[a]\nx = %(y\n", "app.ini:2: a.x is not a valid reference"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        Ini("app.ini").parse(text)
    assert caught.value.message == told


def test_an_unknown_interpolation_and_option() -> None:
    with pytest.raises(BadInput, match="no interpolation 'odd'"):
        Ini("app.ini?interpolation=odd").parse("")
    with pytest.raises(BadInput, match="no option 'other'"):
        Ini("app.ini?other=1")
