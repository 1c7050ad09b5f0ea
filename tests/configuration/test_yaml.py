"""YAML as we read it beside what OmegaConf reads, and what is refused."""

from __future__ import annotations

import io
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelkeep.configuration.make import config
from modelkeep.configuration.scalars import scalar
from modelkeep.configuration.sources.yaml import read_yaml
from modelkeep.configuration.tree import Mark, leaves
from modelkeep.core.errors import BadInput

SCALARS = """
1e3 1E3 1e-3 1.e3 .5 .5e3 .5e+3 -.5 +.5 1. 0. 0.1 1_000 1__0 1_000.5 1_0e3 _1 1_ 0o17 0O17 017 08 0x1F 0X1f
0b101 0b2 -1 +1 --1 1-1 yes no on off Yes NO On OFF y n Y N true True TRUE tRUE false null Null NULL ~ nul
2020-01-01 2020-1-1 2020-01-01T12:30:45 12:30:45 12:30 1:2 190:20:30 190:20:30.15 1:60 .inf -.inf +.inf .Inf
.INF .nan .NaN .NAN -.nan inf nan "0x1F" '1' "yes" '~' "" '' a#b http://x/y a:b a,b % ` = << ... 1,000 0.0.0.0
1.2.3 1e 1e+ e3 +1e3 -1e+3 - ? ?a -a :a !!str&nbsp;1 !!int&nbsp;"3" !!float&nbsp;1 !!bool&nbsp;"yes"
!!null&nbsp;"" !!binary&nbsp;aGk= 1e1000 0x_1 0b_1 -0x1 -0b1 -017 -0 +0 00
""".split()  # noqa: SIM905


def theirs(text: str) -> object:
    try:
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except Exception:  # noqa: BLE001 - whatever it is, it is refused
        return BadInput


def ours(text: str) -> object:
    try:
        return read_yaml(text, "f.yaml").tree
    except BadInput:
        return BadInput


@pytest.mark.parametrize("text", [one.replace("&nbsp;", " ") for one in SCALARS])
def test_a_scalar_is_what_omegaconf_reads(text: str) -> None:
    for form in (f"a: {text}\n", f"a: [{text}, x]\n", f"{text}: 1\n"):
        mine, other = ours(form), theirs(form)
        assert repr(mine) == repr(other) or (mine is BadInput and _refused_on_purpose(form)), form
    if not text.startswith(("!", "<<")):
        mark = Mark("here")
        try:
            dotlist = OmegaConf.to_container(OmegaConf.from_dotlist([f"a={text}"]))["a"]  # type: ignore[call-overload]
        except (yaml.YAMLError, OmegaConfBaseException):
            dotlist = text
        assert repr(scalar(text, mark)) == repr(dotlist)


def _refused_on_purpose(text: str) -> bool:
    """A key that is null, or stands twice in another spelling."""
    return text.partition(":")[0] in {"~", "null", "Null", "NULL", "? ", '!!null ""', "..."} or text.startswith("!!")


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), documents, max_size=5), st.booleans(), st.booleans())
def test_any_document_is_what_omegaconf_reads(tree: dict[str, object], flow: bool, sort: bool) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, sort_keys=False, allow_unicode=sort)
    assert repr(ours(text)) == repr(theirs(text))


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab:- \n[]{}&*!|>'\"%@`,?#1.~<e0x_"), max_size=30))
def test_any_text_is_read_as_omegaconf_reads_it_or_refused_with_its_place(text: str) -> None:
    mine, other = ours(text), theirs(text)
    if mine is BadInput:
        with pytest.raises(BadInput, match=r"^f\.yaml:\d+"):
            read_yaml(text, "f.yaml")
    elif other is BadInput:
        assert text.count("---") or text.count("...")  # several documents are layers here
    elif not isinstance(other, list):
        assert repr(mine) == repr(other) or "---" in text


def test_every_key_has_the_line_that_a_search_finds() -> None:
    tree = {
        f"s{i}": {f"k{i}{j}": [f"v{i}{j}{n}" for n in range(j)] or {"deep": {f"d{i}{j}": 1}} for j in range(4)}
        for i in range(9)
    }
    text = "# first\n" + yaml.safe_dump(tree).replace("\n", "\n\n")
    reading = read_yaml(text, "f.yaml")
    lines = text.split("\n")
    for key, value in leaves(reading.tree):
        wanted = value if isinstance(value, str) else key.rpartition(".")[2]
        (found,) = [
            number for number, line in enumerate(lines, 1) if str(wanted) in line.split("#")[0].replace(":", "").split()
        ]
        assert reading.mark(key) == Mark("f.yaml", found)


