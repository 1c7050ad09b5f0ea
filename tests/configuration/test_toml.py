"""TOML files beside the standard library, every line found a second way."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time

import pytest

from modelkeep.configuration.sources.toml import Toml
from modelkeep.configuration.tree import leaves
from modelkeep.core.errors import BadInput

TEXT = '''\
title = "x" # 1
"quoted key" = 1
'single' = 'a "b" # c'
a.b."c.d" = [ # 4
  1,
  { x = 1, y = [2] },
]
multi = """
[not.a.table]
key = "no"\\
  """
raw = \'\'\'
[nor.this]
# \'\'\'
[table] # 15
x = 0x1F
when = 2020-01-02T03:04:05Z
day = 2020-01-02
clock = 03:04:05.5
[table.sub]
y = inf
[[many]]
z = 1
[[many.inner]]
w = 1
[[many.inner]]
w = 2
[[many]]
z = 2
[many.deep]
v = 1
[ spaced . name ]
u = true
'''


def test_values_are_those_of_the_standard_library() -> None:
    def plain(node: object) -> object:
        if isinstance(node, dict):
            return {name: plain(value) for name, value in node.items()}
        if isinstance(node, list):
            return [plain(item) for item in node]
        return node.isoformat() if isinstance(node, datetime | date | time) else node

    assert Toml("f.toml").parse(TEXT).tree == plain(tomllib.loads(TEXT))


def test_every_key_has_the_line_at_which_it_appears() -> None:
    """The second way: the first line that can be cut after, so that the key is there."""
    reading = Toml("f.toml").parse(TEXT)
    lines = TEXT.split("\n")
    known: dict[str, int] = {}
    previous = 0
    for end in range(1, len(lines) + 1):
        try:
            tree = tomllib.loads("\n".join(lines[:end]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        for key, _ in leaves(tree):
            known.setdefault(key, previous + 1)
        previous = end
    for key, _ in leaves(reading.tree):
        assert reading.mark(key).line == known[key], key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nb = \n", "f.toml:2:5: Invalid value"),
        ("a = 1\na = 2\n", "f.toml:2: a stands at line 1 already"),
        ("[x]\na = 1\n[y]\n[x]\n", "f.toml:4: x stands at line 1 already"),
        ("a = [1", "f.toml:1: Unclosed array"),
        ("a = " + "[" * 50_000, "f.toml: nested too deep"),
    ],
    ids=range(5),
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        Toml("f.toml").parse(text)
    assert caught.value.message.startswith(told)
