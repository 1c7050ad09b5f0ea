"""`modelkeep config`: sources by hand, and a real server asked."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import modelkeep as mk
from modelkeep.cli.commands import modelkeep
from modelkeep.cli.configuration.export import FORMATS, written
from modelkeep.configuration.tree import leaves
from modelkeep.core.errors import BadInput, Error, Missing
from modelkeep.sdk import client
from modelkeep.sdk.applied import applied
from modelkeep.server.run import Serving
from modelkeep.server.settings import Settings

CANARY = "canary-Zq7"


def run(*words: str) -> Result:
    return CliRunner().invoke(modelkeep, ["config", *words])


def told(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def as_json(*words: str) -> Any:
    return json.loads(told(*words, "--json"))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Two files and a schema in the working folder."""
    (tmp_path / "base.yaml").write_text(
        f"name: churn\ndb:\n  url: postgresql://ann:{CANARY}@host/db\n  pool: 5\n  password: {CANARY}\n"
        'hosts: [a, b]\ngreeting: "hello ${name}"\n'
    )
    (tmp_path / "prod.yaml").write_text("db:\n  pool: 12\nextra: 1\n")
    (tmp_path / "shape.py").write_text(
        "from dataclasses import dataclass, field\n"
        "@dataclass\nclass Db:\n    url: str = ''\n    pool: int = 3\n    password: str = ''\n"
        "@dataclass\nclass App:\n    name: str = ''\n    db: Db = field(default_factory=Db)\n"
        "    hosts: list[str] = field(default_factory=list)\n    greeting: str = ''\n    extra: int = 0\nNUMBER = 5\n"
    )
    return tmp_path


# --- sources by hand ---


def test_show_gives_every_key_with_its_place(conf: Path) -> None:
    lines = told("show", "base.yaml", "prod.yaml", "db.pool=9").splitlines()
    assert lines[0].split() == ["key", "value", "written", "at"]
    found = {line.split()[0]: line for line in lines[1:]}
    assert found["db.pool"].split()[1] == "9"
    assert "cli db.pool" in found["db.pool"]
    assert found["name"].endswith("base.yaml:1")
    assert "  hello churn  " in found["greeting"]
    answer = as_json("show", "*.yaml")
    assert (answer["tree"]["db"]["pool"], answer["marks"]["db.pool"]) == (12, "prod.yaml:2")
    assert len(answer["hash"]) == 64


