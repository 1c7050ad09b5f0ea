"""Objects become workspace files: verified, whole, and nothing is removed that is not replaced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.store import forked
from modelkeep.store.blobs import links, placing, publish
from modelkeep.store.blobs.hashed import LARGE, dos2unix_md5
from modelkeep.store.blobs.objects import Blobs, Placing

KINDS = ["copy", "hardlink", "symlink"]


class Heard:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> None:
        self.total += amount


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what only a power loss could show."""
    monkeypatch.setattr(publish, "sync_files", lambda *_: None)
    monkeypatch.setattr(publish, "sync_names", lambda *_: None)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


def again(blobs: Blobs) -> Blobs:
    """The same cache, in a process that has not seen it."""
    return Blobs(blobs.folder)


def spoil(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def left(folder: Path) -> list[str]:
    """Everything below a folder that was not asked for."""
    return [str(path) for path in folder.rglob("*") if ".modelkeep" in path.name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7, LARGE + 7])
def test_each_kind(tmp_path: Path, blobs: Blobs, kind: str, size: int) -> None:
    oid, target, heard = blobs.put(b"x" * size), tmp_path / "w" / "deep" / "er" / "file", Heard()
    placed = blobs.place([Placing(oid, target)], link_types=[kind], step=heard)
    assert (placed.files, placed.size, placed.bad, placed.missing, placed.kind) == (1, size, (), (), kind)
    assert heard.total == size
    assert target.read_bytes() == b"x" * size
    source = blobs.path(oid)
    assert target.samefile(source) == (kind != "copy")
    assert target.is_symlink() == (kind == "symlink")
    if kind == "symlink":
        assert target.readlink() == source
    assert target.stat().st_mode & 0o222 == (0o200 if kind == "copy" else 0)
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 7, LARGE + 7])
def test_an_executable_or_empty_file_is_a_copy(tmp_path: Path, blobs: Blobs, kind: str, size: int) -> None:
    oid = blobs.put(b"x" * size)
    blobs.place([Placing(oid, tmp_path / "w" / "run", True), Placing(oid, tmp_path / "w" / "plain")], link_types=[kind])
    assert (tmp_path / "w" / "run").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "w" / "run").samefile(blobs.path(oid))
    assert (tmp_path / "w" / "plain").samefile(blobs.path(oid)) == (kind != "copy" and size > 0)
    assert blobs.path(oid).stat().st_mode & 0o777 == 0o444


PATHS = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "f/g/h/a", "f/g/b", "i/a"])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=st.sets(PATHS),
    new=st.dictionaries(PATHS, st.tuples(st.integers(0, 3), st.booleans()), min_size=1),
    known=st.booleans(),
)
def test_what_was_asked_for_is_there_and_the_rest_is_untouched(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    old: set[str],
    new: dict[str, tuple[int, bool]],
    known: bool,
) -> None:
    folder = tmp_path_factory.mktemp("place")
    blobs = Blobs(folder / "cache")
    oids = [blobs.put(b"object %d" % number) for number in range(4)]
    if not known:
        for shard in (blobs.folder / "modelkeep" / "known").iterdir():
            shard.unlink()
    for name in old:
        (folder / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "w" / name).write_bytes(b"old " + name.encode())
    items = [Placing(oids[number], folder / "w" / name, runs) for name, (number, runs) in new.items()]
    placed = again(blobs).place(items, link_types=[kind])
    assert placed.files == len(new)
    expected = {name: b"old " + name.encode() for name in old}
    expected |= {name: b"object %d" % number for name, (number, _) in new.items()}
    found = {str(path.relative_to(folder / "w")): path for path in (folder / "w").rglob("*") if not path.is_dir()}
    assert {name: path.read_bytes() for name, path in found.items()} == expected
    assert {name for name in new if found[name].stat().st_mode & 0o100} == {name for name in new if new[name][1]}
    assert list((blobs.folder / "modelkeep" / "incoming").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7, LARGE + 7])
@pytest.mark.parametrize("there", [True, False])
def test_a_bad_object_is_never_placed(tmp_path: Path, blobs: Blobs, kind: str, size: int, there: bool) -> None:
    good, bad = blobs.put(b"good" * size), blobs.put(b"b" * size)
    spoil(blobs.path(bad), b"c" * size)
    folder = tmp_path / "w"
    if there:
        folder.mkdir()
        (folder / "bad").write_bytes(b"what was there")
    items = [Placing(good, folder / "good"), Placing(bad, folder / "bad"), Placing(bad, folder / "twice")]
    placed = again(blobs).place(items, link_types=[kind])
    assert [one.oid for one in placed.bad] == [bad]
    assert hashlib.md5(b"c" * size).hexdigest() in placed.bad[0].reason
    assert placed.files == 1
    assert sorted(path.name for path in folder.iterdir()) == (["bad", "good"] if there else ["good"])
    assert not there or (folder / "bad").read_bytes() == b"what was there"
    assert not blobs.has(bad)
    assert again(blobs).place(items, link_types=[kind]).missing == (bad,)


def test_what_is_not_in_the_cache_is_told(tmp_path: Path, blobs: Blobs) -> None:
    placed = blobs.place([Placing("a" * 32, tmp_path / "w" / "a"), Placing("b" * 32, tmp_path / "w" / "b")])
    assert placed.missing == ("a" * 32, "b" * 32)
    assert not (tmp_path / "w").exists()
    assert blobs.place([]).files == 0


