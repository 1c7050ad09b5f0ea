from __future__ import annotations

from pathlib import Path

import pytest

from modelkeep.core.errors import Conflict, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.initialise import initialise
from tests.data.workspaces import repository, run_dvc, run_git


@pytest.mark.needs("dvc")
@pytest.mark.parametrize("git", [True, False])
def test_what_is_written_is_what_dvc_writes(tmp_path: Path, git: bool) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        if git:
            run_git(folder, "init", "-q")
    done = initialise(ours)
    assert (done.created, done.git) == (True, git)
    run_dvc(Repository(theirs), "init", "-q", *([] if git else ["--no-scm"]))
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        assert (ours / name).exists() == (theirs / name).exists()
        assert not (ours / name).exists() or (ours / name).read_bytes() == (theirs / name).read_bytes()
    if git:
        assert run_git(ours, "status", "--short") == run_git(theirs, "status", "--short")


def test_a_repository_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", config="[core]\n    remote = mine\n")
    before = (repo.root / ".dvc/config").read_bytes()
    assert not initialise(repo.root).created
    assert (repo.root / ".dvc/config").read_bytes() == before


def test_a_dvcignore_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / ".dvcignore").write_text("mine\n", encoding="utf-8")
    initialise(tmp_path, git=False)
    assert (tmp_path / ".dvcignore").read_text(encoding="utf-8") == "mine\n"


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not in a git work tree"):
        initialise(tmp_path, git=True)
    run_git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(".dvc\n", encoding="utf-8")
    with pytest.raises(Conflict, match="git ignores it"):
        initialise(tmp_path)
    assert not (tmp_path / ".dvc").exists()