def test_anchors_merge_keys_and_documents() -> None:
    text = """\
base: &base {host: h, port: 1}
one:
  <<: *base
  port: 2
two:
  <<: [{port: 3, tls: true}, *base]
three: &three
  <<: *base
  extra: [*base, 5]
four: {<<: *three, host: i}
list: [&x 1, *x]
---
one: {port: 9}
---
"""
    first = text.partition("---")[0]
    assert ours(first) == theirs(first)
    reading = read_yaml(text, "f.yaml")
    assert reading.tree["one"] == {"host": "h", "port": 9}
    assert [reading.mark(key).line for key in ("one.port", "one.host", "two.tls", "four.host", "four.extra[1]")] == [
        *(13, 1, 6, 10, 9)
    ]


BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True)),
    "mappings": "a: &a {x: 1}\n"
    + "".join(
        f"k{n}: &k{n} {{p: *{'a' if not n else f'k{n - 1}'}, q: *{'a' if not n else f'k{n - 1}'}}}\n" for n in range(40)
    ),
    "merges": "a: &a {x: 1}\n"
    + "".join(
        f"k{n}: &k{n}\n  <<: [*{'a' if not n else f'k{n - 1}'}, *{'a' if not n else f'k{n - 1}'}]\n" for n in range(40)
    ),
    "recursion": "a: &a\n  b: *a\n",
    "recursive list": "a: &a [*a]\n",
    "recursive merge": "a: &a\n  <<: *a\n",
    "deep list": "a: " + "[" * 50_000 + "]" * 50_000,
    "deep mapping": "a: " + "{a: " * 20_000 + "}" * 20_000,
    "deep block": "".join(" " * n + "a:\n" for n in range(3000)),
    "digits": "a: 0x" + "f" * 100_000,
    "sexagesimal": "a: 1" + ":59" * 50_000,
    "decimal": "a: " + "9" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str) -> None:
    began = time.process_time()
    with pytest.raises(BadInput, match=r"^f\.yaml"):
        read_yaml(BOMBS[name], "f.yaml")
    with pytest.raises(BadInput):
        scalar(f"{{{BOMBS[name]}}}".replace("\n", " "), Mark("env X"))
    assert time.process_time() - began < 5  # tenths of a second alone; see bench


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a stands at line 1 already"),
        ("x:\n  a: 1\n  'a': 3\n", "f.yaml:3: x.a stands at line 2 already"),
        ("x:\n- {1: a,\n   1: b}\n", "f.yaml:3: x[0].1 stands at line 2 already"),
        ("yes: 1\ntrue: 2\n", "f.yaml:2: True stands at line 1 already"),
        ("a: !!python/object/apply:os.system [id]\n", "f.yaml:1: the tag !!python/object/apply:os.system is refused"),
        ("a:\n  b: !custom x\n", "f.yaml:2: the tag !custom is refused"),
        ("a: !!set {x}\n", "f.yaml:1: the tag !!set is refused"),
        ("a: !!omap [x: 1]\n", "f.yaml:1: the tag !!omap is refused"),
        ("a: !!timestamp 2020-01-01\n", "f.yaml:1: the tag !!timestamp is refused"),
        ("a: !!int hunter2\n", "f.yaml:1: the value is not what the tag !!int says"),
        ("- 1\n", "f.yaml:1: the top is not a mapping"),
        ("just text\n", "f.yaml:1: the top is not a mapping"),
        ("a: [1\nb: 2\n", "f.yaml:2:2: "),
        ("a: 1\n b: 2\n", "f.yaml:2:3: mapping values are not allowed"),
        ("a: *nowhere\n", "f.yaml:1:4: found undefined alias"),
        ("? [a]\n: 1\n", "f.yaml:1: a key is a list or a mapping"),
        ("~: 1\n", "f.yaml:1: a key is empty"),
        ("a: 1\n<<: 5\n", "f.yaml:2: << stands before something that is no mapping"),
        ("a: \t@\n", "f.yaml:1:"),
        ("a: \x01\n", "f.yaml:1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_yaml(text, "f.yaml")
    assert caught.value.message.startswith(told)
    assert "hunter2" not in caught.value.message


def test_files_that_cannot_be_decoded_or_are_too_large(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: gr\xfcn\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"latin\.yaml:2: not UTF-8 at byte 10"):
        config(tmp_path / "latin.yaml")
    (tmp_path / "huge.yaml").write_bytes(b"# " + b"x" * (17 << 20))
    with pytest.raises(BadInput, match="larger than 16 MB"):
        config(tmp_path / "huge.yaml")
    (tmp_path / "bom.yaml").write_bytes("\ufeffa: ä\n".encode())
    assert config(tmp_path / "bom.yaml").a == "ä"
