from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add, brought, matching
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.status import status
from tests.data.workspaces import again, grow, held, objects, repository, run_dvc, run_git

FOLDER = {"x": b"x", "sub/y": b"y", "sub-a": b"before sub/", ".hidden": b"h", "ü 日.csv": b"u"}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r")
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "g", git=True)
    monkeypatch.chdir(made.root)
    return made


def twin(repo: Repository, *, git: bool = True) -> Repository:
    """A second repository with the same workspace, for the real dvc."""
    other = repository(repo.root.parent / "twin", git=git)
    for path in repo.root.iterdir():
        if path.name not in {".git", ".dvc", ".dvcignore"}:
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, other.root / path.name)
    return other


def metafiles(repo: Repository) -> dict[str, bytes]:
    return {
        path.relative_to(repo.root).as_posix(): path.read_bytes()
        for path in repo.root.rglob("*")
        if (path.suffix == ".dvc" and path.is_file()) or path.name == ".gitignore"
        if ".dvc/" not in path.relative_to(repo.root).as_posix()
    }


@pytest.mark.needs("dvc")
def test_metafiles_gitignore_and_objects_are_those_of_dvc(git: Repository) -> None:
    grow(git.root, {"f.csv": b"1,2\r\n", "empty": b"", "name #1.bin": b"n", "deep/er/g": b"g", "12": b"number"})
    grow(git.root / "data", FOLDER)
    (git.root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (git.root / "run.sh").chmod(0o755)
    targets = ["f.csv", "empty", "name #1.bin", "deep/er/g", "data", "run.sh", "12"]
    other = twin(git)
    add(git, targets)
    run_dvc(other, "add", "-q", *targets)
    assert metafiles(git) == metafiles(other)
    assert objects(git) == objects(other)
    (git.root / "data/sub/y").write_bytes(b"changed")
    (other.root / "data/sub/y").write_bytes(b"changed")
    add(again(git), ["data"])
    run_dvc(other, "add", "-q", "data")
    assert metafiles(git) == metafiles(other)
    assert "up to date" in run_dvc(git, "status")
    assert status(again(other)).clean


def test_adding_twice_writes_nothing(repo: Repository) -> None:
    grow(repo.root / "data", FOLDER)
    first = add(repo, ["data"])
    assert first.items[0].changed
    assert first.items[0].new_files == 5
    before = {path: path.stat().st_mtime_ns for path in repo.root.rglob("*.dvc")}
    second = add(again(repo), ["data"])
    assert (second.items[0].changed, second.items[0].new_files, second.files) == (False, 0, ())
    assert {path: path.stat().st_mtime_ns for path in repo.root.rglob("*.dvc")} == before


def test_comments_and_fields_of_people_survive(repo: Repository) -> None:
    grow(repo.root, {"a.csv": b"1"})
    add(repo, ["a.csv"])
    file = repo.root / "a.csv.dvc"
    file.write_text("# mine\n" + file.read_text(encoding="utf-8") + "  desc: prices\nmeta:\n  owner: me\n", "utf-8")
    grow(repo.root, {"a.csv": b"12"})
    add(again(repo), ["a.csv"])
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# mine\nouts:\n- md5: c20ad4d76fe97759aa27a0c99bff6710\n  size: 2\n")
    assert text.endswith("  desc: prices\nmeta:\n  owner: me\n")


def test_objects_that_went_come_back_with_the_next_add(repo: Repository) -> None:
    grow(repo.root / "data", FOLDER)
    add(repo, ["data"])
    shutil.rmtree(repo.blobs.folder)
    assert add(again(repo), ["data"]).items[0].new_files == 5
    assert status(again(repo)).clean


@pytest.mark.needs("dvc")
def test_one_file_into_a_folder_that_is_not_here(repo: Repository) -> None:
    grow(repo.root / "data", FOLDER)
    add(repo, ["data"])
    shutil.rmtree(repo.root / "data")
    grow(repo.root / "data", {"sub/new": b"new", "x": b"other x"})
    other = repository(repo.root.parent / "twin")
    for name in ("data", ".dvc/cache"):
        shutil.copytree(repo.root / name, other.root / name)
    shutil.copy(repo.root / "data.dvc", other.root / "data.dvc")
    for target in ("data/sub/new", "data/x"):
        added = add(again(repo), [target])
        run_dvc(other, "add", "-q", target)
        assert (repo.root / "data.dvc").read_bytes() == (other.root / "data.dvc").read_bytes()
        assert added.items[0].path == target
    (repo.root / "data/x").unlink()
    (other.root / "data/x").unlink()
    assert add(again(repo), ["data/x"]).items[0].changed
    run_dvc(other, "add", "-q", "data/x")
    assert (repo.root / "data.dvc").read_bytes() == (other.root / "data.dvc").read_bytes()
    checkout(again(repo))
    assert set(held(repo.root / "data")) == {*FOLDER, "sub/new"} - {"x"}
    with pytest.raises(Missing, match="data/nowhere"):
        add(again(repo), ["data/nowhere"])


def test_what_git_tracks_is_refused_with_the_way_out(git: Repository) -> None:
    grow(git.root, {"a.csv": b"1", "dir/b": b"2"})
    run_git(git.root, "add", "-f", "a.csv", "dir/b")
    for target in ("a.csv", "dir"):
        with pytest.raises(BadInput, match="git tracks it already") as caught:
            add(again(git), [target])
        assert f"git rm -r --cached '{target}'" in caught.value.hint
    assert not (git.root / "a.csv.dvc").exists()


def test_staging_takes_metafile_gitignore_and_side_file(git: Repository) -> None:
    grow(git.root / "data", {"run": b"#!"})
    (git.root / "data/run").chmod(0o755)
    added = add(git, ["data"], to_git=True)
    assert added.staged
    staged = run_git(git.root, "diff", "--cached", "--name-only").split()
    assert {".gitignore", "data.dvc", "data.dvc.side"} <= set(staged)
    with (git.root / ".dvc/config").open("a", encoding="utf-8") as file:
        file.write("[core]\n    autostage = true\n")
    grow(git.root, {"b": b"b"})
    assert add(again(git), ["b"]).staged
    assert "b.dvc" in run_git(git.root, "diff", "--cached", "--name-only").split()
    (git.root / "data/run").chmod(0o644)
    add(again(git), ["data"])
    assert "data.dvc.side" not in run_git(git.root, "diff", "--cached", "--name-only").split()


def test_what_cannot_be_tracked_is_named(repo: Repository) -> None:
    grow(repo.root, {"data/x": b"x", "real/y": b"y", "out": b"o", "deep/in/z": b"z", "odd/\\": b"o"})
    (repo.root / "link").symlink_to("real")
    (repo.root / "data/broken").symlink_to("/gone")
    (repo.root / ".dvcignore").write_text("deep\n", encoding="utf-8")
    for target, kind, words in (
        ("..", BadInput, "outside"),
        ("../r2", BadInput, "outside"),
        ("/etc/hosts", BadInput, "outside"),
        (".", BadInput, "root itself"),
        (".dvc/config", BadInput, "belongs to git"),
        (".git/x", BadInput, "belongs to git"),
        ("nothing", Missing, "no such file"),
        ("link/y", BadInput, "behind the link link"),
        ("data", BadInput, "data/broken"),
        ("deep/in/z", BadInput, r"\.dvcignore"),
        ("odd", BadInput, "no safe path"),
    ):
        with pytest.raises(kind, match=words):
            add(again(repo), [target])
    assert not list(repo.root.glob("?*.dvc"))
    assert objects(repo) == set()


def test_sockets_and_pipes_are_refused_by_name(repo: Repository) -> None:
    (repo.root / "data").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("data/s")
        with pytest.raises(BadInput, match="data/s"):
            add(repo, ["data"])


def test_overlaps_are_refused(repo: Repository) -> None:
    grow(repo.root, {"data/sub/x": b"x", "data/y": b"y"})
    add(repo, ["data/sub"])
    with pytest.raises(Conflict, match=r"data/sub in it is tracked by data/sub\.dvc"):
        add(again(repo), ["data"])
    grow(repo.root, {"o/p/q": b""})
    with pytest.raises(Conflict, match="lies inside of"):
        add(again(repo), ["o", "o/p"])
    grow(repo.root, {"f": b"f", "f.dvc": b"outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  path: other\n"})
    with pytest.raises(Conflict, match=r"f\.dvc: is there already"):
        add(again(repo), ["f"])
    add(again(repo), ["f"], force=True)
    assert b"path: f\n" in (repo.root / "f.dvc").read_bytes()
    (repo.root / "dvc.yaml").write_text("stages:\n  t:\n    cmd: x\n    outs: [made]\n", encoding="utf-8")
    grow(repo.root, {"made": b"m"})
    with pytest.raises(Conflict, match="pipeline"):
        add(again(repo), ["made"])


def test_without_commit_nothing_is_stored(repo: Repository) -> None:
    grow(repo.root, {"a": b"a"})
    add(repo, ["a"], store=False)
    assert objects(repo) == set()
    assert {item.state for item in status(again(repo)).items} == {"not in cache"}


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_links_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    repo = repository(tmp_path / "r", config=f"[cache]\n    type = {kind}\n")
    monkeypatch.chdir(repo.root)
    grow(repo.root, {"a": b"a", "data/x": b"x", "data/twin": b"x", "data/run": b"#!/bin/sh"})
    (repo.root / "data/run").chmod(0o755)
    add(repo, ["a", "data"])
    for name in ("a", "data/x", "data/twin"):
        file = repo.root / name
        assert file.is_symlink() == (kind == "symlink"), name
        assert file.stat().st_nlink > 1 or kind == "symlink", name
        assert file.stat().st_mode & 0o777 == 0o444
    assert os.access(repo.root / "data/run", os.X_OK)
    assert status(again(repo)).clean
    assert not add(again(repo), ["a", "data"]).items[1].changed


def test_wildcards_and_files_from_elsewhere(repo: Repository, tmp_path: Path) -> None:
    grow(repo.root, {"a.csv": b"a", "b.csv": b"b", "c.txt": b"c"})
    assert matching(["*.csv"]) == ["a.csv", "b.csv"]
    add(repo, matching(["*.csv"]))
    assert matching(["*.csv*"]) == ["a.csv", "b.csv"]
    with pytest.raises(Missing, match="matches nothing"):
        matching(["*.json"])
    outside = grow(tmp_path / "outside", {"big": b"big", "tree/x": b"x"})
    assert add(again(repo), [brought(repo, [outside / "big"], "in", force=False)]).items[0].path == "in"
    with pytest.raises(Conflict, match="is there already"):
        brought(repo, [outside / "big"], "in", force=False)
    brought(repo, [outside / "tree"], "tree", force=False)
    grow(outside, {"tree/y": b"y"})
    brought(repo, [outside / "tree"], "tree", force=True)
    assert held(repo.root / "tree") == {"x": b"x", "y": b"y"}


LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\")
RESERVED = {".", "..", ".git", ".dvc", ".hg", ".dvcignore"}
NAMES = st.text(LETTERS, min_size=1, max_size=6).filter(lambda name: name not in RESERVED)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.tuples(st.binary(max_size=20), st.booleans()), max_size=8
)
Spec = dict[str, tuple[bytes, bool]]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, TREES)
def test_any_tree_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, first: Spec, second: Spec) -> None:
    repo = repository(tmp_path_factory.mktemp("any") / "r")
    kept = [plant(repo, first), plant(repo, second)]
    for files, expected in (kept[0], kept[1], kept[0]):
        for name, data in files.items():
            (repo.root / name).unlink(missing_ok=True)
            if data is not None:
                (repo.root / name).write_bytes(data)
        checkout(again(repo))
        assert state(repo.root / "data") == expected
        assert status(again(repo)).clean


def plant(repo: Repository, tree: Spec) -> tuple[dict[str, bytes | None], dict[str, object]]:
    """Makes a tree, adds it; gives what git would keep and how the tree looks."""
    shutil.rmtree(repo.root / "data", ignore_errors=True)
    (repo.root / "data").mkdir()
    for name, (data, runs) in tree.items():
        path = repo.root / "data" / name
        if any(one.is_file() for one in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if runs else 0o644)
    add(again(repo), [repo.root / "data"])
    assert status(again(repo)).clean
    files = {path: path.read_bytes() if path.exists() else None for path in map(repo.root.joinpath, NAMED)}
    return {path.name: data for path, data in files.items()}, state(repo.root / "data")


NAMED = ("data.dvc", "data.dvc.side")


def state(folder: Path) -> dict[str, object]:
    return {name: (value, (folder / name).lstat().st_mode & 0o100) for name, value in held(folder).items()}
