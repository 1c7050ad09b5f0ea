"""The cache: DVC's layout and modes, what is there, what is missing, and what cannot be written."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Busy, Corrupt, Denied, Missing
from modelkeep.store.blobs.objects import Blobs, Placing


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def spoil(path: Path, data: bytes) -> None:
    """Replaces an object's bytes as a failing disk would: same file, same mode."""
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_nothing_is_made_before_the_first_write(tmp_path: Path, blobs: Blobs) -> None:
    assert not blobs.has(md5(b""))
    assert blobs.missing([md5(b"")]) == {md5(b"")}
    assert list(blobs.oids()) == []
    assert blobs.verified([md5(b"")]) == []
    assert blobs.scrub() == []
    assert not blobs.folder.exists()


def test_an_object_lies_where_dvc_has_it(blobs: Blobs) -> None:
    oid = blobs.put(b"[]", suffix=".dir")
    assert oid == md5(b"[]") + ".dir"
    path = blobs.folder / "files" / "md5" / oid[:2] / oid[2:]
    assert path == blobs.path(oid)
    assert path.read_bytes() == b"[]"
    assert path.stat().st_mode & 0o7777 == 0o444
    assert blobs.path(oid, legacy=True) == blobs.folder / oid[:2] / oid[2:]
    assert blobs.put(b"[]", suffix=".dir") == oid


@pytest.mark.usefixtures("umask")
def test_folders_follow_the_umask_and_objects_do_not(blobs: Blobs) -> None:
    path = blobs.path(blobs.put(b"x"))
    assert path.stat().st_mode & 0o7777 == 0o444
    assert [folder.stat().st_mode & 0o7777 for folder in list(path.parents)[:3]] == [0o750] * 3


@pytest.mark.usefixtures("umask")
def test_a_shared_cache_is_the_group_s(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"y")
    blobs = Blobs(tmp_path / "cache", shared=True)
    blobs.ingest([tmp_path / "file"])
    for oid in (blobs.put(b"x"), md5(b"y")):
        path = blobs.path(oid)
        assert path.stat().st_mode & 0o7777 == 0o444
        assert [folder.stat().st_mode & 0o7777 for folder in list(path.parents)[:3]] == [0o2775] * 3
        known = blobs.folder / "modelkeep" / "known" / oid[:2]
        assert known.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    "name", ["", "ab", "../../etc/passwd", "A" * 32, "g" * 32, "a" * 33, "a" * 32 + ".dirx", "a" * 32 + "\n"]
)
def test_what_is_no_name_is_no_path(blobs: Blobs, name: str) -> None:
    for ask in (blobs.path, blobs.has, blobs.read, blobs.quarantine, lambda name: blobs.missing([name])):
        with pytest.raises(BadInput, match="is not the md5"):
            ask(name)
    with pytest.raises(BadInput), blobs.incoming() as incoming:
        incoming.path(name)


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_missing_is_what_is_not_there(
    tmp_path_factory: pytest.TempPathFactory, there: set[int], asked: set[int]
) -> None:
    blobs = Blobs(tmp_path_factory.mktemp("missing"))
    names = {number: f"{number % 3:02x}{number:030x}" for number in range(41)}
    for number in there:
        for legacy in (False, True):
            path = blobs.path(names[number], legacy=legacy)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    for legacy in (False, True):
        assert blobs.missing([names[number] for number in asked], legacy=legacy) == {
            names[number] for number in asked - there
        }
    assert sorted(blobs.oids())[::2] == [
        (names[number], 0, blobs.path(names[number]).stat().st_mtime_ns, False)
        for number in sorted(there, key=lambda number: names[number])
    ]


def test_reading_verifies(blobs: Blobs) -> None:
    oid = blobs.put(b"good")
    assert blobs.read(oid) == b"good"
    spoil(blobs.path(oid), b"evil")
    with pytest.raises(Corrupt, match=oid) as refused:
        blobs.read(oid)
    assert not blobs.has(oid)
    (kept,) = (blobs.folder / "modelkeep" / "quarantine").glob(f"{oid}.????????")
    assert kept.read_bytes() == b"evil"
    assert str(kept) in str(refused.value)
    assert md5(b"evil") in kept.with_name(kept.name + ".txt").read_text()
    with pytest.raises(Missing, match=oid):
        blobs.read(oid)
    assert blobs.put(b"good") == oid
    assert blobs.read(oid) == b"good"


