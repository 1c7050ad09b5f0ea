"""Chunked files: any bytes come back, small edits cost little, whatever is damaged is found and named."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing
from modelkeep.data import chunks
from modelkeep.data.chunks import boundaries, moving, packs, reading, recipe, splice, upkeep
from modelkeep.data.chunks.boundaries import MOST, Gear
from modelkeep.data.chunks.place import Place
from modelkeep.data.chunks.reading import Cutter
from modelkeep.data.progress import SILENT
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.initialise import initialise
from modelkeep.store.remote import Remote, connect

KB, MB = 1 << 10, 1 << 20
STEP = SILENT.begin("test")
SLOW_OK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "repo"
    root.mkdir()
    initialise(root, git=False)
    return Repository.find(root)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / "remote").mkdir()
    return connect(str(tmp_path / "remote"), {})


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def put(repo: Repository, data: bytes, previous: str = "") -> tuple[str, chunks.Stored]:
    oid = hashlib.md5(data).hexdigest()
    path = repo.root / "file"
    path.write_bytes(data)
    return oid, chunks.store(repo, path, oid, STEP, previous=previous)


def got(repo: Repository, oid: str) -> bytes:
    target = repo.root / "back"
    chunks.assemble(repo, oid, target, STEP)
    return target.read_bytes()


def names(tmp_path: Path, data: bytes) -> list[bytes]:
    path = tmp_path / "cut"
    path.write_bytes(data)
    return [name for batch in Cutter(path, STEP).batches() for name, _ in batch]


def usage(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Files of every character: nothing, noise, one byte over and over, a short pattern, text."""
    parts = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["noise", "same", "pattern", "text"]), st.integers(0, 300 * KB), st.integers(0, 9)
            ),
            max_size=4,
        )
    )
    made = bytearray()
    for kind, size, seed in parts:
        if kind == "noise":
            made += noise(size, seed)
        elif kind == "same":
            made += bytes([seed]) * size
        elif kind == "pattern":
            made += (noise(97, seed) * (size // 97 + 1))[:size]
        else:
            made += b"".join(b"%d,%d,row\n" % (row, seed) for row in range(size // 12))
    return bytes(made)


@st.composite
def edited(draw: st.DrawFn, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(made)))
        length = draw(st.integers(0, 3 * KB))
        kind = draw(st.sampled_from(["replace", "insert", "delete", "move"]))
        fresh = noise(length, draw(st.integers(10, 20)))
        if kind == "replace":
            made[at : at + length] = fresh[: max(len(made) - at, 0)]
        elif kind == "insert":
            made[at:at] = fresh
        elif kind == "delete":
            del made[at : at + length]
        else:
            piece = made[at : at + 50 * length]
            del made[at : at + 50 * length]
            made += piece
    return bytes(made)


@SLOW_OK
@given(data=st.data())
def test_any_bytes_and_any_edit_of_them_come_back(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("repo")
    initialise(root, git=False)
    repo = Repository.find(root)
    first = data.draw(contents())
    versions = [first, data.draw(edited(first)), data.draw(edited(first))]
    known = data.draw(st.booleans())
    oids: list[str] = []
    for version in versions:
        oid, stored = put(repo, version, oids[-1] if oids and known else "")
        assert stored.size == len(version)
        oids.append(oid)
    for oid, version in zip(oids, versions, strict=True):
        assert chunks.has(repo, oid)
        assert got(repo, oid) == version
    assert chunks.verify(repo) == []


def test_nothing_is_a_file_too(repo: Repository) -> None:
    oid, stored = put(repo, b"")
    assert stored.chunks == 0
    assert got(repo, oid) == b""


def test_boundaries_depend_on_the_bytes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(9 * MB)
    whole = names(tmp_path, data)
    assert 100 < len(whole) < 250
    assert len(set(names(tmp_path, noise(1000, 3) + data)) - set(whole)) <= 4, "what follows an insertion is the same"
    monkeypatch.setattr(reading, "_BLOCK", 333_333)
    assert names(tmp_path, data) == whole, "however the file was read"
    monkeypatch.setattr(boundaries, "_BLOCK", 1000)
    assert names(tmp_path, data) == whole, "however it was hashed"


def test_chunks_of_dull_bytes_have_sizes_within_the_limits(tmp_path: Path) -> None:
    for data in (bytes(2 * MB), b"ab" * MB, b"0,1,1\n" * 300_000):
        path = tmp_path / "dull"
        path.write_bytes(data)
        sizes = [len(part) for batch in Cutter(path, STEP).batches() for _, part in batch]
        assert sum(sizes) == len(data)
        assert all(boundaries.LEAST <= size <= MOST for size in sizes[:-1])


def test_the_hash_at_a_position_is_the_sum_over_the_window() -> None:
    gear = Gear()
    data = np.frombuffer(noise(500), np.uint8)
    table = gear._table
    found = gear.hashes(data)
    for at in (0, 5, 31, 32, 499):
        window = data[max(at - 31, 0) : at + 1][::-1]
        assert int(found[at]) == sum(int(table[byte]) << age for age, byte in enumerate(window)) % 2**32


def test_one_changed_row_costs_next_to_nothing(repo: Repository, remote: Remote) -> None:
    rows = [
        b"%d,2026-01-%02d,%d,%d\n" % (row, row % 28 + 1, row * 7919 % 10_007, row * row % 977) for row in range(300_000)
    ]
    oid, first = put(repo, b"".join(rows))
    sent = chunks.push(remote, repo, [oid], lambda _: None)
    rows[170_000] = b"170000,2026-02-29,changed and longer,1\n"
    again, second = put(repo, b"".join(rows), oid)
    assert second.new_chunks == 0
    moved = chunks.push(remote, repo, [again], lambda _: None)
    assert moved.done == (again,)
    assert moved.bytes <= 0.02 * first.size
    assert moved.bytes == second.new_bytes
    assert sent.bytes <= 1.01 * first.size


@pytest.mark.parametrize("kind", ["runs", "rows", "shifted rows", "numbers"])
@pytest.mark.parametrize("told", [True, False])
def test_three_versions_with_one_percent_changed_take_little_more_than_one(
    repo: Repository, kind: str, told: bool
) -> None:
    size = 8 * MB
    rng = np.random.default_rng(5)
    data = np.frombuffer(noise(size), np.uint8).copy()
    previous, _ = put(repo, data.tobytes())
    for _ in range(2):
        if kind == "runs":
            for at in rng.integers(0, size - 40 * KB, 2):
                data[at : at + 40 * KB] = rng.integers(0, 256, 40 * KB, dtype=np.uint8)
        elif kind == "rows":
            table = data.reshape(-1, 1024)
            table[rng.choice(len(table), len(table) // 100, replace=False)] = rng.integers(0, 256, 1024, dtype=np.uint8)
        elif kind == "shifted rows":
            pieces = np.split(data, np.sort(rng.integers(0, len(data), 75)))
            data = np.concatenate(
                [part for piece in pieces for part in (piece, rng.integers(0, 256, 500, dtype=np.uint8))]
            )
        else:
            numbers = data[: len(data) // 4 * 4].view(np.uint32)
            numbers[rng.choice(len(numbers), len(numbers) // 100, replace=False)] ^= 12345
        oid, _ = put(repo, data.tobytes(), previous if told else "")
        assert got(repo, oid) == data.tobytes()
        previous = oid if told else ""
    assert usage(Place.of(repo).folder) <= 1.1 * size


@SLOW_OK
@given(old=contents(), data=st.data())
def test_what_is_said_to_be_equal_is_equal(old: bytes, data: st.DataObject) -> None:
    new = data.draw(edited(old))
    shift = data.draw(st.sampled_from([0, 0, 17, -5000, 10**9]))
    left, right = (np.frombuffer(one, np.uint8) for one in (new, old))
    end = 0
    for begin, there, length in splice.align(left, right, shift, Gear()).tolist():
        assert begin >= end
        assert length > 0
        assert new[begin : begin + length] == old[there : there + length]
        end = begin + length


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30, unique_by=lambda pair: pair[0]))
def test_the_longest_rising_selection_rises(pairs: list[tuple[int, int]]) -> None:
    pairs.sort()
    found = splice._rising(pairs)
    assert all(one[1] < other[1] for one, other in pairwise(found))
    assert set(found) <= set(pairs)
    assert bool(found) == bool(pairs)


def test_storing_again_writes_nothing(repo: Repository) -> None:
    oid, _ = put(repo, noise(MB))
    before = usage(Place.of(repo).folder)
    assert put(repo, noise(MB))[1].new_bytes == 0
    assert usage(Place.of(repo).folder) == before
    assert chunks.locate(repo, [oid, "0" * 32]) == {oid}


def test_a_file_that_changed_meanwhile_is_a_conflict_and_leaves_no_recipe(repo: Repository) -> None:
    path = repo.root / "file"
    path.write_bytes(noise(MB))
    with pytest.raises(Conflict, match="file: has changed"):
        chunks.store(repo, path, "0" * 32, STEP)
    assert not chunks.has(repo, "0" * 32)


def test_without_numpy_storing_says_what_to_install_and_the_rest_works(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid, _ = put(repo, noise(200 * KB))
    script = f"""
        import sys
        sys.modules["numpy"] = None
        from pathlib import Path
        from modelkeep.data import chunks
        from modelkeep.data.progress import SILENT
        from modelkeep.data.repository import Repository
        repo = Repository(Path({str(repo.root)!r}))
        assert chunks.has(repo, {oid!r})
        chunks.assemble(repo, {oid!r}, repo.root / "light", SILENT.begin("x"))
        assert chunks.verify(repo) == []
        chunks.collect(repo, [{oid!r}], repo.root / "trash")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)
    assert (repo.root / "light").read_bytes() == noise(200 * KB)
    monkeypatch.setattr("modelkeep.data.chunks.storing.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="numpy") as caught:
        put(repo, b"x")
    assert "modelkeep[server]" in caught.value.hint


def test_every_flipped_bit_is_found_and_named(repo: Repository) -> None:
    oid, _ = put(repo, noise(300 * KB))
    place = Place.of(repo)
    dice = random.Random(7)
    ((pack, pack_path),) = place.packs()
    for path, kind, name in ((pack_path, "pack", pack), (place.recipe(oid), "recipe", oid)):
        sound = path.read_bytes()
        for _ in range(150):
            bad = bytearray(sound)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            path.chmod(0o644)
            path.write_bytes(bad)
            (found,) = chunks.verify(repo)
            assert (found.kind, found.name, found.oids) == (kind, name, (oid,))
        path.write_bytes(sound)
    assert chunks.verify(repo) == []


def test_a_corrupt_pack_is_named_put_aside_and_fetched_again(repo: Repository, remote: Remote) -> None:
    data = noise(2 * MB)
    oid, _ = put(repo, data)
    chunks.push(remote, repo, [oid], lambda _: None)
    ((name, path),) = Place.of(repo).packs()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(MB)
        file.write(b"\0\1\2\3")
    target = repo.root / "out.bin"
    target.write_bytes(b"mine")
    with pytest.raises(Corrupt, match=name) as caught:
        chunks.assemble(repo, oid, target, STEP)
    assert "modelkeep pull" in caught.value.hint
    assert target.read_bytes() == b"mine", "what was there stays"
    assert [one.name for one in repo.root.iterdir() if one.suffix == ".tmp"] == []
    assert not chunks.has(repo, oid)
    moved = chunks.fetch(remote, repo, [oid], lambda _: None)
    assert (moved.objects, moved.done) == (1, (oid,))
    assert got(repo, oid) == data


def test_a_recipe_that_gives_other_bytes_is_put_aside(repo: Repository) -> None:
    oid, _ = put(repo, noise(MB))
    other, _ = put(repo, noise(MB, 1))
    place = Place.of(repo)
    forged = recipe.read(place.recipe(other))
    data = recipe.Recipe(**{name: getattr(forged, name) for name in forged.__slots__} | {"oid": oid}).encode()
    place.write(place.recipe(oid), data)
    with pytest.raises(Corrupt, match="other bytes"):
        got(repo, oid)
    with pytest.raises(Missing):
        got(repo, oid)


def test_a_missing_pack_and_a_missing_recipe_say_what_to_do(repo: Repository) -> None:
    with pytest.raises(Missing, match="no recipe of"):
        got(repo, "0" * 32)
    oid, _ = put(repo, noise(MB))
    ((name, path),) = Place.of(repo).packs()
    path.unlink()
    with pytest.raises(Missing, match=name) as caught:
        got(repo, oid)
    assert caught.value.hint == "modelkeep pull"
    assert chunks.verify(repo)[0].reason == "is not in the cache"


@given(data=st.binary(max_size=300), at=st.integers(0, 400), bit=st.integers(0, 7))
def test_whatever_is_no_recipe_is_corrupt(data: bytes, at: int, bit: int) -> None:
    with pytest.raises(Corrupt):
        recipe.decode(data, "x")
    sound = _small_recipe().encode()
    changed = bytearray(sound)
    changed[at % len(sound)] ^= 1 << bit
    for bad in (bytes(changed), sound[: at % len(sound)]):
        with pytest.raises(Corrupt):
            recipe.decode(bad, "x")
    assert recipe.decode(sound, "x") == _small_recipe()


def _small_recipe() -> recipe.Recipe:
    from array import array

    return recipe.Recipe(
        oid="ab" * 16,
        blake3=bytes(32),
        size=9,
        packs=("cd" * 32,),
        blob_ids=bytes(range(64)),
        blob_pack=array("I", [0, 0]),
        blob_offset=array("I", [8, 13]),
        blob_length=array("I", [5, 7]),
        chunk_extents=array("I", [1, 1]),
        spliced_ids=bytes(32),
        extent_blob=array("I", [0, 1]),
        extent_start=array("I", [0, 2]),
        extent_length=array("I", [5, 4]),
    )


@pytest.mark.parametrize(
    ("field", "value"), [("blob_pack", [0, 9]), ("extent_blob", [0, 7]), ("extent_length", [5, 6]), ("size", 8)]
)
def test_a_strangers_recipe_reaches_nowhere(field: str, value: object) -> None:
    from array import array
    from dataclasses import replace

    forged = replace(_small_recipe(), **{field: array("I", value) if isinstance(value, list) else value})
    with pytest.raises(Corrupt):
        recipe.decode(forged.encode(), "x")


def test_a_clone_fetches_what_was_pushed_and_nothing_twice(repo: Repository, remote: Remote, tmp_path: Path) -> None:
    oid, _ = put(repo, noise(3 * MB))
    newer, _ = put(repo, noise(3 * MB) + b"more", oid)
    chunks.push(remote, repo, [oid, newer], lambda _: None)
    (tmp_path / "clone").mkdir()
    initialise(tmp_path / "clone", git=False)
    clone = Repository.find(tmp_path / "clone")
    heard: list[int] = []
    first = chunks.fetch(remote, clone, [newer], heard.append)
    assert sum(heard) == first.bytes
    assert got(clone, newer) == noise(3 * MB) + b"more"
    second = chunks.fetch(remote, clone, [oid, newer, "0" * 32], lambda _: None)
    assert (second.objects, second.skipped) == (1, 1), "only the other recipe"
    assert [(one, type(error)) for one, error in second.failed] == [("0" * 32, Missing)]
    assert got(clone, oid) == noise(3 * MB)
    assert chunks.push(remote, clone, [oid, newer], lambda _: None).skipped == 2


def test_a_cut_download_is_resumed(repo: Repository, remote: Remote, tmp_path: Path) -> None:
    oid, _ = put(repo, noise(2 * MB))
    chunks.push(remote, repo, [oid], lambda _: None)
    place = Place.of(repo)
    ((name, path),) = place.packs()
    part = place.incoming(f"{name}.part")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(path.read_bytes()[:MB])
    path.unlink()
    heard: list[int] = []
    assert chunks.fetch(remote, repo, [oid], heard.append).failed == ()
    assert sum(heard) < 1.2 * MB
    assert got(repo, oid) == noise(2 * MB)


def test_a_pack_that_is_corrupt_on_the_remote_never_appears(repo: Repository, remote: Remote, tmp_path: Path) -> None:
    oid, _ = put(repo, noise(2 * MB))
    chunks.push(remote, repo, [oid], lambda _: None)
    place = Place.of(repo)
    ((name, path),) = place.packs()
    there = tmp_path / "remote" / moving.pack_key(name)
    bad = bytearray(there.read_bytes())
    bad[MB] ^= 4
    there.chmod(0o644)
    there.write_bytes(bad)
    path.unlink()
    moved = chunks.fetch(remote, repo, [oid], lambda _: None)
    ((failed, error),) = moved.failed
    assert failed == oid
    assert isinstance(error, Corrupt)
    assert name[2:] in error.message
    assert not path.exists()


def test_a_pack_that_is_corrupt_here_is_not_sent_and_neither_is_its_recipe(repo: Repository, remote: Remote) -> None:
    oid, _ = put(repo, noise(2 * MB))
    fine, _ = put(repo, noise(MB, 9))
    place = Place.of(repo)
    path = place.pack(next(iter(chunks.reachable(repo, [oid]))))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    moved = chunks.push(remote, repo, [oid, fine], lambda _: None)
    assert moved.done == (fine,)
    assert [one for one, _ in moved.failed] == [oid]
    assert remote.has([moving.recipe_key(oid), moving.recipe_key(fine)]) == {moving.recipe_key(fine)}


def test_collect_keeps_what_is_kept_and_restore_undoes_it(repo: Repository, tmp_path: Path) -> None:
    old, _ = put(repo, noise(2 * MB))
    new, _ = put(repo, noise(2 * MB) + noise(MB, 4), old)
    gone, _ = put(repo, noise(2 * MB, 8))
    place = Place.of(repo)
    before = sorted(path for _, path in place.packs())
    told = chunks.collect(repo, [new], None)
    assert sorted(path for _, path in place.packs()) == before, "only told"
    found = chunks.collect(repo, [new], repo.root / "trash")
    assert found == told
    assert set(found.recipes) == {old, gone}
    assert set(found.packs) == {path.parent.name + path.name for path in before} - chunks.reachable(repo, [new])
    assert got(repo, new) == noise(2 * MB) + noise(MB, 4)
    assert not chunks.has(repo, gone)
    assert chunks.restore(repo, repo.root / "trash") == 3
    assert got(repo, gone) == noise(2 * MB, 8)
    assert got(repo, old) == noise(2 * MB)
    assert chunks.collect(repo, [], repo.root / "trash", grace_s=3600).recipes == (), "all of it is young"


def test_a_pack_of_which_little_is_needed_is_written_anew(repo: Repository) -> None:
    old, _ = put(repo, noise(6 * MB))
    part = noise(6 * MB)[2 * MB : 3 * MB]
    kept, _ = put(repo, part, old)
    place = Place.of(repo)
    before = usage(place.folder)
    found = chunks.collect(repo, [kept], repo.root / "trash")
    assert len(found.rewritten) == 1
    assert found.packs == ()
    assert usage(place.folder) < 0.4 * before
    assert got(repo, kept) == part
    assert chunks.verify(repo) == []
    chunks.restore(repo, repo.root / "trash")
    assert got(repo, old) == noise(6 * MB), "undo works after a rewrite too"
    assert got(repo, kept) == part


def test_a_damaged_recipe_that_is_kept_stops_a_collection(repo: Repository) -> None:
    oid, _ = put(repo, noise(MB))
    path = Place.of(repo).recipe(oid)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt):
        chunks.collect(repo, [oid], repo.root / "trash")
    assert len(list(Place.of(repo).packs())) == 1


def test_sweep_clears_a_remote(repo: Repository, remote: Remote) -> None:
    old, _ = put(repo, noise(MB))
    new, _ = put(repo, noise(MB) + noise(MB, 3), old)
    gone, _ = put(repo, noise(MB, 5))
    chunks.push(remote, repo, [old, new, gone], lambda _: None)
    told = chunks.sweep(remote, [new])
    assert set(told.recipes) == {old, gone}
    assert len(told.packs) == 1
    assert remote.has([moving.recipe_key(gone)])
    assert chunks.sweep(remote, [new], dry_run=False) == told
    assert {one.key for one in remote.list("chunks/")} == {
        moving.recipe_key(new),
        *map(moving.pack_key, chunks.reachable(repo, [new])),
    }


def test_packs_of_an_interrupted_store_are_used_by_the_next(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Place, path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", broken)
        with pytest.raises(KeyboardInterrupt):
            put(repo, noise(2 * MB))
    assert list(Place.of(repo).recipes()) == []
    oid, stored = put(repo, noise(2 * MB))
    assert stored.new_bytes < 10 * KB
    assert got(repo, oid) == noise(2 * MB)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_store_leaves_nothing_half(repo: Repository, seed: int) -> None:
    data = noise(24 * MB, seed)
    path = repo.root / "file"
    path.write_bytes(data)
    oid = hashlib.md5(data).hexdigest()
    script = f"""
        import os, random
        from pathlib import Path
        from modelkeep.data import chunks
        from modelkeep.data.progress import SILENT
        from modelkeep.data.repository import Repository
        class Step:
            left = random.Random({seed}).randrange(1, 8)
            def add(self, amount):
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), 9)
        chunks.store(Repository(Path({str(repo.root)!r})), Path({str(path)!r}), {oid!r}, Step())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60)
    assert chunks.verify(repo) == []
    if chunks.has(repo, oid):
        return
    chunks.store(repo, path, oid, STEP)
    assert got(repo, oid) == data
    chunks.collect(repo, [oid], repo.root / "trash")
    left = [one for one in (Place.of(repo).folder / "incoming").iterdir() if one.suffix == ".pack"]
    assert left == [], "what the killed one had begun is cleared away"


def _store_one(root: Path, number: int) -> None:
    repo = Repository(root)
    data = noise(3 * MB) + noise(MB, number)
    path = root / f"file{number}"
    path.write_bytes(data)
    chunks.store(repo, path, hashlib.md5(data).hexdigest(), STEP)


def test_many_processes_store_at_once(repo: Repository) -> None:
    context = multiprocessing.get_context("spawn")
    work = [context.Process(target=_store_one, args=(repo.root, number)) for number in (1, 2, 2, 3)]
    for one in work:
        one.start()
    for one in work:
        one.join(60)
    assert [one.exitcode for one in work] == [0] * 4
    for number in (1, 2, 3):
        data = noise(3 * MB) + noise(MB, number)
        assert got(repo, hashlib.md5(data).hexdigest()) == data
    assert chunks.verify(repo) == []


def test_a_base_with_a_corrupt_pack_is_not_built_on(repo: Repository) -> None:
    data = noise(MB)
    oid, _ = put(repo, data)
    ((_, path),) = Place.of(repo).packs()
    bad = bytearray(path.read_bytes())
    bad[1000:2000] = bytes(1000)
    path.chmod(0o644)
    path.write_bytes(bad)
    changed = bytearray(data)
    changed[5] ^= 1
    stored = put(repo, bytes(changed), oid)[1]
    assert (stored.spliced, stored.new_chunks) == (0, 1)


def test_an_index_that_lies_is_no_index(tmp_path: Path) -> None:
    for data in (b"", b"MKPACK\0\1", noise(100), noise(100) + b"\xff\xff\xff\x7f" + b"MKPACK\0\1"):
        path = tmp_path / "pack"
        path.write_bytes(data)
        with pytest.raises(Corrupt):
            packs.read_index(path)
    with pytest.raises(Missing):
        packs.read_index(tmp_path / "none")


def test_quarantine_makes_room_for_a_fetch(repo: Repository, remote: Remote) -> None:
    oid, _ = put(repo, noise(MB))
    chunks.push(remote, repo, [oid], lambda _: None)
    path = Place.of(repo).recipe(oid)
    path.chmod(0o644)
    path.write_bytes(b"nonsense")
    bad = chunks.verify(repo)
    (moved,) = upkeep.quarantine(Place.of(repo), [one for one in bad if one.kind == "recipe"])
    assert moved.read_bytes() == b"nonsense"
    assert chunks.fetch(remote, repo, [oid], lambda _: None).failed == ()
    assert got(repo, oid) == noise(MB)


def test_executables_and_targets_that_are_folders(repo: Repository) -> None:
    oid, _ = put(repo, b"#!/bin/sh\n")
    target = repo.root / "run"
    chunks.assemble(repo, oid, target, STEP, executable=True)
    assert target.stat().st_mode & 0o100
    (repo.root / "folder").mkdir()
    with pytest.raises(BadInput, match="folder"):
        chunks.assemble(repo, oid, repo.root / "folder", STEP)


def test_progress_hears_of_every_byte(repo: Repository) -> None:
    class Heard:
        total = 0

        def add(self, amount: int) -> None:
            self.total += amount

    store: Callable[..., object] = chunks.store
    path = repo.root / "file"
    path.write_bytes(noise(5 * MB))
    oid = hashlib.md5(noise(5 * MB)).hexdigest()
    for work in (lambda step: store(repo, path, oid, step), lambda step: chunks.assemble(repo, oid, path, step)):
        heard = Heard()
        work(heard)  # type: ignore[no-untyped-call]
        assert heard.total == 5 * MB
