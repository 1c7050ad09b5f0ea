from __future__ import annotations

from pathlib import Path

import pytest

from modelkeep.core.errors import Missing
from modelkeep.data.repository import Repository
from modelkeep.data.snapshots.snapshot import peek
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.status import status
from modelkeep.data.verbs.unprotect import unprotect
from tests.data.workspaces import again, grow, repository

FILES = {"a": b"a", "data/x": b"x", "data/sub/y": b"y"}


@pytest.fixture(params=["hardlink", "symlink"])
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Repository:
    made = repository(tmp_path / "r", config=f"[cache]\n    type = {request.param}\n")
    monkeypatch.chdir(made.root)
    grow(made.root, FILES)
    add(made, ["a", "data"])
    return again(made)


def test_links_become_files_that_may_be_edited(repo: Repository) -> None:
    assert unprotect(repo, ["a", "data"]).outs == {"a": 1, "data": 2}
    for name, data in FILES.items():
        file = repo.root / name
        assert not file.is_symlink()
        assert file.stat().st_nlink == 1
        assert file.read_bytes() == data
        file.write_bytes(b"edited")
    assert repo.blobs.read("0cc175b9c0f1b6a831c399e269772661") == b"a"
    assert {item.state for item in status(again(repo)).items} == {"modified"}


def test_a_part_of_a_folder(repo: Repository) -> None:
    assert unprotect(repo, ["data/sub"]).outs == {"data/sub": 1}
    assert status(again(repo)).clean


def test_nothing_is_hashed_again(repo: Repository) -> None:
    unprotect(repo, ["data"])
    import time

    time.sleep(0.05)
    assert status(again(repo)).clean
    assert peek(again(repo), repo.root / "data").endswith(".dir")


def test_links_of_people_stay(repo: Repository) -> None:
    (repo.root / "data/mine").symlink_to("x")
    unprotect(repo, ["data"])
    assert (repo.root / "data/mine").is_symlink()


def test_what_is_not_there_is_named(repo: Repository) -> None:
    (repo.root / "a").unlink()
    with pytest.raises(Missing, match="a: is not there"):
        unprotect(repo, ["a"])