def test_putting_does_not_trust_what_is_there(blobs: Blobs) -> None:
    oid = blobs.put(b"good")
    spoil(blobs.path(oid), b"evil")
    assert blobs.put(b"good") == oid
    assert blobs.read(oid) == b"good"


def test_out_and_in_again(tmp_path: Path, blobs: Blobs) -> None:
    oids = [blobs.put(bytes([number]), suffix=".dir" if number % 2 else "") for number in range(20)]
    old = blobs.path(oids[0], legacy=True)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    trash = blobs.folder / "modelkeep" / "trash" / "now"
    assert blobs.move_out([*oids, "f" * 32], trash) == 20
    assert blobs.move_out(oids[:1], trash, legacy=True) == 1
    assert list(blobs.oids()) == []
    assert blobs.move_in(trash) == 21
    assert not trash.exists()
    assert {(oid, legacy) for oid, _, _, legacy in blobs.oids()} == {(oid, False) for oid in oids} | {(oids[0], True)}
    assert blobs.delete([*oids, "f" * 32]) == 20
    assert [oid for oid, _, _, legacy in blobs.oids()] == oids[:1]


def test_what_is_no_object_is_none(blobs: Blobs) -> None:
    oid = blobs.put(b"x")
    (blobs.path(oid).parent / "notes.txt").write_text("mine")
    (blobs.folder / "files" / "md5" / "zz").mkdir()
    (blobs.folder / "ab").write_text("a file where a folder might be")
    assert [one for one, *_ in blobs.oids()] == [oid]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system needs root: mount -t tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_busy_and_nothing_half_is_seen(tmp_path: Path, mounted: Path) -> None:
    blobs = Blobs(mounted / "cache")
    small = blobs.put(b"small")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3 << 20))
    files = [tmp_path / f"{number}" for number in range(30)]
    for file in files:
        file.write_bytes(os.urandom(100_000))
    for work in (
        lambda: blobs.ingest([big]),
        lambda: blobs.ingest(files),
        lambda: blobs.take([(md5(big.read_bytes()), big, None)]),
        lambda: blobs.put(big.read_bytes()),
        lambda: Blobs(mounted / "cache").place([Placing(small, mounted / f"{number}") for number in range(2000)]),
    ):
        with pytest.raises(Busy, match=str(mounted)):
            work()
        assert [oid for oid, *_ in blobs.oids()] == [small]
        assert blobs.read(small) == b"small"
        assert not any((blobs.folder / "modelkeep" / "incoming").iterdir())
    placed = [path for path in mounted.iterdir() if path.name != "cache"]
    assert len(placed) < 2000
    for path in placed:
        assert path.read_bytes() == b"small"  # those that fitted are whole, and nothing else is there
        path.unlink()
    other = Blobs(tmp_path / "other")
    (digest,) = other.ingest([big])
    (mounted / "w").mkdir()
    (mounted / "w" / "big").write_bytes(b"what was there")
    with pytest.raises(Busy, match="mounted"):
        other.place([Placing(digest.md5, mounted / "w" / "big")])
    assert [path.name for path in (mounted / "w").iterdir()] == ["big"]
    assert (mounted / "w" / "big").read_bytes() == b"what was there"


def test_a_read_only_cache_can_be_read_from(tmp_path: Path, mounted: Path) -> None:
    writing = Blobs(mounted)
    oid, bad = writing.put(b"x"), writing.put(b"y")
    spoil(writing.path(bad), b"z")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    blobs = Blobs(mounted)
    assert blobs.has(oid)
    assert blobs.read(oid) == b"x"
    placed = blobs.place([Placing(oid, tmp_path / "w" / "a"), Placing(bad, tmp_path / "w" / "b")])
    assert (tmp_path / "w" / "a").read_bytes() == b"x"
    assert [one.oid for one in placed.bad] == [bad]
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["a"]
    assert blobs.verified([oid, bad]) == [bad]
    assert [one.oid for one in blobs.scrub()] == [bad]
    assert blobs.quarantine(bad) == blobs.path(bad)
    (tmp_path / "new").write_bytes(b"new")
    for work in (
        lambda: blobs.put(b"new"),
        lambda: blobs.ingest([tmp_path / "new"]),
        lambda: blobs.incoming(),
        lambda: blobs.delete([oid]),
        lambda: blobs.move_out([oid], mounted / "trash"),
    ):
        with pytest.raises(Denied, match=str(mounted)):
            work()
