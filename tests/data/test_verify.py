from __future__ import annotations

import random
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.push import push
from modelkeep.data.verbs.verify import verify
from tests.data.transfers import Ground, ground, spoil


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


def members(here: Ground, where: Path | None = None) -> list[tuple[str, Path]]:
    return sorted((oid, path) for oid, path in here.objects(where).items() if not oid.endswith(".dir"))


def test_a_sound_cache_is_read_whole(here: Ground) -> None:
    here.folder("data", 5)
    found = verify(here.repo)
    assert (found.checked, found.bad, found.sound) == (6, (), True)
    assert found.bytes == sum(path.stat().st_size for path in here.objects().values())


def test_a_flipped_bit_is_found_named_and_healed_from_the_workspace(here: Ground) -> None:
    here.folder("data", 5)
    oid, victim = members(here)[0]
    spoil(victim, at=50)
    found = verify(here.repo)
    [bad] = found.bad
    assert (bad.oid, bad.where, bad.healed) == (oid, "cache", True)
    assert bad.path.startswith("data/")
    assert md5(victim.read_bytes()).hexdigest() == oid
    assert verify(here.repo).bad == ()


def test_without_a_copy_in_the_workspace_the_remote_heals(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    here.lose("data")
    for _, victim in members(here)[:2]:
        spoil(victim, at=50)
    found = verify(here.repo)
    assert len(found.healed) == 2
    assert found.sound


def test_no_heal_only_tells(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    spoil(members(here)[0][1], at=50)
    found = verify(here.repo, heal=False)
    assert not found.sound
    assert len(found.bad) == 1


def test_a_bad_manifest_is_found_and_its_folder_read_all_the_same(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    here.lose("data")
    spoil(next(path for oid, path in here.objects().items() if oid.endswith(".dir")), at=4)
    spoil(members(here)[0][1], at=50)
    found = verify(here.repo)
    assert len(found.healed) == 2
    assert found.checked == 6


def test_what_nothing_tracks_is_read_with_all(here: Ground) -> None:
    here.write("one.txt", b"one")
    here.add("one.txt")
    (here.root / "one.txt.dvc").unlink()
    spoil(here.objects()[md5(b"one").hexdigest()], at=0)
    assert verify(here.repo).checked == 0
    found = verify(here.repo, all=True)
    [bad] = found.bad
    assert (bad.path, bad.healed) == (md5(b"one").hexdigest(), False)


def test_a_remote_is_read_and_healed(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    oid, victim = members(here, here.remote)[0]
    spoil(victim, at=50)
    gone = members(here, here.remote)[1]
    gone[1].unlink()
    told = verify(here.repo, remote="origin", heal=False)
    assert {one.oid for one in told.bad} == {oid, gone[0]}
    assert not told.sound
    healed = verify(here.repo, remote="")
    assert healed.sound
    assert len(healed.healed) == 2
    assert md5(victim.read_bytes()).hexdigest() == oid
    assert gone[1].exists()
    assert verify(here.repo, remote="origin").bad == ()


def test_a_remote_elsewhere_is_read_through_copies_that_are_gone_afterwards(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.folder("data", 5)
    push(here.repo)
    monkeypatch.setattr("modelkeep.data.moving.cloud._local", lambda url: None)
    oid, victim = members(here, here.remote)[0]
    spoil(victim, at=50)
    found = verify(here.repo, remote="origin", heal=False)
    assert [one.oid for one in found.bad] == [oid]
    assert found.checked == 6
    assert not list(here.repo.private.glob("verify.*"))


def test_a_bad_remote_object_without_a_sound_copy_stays_bad(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    here.lose("data")
    oid, victim = members(here, here.remote)[0]
    spoil(victim, at=50)
    here.objects()[oid].unlink()
    found = verify(here.repo, remote="origin")
    assert not found.sound
    assert found.bad[0].oid == oid


def test_a_bad_pack_is_named_and_fetched_again(here: Ground) -> None:
    pytest.importorskip("numpy")
    data = random.Random(1).randbytes(1 << 20)
    here.write("model.bin", data)
    add(here.repo, [here.root / "model.bin"], chunked=True)
    push(here.repo)
    [pack] = [path for path in (here.cache / "modelkeep/chunks/packs").rglob("*") if path.is_file()]
    spoil(pack, at=1000)
    told = verify(here.repo, heal=False)
    assert [one.path for one in told.bad] == ["model.bin"]
    assert not told.sound
    found = verify(here.repo)
    assert found.sound
    here.lose("model.bin")
    checkout(here.repo)
    assert (here.root / "model.bin").read_bytes() == data