def test_explain_says_who_won(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_DB__POOL", "77")
    words = ("explain", "db.pool", "base.yaml", "prod.yaml", "--env", "APP_", "--schema", "shape:App")
    lines = told(*words).splitlines()
    assert lines[0] == "db.pool = 77"
    assert lines[-1].split() == ["won", "env", "APP_DB__POOL", "77"]
    answer = as_json(*words)
    assert [step["mark"] for step in answer["history"]][-3:] == ["base.yaml:4", "prod.yaml:2", "env APP_DB__POOL"]
    assert as_json("explain", "greeting", "base.yaml")["written"] == "hello ${name}"
    result = run("explain", "nope", "base.yaml")
    assert isinstance(result.exception, Missing)


def test_validate_names_every_problem_and_exits_1(conf: Path) -> None:
    assert run("validate", "base.yaml", "prod.yaml", "--schema", "shape:App").exit_code == 0
    result = run("validate", "base.yaml", "--schema", "shape:App", "db.poool=3", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert not answer["valid"]
    assert any("db.poool" in line for line in answer["problems"])
    assert CANARY not in result.output
    (conf / "broken.yaml").write_text("a: [")
    result = run("validate", "broken.yaml")
    assert (result.exit_code, "broken.yaml:" in result.stdout) == (1, True)
    assert isinstance(run("validate", "none.yaml").exception, Missing)


@pytest.mark.parametrize("schema", ["shape", "nowhere:App", "shape:Nothing", "shape:NUMBER"])
def test_a_schema_that_is_none_is_an_error_of_the_caller(conf: Path, schema: str) -> None:
    result = run("validate", "base.yaml", "--schema", schema)
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_code == 2


def test_diff_of_files(conf: Path) -> None:
    answer = as_json("diff", "base.yaml", "base.yaml,prod.yaml")
    assert {(row["key"], row["before"], row["after"]) for row in answer["differences"]} == {
        ("db.pool", 5, 12), ("extra", None, 1),
    }  # fmt: skip
    assert "prod.yaml:2" in told("diff", "base.yaml", "base.yaml,prod.yaml")
    assert told("diff", "base.yaml", "base.yaml") == "No difference.\n"


def test_without_sources_and_without_a_server_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_URL", "http://127.0.0.1:9")
    for words in (("show",), ("history",), ("blame", "a"), ("rollback", "--reason", "x"), ("diff", "abcd1", "abcd2")):
        result = run(*words)
        assert isinstance(result.exception, Error)
        assert (result.exception.exit_code, "modelkeep serve" in result.exception.hint) == (6, True)


def test_the_server_s_own_settings_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modelkeep.yaml").write_text(
        f"port: 7301\nalerts:\n  channels:\n  - {{name: a, kind: webhook, url: 'https://h/{CANARY}'}}\n"
        "  - {name: b, kind: webhook, url: 'secret:HOOK'}\n"
    )
    monkeypatch.setenv("MODELKEEP_LIMITS_SERIES", "5")
    rows = {row["key"]: row for row in as_json("show", "--server")["settings"]}
    assert (rows["port"]["value"], rows["port"]["mark"]) == (7301, "modelkeep.yaml:1")
    assert (rows["limits.series"]["value"], rows["limits.series"]["mark"]) == (5, "MODELKEEP_LIMITS_SERIES")
    assert rows["clock"]["mark"] == "default"
    explained = as_json("explain", "port", "--server")
    assert [step["mark"] for step in explained["history"]] == ["default", "modelkeep.yaml:1"]
    assert isinstance(run("explain", "porty", "--server").exception, Missing)
    assert isinstance(run("explain", "port").exception, BadInput)
    assert CANARY not in told("explain", "alerts.channels", "--server")
    assert [channel["url"] for channel in rows["alerts.channels"]["value"]] == ["***", "secret:HOOK"]


def test_no_output_has_a_secret_unless_it_is_revealed(conf: Path) -> None:
    outputs = [
        run("show", "base.yaml", f"api_key={CANARY}"),
        run("show", "base.yaml", "--json"),
        run("show", "base.yaml", f"plain={CANARY}", "--secret", "plain"),
        run("explain", "db.password", "base.yaml", f"db.password={CANARY}"),
        run("explain", "db.url", "base.yaml", "--json"),
        run("validate", "base.yaml", "--schema", "shape:App", "db.password=[1]"),
        run("diff", "base.yaml", "base.yaml,prod.yaml", "--json"),
        *(run("export", "base.yaml", "--format", kind) for kind in FORMATS),
    ]
    assert [result.output for result in outputs if CANARY in result.output] == []
    for kind in FORMATS:
        assert told("export", "base.yaml", "--format", kind, "--reveal").count(CANARY) == 2


PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(codec="utf-8", exclude_characters="$\x00", exclude_categories=["Cc", "Cs"]), max_size=8)
    | st.sampled_from(["007", "true", "null", "1e3", "0E0", "2020-01-01", "1_0", "0x1f", "a: b", "[x]", "{", "'", '"'])
    | st.sampled_from(["\\", "# no", " pad ", "~", "-", "=", "<<"])
)  # fmt: skip
NAMES = st.text("abcxyz_", min_size=1, max_size=5).filter(lambda name: "__" not in name and name.strip("_") == name)
TREES = st.dictionaries(
    NAMES, PLAIN | st.lists(PLAIN, min_size=1, max_size=3) | st.dictionaries(NAMES, PLAIN, min_size=1, max_size=3),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@given(tree=TREES)
def test_what_is_exported_is_read_back(tmp_path_factory: pytest.TempPathFactory, kind: str, tree: Any) -> None:
    if kind == "toml" and any(value is None for _, value in leaves(tree)):
        with pytest.raises(BadInput, match="TOML has no null"):
            written(tree, kind)
        return
    file = tmp_path_factory.mktemp("export") / f"f.{kind}"
    file.write_text(written(tree, kind), encoding="utf-8")
    from modelkeep.configuration.source import open_sources

    (source,) = open_sources(file)
    assert source.read().tree == tree


# --- a server ---


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    made = Serving(Settings(data=str(tmp_path_factory.mktemp("server") / "data"), port=0, self_sampling=False))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serving]:
    monkeypatch.setenv("MODELKEEP_URL", serving.url)
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
    client.reset()
    applied.forget()
    yield serving
    client.reset()
    applied.forget()


