from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelkeep.core.errors import Conflict, Corrupt, Missing
from modelkeep.data.formats import metafile
from modelkeep.data.verbs.pull import pull
from modelkeep.data.verbs.push import push
from tests.data.transfers import Ground, ground, spoil


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_clone_gets_its_data(here: Ground) -> None:
    here.folder("data", 9)
    push(here.repo)
    before = tree(here.root / "data")
    here.lose("data")
    here.lose_cache()
    pulled = pull(here.repo)
    assert tree(here.root / "data") == before
    assert pulled.checked_out.added == ("data/",)
    again = pull(here.repo)
    assert (again.moved.objects, again.checked_out.changed) == (0, False)


def test_a_part_of_a_folder_is_all_that_comes(here: Ground) -> None:
    here.folder("data", 9)
    push(here.repo)
    before = tree(here.root / "data")
    here.lose("data")
    here.lose_cache()
    pull(here.repo, [here.root / "data/sub"])
    assert tree(here.root / "data") == {name: data for name, data in before.items() if name.startswith("sub/")}


def test_one_corrupt_remote_object_does_not_keep_back_the_folder(here: Ground) -> None:
    here.folder("data", 9)
    push(here.repo)
    before = tree(here.root / "data")
    here.lose("data")
    here.lose_cache()
    spoil(next(path for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir")), at=7)
    with pytest.raises(Corrupt):
        pull(here.repo)
    after = tree(here.root / "data")
    assert len(after) == 8
    assert after.items() <= before.items()


def test_one_missing_remote_object_does_not_keep_back_the_folder(here: Ground) -> None:
    here.folder("data", 9)
    push(here.repo)
    here.lose("data")
    here.lose_cache()
    next(path for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir")).unlink()
    with pytest.raises(Missing):
        pull(here.repo)
    assert len(tree(here.root / "data")) == 8


def test_a_corrupt_cache_object_is_fetched_again(here: Ground) -> None:
    here.folder("data", 9)
    push(here.repo)
    before = tree(here.root / "data")
    here.lose("data")
    victim = next(path for oid, path in here.objects().items() if not oid.endswith(".dir"))
    victim.chmod(0o644)
    victim.write_bytes(b"bad")
    pulled = pull(here.repo)
    assert tree(here.root / "data") == before
    assert len(pulled.moved.healed) == 1


def test_local_changes_are_not_overwritten_without_force(here: Ground) -> None:
    here.folder("data", 4)
    push(here.repo)
    name = next(name for name in tree(here.root / "data"))
    here.write(f"data/{name}", b"mine")
    with pytest.raises(Conflict):
        pull(here.repo)
    assert tree(here.root / "data")[name] == b"mine"
    pull(here.repo, force=True)
    assert tree(here.root / "data")[name] != b"mine"


def test_an_import_is_fetched_from_where_it_came(here: Ground, tmp_path: Path) -> None:
    from modelkeep.data.verbs.import_ import import_

    other = ground(tmp_path / "other")
    other.folder("theirs", 4)
    other.commit("theirs")
    push(other.repo)
    import_(here.repo, str(other.root), "theirs", out=str(here.root / "theirs"))
    before = tree(here.root / "theirs")
    assert push(here.repo).objects == 0
    here.lose("theirs")
    here.lose_cache()
    pull(here.repo)
    assert tree(here.root / "theirs") == before
    here.lose("theirs")
    here.lose_cache()
    other.lose_cache()
    for path in other.objects(other.remote).values():
        path.unlink()
    with pytest.raises(Missing, match="theirs"):
        pull(here.repo)


def test_an_import_without_data_gets_it_by_a_pull(here: Ground, tmp_path: Path) -> None:
    from modelkeep.data.verbs.import_ import import_

    other = ground(tmp_path / "other")
    other.folder("theirs", 4)
    other.commit("theirs")
    import_(here.repo, str(other.root), "theirs", out=str(here.root / "first"))
    import_(here.repo, str(other.root), "theirs", out=str(here.root / "second"), no_download=True)
    assert not (here.root / "second").exists()
    pull(here.repo)
    assert tree(here.root / "second") == tree(other.root / "theirs")
    first, second = (metafile.read(here.root / f"{name}.dvc").outs[0] for name in ("first", "second"))
    assert second == replace(first, path="second")
