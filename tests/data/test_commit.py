from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import Conflict, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.commit import commit
from modelkeep.data.verbs.status import status
from tests.data.workspaces import again, grow, held, objects, repository, run_dvc


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r")
    monkeypatch.chdir(made.root)
    grow(made.root, {"f": b"1", "data/x": b"x", "data/sub/y": b"y"})
    add(made, ["f", "data"])
    return again(made)


def test_changes_are_recorded_and_stored(repo: Repository) -> None:
    grow(repo.root, {"f": b"2", "data/x": b"x2"})
    done = commit(repo)
    assert {item.path: (item.changed, item.new_files) for item in done.items} == {"f": (True, 1), "data": (True, 1)}
    assert status(again(repo)).clean
    assert not any(item.changed for item in commit(again(repo)).items)


def test_a_part_of_a_folder_is_recorded_alone(repo: Repository) -> None:
    grow(repo.root, {"data/x": b"x2", "data/sub/y": b"y2"})
    assert commit(repo, ["data/sub"]).items[0].path == "data/sub"
    (item,) = (item for item in status(again(repo)).items if item.path == "data")
    assert (item.modified.names, item.added.count, item.deleted.count) == (("x",), 0, 0)


def test_what_is_not_there_is_left_alone_unless_it_is_named(repo: Repository) -> None:
    (repo.root / "f").unlink()
    assert [item.path for item in commit(repo).items] == ["data"]
    with pytest.raises(Missing, match="f: is not there") as caught:
        commit(again(repo), ["f"])
    assert caught.value.hint == "modelkeep checkout f"


def test_objects_that_went_are_stored_again(repo: Repository) -> None:
    before = objects(repo)
    shutil.rmtree(repo.blobs.folder)
    commit(again(repo))
    assert objects(repo) == before


@pytest.mark.needs("dvc")
def test_a_commit_writes_what_dvc_writes(repo: Repository) -> None:
    other = repo.root.parent / "twin"
    grow(repo.root, {"f": b"22", "data/new": b"n"})
    (repo.root / "data/x").unlink()
    shutil.copytree(repo.root, other)
    commit(repo)
    run_dvc(Repository(other), "commit", "-q", "-f")
    for name in ("f.dvc", "data.dvc"):
        assert (repo.root / name).read_bytes() == (other / name).read_bytes()
    assert objects(repo) == objects(Repository(other))


@pytest.mark.slow
@pytest.mark.needs("dvc")
def test_a_pipeline_is_recorded_by_dvc_only(repo: Repository) -> None:
    run_dvc(repo, "stage", "add", "-q", "-n", "make", "-o", "made", "echo 1 > made")
    run_dvc(repo, "repro", "-q")
    assert not commit(again(repo), ["made"]).items[0].changed
    grow(repo.root, {"made": b"by hand"})
    with pytest.raises(Conflict, match="records it for a pipeline"):
        commit(again(repo), ["made"])


def _work(root: Path, number: int) -> None:
    """One of eight: adds its own file, then all fight over one folder."""
    for turn in range(3):
        grow(root, {f"own/{number}": f"{number} {turn}".encode()})
        add(Repository(root), [root / f"own/{number}"])
        add(Repository(root), [root / "data"])
        commit(Repository(root), [root / "f"])
        checkout(Repository(root), [root / f"own/{number}", root / "data"])
        status(Repository(root))


def test_eight_processes_on_one_repository_all_succeed(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", git=True)
    grow(repo.root, {"f": b"1", **{f"data/{name}": b"x" * name for name in range(20)}})
    add(repo, [repo.root / "f", repo.root / "data"])
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_work, args=(repo.root, number)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert status(again(repo)).clean
    assert (repo.root / "own/.gitignore").read_text(encoding="utf-8").split() == sorted(
        (f"/{number}" for number in range(8)),
        key=(repo.root / "own/.gitignore").read_text(encoding="utf-8").split().index,
    )
    assert len(held(repo.root / "own")) == 17