def test_history_blame_diff_and_show_of_processes(server: Serving) -> None:
    cfg = mk.config({"db": {"pool": 5, "password": CANARY}}, name="served")
    first = cfg.hash
    cfg.set({"db.pool": 9}, author="ann", reason="more load")
    with pytest.raises(BadInput):
        cfg.set({"db.pool": "${nowhere}"}, author="bob")
    assert mk.flush(20)
    lines = told("history", "--name", "served").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["rejected", "applied", "applied"]
    assert "db.pool: 5 → 9 (more load)" in lines[2]
    assert told("history", "--key", "nothing").strip() == "No changes."
    assert "more load" in told("blame", "db.pool")
    assert [row["value"] for row in as_json("blame", "db.pool")["blame"]] == [9, 5]
    result = run("diff", first[:12], cfg.hash)
    assert result.stdout.splitlines()[1].split() == ["db.pool", "5", "9", "set", "by", "ann"]
    assert "Masked on both sides, so not compared: db.password" in result.stderr
    shown = told("show")
    assert (cfg.hash[:12] in shown, "ann (more load)" in shown) == (True, True)
    assert "db.password  ***" in told("show", "--process", client.here().process)
    assert CANARY not in told("show", "--json") + told("history", "--json") + told("blame", "db.password", "--json")


def test_rollback_of_the_key_value_store(server: Serving) -> None:
    pairs = server.house.pairs
    pairs.put("app/pool", b"5", author="ann")
    pairs.put("app/pool", b"9", author="bob")
    result = run("rollback", "--prefix", "app/", "--reason", "too many", "--dry-run")
    assert (result.stdout, "1 key would go back" in result.stderr) == ("app/pool\n", True)
    assert pairs.look("app/pool")[1][0].value == b"9"
    assert as_json("rollback", "--prefix", "app/", "--reason", "too many") == {"keys": ["app/pool"]}
    assert pairs.look("app/pool")[1][0].value == b"5"
    lines = told("history", "--kv", "app/").splitlines()
    assert "too many" in lines[1]
    assert getpass.getuser() in lines[1]
    assert [line.split()[3] for line in lines[1:]] == ["5", "9", "5"]
    assert isinstance(run("rollback", "--prefix", "none/", "--reason", "x").exception, Missing)
    assert run("rollback").exit_code == 2


def test_rollback_of_processes(server: Serving) -> None:
    cfg = mk.config({"pool": 5}, name="going")
    first = cfg.hash
    cfg.set({"pool": 9})
    assert mk.flush(20)
    result = run("rollback", "--name", "going", "--reason", "too many", "--dry-run")
    assert (result.exit_code, "1 process would be told." in result.stderr) == (0, True)
    assert result.stdout.splitlines()[1].split()[1:] == ["going", cfg.hash[:12], first[:12]]
    assert server.house.wishes.headers(client.here().process) == []
    answer = as_json("rollback", "--process", client.here().process, "--hash", first[:10], "--reason", "too many")
    assert [one["hash"] for one in answer["wishes"]] == [first]
    ((_, value),) = server.house.wishes.headers(client.here().process)
    assert [(one["author"], one["reason"]) for one in json.loads(value)] == [(getpass.getuser(), "too many")]
    assert isinstance(run("rollback", "--name", "none", "--reason", "x").exception, Missing)
    assert isinstance(run("rollback", "--name", "going", "--prefix", "a", "--reason", "x").exception, BadInput)
    assert isinstance(run("rollback", "--hash", "abcdef", "--reason", "x").exception, BadInput)
