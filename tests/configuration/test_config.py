"""`mk.config` as a whole: access, precedence, provenance, errors, changes."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel

import modelkeep as mk
from modelkeep.configuration.config import Config
from modelkeep.configuration.make import config
from modelkeep.configuration.snapshot import View
from modelkeep.core.errors import BadInput, Missing


class Db(BaseModel):
    pool: int = 5
    url: str = "pg://h"


class App(BaseModel):
    db: Db = Db()
    hosts: list[str] = ["a"]
    lr: float = 0.1


@dataclass
class DbData:
    pool: int = 5
    url: str = "pg://h"


@dataclass
class AppData:
    db: DbData = field(default_factory=DbData)
    hosts: list[str] = field(default_factory=lambda: ["a"])
    lr: float = 0.1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("schema", [App, AppData, None], ids=["pydantic", "dataclass", "none"])
def test_the_same_object_whatever_the_schema(schema: type | None, folder: Path) -> None:
    Path("base.yaml").write_text("db:\n  pool: 7\n  url: x\nhosts: [a, b]\nlr: 0.5\n")
    cfg: Config[Any] = config(*([schema] if schema else []), "base.yaml")
    assert cfg.db.pool == cfg["db"].pool == cfg["db.pool"] == cfg.get("db.pool") == cfg.value.db.pool == 7
    assert cfg["hosts[1]"] == cfg.hosts[1] == "b"
    assert cfg.get("db.nothing") is None
    assert cfg.get("nothing.at.all", 3) == 3
    assert "db.url" in cfg
    assert "db.urls" not in cfg
    assert "hosts[2]" not in cfg
    with pytest.raises(KeyError, match=r"db\.urls"):
        cfg["db.urls"]
    with pytest.raises(AttributeError):
        _ = cfg.nothing
    assert cfg.tree() == {"db": {"pool": 7, "url": "x"}, "hosts": ["a", "b"], "lr": 0.5}
    assert str(cfg.explain("db.pool").mark) == "base.yaml:2"
    assert cfg.to_omegaconf().db.pool == 7


def test_a_view_is_read_only_and_compares() -> None:
    view = config({"a": {"b": [1, {"c": 2}]}, "keys": 3}).value
    assert view == {"a": {"b": [1, {"c": 2}]}, "keys": 3}
    assert view.a == View({"b": [1, {"c": 2}]})
    assert view["keys"] == 3
    assert dict(view.a) == {"b": (1, view.a.b[1])}
    assert pickle.loads(pickle.dumps(view)) == view
    with pytest.raises(AttributeError, match=r"Config\.set"):
        view.a = 1
    with pytest.raises(TypeError):
        view["a"] = 1  # type: ignore[index]


PLACES = ["default", "yaml", "json", "toml", "ini", "dotenv", "mapping", "environment", "arguments", "set"]


@pytest.mark.parametrize(("low", "high"), list(itertools.combinations(PLACES, 2)))
def test_later_sources_win(low: str, high: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("f.yaml").write_text("\ndb:\n  pool: 1\n")
    Path("f.json").write_text('{"db": {\n"pool": 2}}')
    Path("f.toml").write_text("[db]\npool = 3\n")
    Path("f.ini").write_text("[db]\n\n\npool = 4\n")
    Path("f.env").write_text("P_DB__POOL=5\n")
    monkeypatch.setenv("P_DB__POOL", "7")
    files = {"yaml": "f.yaml", "json": "f.json", "toml": "f.toml", "ini": "f.ini", "dotenv": "f.env?prefix=P_"}
    values = dict(zip(PLACES, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
    marks = [
        "Low",
        "f.yaml:3",
        "f.json:2",
        "f.toml:2",
        "f.ini:4",
        "f.env:1",
        "an object",
        "env P_DB__POOL",
        "cli db.pool",
        "set by me",
    ]

    class LowDb(BaseModel):
        pool: int = 0

    class Low(BaseModel):
        db: LowDb = LowDb()

    chosen = [one for one in PLACES if one in {low, high}]
    sources: list[object] = [
        {"db": {"pool": 6}} if one == "mapping" else files[one] for one in chosen if one in {*files, "mapping"}
    ]
    first: list[Any] = [Low] if low == "default" else []
    cfg = config(
        *first,
        *sources,
        env="P_" if "environment" in chosen else None,
        cli=["db.pool=8"] if "arguments" in chosen else False,
    )
    if high == "set":
        cfg.set({"db.pool": 9}, author="me")
    told = cfg.explain("db.pool")
    assert int(cfg.db.pool) == values[high]
    assert told.mark == marks[PLACES.index(high)]
    assert [(mark, int(str(value))) for mark, value in told.history] == [
        (marks[PLACES.index(one)], values[one]) for one in (low, high)
    ]


def test_the_history_of_a_key_has_every_step(folder: Path) -> None:
    Path("a.yaml").write_text("db: {url: 'pg://${host}', pool: 1}\nhost: a\n")
    Path("b.yaml").write_text("\ndb:\n  pool: 2\n")
    cfg = config(
        "a.yaml", "b.yaml", {"db": None}, {"db": {"pool": "???"}}, {"db": {"pool": 3, "url": "${host}"}}, cli=["host=b"]
    )
    assert cfg.explain("db.pool").history == (
        *(("a.yaml:1", 1), ("b.yaml:3", 2), ("an object", None), ("an object", "???"), ("an object", 3)),
    )
    told = cfg.explain("db.url")
    assert (told.value, told.written) == ("b", "${host}")
    with pytest.raises(Missing, match=r"no key 'db\.urls'"):
        cfg.explain("db.urls")


@pytest.mark.parametrize("schema", [App, AppData])
def test_every_complaint_in_one_error_with_place_reason_and_value(schema: type, folder: Path) -> None:
    Path("base.yaml").write_text("db:\n  pool: 1\n  ulr: x\n")
    Path("prod.yaml").write_text("lr: fast\ndb:\n  pool: many\nhosts: b\n")
    with pytest.raises(BadInput) as caught:
        config(schema, "base.yaml", "prod.yaml", cli=["extra=1"])
    lines = caught.value.message.split("\n")
    expected = {"base.yaml:3 db.ulr: the schema has no such key; did you mean 'url'?"}
    if schema is App:
        assert any(
            line.startswith("prod.yaml:1 lr: Input should be a valid number") and line.endswith("value 'fast'")
            for line in lines
        )
        assert any(
            line.startswith("prod.yaml:3 db.pool: Input should be a valid integer") and line.endswith(", value 'many'")
            for line in lines
        )
        assert "cli extra: the schema has no such key" in lines
    assert expected <= set(lines)
    assert caught.value.hint


def test_a_dataclass_tells_all_that_is_wrong_in_a_source(folder: Path) -> None:
    Path("prod.yaml").write_text("lr: fast\ndb:\n  pool: many\nhosts:\n- [1]\n- b\n")
    with pytest.raises(BadInput) as caught:
        config(AppData, "prod.yaml")
    assert caught.value.message.split("\n")[:2] == [
        "prod.yaml:1 lr: could not be converted to Float, value 'fast'",
        "prod.yaml:3 db.pool: could not be converted to Integer, value 'many'",
    ]


@pytest.mark.parametrize("schema", [App, AppData])
def test_unknown_keys_pass_when_nobody_is_strict(schema: type) -> None:
    cfg: Config[Any] = config(schema, {"db": {"ulr": 1, "pool": 3}, "other": {"x": 1}}, strict=False)
    assert cfg.db.pool == 3


def test_missing_values_name_the_key_and_its_place(folder: Path) -> None:
    class Needs(BaseModel):
        db: Db
        token_url: str

    Path("a.yaml").write_text("a: ???\nb:\n  c: ???\nd: ${b.c}\n")
    with pytest.raises(BadInput) as caught:
        config("a.yaml")
    told = caught.value.message.split("\n")
    assert {"a.yaml:1 a: a value is missing", "a.yaml:3 b.c: a value is missing"} <= set(told)
    assert any(line.startswith("a.yaml:4 d: ") for line in told)
    with pytest.raises(BadInput, match=r"token_url: a value is missing$"):
        config(Needs, {"db": {}})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: ${b}\nb: ${a}\n", "f.yaml:1 a: Recursive interpolation detected, value '${b}'"),
        ("a: 1\nb:\n  c: ${b}\n", "f.yaml:3 b.c: Interpolation to parent node detected, value '${b}'"),
        ("a: ${nope}\n", "f.yaml:1 a: Interpolation key 'nope' not found, value '${nope}'"),
        ("a:\n- ${oc.env:ABSENT_X}\n", "f.yaml:2 a[0]: KeyError raised while resolving interpolation: "),
        ("a: ${odd:1}\n", "f.yaml:1 a: Unsupported interpolation type odd, value '${odd:1}'"),
        ("x: 1\na: ${b\n", "f.yaml:2 a: "),
        ("a: {b: [1]}\n---\na: {b: {c: 1}}\n", ""),
    ],
)
def test_interpolations_that_fail_are_told_with_their_place(text: str, told: str, folder: Path) -> None:
    Path("f.yaml").write_text(text)
    if not told:
        assert config("f.yaml").snapshot()._tree == {"a": {"b": {"c": 1}}}  # documents of one file are layers
        return
    with pytest.raises(BadInput) as caught:
        config("f.yaml")
    assert caught.value.message.startswith(told)


def test_two_sources_that_disagree_in_kind(folder: Path) -> None:
    Path("a.yaml").write_text("db:\n  hosts:\n    a: 1\n")
    Path("b.yaml").write_text("db:\n  hosts: [1]\nx: 1\n")
    with pytest.raises(BadInput) as caught:
        config("a.yaml", "b.yaml")
    assert caught.value.message == "b.yaml:2 db.hosts: a list, where a.yaml:2 has a mapping"
    with pytest.raises(
        BadInput,
        match=r"^cli db\.hosts\.0 db\.hosts: a mapping, where b\.yaml:2 has a list$|db\.hosts: a mapping, where b",
    ):
        config("b.yaml", cli=["db.hosts.0=2"])


def test_what_is_no_source_is_told() -> None:
    for given, told in [
        ("nowhere.yaml", "nowhere.yaml: there is no such file"),
        ("nowhere/*.yaml", "fits no file"),
        ("notes.txt", "cannot tell the format"),
        ("ftp://h/x", "ftp: is no kind of source"),
        (5, "int cannot be read as configuration"),
        (OmegaConf.create([1]), "holds a list"),
    ]:
        with pytest.raises((BadInput, Missing), match=told):
            config(given)
    assert config("optional:nowhere.yaml", "optional:nowhere/*.yaml", {"a": 1}).a == 1
    with pytest.raises(BadInput, match="is no schema"):
        config(int, {})


def test_patterns_stand_for_files_in_order(folder: Path) -> None:
    Path("conf").mkdir()
    for number, name in enumerate(["10-a.yaml", "20-b.yaml", "15-c.yaml"]):
        (Path("conf") / name).write_text(f"a: {number}\nk{name[3]}: 1\n")
    cfg = config("conf/*.yaml")
    assert (cfg.a, cfg.tree()) == (1, {"a": 1, "ka": 1, "kb": 1, "kc": 1})
    Path("what[1].yaml").write_text("b: 1\n")
    assert config("what[1].yaml").b == 1


def test_set_changes_in_one_step_or_not_at_all(folder: Path) -> None:
    cfg = config(App, {"db": {"pool": 3}})
    seen: list[str] = []
    stop = cfg.on_change(lambda change: seen.append(change.state), key="db")
    before = cfg.snapshot()
    change = cfg.set({"db.pool": 4, "hosts": ["x"]}, author="ann", reason="load")
    assert change is not None
    assert (change.author, change.reason, change.source) == ("ann", "load", "set by ann")
    assert {str(one) for one in change.differences} == {
        "db.pool: 3 → 4 (set by ann)",
        "hosts[0]: 'a' → 'x' (set by ann)",
    }
    assert (cfg.db.pool, cfg.hosts, before.value.db.pool) == (4, ["x"], 3)
    with pytest.raises(BadInput, match=r"^set by bob db\.pool: Input should be a valid integer.*, value 'many'$"):
        cfg.set({"db.pool": "many", "lr": 9}, author="bob")
    assert (cfg.db.pool, cfg.lr) == (4, 0.1)
    cfg.set({"lr": 0.2})
    assert seen == ["applied"]  # lr is not below db
    stop()
    cfg.set({"db.pool": 6})
    assert seen == ["applied"]
    assert [one.state for one in cfg.history()] == ["applied", "applied", "rejected", "applied", "applied"]
    assert cfg.set({"db.pool": 6}) is None


def test_rollback_holds_until_a_source_changes(folder: Path) -> None:
    Path("a.yaml").write_text("a: 1\n")
    cfg = config("a.yaml")
    first = cfg.hash
    Path("a.yaml").write_text("a: 2\n")
    assert cfg.refresh() is not None
    assert cfg.refresh() is None
    back = cfg.rollback(author="ann", reason="worse")
    assert back is not None
    assert (back.state, back.hash, cfg.a, cfg.snapshot().number) == ("rolled back", first, 1, 3)
    assert cfg.refresh() is None
    assert cfg.a == 1
    Path("a.yaml").write_text("a: 3\n")
    assert cfg.refresh() is not None
    assert cfg.a == 3
    cfg.rollback(first[:8])
    assert cfg.a == 1
    cfg.set({"b": 1})
    assert (cfg.get("a"), cfg.b) == (3, 1)  # a change by hand counts as news
    with pytest.raises(Missing, match="no configuration ffff"):
        cfg.rollback("ffff")
    with pytest.raises(Missing, match="no configuration before this one"):
        config({"a": 1}).rollback()


def test_a_refused_refresh_changes_nothing_and_stands_in_the_history(folder: Path) -> None:
    Path("a.yaml").write_text("db: {pool: 1}\n")
    cfg = config(App, "a.yaml")
    for text, told in [("db: {pool: many}\n", "a.yaml:1 db.pool"), ("db: [\n", "a.yaml:")]:
        Path("a.yaml").write_text(text)
        with pytest.raises(BadInput, match=told):
            cfg.refresh()
        assert cfg.db.pool == 1
    assert cfg.history()[0].state == "rejected"
    Path("a.yaml").unlink()
    with pytest.raises(Missing):
        cfg.refresh()
    assert cfg.db.pool == 1


def test_a_listener_that_fails_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = config({"a": 1})
    seen = []
    cfg.on_change(lambda change: 1 / 0)
    cfg.on_change(lambda change: seen.append(change.hash))
    cfg.set({"a": 2})
    assert seen == [cfg.hash]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_equal_content_has_an_equal_hash() -> None:
    assert config({"a": 1, "b": 2}).hash == config({"b": 2}, {"a": "${b}"}, {"a": 1}).hash
    assert config({"a": 1}).hash != config({"a": "1"}).hash
    assert config({"a": {1: 2}, "b": "\ud800"}).hash


def test_pydantic_and_dataclass_objects_are_sources() -> None:
    cfg = config(App, App(lr=5), AppData(hosts=["z"]), {"db": {"pool": 1}})
    assert (cfg.lr, cfg.hosts, cfg.db.pool) == (0.1, ["z"], 1)  # a dataclass says all that it has
    assert config(App, AppData, App(lr=5)).explain("lr").history[-1][1] == 5


def test_importing_loads_nothing_heavy() -> None:
    loaded = "print([name for name in ('omegaconf', 'pydantic', 'yaml', 'watchfiles') if name in sys.modules])"
    assert _printed("import sys, modelkeep, modelkeep.configuration; modelkeep.config; " + loaded) == "[]"
    heavy = "[name for name in ('watchfiles', 'boto3', 'cryptography', 'sqlalchemy', 'keyring') if name in sys.modules]"
    made = f"import modelkeep as mk; c = mk.config({{'a': 1}}); print(c.a, threading.active_count(), {heavy})"
    assert _printed(f"import sys, threading; {made}") == "1 1 []"
    unneeded = "('omegaconf', 'pydantic', 'yaml', 'msgspec', 'importlib.metadata')"
    for given, loaded in (
        ("{'a': {'b': 1}}, {'a': {'b': 2}}", []),
        ("{'a': {'b': 1}}, cli=['a.b=2', 'c=x']", ["yaml"]),
        ("{'a': 2, 'b': '${a}'}", ["omegaconf", "yaml"]),
    ):
        code = f"import sys; import modelkeep as mk; mk.config({given})"
        assert _printed(f"{code}; print([name for name in {unneeded} if name in sys.modules])") == str(loaded)
    assert mk.config is config


def _printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
