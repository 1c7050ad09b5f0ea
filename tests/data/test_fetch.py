from __future__ import annotations

from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.verbs.fetch import fetch
from modelkeep.data.verbs.push import push
from tests.data.transfers import Ground, git, ground, spoil


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


def test_everything_comes_back_into_an_empty_cache(here: Ground) -> None:
    here.folder("data", 7)
    here.write("one.txt", b"one")
    here.add("one.txt")
    push(here.repo)
    before = here.objects().keys()
    here.lose_cache()
    moved = fetch(here.repo)
    assert moved.objects == 9
    assert here.objects().keys() == before
    for oid, path in here.objects().items():
        assert md5(path.read_bytes()).hexdigest() == oid[:32]
        assert path.stat().st_mode & 0o777 == 0o444
    assert fetch(here.repo).objects == 0


def test_a_part_of_a_folder_brings_only_that_part(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    here.lose_cache()
    moved = fetch(here.repo, [here.root / "data/sub"])
    assert moved.objects == 4  # the manifest and three files
    assert fetch(here.repo, [here.root / "data/sub/f0"]).objects == 0
    assert fetch(here.repo).objects == 4


def test_a_corrupt_remote_object_is_named_and_the_rest_comes(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    here.lose_cache()
    oid, victim = next((oid, path) for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir"))
    spoil(victim, at=10)
    bad = victim.read_bytes()
    with pytest.raises(Corrupt, match=oid) as caught:
        fetch(here.repo)
    assert "data/" in caught.value.message
    assert oid not in here.objects()
    assert len(here.objects()) == 7
    assert victim.read_bytes() == bad, "nobody touches what lies on a remote"


def test_the_next_push_from_where_it_is_sound_heals_the_remote(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    oid, victim = next((oid, path) for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir"))
    spoil(victim, at=10)
    kept = here.root / "kept"
    here.cache.rename(kept)
    fetch(here.repo, strict=False)
    here.lose_cache()
    kept.rename(here.cache)
    assert push(here.repo).objects == 1
    assert md5(victim.read_bytes()).hexdigest() == oid
    assert push(here.repo).objects == 0


def test_a_missing_remote_object_is_named_and_the_rest_comes(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    here.lose_cache()
    oid, victim = next((oid, path) for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir"))
    victim.unlink()
    with pytest.raises(Missing, match=oid):
        fetch(here.repo)
    assert len(here.objects()) == 7


def test_a_missing_manifest_is_named_and_other_outputs_come(here: Ground) -> None:
    here.folder("data", 3)
    here.folder("other", 3, seed=1)
    push(here.repo)
    here.lose_cache()
    manifest = next(path for oid, path in here.objects(here.remote).items() if oid.endswith(".dir"))
    manifest.unlink()
    with pytest.raises(Missing, match=r"data|other"):
        fetch(here.repo)
    assert len(here.objects()) == 4


def test_a_cut_transfer_goes_on_where_it_was(here: Ground) -> None:
    """What an earlier run left is used: whole files without asking again, parts from their end."""
    data = bytes(range(256)) * 4096
    here.write("big.bin", data)
    here.write("small.bin", b"small")
    here.add("big.bin", "small.bin")
    push(here.repo)
    here.lose_cache()
    with here.repo.blobs.incoming() as incoming:
        incoming.path(md5(data).hexdigest()).write_bytes(data[:700_000])
        incoming.path(md5(b"small").hexdigest()).write_bytes(b"small")
    here.objects(here.remote)[md5(b"small").hexdigest()].write_bytes(b"SMALL")  # would be noticed if it were read
    moved = fetch(here.repo)
    assert moved.objects == 1
    assert here.objects().keys() == {md5(data).hexdigest(), md5(b"small").hexdigest()}


def test_a_leftover_that_is_wrong_is_fetched_anew(here: Ground) -> None:
    data = bytes(range(256)) * 4096
    here.write("big.bin", data)
    here.add("big.bin")
    push(here.repo)
    for left in (b"x" * 700_000, b"y" * len(data), b"z" * (len(data) + 5)):
        here.lose_cache()
        with here.repo.blobs.incoming() as incoming:
            incoming.path(md5(data).hexdigest()).write_bytes(left)
        fetch(here.repo)
        assert here.objects()[md5(data).hexdigest()].read_bytes() == data


def test_history_comes_when_asked(here: Ground) -> None:
    for version in range(3):
        here.write("one.txt", b"version %d" % version)
        here.add("one.txt")
        here.commit(f"v{version}")
        if version == 1:
            git(here.root, "tag", "middle")
    push(here.repo, all_commits=True)
    here.lose_cache()
    assert fetch(here.repo).objects == 1
    assert fetch(here.repo, all_tags=True).objects == 1
    assert fetch(here.repo, all_commits=True).objects == 1


def test_legacy_objects_come_from_the_legacy_layout(here: Ground) -> None:
    data = b"a\r\nb\r\n"
    oid = md5(b"a\nb\n").hexdigest()
    (here.root / "old.txt.dvc").write_text(f"outs:\n- md5: {oid}\n  size: {len(data)}\n  path: old.txt\n")
    place = here.remote / oid[:2] / oid[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    assert fetch(here.repo).objects == 1
    assert (here.cache / oid[:2] / oid[2:]).read_bytes() == data


def test_a_corrupt_manifest_in_the_cache_is_fetched_again(here: Ground) -> None:
    here.folder("data", 4)
    push(here.repo)
    manifest = next(path for oid, path in here.objects().items() if oid.endswith(".dir"))
    spoil(manifest, at=5)
    assert fetch(here.repo).objects == 1
    assert fetch(here.repo).objects == 0