@pytest.mark.parametrize("size", [7, LARGE + 7])
def test_what_was_verified_once_is_not_read_again(
    tmp_path: Path, blobs: Blobs, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"x" * size)
    (digest,) = blobs.ingest([source])
    shards = list((blobs.folder / "modelkeep" / "known").iterdir())
    for shard in shards:
        shard.unlink()
    again(blobs).place([Placing(digest.md5, tmp_path / "a")], link_types=["hardlink"])
    for name in ("judged", "file_digest", "copy_hashed"):
        monkeypatch.setattr(placing, name, lambda *_, **__: pytest.fail("it was verified before"))
    for kind in KINDS:
        placed = again(blobs).place([Placing(digest.md5, tmp_path / kind)], link_types=[kind])
        assert placed.files == 1


def test_the_next_kind_is_tried_before_anything_is_touched(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(links, "reflink", unable)
    oid, target = blobs.put(b"x"), tmp_path / "w" / "a"
    target.parent.mkdir()
    target.write_bytes(b"old")
    assert blobs.place([Placing(oid, target)], link_types=["reflink", "hardlink", "copy"]).kind == "hardlink"
    target.unlink()
    target.write_bytes(b"old")
    with pytest.raises(BadInput, match=r"cache\.type reflink: none of these works"):
        blobs.place([Placing(oid, target)], link_types=["reflink"])
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["a"]


@pytest.mark.parametrize("size", [7, LARGE + 7])
def test_an_object_with_too_many_names_is_copied(
    tmp_path: Path, blobs: Blobs, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid = blobs.put(b"x" * size)
    real = os.link

    def full(source: str, target: str) -> None:
        if "probe" not in target and ".modelkeep-" not in target:
            raise OSError(31, "Too many links")
        real(source, target)

    monkeypatch.setattr(os, "link", full)
    placed = blobs.place([Placing(oid, tmp_path / "w" / "a")], link_types=["hardlink", "copy"])
    assert placed.files == 1
    assert not (tmp_path / "w" / "a").samefile(blobs.path(oid))
    assert (tmp_path / "w" / "a").read_bytes() == b"x" * size


def test_a_file_where_a_folder_is_needed_is_kept(tmp_path: Path, blobs: Blobs) -> None:
    oid = blobs.put(b"x")
    (tmp_path / "w").write_bytes(b"a file")
    with pytest.raises(Conflict, match="is a file where a folder is needed"):
        blobs.place([Placing(oid, tmp_path / "w" / "a")])
    assert (tmp_path / "w").read_bytes() == b"a file"
    (tmp_path / "d" / "inner").mkdir(parents=True)
    with pytest.raises(Conflict, match="inner"):
        blobs.place([Placing(oid, tmp_path / "d" / "inner")])
    assert (tmp_path / "d" / "inner").is_dir()
    assert left(tmp_path) == []


def test_on_another_file_system_it_is_built_beside(tmp_path: Path, blobs: Blobs) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    oid, folder = blobs.put(b"x"), shm / f"modelkeep-test-{os.getpid()}"
    folder.mkdir()
    try:
        placed = blobs.place(
            [Placing(oid, folder / "d" / "a"), Placing(oid, folder / "b")], link_types=["hardlink", "copy"]
        )
        assert placed.kind == "copy"
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["b", "d", "d/a"]
    finally:
        for path in (folder / "d" / "a", folder / "b"):
            path.unlink()
        (folder / "d").rmdir()
        folder.rmdir()


def test_somebody_makes_the_folder_meanwhile(tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = blobs.put(b"x")
    real = placing._Layout.publish

    def late(self: placing._Layout, done: set[int]) -> None:
        (tmp_path / "w" / "d").mkdir(parents=True)
        (tmp_path / "w" / "mine").write_bytes(b"mine")
        real(self, done)

    monkeypatch.setattr(placing._Layout, "publish", late)
    blobs.place([Placing(oid, tmp_path / "w" / "a"), Placing(oid, tmp_path / "w" / "d" / "e" / "b")])
    assert sorted(str(path.relative_to(tmp_path / "w")) for path in (tmp_path / "w").rglob("*") if path.is_file()) == [
        "a",
        "d/e/b",
        "mine",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_many_files_by_several_processes(
    tmp_path: Path, blobs: Blobs, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(forked, "MANY", 300)
    monkeypatch.setattr(forked, "_CHUNK", 100)
    (tmp_path / "s").mkdir()
    paths = [tmp_path / "s" / str(number) for number in range(500)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    oids = [one.md5 for one in blobs.ingest(paths)]
    spoil(blobs.path(oids[7]), b"bad")
    items = [Placing(oid, tmp_path / "w" / f"{number % 7}" / str(number)) for number, oid in enumerate(oids)]
    placed = again(blobs).place(items, link_types=[kind])
    assert (placed.files, [one.oid for one in placed.bad]) == (499, [oids[7]])
    found = {path.name: path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.is_file()}
    assert found == {str(number): b"%d" % number for number in range(500) if number != 7}


def test_a_text_of_dvc_before_3(tmp_path: Path, blobs: Blobs) -> None:
    paths = [tmp_path / "small", tmp_path / "large"]
    for path, count in zip(paths, (1, 600_000), strict=True):
        path.write_bytes(b"a\r\n" * count)
        old = blobs.path(dos2unix_md5(path), legacy=True)
        old.parent.mkdir(parents=True)
        old.write_bytes(path.read_bytes())
    items = [Placing(dos2unix_md5(path), tmp_path / "w" / path.name, legacy=True) for path in paths]
    for kind in KINDS:
        assert again(blobs).place(items, link_types=[kind]).files == 2
        assert all((tmp_path / "w" / path.name).read_bytes() == path.read_bytes() for path in paths)
    spoil(blobs.path(items[0].oid, legacy=True), b"a\r\nb")
    assert [one.oid for one in again(blobs).place(items).bad] == [items[0].oid]
