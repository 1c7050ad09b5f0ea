"""Single bits that flip in the cache or on a remote: every one is found, named and healed."""

from __future__ import annotations

import random
import shutil
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.data.verbs.push import push
from modelkeep.data.verbs.verify import verify
from tests.data.transfers import Ground, ground, spoil

FILES = 50


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    """Small files, a folder's manifest and one file of a mebibyte, pushed."""
    found = ground(tmp_path)
    found.folder("data", FILES, size=900)
    found.write("large.bin", random.Random(1).randbytes(1 << 20))
    found.add("large.bin")
    push(found.repo)
    return found


def flipped(here: Ground, rounds: int, at_once: int, remote: str | None, seed: int) -> int:
    """Flips bits of some objects at a time at random places, and expects exactly these to be found and healed."""
    source = random.Random(seed)
    objects = here.objects(None if remote is None else here.remote)
    count = 0
    for _ in range(rounds):
        victims = source.sample(sorted(objects), at_once)
        for oid in victims:
            path = objects[oid]
            bit = source.randrange(path.stat().st_size * 8)
            spoil(path, at=bit // 8, bit=bit % 8)
        found = verify(here.repo, remote=remote)
        assert sorted(one.oid for one in found.bad) == sorted(victims)
        assert found.sound
        for oid in victims:
            assert md5(objects[oid].read_bytes()).hexdigest() == oid[:32]
        shutil.rmtree(here.cache / "modelkeep" / "quarantine", ignore_errors=True)
        count += at_once
    return count


def test_two_hundred_flips_are_found(here: Ground) -> None:
    assert flipped(here, 4, 25, None, 1) + flipped(here, 4, 25, "origin", 2) == 200


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_flips_one_by_one_are_found(here: Ground) -> None:
    assert flipped(here, 500, 1, None, 3) + flipped(here, 500, 1, "origin", 4) == 1000


def test_a_flip_is_noticed_by_whoever_uses_the_object_first(here: Ground) -> None:
    """Not only `verify` looks: an object whose file changed since it was verified is read again before it is used."""
    from modelkeep.data.verbs.pull import pull

    tree = {path: path.read_bytes() for path in (here.root / "data").rglob("*") if path.is_file()}
    here.lose("data")
    victims = sorted(oid for oid in here.objects() if not oid.endswith(".dir"))[:10]
    for oid in victims:
        path = here.objects()[oid]
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[5] ^= 4
        path.write_bytes(bytes(data))
        path.chmod(0o444)
    pull(here.repo)
    assert {path: path.read_bytes() for path in (here.root / "data").rglob("*") if path.is_file()} == tree
