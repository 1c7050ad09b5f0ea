from __future__ import annotations

import os
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Corrupt, Missing
from modelkeep.data.moving.cloud import Cloud, key_of
from modelkeep.data.verbs.push import push
from tests.data.transfers import Ground, git, ground, spoil


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


def oid_of(data: bytes) -> str:
    return md5(data).hexdigest()


def test_a_push_sends_files_and_folders_in_dvcs_layout(here: Ground) -> None:
    here.write("one.txt", b"one")
    here.add("one.txt")
    here.folder("data", 7)
    moved = push(here.repo)
    assert moved.objects == 9
    assert here.objects(here.remote).keys() == here.objects().keys()
    for oid, path in here.objects(here.remote).items():
        assert oid_of(path.read_bytes()) == oid[:32]


def test_a_second_push_sends_nothing(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    before = {path: path.stat().st_mtime_ns for path in here.objects(here.remote).values()}
    moved = push(here.repo)
    assert (moved.objects, moved.bytes, moved.faults) == (0, 0, ())
    assert {path: path.stat().st_mtime_ns for path in here.objects(here.remote).values()} == before


def test_only_what_is_new_is_sent(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    here.write("data/new", b"new")
    here.add("data")
    assert push(here.repo).objects == 2  # the file and the new manifest


def test_an_object_that_vanished_from_the_remote_is_sent_again(here: Ground) -> None:
    here.folder("data", 7)
    push(here.repo)
    old = here.remote / "files" / "md5"
    for folder in (old, *old.iterdir()):  # long settled: the next push may remember it
        os.utime(folder, (1_000_000_000, 1_000_000_000))
    assert push(here.repo).objects == 0
    seen = list((here.repo.private / "remotes").iterdir())
    assert seen, "nothing was remembered"
    victim = next(path for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir"))
    victim.unlink()
    assert push(here.repo).objects == 1
    assert victim.exists()


def test_a_folder_that_a_remote_elsewhere_holds_is_asked_for_by_its_manifest_alone(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.folder("data", 7)
    asked: list[int] = []
    cloud = Cloud.open(here.repo)
    cloud.folder = None  # type: ignore[misc]
    has = cloud.remote.has
    monkeypatch.setattr(cloud.remote, "has", lambda keys: asked.append(len(list(keys))) or has(keys), raising=False)
    from modelkeep.data.moving.sending import send
    from modelkeep.data.moving.wanted import wanted
    from modelkeep.data.progress import SILENT

    outs = wanted(here.repo, pushing=True)
    send(here.repo, cloud, outs, SILENT)
    send(here.repo, cloud, outs, SILENT)
    assert asked == [8, 1]
    cloud.remote.delete([key_of(outs[0].oid)])
    assert send(here.repo, cloud, outs, SILENT).objects == 1
    assert asked == [8, 1, 1, 8]


def test_the_manifest_goes_last_and_not_at_all_when_a_member_is_nowhere(here: Ground) -> None:
    here.folder("data", 5)
    victim = next(path for oid, path in here.objects().items() if not oid.endswith(".dir"))
    content = victim.read_bytes()
    victim.unlink()
    for path in (here.root / "data").rglob("*"):
        if path.is_file() and path.read_bytes() == content:
            path.unlink()
            name = path.relative_to(here.root).as_posix()
    with pytest.raises(Missing, match=name):
        push(here.repo)
    there = here.objects(here.remote)
    assert len(there) == 4
    assert not any(oid.endswith(".dir") for oid in there)


def test_a_corrupt_object_never_leaves_and_is_named_when_there_is_no_sound_copy(here: Ground) -> None:
    here.folder("data", 5)
    here.write("one.txt", b"one")
    here.add("one.txt")
    here.lose("data", "one.txt")
    victim = here.objects()[oid_of(b"one")]
    victim.chmod(0o644)
    victim.write_bytes(b"two")
    with pytest.raises(Corrupt, match=r"one\.txt"):
        push(here.repo)
    assert oid_of(b"one") not in here.objects(here.remote)
    assert len(here.objects(here.remote)) == 6
    assert not victim.exists(), "it is in quarantine"


def test_a_corrupt_object_is_replaced_from_the_workspace(here: Ground) -> None:
    here.folder("data", 5)
    victim = next(path for oid, path in here.objects().items() if not oid.endswith(".dir"))
    victim.chmod(0o644)
    victim.write_bytes(b"wrong")
    moved = push(here.repo)
    assert len(moved.healed) == 1
    assert moved.healed[0].startswith("data/")
    for oid, path in here.objects(here.remote).items():
        assert oid_of(path.read_bytes()) == oid[:32]


def test_a_corrupt_manifest_is_replaced_from_the_remote(here: Ground) -> None:
    here.folder("data", 5)
    push(here.repo)
    victim = next(path for oid, path in here.objects().items() if oid.endswith(".dir"))
    spoil(victim, at=3)
    here.write("data/x", b"x")  # so that the workspace is of no help
    (next((here.root / "data").glob("f*"))).unlink()
    for file in (here.repo.private / "remotes").glob("*"):
        file.unlink()
    moved = push(here.repo)
    assert moved.healed == ("data",)


def test_what_is_not_to_be_pushed_stays(here: Ground) -> None:
    here.write("one.txt", b"one")
    here.add("one.txt")
    metafile = here.root / "one.txt.dvc"
    metafile.write_text(metafile.read_text() + "  push: false\n")
    assert push(here.repo).objects == 0


def test_an_output_goes_to_the_remote_it_asks_for(here: Ground, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    config = here.root / ".dvc" / "config"
    config.write_text(config.read_text() + f"['remote \"second\"']\n    url = {tmp_path / 'second'}\n")
    here.write("one.txt", b"one")
    here.write("two.txt", b"two")
    here.add("one.txt", "two.txt")
    metafile = here.root / "one.txt.dvc"
    metafile.write_text(metafile.read_text() + "  remote: second\n")
    moved = push(here.repo)
    assert sorted(moved.remotes) == ["origin", "second"]
    assert list(here.objects(tmp_path / "second")) == [oid_of(b"one")]
    assert list(here.objects(here.remote)) == [oid_of(b"two")]
    assert push(here.repo, remote="origin").objects == 0  # one.txt belongs elsewhere


def test_a_part_of_a_folder_can_be_pushed_without_its_manifest(here: Ground) -> None:
    here.folder("data", 6)
    assert push(here.repo, [here.root / "data/sub"]).objects == 2
    assert not any(oid.endswith(".dir") for oid in here.objects(here.remote))
    assert push(here.repo).objects == 5


def test_history_is_pushed_when_asked(here: Ground) -> None:
    for version in range(3):
        here.write("one.txt", b"version %d" % version)
        here.add("one.txt")
        here.commit(f"v{version}")
        if version == 0:
            git(here.root, "tag", "first")
    assert push(here.repo).objects == 1
    assert push(here.repo, all_tags=True).objects == 1
    assert push(here.repo, all_commits=True).objects == 1
    assert len(here.objects(here.remote)) == 3


def test_legacy_outputs_go_to_the_legacy_layout(here: Ground) -> None:
    data = b"a\r\nb\r\n"
    oid = oid_of(b"a\nb\n")
    here.write("old.txt", data)
    (here.root / "old.txt.dvc").write_text(f"outs:\n- md5: {oid}\n  size: {len(data)}\n  path: old.txt\n")
    place = here.cache / oid[:2] / oid[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    assert push(here.repo).objects == 1
    assert (here.remote / oid[:2] / oid[2:]).read_bytes() == data
    assert push(here.repo).objects == 0


def test_no_remote_is_a_clear_error(here: Ground) -> None:
    (here.root / ".dvc" / "config").write_text("")
    here.write("one.txt", b"one")
    here.add("one.txt")
    with pytest.raises(Missing):
        push(here.repo)


def test_a_remote_that_dvc_keeps_in_another_layout_is_refused(here: Ground) -> None:
    config = here.root / ".dvc" / "config"
    config.write_text(config.read_text() + "    version_aware = true\n")
    here.write("one.txt", b"one")
    here.add("one.txt")
    with pytest.raises(BadInput, match="version_aware"):
        push(here.repo)
