"""Every single flipped bit is found, and nothing that is sound is called bad."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from modelkeep.store.blobs import checking
from modelkeep.store.blobs.hashed import LARGE, dos2unix_md5
from modelkeep.store.blobs.known import Known, Sound, Stamp
from modelkeep.store.blobs.objects import Blobs


class Heard:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> None:
        self.total += amount


def flip(path: Path, bit: int) -> None:
    """Flips one bit behind everybody's back: the stamp stays what it was."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0] ^ (1 << bit % 8)
        file.seek(bit // 8)
        file.write(bytes([byte]))
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def filled(folder: Path, count: int) -> tuple[Blobs, list[str]]:
    (folder / "w").mkdir()
    sizes = [LARGE + 5, 2 * LARGE] + [1 + number * 37 % 9000 for number in range(count - 2)]
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / "w" / str(number))
        paths[-1].write_bytes(random.Random(number).randbytes(size))
    blobs = Blobs(folder / "cache")
    return blobs, [one.md5 for one in blobs.ingest(paths)]


def all_found(folder: Path, count: int, flips: int) -> None:
    blobs, oids = filled(folder, count)
    chance, heard = random.Random(7), Heard()
    total = sum(size for _, size, *_ in blobs.oids())
    assert blobs.scrub(step=heard) == []
    assert heard.total == total
    chosen = chance.sample(oids, flips)
    for oid in chosen:
        flip(blobs.path(oid), chance.randrange(8 * blobs.path(oid).stat().st_size))
    assert blobs.verified(chosen) == []  # a stamp is no proof against this
    bad = Blobs(blobs.folder).scrub()
    assert sorted(one.oid for one in bad) == sorted(chosen)
    assert len(list((blobs.folder / "modelkeep" / "quarantine").glob("*.txt"))) == flips
    assert blobs.missing(oids) == set(chosen)
    assert Blobs(blobs.folder).scrub() == []


def test_two_hundred_flipped_bits_are_found(tmp_path: Path) -> None:
    all_found(tmp_path, 250, 200)


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_found(tmp_path: Path) -> None:
    all_found(tmp_path, 3000, 1000)


@pytest.mark.parametrize("size", [100, LARGE + 5])
def test_first_use_reads_and_later_ones_do_not(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path)
    oid = blobs.put(b"x" * size)
    for shard in (tmp_path / "modelkeep" / "known").iterdir():
        shard.unlink()
    flip(blobs.path(oid), 0)
    assert Blobs(tmp_path).verified([oid]) == [oid]
    assert blobs.put(b"x" * size) == oid
    assert Blobs(tmp_path).verified([oid]) == []
    monkeypatch.setattr(checking, "check", lambda *_: pytest.fail("it was verified before"))
    assert Blobs(tmp_path).verified([oid]) == []


def test_a_wrong_record_makes_no_object_bad(tmp_path: Path) -> None:
    blobs, (oid, *_) = filled(tmp_path, 2)
    known = Known(blobs.folder / "modelkeep" / "known")
    stamp = known.of(oid)
    assert stamp is not None
    assert stamp.blake3
    known.remember({oid: Sound(Stamp(*stamp.stamp), b"\1" * 32)})
    assert Blobs(blobs.folder).scrub() == []
    assert Blobs(blobs.folder).known.of(oid) == stamp  # and it is put right


def test_naming_some_checks_those(tmp_path: Path) -> None:
    blobs, oids = filled(tmp_path, 6)
    for oid in oids[:4]:
        flip(blobs.path(oid), 3)
    assert sorted(one.oid for one in blobs.scrub(oids[2:])) == sorted(oids[2:4])
    assert sorted(one.oid for one in blobs.scrub(["f" * 32, *oids])) == sorted(oids[:2])


def test_both_layouts_are_read(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "cache")
    text = tmp_path / "text"
    text.write_bytes(b"a\r\nb\r\n")
    names = [dos2unix_md5(text), "0" * 31 + "1"]
    for oid in names:
        path = blobs.path(oid, legacy=True)
        path.parent.mkdir(parents=True)
        path.write_bytes(text.read_bytes())
    assert [one.oid for one in blobs.scrub()] == names[1:]
    assert blobs.has(names[0], legacy=True)


def test_an_object_that_the_disk_cannot_read_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, oids = filled(tmp_path, 4)
    broken = {str(blobs.path(oids[0])), str(blobs.path(oids[2]))}
    real = os.open

    def failing(path: str, *args: int, **more: int) -> int:
        if str(path) in broken:
            raise OSError(5, "Input/output error", str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", failing)
    found = blobs.scrub()
    assert sorted(one.oid for one in found) == sorted([oids[0], oids[2]])
    assert {one.reason for one in found} == {"cannot be read: Input/output error"}
