"""What another repository holds is told without fetching data, as DVC tells it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.list_ import list_
from tests.data.registries import forget, registry, save
from tests.data.workspaces import grow, repository, run_dvc, run_git


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def source(tmp_path: Path) -> Repository:
    return registry(tmp_path / "src")


def names(url: str | Path, path: str = "", **how: object) -> list[str]:
    return [one.path for one in list_(str(url), path, **how)]  # type: ignore[arg-type]


def test_a_folder_at_a_time(source: Repository) -> None:
    found = {one.path: one for one in list_(str(source.root))}
    assert set(found) == {
        *(".dvcignore", ".gitignore", "README", "code", "data", "data.dvc", "data.dvc.side", "f.csv"),
        *("f.csv.dvc", "in", "link"),
    }
    assert (found["data"].is_out, found["data"].is_dir, found["code"].is_out) == (True, True, False)
    assert names(source.root, "data") == ["a", "deep", "new", "run.sh", "sub"]
    assert names(source.root, "data", rev="v1") == ["a", "deep", "run.sh", "sub"]
    assert names(source.root, "data/deep", rev="v1", recursive=True) == ["x/c"]
    assert names(source.root, "in", dvc_only=True) == ["z"]
    assert names(source.root, rev="v1", dvc_only=True) == ["data", "f.csv", "in"]
    assert names(source.root, "data/a") == ["a"]
    assert names(source.root, "f.csv") == ["f.csv"]


def test_only_the_list_of_a_folder_is_fetched(source: Repository) -> None:
    forget(source)
    [manifest] = [path for path in source.root.parent.joinpath("remote").rglob("*.dir") if b"c2" in path.read_bytes()]
    kept = manifest.read_bytes()
    shutil.rmtree(source.root.parent / "remote")
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(kept)
    url = f"file://{source.root}"
    assert names(url, "data", recursive=True) == ["a", "deep/x/c2", "new", "run.sh"]
    manifest.unlink()
    with pytest.raises(Missing, match=r"data .* is not on r of"):
        names(url, "data")
    assert names(source.root, "data.dvc") == ["data.dvc"]


def test_a_bare_repository_and_one_without_dvc(source: Repository, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "-q", "--bare", str(source.root), "bare")
    assert names(tmp_path / "bare", rev="v1", dvc_only=True) == ["data", "f.csv", "in"]
    plain = tmp_path / "plain"
    plain.mkdir()
    run_git(plain, "init", "-q")
    grow(plain, {"a/b": b"1", "c": b"2"})
    save(plain)
    assert names(plain, recursive=True) == ["a/b", "c"]


def test_repositories_inside_of_one(tmp_path: Path) -> None:
    root = tmp_path / "top"
    repository(root, git=True)
    grow(root, {"mono/x.bin": b"x"})
    inner = repository(root / "mono")
    add(inner, [inner.root / "x.bin"])
    save(root)
    for rev in ("", "HEAD"):
        assert names(root, "mono", rev=rev, dvc_only=True) == ["x.bin"]
        assert names(root / "mono", rev=rev, dvc_only=True) == ["x.bin"]


def test_what_is_not_there(source: Repository, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="dta: not in") as caught:
        names(source.root, "dta", rev="v1")
    assert "data" in caught.value.hint
    for path in ("data/none", "code/m.py/x", "none/x"):
        with pytest.raises(Missing):
            names(source.root, path, rev="v1")
    with pytest.raises(BadInput):
        names(source.root, "../x")
    with pytest.raises(Missing):
        names(source.root, rev="v9")
    with pytest.raises(BadInput):
        names(tmp_path / "none")


@pytest.mark.needs("dvc")
def test_dvc_says_the_same(source: Repository) -> None:
    asked = (["."], [".", "-R", "--rev", "v1"], [".", "--rev", "v2"])
    for words in asked:
        theirs: Json = json.loads(run_dvc(source, "list", "--json", *words))
        options = {"rev": words[words.index("--rev") + 1] if "--rev" in words else ""}
        path = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
        ours = list_(
            str(source.root), path, recursive="-R" in words, dvc_only="--dvc-only" in words, rev=options["rev"]
        )
        assert [one.json() for one in ours] == theirs, words


def test_an_abbreviated_commit(source: Repository) -> None:
    commit = run_git(source.root, "rev-parse", "v1").strip()
    assert names(f"file://{source.root}", rev=commit[:10], dvc_only=True) == ["data", "f.csv", "in"]
