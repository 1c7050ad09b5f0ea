from __future__ import annotations

from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.targets import Tracked, only, tracked
from modelkeep.data.verbs.add import add
from tests.data.workspaces import again, grow, repository, run_dvc

FILES = {
    "a.csv": b"a",
    "data/raw/x": b"x",
    "data/raw/sub/y": b"y",
    "data/b.bin": b"b",
    "models/m.pkl": b"m",
    "code/main.py": b"pass",
}
TARGETS = ["a.csv", "data/raw", "data/b.bin", "models/m.pkl"]


def names(found: list[Tracked], root: Path) -> list[str]:
    return [one.path.relative_to(root).as_posix() + (f"|{one.filter}" if one.filter else "") for one in found]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repo = repository(tmp_path / "r")
    grow(repo.root, FILES)
    monkeypatch.chdir(repo.root)
    add(repo, TARGETS)
    return repo.root


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], TARGETS),
        (["a.csv"], ["a.csv"]),
        (["a.csv.dvc"], ["a.csv"]),
        (["a"], ["a.csv"]),
        (["data"], ["data/b.bin", "data/raw"]),
        (["data/raw"], ["data/raw"]),
        (["data/raw/sub"], ["data/raw|sub"]),
        (["data/raw/sub/y"], ["data/raw|sub/y"]),
        (["data/raw/gone"], ["data/raw|gone"]),
        (["data/b"], ["data/b.bin"]),
        (["models", "a.csv", "models/m.pkl"], ["models/m.pkl", "a.csv"]),
        (["."], TARGETS),
    ],
)
def test_targets_stand_for(root: Path, targets: list[str], expected: list[str]) -> None:
    assert sorted(names(tracked(Repository(root), targets), root)) == sorted(expected)


def test_a_metafile_named_without_the_extension_is_accepted(root: Path) -> None:
    (root / "a.csv.dvc").rename(root / "a.dvc")
    repo = Repository(root)
    for target in ("a.csv", "a.dvc", "a"):
        found = only(repo, target)
        assert (found.path, found.metafile) == (root / "a.csv", root / "a.dvc")
    (root / "a.csv").unlink()
    assert only(again(repo), "a").path == root / "a.csv"


def test_what_is_unknown_names_what_is_near(root: Path) -> None:
    repo = Repository(root)
    with pytest.raises(Missing, match=r"model/m\.pkl") as caught:
        tracked(repo, ["model/m.pkl"])
    assert "models/m.pkl" in caught.value.hint
    with pytest.raises(Missing) as caught:
        tracked(repo, ["code"])
    assert caught.value.hint == "modelkeep add code"
    with pytest.raises(BadInput, match="outside"):
        tracked(repo, ["../elsewhere"])
    with pytest.raises(BadInput, match="stands for 4"):
        only(repo, ".")


def test_ignored_folders_other_repositories_and_links_are_not_entered(root: Path) -> None:
    for folder in ("inner", "skipped"):
        grow(root / folder, {"z.dvc": (root / "a.csv.dvc").read_bytes()})
    (root / "inner/.dvc").mkdir()
    (root / "loop").symlink_to(root)
    (root / ".dvcignore").write_text("skipped\n", encoding="utf-8")
    grow(root / "code", {".dvcignore": b"old\n", "old/z.dvc": (root / "a.csv.dvc").read_bytes()})
    assert sorted(names(tracked(Repository(root)), root)) == sorted(TARGETS)


def test_several_outs_other_folders_and_pipelines(root: Path) -> None:
    (root / "many.dvc").write_text(
        "wdir: data\nouts:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  hash: md5\n  path: one\n- path: ../two\n",
        encoding="utf-8",
    )
    (root / "dvc.yaml").write_text("stages:\n  train:\n    cmd: x\n    outs: [out.bin, late]\n", encoding="utf-8")
    (root / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train:\n    cmd: x\n    outs:\n    - path: out.bin\n      hash: md5\n"
        "      md5: d41d8cd98f00b204e9800998ecf8427e\n      size: 0\n",
        encoding="utf-8",
    )
    repo = Repository(root)
    found = {one.path.relative_to(root).as_posix(): one for one in tracked(repo)}
    assert {"data/one", "two", "out.bin"} <= set(found)
    assert found["out.bin"].kind == "lock"
    assert found["two"].out.oid == ""
    assert names(tracked(repo, ["dvc.yaml"]), root)[0] == "out.bin"
    assert names(tracked(repo, ["out.bin"]), root) == ["out.bin"]
    assert sorted(names(tracked(repo, ["many.dvc"]), root)) == ["data/one", "two"]


def test_conflict_markers_name_file_and_line(root: Path) -> None:
    text = (root / "a.csv.dvc").read_text(encoding="utf-8")
    (root / "a.csv.dvc").write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"a\.csv\.dvc:1: merge conflict markers"):
        tracked(Repository(root))


@pytest.mark.slow
@pytest.mark.needs("dvc")
def test_a_real_pipeline_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "r")
    monkeypatch.chdir(repo.root)
    run_dvc(repo, "stage", "add", "-q", "-n", "make", "-o", "made", "mkdir made && echo 1 > made/x")
    assert [(one.path.name, one.out.oid) for one in tracked(repo)] == [("made", "")]
    run_dvc(repo, "repro", "-q")
    found = tracked(again(repo))
    assert [(one.path.name, one.kind, one.out.is_dir) for one in found] == [("made", "lock", True)]
