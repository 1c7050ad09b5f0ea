"""What `mk.config` gives beside what OmegaConf itself gives, for the same trees."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Dict, List, Optional, Union  # noqa: UP035 - as people write them

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelkeep.configuration.layers import Lists
from modelkeep.configuration.make import config
from modelkeep.configuration.merge import merge
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import BadInput

Plain = dict[str, Any]


def theirs(*layers: object) -> object:
    """What OmegaConf gives; its kind of error where it refuses."""
    try:
        return OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, TypeError, ValueError, RecursionError):
        return BadInput


def ours(*layers: object) -> object:
    try:
        cfg = config(*(copy.deepcopy(layer) for layer in layers))
    except BadInput:
        return BadInput
    return cfg.snapshot()._tree


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Db:
    pool: int = 5
    name: str = "main"
    timeout_s: float = 1.5
    replica: Optional[str] = None  # noqa: UP045


@dataclass
class App:
    db: Db = field(default_factory=Db)
    spare: Optional[Db] = None  # noqa: UP045
    colour: Colour = Colour.RED
    level: Union[int, str] = 3  # noqa: UP007
    hosts: List[str] = field(default_factory=lambda: ["a", "b"])  # noqa: UP006
    pools: Dict[str, Db] = field(default_factory=dict)  # noqa: UP006
    many: List[Db] = field(default_factory=list)  # noqa: UP006
    folder: Path = Path("/tmp")
    anything: Any = None
    url: str = "pg://${db.name}:${db.pool}"
    key: bytes = b"k"


@pytest.fixture(autouse=True, scope="module")
def resolvers() -> Iterator[None]:
    OmegaConf.register_resolver("plus", lambda *numbers: sum(numbers))
    OmegaConf.register_resolver("up", lambda text, *, _parent_: f"{text.upper()}{len(_parent_)}")
    os.environ["MERGE_TEST"] = "8"
    yield
    OmegaConf.clear_resolver("plus")
    OmegaConf.clear_resolver("up")
    del os.environ["MERGE_TEST"]


UNTYPED: list[list[Plain]] = [
    [{}],
    [{"a": 1}, {"a": 2, "b": {"c": 3}}, {"b": {"d": [1, {"e": 2}]}}],
    [{"a": {"b": 1}}, {"a": None}],
    [{"a": None}, {"a": {"b": 1}}],
    [{"a": {"b": 1}}, {"a": {}}],
    [{"a": {"b": 1}}, {"a": 5}],
    [{"a": 5}, {"a": {"b": 1}}, {"a": {"c": 2}}],
    [{"a": [1, 2, 3]}, {"a": [4]}],
    [{"a": [1]}, {"a": []}],
    [{"a": [{"x": 1}]}, {"a": [{"y": 1}]}],
    [{"a": [1]}, {"a": 5}],
    [{"a": [1]}, {"a": {"b": 2}}],
    [{"a": {"b": 2}}, {"a": [1]}],
    [{"a": "${b}", "b": 1}],
    [{"a": "${b}"}, {"b": 1}],
    [{"a": "${b.c}", "b": {"c": "${d}", "d": 0}, "d": [1, 2]}],
    [{"a": {"b": "${.c}", "c": 3, "d": "${..e}"}, "e": 4}],
    [{"a": {"b": {"c": "${...x}"}}, "x": {"y": 1}}],
    [{"a": "x${b}y${c}", "b": 1, "c": True}],
    [{"a": "${b[0]}", "b": [7, "${a2}"], "a2": 8}],
    [{"a": "${b[1]}", "b": [7, "${a2}"], "a2": 8}],
    [{"a": "${${which}}", "which": "b", "b": "nested"}],
    [{"a": "${b.${which}}", "which": "c", "b": {"c": 5}}],
    [{"a": r"\${b}", "b": 1}],
    [{"a": r"\\${b}", "b": 1}],
    [{"a": r"x \${b} ${b}", "b": 1}],
    [{"a": "$b", "c": "$", "d": "{b}", "b": 1}],
    [{"a": "${plus:1,2}", "b": "${plus:${a},10}"}],
    [{"a": "${up:abc}", "b": 1}],
    [{"a": "${oc.env:MERGE_TEST}", "b": "${oc.decode:${oc.env:MERGE_TEST}}"}],
    [{"a": "${oc.env:MERGE_ABSENT,fallback}", "b": "${oc.env:MERGE_ABSENT,null}"}],
    [{"a": "${oc.env:MERGE_ABSENT}"}],
    [{"a": "${oc.select:nothing,5}", "b": "${oc.select:c.d}", "c": {"d": 1}}],
    [{"a": "${oc.decode:'[1, 2, {a: 3}]'}"}],
    [{"a": "${oc.create:{x: 1}}", "b": "${a.x}"}],
    [{"a": "${oc.dict.keys:b}", "c": "${oc.dict.values:b}", "b": {"x": 1, "y": "${d}"}, "d": 2}],
    [{"a": "${oc.deprecated:b}", "b": 1}],
    [{"a": "???"}],
    [{"a": "???"}, {"a": 1}],
    [{"a": 1}, {"a": "???"}],
    [{"a": {"b": 1}}, {"a": "???"}],
    [{"a": [1]}, {"a": "???"}],
    [{"a": "???"}, {"a": {"b": 1}}],
    [{"a": r"\???"}],
    [{"a": "x???"}],
    [{"a": 1}, {"a": r"\???"}],
    [{"a": "${b}", "b": "???"}],
    [{"a": "${b}", "b": {"c": 1}}, {"a": {"d": 2}}],
    [{"a": "${b}", "b": {"c": 1}}, {"a": 5}],
    [{"a": "${b}", "b": {"c": 1}}, {"a": "${b.c}"}],
    [{"a": {"c": 1}}, {"a": "${b}", "b": {"d": 1}}],
    [{"a": "${b}", "b": "${a}"}],
    [{"a": {"b": "${a}"}}],
    [{"a": "${nothing}"}],
    [{"a": "${b"}],
    [{"a": "${unknown:1}"}],
    [{1: "x", False: "y", 2.5: "z", b"k": 1}, {1: {"a": "${b}"}, "b": 2}],
    [{"a.b": 1, "c[0]": 2, "": 3}, {"a": {"b": 4}}],
    [{"a": {1, 2}}],
    [{"a": (1, 2)}, {"a": [3]}],
    [{"a": Path("/x"), "b": Colour.RED}, {"b": Colour.BLUE}],
    [{"a": Db()}],
    [{"a": {"b": Db}}, {"a": {"b": {"pool": 7}}}],
    [{"a": "ä\u2028", "b": "\x00", "c": float("inf"), "d": 10**30, "e": -0.0}],
]


@pytest.mark.parametrize("layers", UNTYPED, ids=repr)
def test_untyped_trees_come_out_as_from_omegaconf(layers: list[Plain]) -> None:
    assert ours(*layers) == theirs(*layers)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "layers",
    [
        [{"db": {"pool": 8}}],
        [{"db": {"pool": "8", "timeout_s": "2", "name": 5}}],
        [{"db": {"pool": "many"}}],
        [{"db": {"pol": 1}}],
        [{"db": None}],
        [{"db": 5}],
        [{"db": {"replica": "r"}}, {"db": {"replica": None}}],
        [{"spare": {"pool": 1}}, {"spare": {"name": "s"}}],
        [{"spare": {"pool": 1}}, {"spare": None}],
        [{"spare": {"pol": 1}}],
        [{"colour": "BLUE"}],
        [{"colour": "blue"}],
        [{"colour": 2}],
        [{"colour": "Colour.BLUE"}],
        [{"level": "high"}, {"level": 4}],
        [{"level": [1]}],
        [{"hosts": ["c"]}, {"hosts": ["d", "e"]}],
        [{"hosts": [1, 2]}],
        [{"hosts": "c"}],
        [{"hosts": [{"a": 1}]}],
        [{"pools": {"a": {"pool": 1}}}, {"pools": {"a": {"name": "x"}, "b": {}}}],
        [{"pools": {"a": {"pol": 1}}}],
        [{"many": [{"pool": 1}, {}]}, {"many": [{"name": "x"}]}],
        [{"many": [{"pool": "x"}]}],
        [{"folder": "/var"}],
        [{"anything": {"a": [1, "${db.pool}"]}}, {"anything": 5}],
        [{"url": "${db.replica}"}],
        [{"url": "${nothing}"}],
        [{"db": "${spare}", "spare": {"pool": 9}}],
        [{"key": "abc"}],
        [{"db": "???"}],
        [{"db": {"pool": "???"}}],
        [Db],
        [Db(pool=3)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("typed", [App, App(db=Db(pool=1))], ids=["class", "object"])
def test_dataclasses_come_out_as_from_omegaconf(typed: object, layers: list[Plain]) -> None:
    base = OmegaConf.structured(typed)
    assert ours(base, *layers) == theirs(base, *layers)
    if isinstance(typed, type):
        try:
            schema: object = config(typed, *layers).snapshot()._tree
        except BadInput:
            schema = BadInput
        stricter = layers == [{"hosts": [{"a": 1}]}]  # Pydantic refuses what OmegaConf lets pass: a mapping as a text
        assert schema == (BadInput if stricter else theirs(typed, *layers))


def test_a_dataclass_with_mandatory_fields() -> None:
    @dataclass
    class Needs:
        port: int = MISSING
        host: str = "h"

    assert config(Needs, {"port": "8"}).value == Needs(8, "h")
    with pytest.raises(BadInput, match=r"^Needs port: a value is missing$"):
        config(Needs)


@pytest.mark.parametrize("flag", ["struct", "readonly"])
def test_flags_of_an_omegaconf_object_hold(flag: str) -> None:
    base = OmegaConf.create({"a": {"b": 1}, "c": 2})
    OmegaConf.set_struct(base, flag == "struct")
    OmegaConf.set_readonly(base, flag == "readonly")
    for later in ({"a": {"b": 2}}, {"a": {"new": 1}}, {"d": 1}):
        assert ours(base, later) == theirs(base, later)
        assert ours({"z": 1}, base, later) == theirs({"z": 1}, base, later)
    back = config(base).to_omegaconf()
    assert back == base
    assert OmegaConf.is_struct(back) == OmegaConf.is_struct(base)
    assert OmegaConf.is_readonly(back) == OmegaConf.is_readonly(base)
    assert base == {"a": {"b": 1}, "c": 2}


def test_an_omegaconf_object_is_not_changed_and_comes_back() -> None:
    given_ = OmegaConf.create({"a": {"b": "${c}"}, "c": 1, "list": [1, "${c}"]})
    cfg = config(given_, {"c": 2})
    back = cfg.to_omegaconf()
    assert isinstance(back, DictConfig)
    assert OmegaConf.to_container(back) == {"a": {"b": "${c}"}, "c": 2, "list": [1, "${c}"]}
    back.c = 3
    assert (cfg.c, cfg.a.b, cfg.list, back.a.b, given_.c) == (2, 2, (1, 2), 3, 1)


def test_a_typed_object_comes_back_typed() -> None:
    back = config(OmegaConf.structured(App), {"db": {"pool": 9}}).to_omegaconf()
    assert OmegaConf.get_type(back) is App
    assert OmegaConf.get_type(back, "db") is Db
    assert OmegaConf.to_object(back) == App(db=Db(pool=9), url="pg://main:9")


@pytest.mark.parametrize(
    ("lists", "expected"),
    [("replace", [2, 3]), ("extend", [1, 2, 2, 3]), ("extend_unique", [1, 2, 3])],
)
def test_lists_are_replaced_or_extended(lists: Lists, expected: list[int]) -> None:
    cfg = config({"a": {"b": [1, 2]}, "c": 1}, {"a": {"b": [2, 3]}}, lists=lists)
    assert cfg["a.b"] == tuple(expected)
    assert cfg.c == 1


def test_items_of_extended_lists_know_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hosts:\n- x\n- name: y\n")
    (tmp_path / "b.yaml").write_text("hosts:\n- x\n- z\n")
    cfg = config(tmp_path / "a.yaml", tmp_path / "b.yaml", lists="extend_unique")
    marks = {key: str(cfg.snapshot().mark(key)).rpartition("/")[2] for key in cfg.snapshot().names()}
    assert marks == {"hosts[0]": "a.yaml:2", "hosts[1].name": "a.yaml:3", "hosts[2]": "b.yaml:3"}


words = st.sampled_from(["a", "b", "c", "d"])
texts = st.one_of(
    st.sampled_from(
        ["???", r"\???", "${a}", "${.b}", "${..c}", "x${a.b}", "${b[0]}", r"\${a}", "${plus:1,${d}}", "text"]
    ),
    st.text(max_size=4),
)
values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), texts)
nodes = st.recursive(
    values,
    lambda inner: st.one_of(st.dictionaries(words, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=8,
)
trees = st.dictionaries(words, nodes, max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4))
@example([{"a": "${b}", "b": {"c": 1}}, {"a": {"d": 1}}, {"b": 2}])
def test_any_trees_come_out_as_from_omegaconf(layers: list[Plain]) -> None:
    mine, other = ours(*layers), theirs(*layers)
    if other is BadInput and mine is not BadInput:
        # a later source has replaced what OmegaConf could not even parse
        assert any(theirs(layer) is BadInput for layer in layers[:-1])
        return
    assert mine == other
    assert repr(mine) == repr(other)  # the types and the order, too


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=5000, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4))
def test_many_trees_come_out_as_from_omegaconf(layers: list[Plain]) -> None:
    test_any_trees_come_out_as_from_omegaconf.hypothesis.inner_test(layers)  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None)
@given(st.lists(trees, min_size=1, max_size=3))
def test_every_value_has_a_place_and_a_history(layers: list[Plain]) -> None:
    try:
        cfg = config(*layers)
    except BadInput:
        return
    snapshot = cfg.snapshot()
    for key in snapshot.names():
        told = snapshot.explain(key)
        assert told.mark == "an object"
        said = [layer for layer in layers if key.split(".")[0].split("[")[0] in layer]
        assert said


@settings(max_examples=60, deadline=None)
@given(trees, trees)
def test_lists_extend_as_lists_do(one: Plain, two: Plain) -> None:
    readings = [Reading(one), Reading(two)]
    try:
        joined, replaced = merge(readings, lists="extend").config, merge(readings).config
    except BadInput:
        return
    assert OmegaConf.to_container(joined) == OmegaConf.to_container(OmegaConf.merge(one, _longer(one, two)))
    if not _lists(two):
        assert joined == replaced


def _longer(one: object, two: object) -> Any:
    if isinstance(one, dict) and isinstance(two, dict):
        return {name: _longer(one.get(name), value) for name, value in two.items()}
    return one + two if isinstance(one, list) and isinstance(two, list) else two


def _lists(node: object) -> bool:
    return isinstance(node, list) or (isinstance(node, dict) and any(map(_lists, node.values())))
