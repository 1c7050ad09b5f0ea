from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Busy, Denied, Missing
from modelkeep.data.repository import Repository, disk_errors
from tests.data.workspaces import repository


def test_a_repository_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r")
    deep = repo.root / "a" / "b"
    deep.mkdir(parents=True)
    assert Repository.find(deep).root == repo.root
    assert Repository.find(repo.root).root == repo.root


def test_without_a_repository_the_next_step_is_init(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no DVC or modelkeep repository") as caught:
        Repository.find(tmp_path)
    assert caught.value.hint == "modelkeep init"


def test_paths_are_told_from_the_root(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r")
    assert repo.relpath(repo.root) == ""
    assert repo.relpath(repo.root / "a" / ".." / "b") == "b"
    for outside in (tmp_path, tmp_path / "rest", repo.root / ".." / "x", Path("/")):
        with pytest.raises(BadInput, match="outside of the repository"):
            repo.relpath(outside)


def test_a_path_through_a_link_to_the_repository_is_inside(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r")
    (tmp_path / "link").symlink_to(repo.root)
    assert repo.relpath(tmp_path / "link" / "data.csv") == "data.csv"
    assert repo.relpath(tmp_path / "link") == ""
    assert repo.absolute(tmp_path / "link" / "a") == repo.root / "a"
    assert Repository(tmp_path / "link").relpath(repo.root / "data.csv") == "data.csv"


def test_nothing_is_written_by_looking(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r")
    before = sorted(repo.root.rglob("*"))
    assert repo.config.cache_folder == repo.root / ".dvc" / "cache"
    assert repo.ignore.plain
    assert not repo.blobs.has("0" * 32)
    assert repo.git is None
    assert sorted(repo.root.rglob("*")) == before


def test_a_lock_may_be_taken_again_by_its_own_thread_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "r")
    order: list[str] = []

    def other() -> None:
        with repo.writing("data"):
            order.append("other")

    thread = threading.Thread(target=other)
    monkeypatch.chdir(repo.root)
    with repo.writing("data"), repo.writing("data"), repo.writing("data/inside"):
        thread.start()
        thread.join(0.2)
        order.append("mine")
    thread.join()
    assert order == ["mine", "other"]


@pytest.mark.parametrize(
    ("number", "kind", "word"),
    [
        (errno.ENOSPC, Busy, "full"),
        (errno.EDQUOT, Busy, "full"),
        (errno.EACCES, Denied, "no right"),
        (errno.EROFS, Denied, "read-only"),
        (errno.ENAMETOOLONG, BadInput, "too long"),
    ],
)
def test_refusals_of_the_disk_name_file_and_next_step(number: int, kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word) as caught, disk_errors("f"):
        raise OSError(number, os.strerror(number), "/data/f")
    assert "/data/f" in str(caught.value)
