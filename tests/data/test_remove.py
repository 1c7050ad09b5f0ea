from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.remove import remove
from tests.data.workspaces import again, grow, held, objects, repository, run_dvc


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r", git=True)
    monkeypatch.chdir(made.root)
    grow(made.root, {"f": b"1", "data/run": b"#!", "data/sub/y": b"y"})
    (made.root / "data/run").chmod(0o755)
    add(made, ["f", "data"])
    return again(made)


def test_metafile_side_file_and_gitignore_go_and_the_data_stays(repo: Repository) -> None:
    kept = objects(repo)
    assert (repo.root / "data.dvc.side").exists()
    assert remove(repo, ["data.dvc"]).metafiles == ("data.dvc",)
    assert (repo.root / ".gitignore").read_text(encoding="utf-8") == "/f\n"
    remove(again(repo), ["f"])  # the data is a name for it, too
    assert {path.name for path in repo.root.iterdir()} == {".git", ".dvc", ".dvcignore", "f", "data"}
    assert objects(repo) == kept
    assert not checkout(again(repo)).changed
    assert (repo.root / "f").exists()


def test_with_outs_the_data_goes_unless_it_is_nowhere_else(repo: Repository) -> None:
    grow(repo.root, {"data/sub/y": b"mine"})
    with pytest.raises(Conflict, match="data/sub/y: changed here"):
        remove(repo, ["f", "data"], outs=True)
    assert (repo.root / "f").exists()
    assert (repo.root / "data.dvc").exists()
    assert remove(again(repo), ["f"], outs=True).outs == ("f",)
    assert not (repo.root / "f").exists()
    remove(again(repo), ["data"], outs=True, force=True)
    assert not (repo.root / "data").exists()
    assert not (repo.root / ".gitignore").exists()


def test_data_that_is_gone_is_removed_all_the_same(repo: Repository) -> None:
    shutil.rmtree(repo.root / "data")
    remove(repo, ["data.dvc"], outs=True)
    assert not (repo.root / "data.dvc").exists()


def test_parts_pipelines_and_strangers_are_refused(repo: Repository) -> None:
    with pytest.raises(BadInput, match="is a part of data") as caught:
        remove(repo, ["data/sub"])
    assert "modelkeep add data/sub" in caught.value.hint
    with pytest.raises(Missing):
        remove(repo, ["never"])
    (repo.root / "dvc.yaml").write_text("stages:\n  t:\n    cmd: x\n    outs: [made]\n", encoding="utf-8")
    with pytest.raises(BadInput, match="pipeline"):
        remove(again(repo), ["made"])


def test_one_of_several_outs_leaves_the_metafile(repo: Repository) -> None:
    (repo.root / "two.dvc").write_text(
        "outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  hash: md5\n  path: one\n"
        "- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  hash: md5\n  path: two\n",
        encoding="utf-8",
    )
    remove(repo, ["one"])
    text = (repo.root / "two.dvc").read_text(encoding="utf-8")
    assert "path: two" in text
    assert "path: one" not in text


def test_linked_data_becomes_files_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "l", config="[cache]\n    type = hardlink\n")
    monkeypatch.chdir(repo.root)
    grow(repo.root, {"a": b"a"})
    add(repo, ["a"])
    remove(again(repo), ["a"])
    (repo.root / "a").write_bytes(b"changed")
    assert repo.blobs.read("0cc175b9c0f1b6a831c399e269772661") == b"a"


@pytest.mark.slow
@pytest.mark.needs("dvc")
def test_what_is_left_is_what_dvc_leaves(repo: Repository) -> None:
    other = repo.root.parent / "twin"
    shutil.copytree(repo.root, other)
    remove(repo, ["f.dvc", "data.dvc"], outs=True)
    run_dvc(Repository(other), "remove", "--outs", "f.dvc", "data.dvc")
    (other / "data.dvc.side").unlink()  # which is ours

    def files(root: Path) -> set[str]:
        return {name for name in held(root) if not name.startswith((".dvc/", ".git/"))}

    assert files(repo.root) == files(other)
