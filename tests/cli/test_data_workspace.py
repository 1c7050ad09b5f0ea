"""The commands of the workspace as people run them: words, exit codes, `--json`, and all of it in real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands import modelkeep
from modelkeep.core.errors import BadInput, Conflict, Missing
from tests.data.workspaces import grow, held, repository, run_dvc


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repo = repository(tmp_path / "r", git=True)
    grow(repo.root, {"f.csv": b"1", "data/x": b"x", "data/sub/y": b"y"})
    monkeypatch.chdir(repo.root)
    return repo.root


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(modelkeep, list(words))
    assert result.exit_code == code, result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_day_with_data(root: Path) -> None:
    assert "no data or pipelines tracked" in run("status").stdout
    added = run("add", "f.csv", "data")
    assert "git add .gitignore f.csv.dvc data.dvc" in added.stderr
    assert added.stdout == ""
    assert run("status").stdout == "Data and pipelines are up to date.\n"
    grow(root, {"data/x": b"changed", "data/new": b"n"})
    (root / "f.csv").unlink()
    text = run("status").stdout
    assert "f.csv.dvc:\n\tchanged outs:\n\t\tdeleted:            f.csv\n" in text
    assert "data.dvc:\n\tchanged outs:\n\t\tmodified:           data\n" in text
    assert "new file:       new\n\t\t\tchanged:        x\n" in text
    run("status", "-q", code=1)
    assert "A\tf.csv" in run("checkout", "f.csv").stdout
    run("commit", "-f", "data")
    run("status", "-q")
    run("move", "f.csv", "g.csv")
    run("unprotect", "g.csv")
    run("remove", "g.csv.dvc", "--outs")
    assert not (root / "g.csv").exists()
    assert run("checkout", "--summary").stdout == "No changes.\n"


def test_json_is_one_object(root: Path) -> None:
    added = json.loads(run("add", "f.csv", "data", "--json").stdout)
    assert [item["path"] for item in added["items"]] == ["f.csv", "data"]
    assert json.loads(run("status", "--json").stdout) == {}
    grow(root, {"f.csv": b"2"})
    assert json.loads(run("status", "--json").stdout) == {"f.csv.dvc": [{"changed outs": {"f.csv": "modified"}}]}
    assert json.loads(run("commit", "-f", "f.csv", "--json").stdout)["items"][0]["changed"]
    assert json.loads(run("checkout", "--json").stdout)["modified"] == []
    assert json.loads(run("move", "f.csv", "g.csv", "--json").stdout)["destination"] == "g.csv"
    assert json.loads(run("unprotect", "g.csv", "--json").stdout) == {"outs": {"g.csv": 0}}
    assert json.loads(run("remove", "g.csv", "--json").stdout)["metafiles"] == ["g.csv.dvc"]


def test_paths_are_told_from_where_one_stands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("add", "f.csv", "data/sub/y")
    monkeypatch.chdir(root / "data" / "sub")
    (root / "f.csv").unlink()
    grow(root, {"data/sub/y": b"2"})
    assert set(json.loads(run("status", "--json").stdout)) == {"../../f.csv.dvc", "y.dvc"}
    assert run("checkout", "../../f.csv").stdout == "A\t../../f.csv\n"


def test_a_change_is_not_recorded_unasked(root: Path) -> None:
    run("add", "f.csv", "-q")
    grow(root, {"f.csv": b"2"})
    with pytest.raises(Conflict, match="nobody is here to ask"):
        run("commit", code=1)
    run("commit", "--force")
    run("commit")


def test_errors_say_what_to_do(root: Path) -> None:
    for words, kind in (
        (("add", "nothing"), Missing),
        (("add", "/etc/hosts"), BadInput),
        (("status", "nothing"), Missing),
        (("remove", "nothing"), Missing),
    ):
        with pytest.raises(kind) as caught:
            run(*words, code=1)
        assert caught.value.message


def test_wildcards_and_another_place(root: Path, tmp_path: Path) -> None:
    grow(root, {"a.bin": b"a", "b.bin": b"b"})
    assert len(json.loads(run("add", "--glob", "*.bin", "--json").stdout)["items"]) == 2
    grow(tmp_path, {"big": b"big"})
    run("add", str(tmp_path / "big"), "-o", "here")
    assert (root / "here").read_bytes() == b"big"
    assert (root / "here.dvc").exists()


def test_a_link_type_and_a_forced_checkout(root: Path) -> None:
    run("add", "data", "-q")
    grow(root, {"data/x": b"mine"})
    with pytest.raises(Conflict, match="data/x"):
        run("checkout", code=1)
    assert run("checkout", "--force", "--summary").stdout == "1 file modified\n"
    (root / "data/x").unlink()
    assert run("checkout").stdout == "M\tdata/\n"
    assert run("checkout", "--relink").stdout == "Relinked successfully\n"


@pytest.mark.needs("dvc")
def test_a_script_written_for_dvc_reads_our_answers(root: Path) -> None:
    from modelkeep.data.repository import Repository

    run("add", "f.csv", "data", "-q")
    (root / "f.csv").unlink()
    grow(root, {"data/x": b"changed"})
    theirs = json.loads(run_dvc(Repository(root), "status", "--json"))
    ours = json.loads(run("status", "--json").stdout)
    assert {name: [part for part in parts if "changed outs" in part] for name, parts in ours.items()} == theirs


def test_processes_wait_for_each_other_and_for_dvc(root: Path) -> None:
    import fcntl

    lock = root / ".dvc/tmp/lock"
    with lock.open("a+", encoding="utf-8") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        command = [sys.executable, "-m", "modelkeep", "add", "f.csv"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "Waiting for" in process.stderr.readline()
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
            process.stderr.read()
    assert process.returncode == 0
    assert "f.csv.dvc" in held(root)
