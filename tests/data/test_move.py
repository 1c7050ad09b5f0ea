from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.move import move
from modelkeep.data.verbs.status import status
from tests.data.workspaces import again, grow, held, repository, run_dvc, run_git


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r", git=True)
    monkeypatch.chdir(made.root)
    grow(made.root, {"f.csv": b"1", "data/run": b"#!", "data/sub/y": b"y", "deep/in/here": b""})
    (made.root / "data/run").chmod(0o755)
    add(made, ["f.csv", "data"])
    return again(made)


def test_data_metafile_side_file_and_gitignore_move_together(repo: Repository) -> None:
    before = held(repo.root / "data")
    move(repo, "data", "deep/moved")
    assert held(repo.root / "deep/moved") == before
    assert (repo.root / "deep/moved.dvc").read_text(encoding="utf-8").endswith("  path: moved\n")
    assert (repo.root / "deep/moved.dvc.side").read_text(encoding="utf-8") == "executable:\n- run\n"
    assert (repo.root / "deep/.gitignore").read_text(encoding="utf-8") == "/moved\n"
    assert (repo.root / ".gitignore").read_text(encoding="utf-8") == "/f.csv\n"
    assert not list(repo.root.glob("data*"))
    assert status(again(repo)).clean


def test_a_folder_takes_it_in_and_comments_survive(repo: Repository) -> None:
    file = repo.root / "f.csv.dvc"
    file.write_text("# prices\n" + file.read_text(encoding="utf-8") + "  desc: mine\n", encoding="utf-8")
    done = move(repo, "f.csv.dvc", "deep")
    assert (done.destination, done.metafile) == ("deep/f.csv", "deep/f.csv.dvc")
    text = (repo.root / "deep/f.csv.dvc").read_text(encoding="utf-8")
    assert text.startswith("# prices\n")
    assert text.endswith("  path: f.csv\n  desc: mine\n")


def test_changes_that_were_not_recorded_stay_so(repo: Repository) -> None:
    grow(repo.root, {"f.csv": b"changed"})
    move(repo, "f.csv", "g.csv")
    assert {item.path: item.state for item in status(again(repo)).items} == {"g.csv": "modified", "data": "up to date"}


def test_what_is_not_here_moves_in_name(repo: Repository) -> None:
    (repo.root / "f.csv").unlink()
    move(repo, "f.csv", "g.csv")
    assert {item.path: item.state for item in status(again(repo)).items}["g.csv"] == "deleted"


def test_a_move_that_was_cut_is_completed(repo: Repository) -> None:
    (repo.root / "data").rename(repo.root / "new")  # as far as it came
    move(repo, "data", "new")
    assert status(again(repo)).clean
    assert (repo.root / "new.dvc.side").exists()
    (repo.root / "f.csv").rename(repo.root / "g.csv")
    (repo.root / "g.csv").write_bytes(b"something else")
    with pytest.raises(Missing, match=r"g\.csv is something else"):
        move(again(repo), "f.csv", "g.csv")


def test_what_is_in_the_way_is_not_overwritten(repo: Repository) -> None:
    grow(repo.root, {"taken": b"t", "named.dvc": b"outs: []\n"})
    for target, kind, words in (
        ("taken", Conflict, "taken: is there already"),
        ("f.csv", Conflict, "source and destination are one|is there already"),
        ("named", Conflict, r"named\.dvc: is there already"),
        ("data/inside", Conflict, r"data\.dvc tracks data"),
        ("../out", BadInput, "outside"),
        (".git/x", BadInput, "belongs to git"),
    ):
        with pytest.raises(kind, match=words):
            move(again(repo), "f.csv", target)
    with pytest.raises(BadInput, match="one of the two lies inside"):
        move(again(repo), "data", "data/sub/deeper")
    with pytest.raises(BadInput, match="is a part of data"):
        move(again(repo), "data/sub", "elsewhere")
    assert status(again(repo)).clean


def test_git_is_told_when_it_is_to_be(repo: Repository) -> None:
    run_git(repo.root, "add", "-A")
    run_git(repo.root, "commit", "-qm", "one")
    with (repo.root / ".dvc/config").open("a", encoding="utf-8") as file:
        file.write("[core]\n    autostage = true\n")
    assert move(again(repo), "data", "new").staged
    staged = run_git(repo.root, "diff", "--cached", "--name-status", "--no-renames").split()
    assert {"data.dvc", "new.dvc", "data.dvc.side", "new.dvc.side", ".gitignore"} <= set(staged)


@pytest.mark.needs("dvc")
def test_what_moves_is_as_dvc_would_leave_it(repo: Repository) -> None:
    grow(repo.root / "source", {"s": b"s"})
    run_dvc(repo, "import-url", "-q", "source/s", "imported")
    other = repo.root.parent / "twin"
    shutil.copytree(repo.root, other, symlinks=True)
    for source, target in (("data", "deep"), ("imported", "deep/in/s")):
        move(again(repo), source, target)
        run_dvc(Repository(other), "move", "-q", source, target)
    for name in ("deep/data.dvc", "deep/in/s.dvc", "deep/.gitignore", "deep/in/.gitignore"):
        assert (repo.root / name).read_bytes() == (other / name).read_bytes(), name
    assert (repo.root / ".gitignore").exists() == (other / ".gitignore").exists()
