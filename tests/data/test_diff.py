"""`diff` says what DVC's says, and beyond it which partitions, columns and rows differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.diff import Difference, diff, tables
from tests.data.registries import registry, save
from tests.data.workspaces import again, grow, repository, run_dvc, run_git


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = registry(tmp_path / "r")
    monkeypatch.chdir(made.root)
    return made


def paths(found: Difference) -> dict[str, list[str]]:
    return {
        "added": [one.path for one in found.added],
        "deleted": [one.path for one in found.deleted],
        "modified": [one.path for one in found.modified],
        "renamed": [f"{one.old_path} {one.path}" for one in found.renamed],
        "not in cache": [one.path for one in found.not_in_cache],
    }


NONE: dict[str, list[str]] = {"added": [], "deleted": [], "modified": [], "renamed": [], "not in cache": []}


def test_between_revisions(repo: Repository) -> None:
    assert paths(diff(repo, "v1", "v2")) == NONE | {
        "added": ["data/new"],
        "deleted": ["data/sub/b"],
        "modified": ["data", "data/a", "f.csv"],
        "renamed": ["data/deep/x/c data/deep/x/c2"],
    }
    assert paths(diff(repo, "v1", "v2", targets=["data/a"])) == NONE | {"modified": ["data/a"]}
    assert paths(diff(repo, "v1", "v2", targets=["f.csv.dvc"])) == NONE | {"modified": ["f.csv"]}
    assert not diff(repo, "v1", "v1")
    assert not diff(repo)
    with pytest.raises(Missing, match="nope"):
        diff(repo, "v1", "v2", targets=["nope"])
    with pytest.raises(Missing, match="v9"):
        diff(repo, "v9")


def test_beside_the_workspace(repo: Repository) -> None:
    grow(repo.root, {"data/more": b"more\n", "f.csv": b"x\n"})
    (repo.root / "data/a").unlink()
    (repo.root / "in/z").unlink()
    assert paths(diff(again(repo))) == NONE | {
        "added": ["data/more"],
        "deleted": ["data/a", "in/z"],
        "modified": ["data", "f.csv"],
    }
    shutil.rmtree(repo.root / "data")
    assert paths(diff(again(repo)))["deleted"] == [
        "data",
        "data/a",
        "data/deep/x/c2",
        "data/new",
        "data/run.sh",
        "in/z",
    ]


def test_a_folder_that_moved_and_a_file_that_became_one(repo: Repository) -> None:
    (repo.root / "data").rename(repo.root / "moved")
    text = (repo.root / "data.dvc").read_text(encoding="utf-8").replace("path: data", "path: moved")
    (repo.root / "data.dvc").rename(repo.root / "moved.dvc").write_text(text, encoding="utf-8")
    (repo.root / "f.csv").unlink()
    grow(repo.root, {"f.csv/x": b"1"})
    found = diff(again(repo))
    assert [f"{one.old_path} {one.path}" for one in found.renamed][:2] == ["data moved", "data/a moved/a"]
    assert [one.path for one in found.modified] == ["f.csv"]
    assert [one.path for one in found.added] == ["f.csv/x"]


def test_what_the_cache_lacks(repo: Repository) -> None:
    shutil.rmtree(repo.root / ".dvc/cache")
    found = paths(diff(again(repo)))
    everything = ["data", "data/a", "data/deep/x/c2", "data/new", "data/run.sh", "f.csv", "in/z"]
    assert found == NONE | {"not in cache": everything}
    shutil.rmtree(repo.root.parent / "remote")
    found_now = diff(again(repo), "v1", "v2")
    assert found_now.unknown == ("data",)
    assert [one.path for one in found_now.modified] == ["data", "f.csv"]
    assert [one.reason for one in tables(again(repo), found_now)] == [
        "the old version is not in the cache: modelkeep fetch"
    ]


def test_partitions(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", git=True)
    grow(repo.root, {f"p/dt=2026-01-0{day}/{part}.csv": b"%d" % day for day in (1, 2) for part in "ab"})
    add(repo, [repo.root / "p"])
    save(repo.root, "v1")
    grow(repo.root, {"p/dt=2026-01-03/a.csv": b"3", "p/dt=2026-01-02/a.csv": b"changed"})
    shutil.rmtree(repo.root / "p/dt=2026-01-01")
    found = diff(again(repo), "v1")
    assert [(one.partition, one.state) for one in found.partitions["p"]] == [
        ("dt=2026-01-01", "deleted"),
        ("dt=2026-01-02", "modified"),
        ("dt=2026-01-03", "added"),
    ]


def test_tables(repo: Repository) -> None:
    [one] = tables(repo, diff(repo, "v1", "v2"))
    assert one.difference is not None
    assert (one.path, one.difference.columns_added) == ("f.csv", (("w", "BIGINT"),))
    assert (one.difference.rows_added, one.difference.rows_removed) == (1, 0)
    grow(repo.root, {"f.csv": b"x,y\n1,a\n"})
    [now] = tables(again(repo), diff(again(repo)))
    assert now.difference is not None
    assert [each.column for each in now.difference.retyped] == ["y"]


def test_no_commit_and_no_git(tmp_path: Path) -> None:
    assert not diff(repository(tmp_path / "fresh", git=True))
    with pytest.raises(Missing, match="not a git repository"):
        diff(repository(tmp_path / "bare"))


def test_a_repository_below_the_root_of_git(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    run_git(tmp_path / "top", "init", "-q")
    repo = repository(tmp_path / "top/sub")
    grow(repo.root, {"x": b"1"})
    add(repo, [repo.root / "x"])
    save(tmp_path / "top", "v1")
    grow(repo.root, {"x": b"2"})
    assert [one.path for one in diff(again(repo), "v1").modified] == ["x"]


@pytest.mark.needs("dvc")
def test_dvc_says_the_same(repo: Repository) -> None:
    def both(*words: str) -> None:
        theirs = json.loads(run_dvc(repo, "diff", "--json", "--show-hash", *words))
        b = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
        targets = [words[words.index("--targets") + 1]] if "--targets" in words else []
        ours = diff(again(repo), words[0] if words else "HEAD", b, targets=targets).json(hashes=True, missing=not b)
        assert {key: value for key, value in ours.items() if key not in {"partitions", "unknown"}} == theirs, words

    both("v1", "v2")
    grow(repo.root, {"data/more": b"more\n", "f.csv": b"x\n"})
    (repo.root / "data/a").unlink()
    object_of_new = repo.blobs.path("fe13119fb084fe8bbf5fe3ab7cc89b3b")
    if object_of_new.exists():
        object_of_new.unlink()
    both("v1")
