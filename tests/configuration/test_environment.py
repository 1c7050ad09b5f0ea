"""Environment variables and arguments as sources."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, SecretStr

from modelkeep.configuration.make import config
from modelkeep.configuration.source import Writable, open_sources
from modelkeep.configuration.sources.dotlist import Dotlist
from modelkeep.configuration.sources.environment import Environment
from modelkeep.core.errors import BadInput


def test_variables_become_nested_keys_with_their_names() -> None:
    variables = {
        "APP_DB__POOL": "8",
        "APP_Tags": "[a, 1]",
        "APP_": "x",
        "APPX": "y",
        "APP_EMPTY": "",
        "APP_URL": "pg://${db.pool}",
    }
    reading = Environment("APP_", variables).read()
    assert reading.tree == {"db": {"pool": 8}, "empty": "", "tags": ["a", 1], "url": "pg://${db.pool}"}
    assert str(reading.mark("db.pool")) == "env APP_DB__POOL"


def test_a_value_and_a_container_at_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match=r"^env APP_DB__POOL db\.pool: db is a value already$"):
        Environment("APP_", {"APP_DB": "x", "APP_DB__POOL": "1"}).read()


def test_fields_that_want_text_get_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(BaseModel):
        code: str
        zone: str | None = None
        tags: list[str] = []
        place: Path = Path()
        level: int | str = 0

    @dataclass
    class Data:
        code: str = ""
        tags: list[str] = field(default_factory=list)

    for name, value in {"CODE": "007", "ZONE": "no", "LEVEL": "010", "TAGS": "[a, b]", "PLACE": "2020"}.items():
        monkeypatch.setenv(f"T_{name}", value)
    assert config(Model, env="T_").value == Model(code="007", zone="no", level=8, tags=["a", "b"], place=Path("2020"))
    monkeypatch.delenv("T_ZONE")
    for name in ("LEVEL", "TAGS", "PLACE"):
        monkeypatch.delenv(f"T_{name}")
    assert config(Data, env="T_").value.code == "007"
    assert config(Model, {"code": "a"}, cli=["code=1e3"]).code == "1e3"
    assert config(Model, cli=["code=1e3"], env="NONE_").code == "1e3"


def test_fields_that_want_text_get_what_stands_behind_references(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Settings(BaseModel):
        host: str = "h"
        url: str = ""
        password: SecretStr = SecretStr("")
        code: str = ""

    monkeypatch.setenv("MODELKEEP_SECRET_DB", "hunter2x")
    pairs = {"url": "pg://${host}", "password": "secret:DB", "code": "007"}
    for name, text in pairs.items():
        monkeypatch.setenv(f"APP_{name.upper()}", text)
    (tmp_path / ".env").write_text("password=secret:DB\ncode=007\nurl='pg://h'\n")
    store = f"sqlite:///{tmp_path}/conf.db#settings"
    (source,) = open_sources(store)
    assert isinstance(source, Writable)
    source.write({**pairs})
    for cfg in (
        config(Settings, env="APP_"),
        config(Settings, cli=[f"{name}={text}" for name, text in pairs.items()]),
        config(Settings, tmp_path / ".env"),
        config(Settings, store),
    ):
        assert (cfg.url, cfg.value.password.get_secret_value(), cfg.code) == ("pg://h", "hunter2x", "007")
        assert "hunter2x" not in repr(cfg)


@pytest.mark.parametrize(
    "items",
    [
        ["a=1", "b.c=x", "b.d=[1, 2]"],
        ["a=", "b=~"],
        ["a={x: 1}", "a.y=2"],
        ["a.y=2", "a={x: 1}"],
        ["a=5", "a.b=1"],
        ["a.b=1", "a=5"],
        [r"a\.b=1", r"c\=d=2", "u=http://x?a=b"],
        ["b.0=3", "b.x=1"],
        ["a=[1]", "a=[2]"],
        ["a=null", "b='007'", 'c="x"', "d=1e3", "e=${a}", "f=???"],
        ["a=Note: this"],
    ],
    ids=str,
)
def test_arguments_are_what_omegaconf_reads(items: list[str]) -> None:
    assert Dotlist(items).read().tree == OmegaConf.to_container(OmegaConf.from_dotlist(items))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a.b", "a.c", "b.a.c", "c_1", "a.b.d", r"a\.b"]),
            st.sampled_from(["1", "x", "", "null", "{x: 1}", "[1]", "{b: {d: 2}}", "${a}", "???", "1e3", "'7'"]),
        ),
        max_size=5,
    )
)
def test_any_arguments_are_what_omegaconf_reads(pairs: list[tuple[str, str]]) -> None:
    items = [f"{key}={text}" for key, text in pairs]
    try:
        expected = OmegaConf.to_container(OmegaConf.from_dotlist(items))
    except (OmegaConfBaseException, TypeError, ValueError, AssertionError):
        with pytest.raises(BadInput):
            Dotlist(items).read()
    else:
        found = Dotlist(items).read().tree
        assert found == expected
        assert json.dumps(found) == json.dumps(expected)  # in the same order, too


def test_arguments_of_the_program_itself_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["train.py", "--verbose", "data.csv", "-x=1", "lr=0.1", "https://h/?a=b", "--opt=2"]
    )
    assert config(cli=True).snapshot()._tree == {"lr": 0.1}
    with pytest.raises(BadInput, match="'--verbose' is not key=value"):
        config(cli=["--verbose"])
    with pytest.raises(BadInput, match=r"^cli a: "):
        config(cli=["a=[1"])


def test_an_item_of_a_list_is_set_by_its_place() -> None:
    cfg = config({"hosts": [{"name": "a"}, {"name": "b"}]}, cli=["hosts[1].name=c"])
    assert [host.name for host in cfg.hosts] == ["a", "c"]
    assert cfg.explain("hosts[1].name").mark == "cli hosts[1].name"
    assert cfg.explain("hosts[0].name").mark == "an object"
    with pytest.raises(BadInput, match=r"cli hosts\[7\]"):
        config({"hosts": [1]}, cli=["hosts[7]=c"])
