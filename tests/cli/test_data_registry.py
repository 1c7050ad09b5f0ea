"""list, get, import, import-url and diff as people run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands import modelkeep
from modelkeep.core.errors import Missing
from modelkeep.core.shapes import Json
from tests.data.registries import registry
from tests.data.workspaces import grow, repository


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return registry(tmp_path / "src").root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = repository(tmp_path / "here", git=True).root
    monkeypatch.chdir(root)
    return root


def run(*words: str) -> Result:
    result = CliRunner().invoke(modelkeep, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def answer(*words: str) -> Json:
    found: Json = json.loads(run(*words, "--json").stdout)
    return found


def test_list(source: Path) -> None:
    assert run("list", str(source), "--rev", "v1", "--dvc-only").stdout == "data\nf.csv\nin\n"
    assert run("list", str(source), "-R", "data", "--rev", "v2").stdout == "a\ndeep/x/c2\nnew\nrun.sh\n"
    assert "  f.csv\n" in run("list", str(source), "--size").stdout
    found = answer("list", str(source), "f.csv", "--rev", "v1")
    assert isinstance(found, list)
    assert isinstance(found[0], dict)
    assert list(found[0]) == ["isout", "isdir", "isexec", "size", "md5", "path"]
    with pytest.raises(Missing):
        run("list", str(source), "nope")


def test_get(source: Path, here: Path) -> None:
    result = run("get", str(source), "data/a", "--rev", "v1", "-o", "x")
    assert (result.stdout, "1 file, 2 bytes" in result.stderr) == ("", True)
    assert (here / "x").read_bytes() == b"a\n"
    found = answer("get", str(source), "data", "--rev", "v1")
    assert isinstance(found, dict)
    assert (found["files"], found["path"]) == (4, str(here / "data"))


def test_import(source: Path, here: Path) -> None:
    assert "git add .gitignore f.csv.dvc" in run("import", str(source), "f.csv", "--rev", "v1").stderr
    found = answer("import", str(source), "data", "-o", "d")
    assert isinstance(found, dict)
    assert (found["path"], found["metafile"], found["nfiles"]) == ("d", "d.dvc", 4)
    grow(here.parent, {"outside": b"1"})
    run("import-url", "../outside")
    assert (here / "outside").read_bytes() == b"1"
    found = answer("import-url", "../outside", "again", "--no-download")
    assert isinstance(found, dict)
    assert found["md5"] is None


def test_diff(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)
    text = run("diff", "v1", "v2").stdout
    assert "Renamed:\n    data/deep/x/c -> data/deep/x/c2\n" in text
    assert "files summary: 1 added, 1 deleted, 1 renamed, 2 modified\n" in text
    assert "f.csv: 1 rows before, 2 now (+1 -0)\n    column added    w (BIGINT)\n" in text
    assert "rows before" not in run("diff", "v1", "v2", "--no-columns").stdout
    found = answer("diff", "v1", "v2", "--targets", "f.csv")
    assert isinstance(found, dict)
    assert found["modified"] == [{"path": "f.csv"}]
    assert "f.csv" in (found["tables"] if isinstance(found["tables"], dict) else {})
    assert answer("diff") == {}
    assert run("diff").stdout == ""


def test_diff_folds_partitions(here: Path) -> None:
    from tests.data.registries import save

    grow(here, {"p/dt=1/a": b"1", "p/dt=1/b": b"2"})
    run("add", "p")
    save(here)
    grow(here, {"p/dt=2/a": b"3", "p/dt=1/a": b"4"})
    text = run("diff").stdout
    assert "partition added  dt=2 (1 added)" in text
    assert "p/dt=2/a" not in text
    assert "p/dt=1/a" in text
