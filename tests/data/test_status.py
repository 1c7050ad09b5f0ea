from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.status import status
from tests.data.workspaces import again, grow, repository, run_dvc

FOLDER = {"x": b"x", "sub/y": b"y", "sub/z": b"z"}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "r")
    grow(made.root, {"a.csv": b"a\n", **{f"data/{name}": data for name, data in FOLDER.items()}})
    monkeypatch.chdir(made.root)
    add(made, ["a.csv", "data"])
    return again(made)


def states(repo: Repository, *targets: str) -> dict[str, str]:
    return {item.path: item.state for item in status(again(repo), targets).items}


def test_nothing_changed(repo: Repository) -> None:
    assert status(repo).clean
    assert states(repo) == {"a.csv": "up to date", "data": "up to date"}


def test_changes_are_counted_and_named(repo: Repository) -> None:
    grow(repo.root / "data", {"new": b"n", "x": b"changed"})
    (repo.root / "data/sub/y").unlink()
    (repo.root / "a.csv").unlink()
    found = {item.path: item for item in status(again(repo)).items}
    assert found["a.csv"].state == "deleted"
    item = found["data"]
    assert item.state == "modified"
    assert (item.added.names, item.modified.names, item.deleted.names) == (("new",), ("x",), ("sub/y",))
    assert states(repo, "data/sub/z") == {"data/sub/z": "up to date"}
    assert states(repo, "data/sub") == {"data/sub": "modified"}


def test_objects_that_leave_the_cache_are_noticed_even_when_all_was_well_before(repo: Repository) -> None:
    member = repo.blobs.path("9dd4e461268c8034f5c8564e155c67a6")
    assert member.read_bytes() == b"x"
    import time

    time.sleep(2.6)  # until the cache's folders have settled
    assert status(again(repo)).clean
    assert (repo.private / "present").is_file()
    assert status(again(repo)).clean
    member.rename(repo.root / "kept")
    item = {item.path: item for item in status(again(repo)).items}["data"]
    assert (item.state, item.uncached.names) == ("not in cache", ("x",))
    (repo.root / "kept").rename(member)
    assert status(again(repo)).clean


def test_a_missing_manifest_is_noticed(repo: Repository) -> None:
    (manifest,) = (repo.blobs.path(oid) for oid, *_ in repo.blobs.oids() if oid.endswith(".dir"))
    manifest.unlink()
    assert states(repo) == {"a.csv": "up to date", "data": "not in cache"}
    shutil.rmtree(repo.root / "data")
    assert states(repo)["data"] == "not in cache"


def test_modes_empty_folders_and_links_count_where_a_side_file_names_them(repo: Repository) -> None:
    (repo.root / "data/x").chmod(0o755)
    assert status(again(repo)).clean  # as with DVC: nobody asked for modes yet
    add(again(repo), ["data"])
    assert (repo.root / "data.dvc.side").read_text(encoding="utf-8") == "executable:\n- x\n"
    assert status(again(repo)).clean
    (repo.root / "data/x").chmod(0o644)
    (repo.root / "data/hollow").mkdir()
    for _ in range(2):
        item = {item.path: item for item in status(again(repo)).items}["data"]
        assert (item.state, item.attributes.names) == ("modified", ("hollow", "x"))


def test_unknown_targets_and_broken_links(repo: Repository) -> None:
    with pytest.raises(Missing, match="not tracked"):
        status(repo, ["nothing"])
    (repo.root / "data/broken").symlink_to("/nowhere/at/all")
    with pytest.raises(BadInput, match="data/broken"):
        status(again(repo))


@pytest.mark.needs("dvc")
def test_states_are_those_of_dvc(repo: Repository) -> None:
    import msgspec

    (repo.root / "data/x").write_bytes(b"other")
    (repo.root / "a.csv").unlink()
    grow(repo.root, {"b": b"b", "c": b"c"})
    add(again(repo), ["b", "c"])
    repo.blobs.path("4a8a08f09d37b73795649038408b5f33").unlink()  # c
    theirs = msgspec.json.decode(run_dvc(repo, "status", "--json"))
    ours = {
        f"{item.metafile}": [{"changed outs": {item.path: item.state}}]
        for item in status(again(repo)).items
        if item.state != "up to date"
    }
    assert ours == theirs
