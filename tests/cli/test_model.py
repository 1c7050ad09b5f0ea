"""`modelkeep model` as people run it: what it prints, what it gives programs, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands import modelkeep
from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.core.shapes import Json
from tests.code.repositories import git
from tests.models.trained import WEIGHTS, trained


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    trained(tmp_path / "here", tmp_path / "remote").git.close()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def run(*words: str) -> Result:
    result = CliRunner().invoke(modelkeep, ["model", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def answer(*words: str) -> dict[str, Json]:
    found: dict[str, Json] = json.loads(run(*words, "--json").stdout)
    return found


@pytest.fixture
def two(here: Path) -> Path:
    """Two versions, the first back in production after the second."""
    run("register", "churn", "v1.9.0", "--rev", "HEAD~1", "-m", "First")
    run("register", "churn", "--bump", "minor", "--metric", "rows=5", "--features", "income,zip", "--config", "cafe")
    run("promote", "churn@1", "production")
    run("promote", "churn@latest", "production", "-m", "Better")
    run("rollback", "churn", "production", "-m", "Worse at night")
    return here


def test_registering_says_what_was_done_and_how_to_send_it(here: Path) -> None:
    done = run("register", "churn")
    assert done.stdout.startswith("churn@v0.0.1 is number 1, at commit ")
    assert "git push origin 'churn@v0.0.1'" in done.stderr
    (here / "train.py").write_text("new")
    git(here, "add", "train.py")
    assert "train.py" not in run("register", "other", "--rev", "HEAD~1").stderr
    assert "HEAD without what is not committed: train.py" in run("register", "third").stderr
    with pytest.raises(Conflict):
        run("register", "churn")
    with pytest.raises(BadInput, match="no NAME=VALUE"):
        run("register", "x", "--metric", "auc")
    with pytest.raises(BadInput, match="not a number"):
        run("register", "x", "--metric", "auc=high")


def test_files_with_features_metrics_and_configuration(here: Path) -> None:
    (here / "columns.yaml").write_text("x")
    with pytest.raises(BadInput):
        run("register", "m", "--features", "columns.yaml")
    (here / "columns.json").write_text('["x", "y"]')
    (here / "figures.yaml").write_text("test:\n  auc: 0.8\n")
    (here / "app.yaml").write_text("a: 1\n")
    files = ("--features", "columns.json", "--metrics", "figures.yaml", "--config", "app.yaml")
    run("register", "m", "--path", "model.pkl", *files)
    found = answer("show", "m@1")
    assert found["features"] == ["x", "y"]
    assert found["metrics"] == {"auc": 0.93, "test.f1": 0.5, "test.auc": 0.8}
    assert len(str(found["configuration"])) == 64


def test_listing(two: Path) -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["model", "latest", "versions", "stages"]
    assert lines[1].split() == ["churn", "v1.10.0", "2", "production", "v1.9.0"]
    rows = [line.split()[:3] for line in run("list", "churn").stdout.splitlines()[1:]]
    assert rows == [["2", "v1.10.0", "-"], ["1", "v1.9.0", "production"]]
    run("deregister", "churn@2", "-m", "Leaks")
    assert "v1.10.0" not in run("list", "churn").stdout
    assert "deregistered" in run("list", "churn", "--all").stdout
    run("deprecate", "churn")
    assert run("list").stdout == "No model yet: modelkeep model register NAME\n"
    assert "churn (deprecated)" in run("list", "-a").stdout
    assert answer("list", "-a")["models"] == [
        {"model": "churn", "latest": "v1.9.0", "versions": 1, "stages": {"production": "v1.9.0"}, "deprecated": True}
    ]


def test_showing_a_version(two: Path) -> None:
    text = run("show", "churn@production").stdout
    for part in (
        "churn@v1.9.0  number 1", "stages     production", "what       Who leaves", "why        First",
        "Train, Ann <ann@example.org>", "model.pkl md5:", "pickle: executes code on load", "data       data md5:",
        "2: income, age", "auc 0.9000", "log        logs/train.txt", "reference  reference.csv",
        "registered by Ann", "put into production by Ann", "put back into production by Ann",
    ):  # fmt: skip
        assert part in text, text
    run("annotate", "churn@production", "Looks odd\x1b[31m", "-v", "ticket=17")
    assert "Ann: Looks odd\ufffd[31m ticket=17" in run("show", "churn@production").stdout
    found = answer("show", "churn@2")
    assert found["features"] == ["income", "zip"]
    assert found["metrics"] == {"auc": 0.93, "test.f1": 0.5, "rows": 5}
    assert found["format"] == {
        "name": "pickle", "executes": True, "why": "it calls what it names", "imports": ["collections.OrderedDict"],
        "suspicious": [], "seen": True,
    }  # fmt: skip
    assert "latest     churn@v1.10.0" in run("show", "churn").stdout
    assert answer("show", "churn")["stages"] == {"production": "v1.9.0"}


def test_promoting_and_rolling_back_say_who_made_room(two: Path) -> None:
    assert (
        run("promote", "churn@1", "production").stdout
        == "churn@v1.9.0 stands in production already; nothing was done\n"
    )
    assert run("promote", "churn@2", "production").stdout == (
        "churn@v1.10.0 stands in production, before it v1.9.0 (tag churn#production#4)\n"
    )
    assert run("rollback", "churn", "production").stdout == (
        "churn@v1.9.0 stands in production again instead of v1.10.0 (tag churn#production#5)\n"
    )
    with pytest.raises(Missing, match="nothing stood in production before") as told:
        run("rollback", "churn", "production")
    assert "modelkeep model promote churn@VERSION production" in told.value.hint
    done = answer("promote", "churn@2", "production")
    assert (done["stage"], done["before"], done["tags"]) == ("production", "v1.9.0", ["churn#production#6"])
    out = answer("unassign", "churn", "production")
    assert (out["out"], out["now"]) == (["v1.9.0", "v1.10.0"], None)
    run("promote", "churn@1", "production")
    run("promote", "churn@2", "production")
    gone = run("deregister", "churn@production")
    assert gone.stdout.splitlines()[1] == "v1.9.0 stands in production now"


def test_history(two: Path) -> None:
    rows = [line.split()[2:5] for line in run("history", "churn").stdout.splitlines()[1:]]
    assert rows == [
        ["rollback", "v1.9.0", "production"],
        ["assign", "v1.10.0", "production"],
        ["assign", "v1.9.0", "production"],
        ["register", "v1.10.0", "-"],
        ["register", "v1.9.0", "-"],
    ]
    assert "Worse at night" in run("history", "churn", "--stage", "production", "-n", "1").stdout
    events = answer("history", "churn")["events"]
    assert isinstance(events, list)
    assert next(one["tag"] for one in events if isinstance(one, dict)) == "churn#production#3"


def test_diff(two: Path) -> None:
    text = run("diff", "churn@1", "latest").stdout
    assert text.splitlines()[0] == "churn@v1.9.0 -> churn@v1.10.0"
    for part in (
        "data: md5:",
        "+zip -age",
        "auc: 0.9000 -> 0.9300 (+0.03)",
        "rows: - -> 5",
        "- -> cafe",
        "commits    1;",
    ):
        assert part in text, text
    assert run("diff", "churn@1", "churn@production").stdout == "churn@v1.9.0 -> churn@v1.9.0: nothing differs\n"
    assert answer("diff", "churn@2", "1")["commits_back"] == 1


def test_getting_the_file_of_another_repository(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = run("get", "churn@production", "--repo", f"file://{two}")
    assert Path(done.stdout.strip()).read_bytes() == WEIGHTS
    assert "executes code on load" in done.stderr
    with pytest.raises(Conflict, match="there already"):
        run("get", "churn@production", "--repo", str(two))
    assert answer("get", "churn@1", "--repo", str(two), "-o", "other.pkl")["format"]
    with pytest.raises(BadInput, match="tags are made in a clone"):
        run("promote", "churn@1", "dev", "--repo", f"file://{two}")


def test_pushing(two: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "hub.git")
    git(two, "remote", "add", "origin", str(tmp_path / "hub.git"))
    run("promote", "churn@2", "dev", "--push")
    assert git(tmp_path / "hub.git", "tag") == "churn#dev#4"
    run("annotate", "churn@2", "Fine", "--push", "origin")
    assert "refs/notes/modelkeep" in git(tmp_path / "hub.git", "for-each-ref")


def test_what_contradicts_itself_is_said_on_stderr(two: Path) -> None:
    git(two, "tag", "churn@v7.0.0")
    git(two, "tag", "-d", "churn@v1.9.0")
    done = run("list", "churn")
    assert "churn@v7.0.0 is a lightweight tag" in done.stderr
    assert "number 1 is not here" in done.stderr
    assert "lightweight" not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "nothing@1"], 3, "no such model"),
        (["show", "chürn@1"], 2, "no name for a model"),
        (["promote", "churn@1", "pro duction"], 2, "no name for a stage"),
        (["list", "--repo", "/nowhere"], 3, "no such folder"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_exit_codes(here: Path, words: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelkeep", "model", *words], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
