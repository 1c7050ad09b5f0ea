"""Workspace files become objects: copied or linked, never one that somebody still writes to."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import Conflict, Missing
from modelkeep.store import forked
from modelkeep.store.blobs import publish, taking
from modelkeep.store.blobs.hashed import LARGE, dos2unix_md5, file_digest
from modelkeep.store.blobs.objects import Blobs, Digest, Stamp, Taking

Keep = Literal["copy", "link"]


class Heard:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> None:
        self.total += amount


def written(folder: Path, datas: list[bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, data in enumerate(datas):
        paths.append(folder / f"{number:05}")
        paths[-1].write_bytes(data)
    return paths


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def stamp(path: Path) -> Stamp:
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def whole(blobs: Blobs) -> dict[str, bytes]:
    """All objects, each looked at as DVC would."""
    found = {}
    for oid, *_ in blobs.oids():
        path = blobs.path(oid)
        assert path.stat().st_mode & 0o7777 == 0o444
        found[oid] = path.read_bytes()
        assert md5(found[oid]) == oid
    assert list((blobs.folder / "modelkeep" / "incoming").glob("*")) == []
    return found


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what only a power loss could show."""
    monkeypatch.setattr(publish, "sync_files", lambda *_: None)
    monkeypatch.setattr(publish, "sync_names", lambda *_: None)


SIZES = st.sampled_from([0, 1, 5000, LARGE - 1, LARGE, LARGE + 9])


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("keep", ["copy", "link"])
@pytest.mark.parametrize("how", ["take", "ingest"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(SIZES, st.integers(0, 3)), max_size=8), st.booleans())
def test_whatever_is_taken_is_there(
    tmp_path_factory: pytest.TempPathFactory, keep: Keep, how: str, wanted: list[tuple[int, int]], twice: bool
) -> None:
    folder = tmp_path_factory.mktemp("take")
    datas = [bytes([fill]) * size for size, fill in wanted]
    paths = written(folder / "w", datas)
    blobs = Blobs(folder / "cache")
    for _ in range(1 + twice):
        heard = Heard()
        if how == "ingest":
            digests = blobs.ingest(paths, keep=keep, step=heard)
            assert [digest.md5 for digest in digests] == [md5(data) for data in datas]
            assert [digest.size for digest in digests] == [len(data) for data in datas]
            assert heard.total == sum(map(len, datas))
        else:
            digests = [file_digest(path) for path in paths]
            blobs.take([(one.md5, path, one) for one, path in zip(digests, paths, strict=True)], keep=keep)
    assert whole(blobs) == {md5(data): data for data in datas}
    assert [path.read_bytes() for path in paths] == datas
    assert blobs.verified([md5(data) for data in datas]) == []
    for path, data in zip(paths, datas, strict=True):
        linked = path.samefile(blobs.path(md5(data)))
        assert linked == (keep == "link" and data != b"" and (how == "ingest" or linked))
        assert linked or path.stat().st_mode & 0o200


@pytest.mark.parametrize("keep", ["copy", "link"])
@pytest.mark.usefixtures("_quick")
def test_many_small_files_by_several_processes(tmp_path: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(forked, "MANY", 300)
    monkeypatch.setattr(forked, "_CHUNK", 100)
    datas = [b"%d" % (number % 550) for number in range(600)]
    paths = written(tmp_path / "w", datas)
    blobs = Blobs(tmp_path / "cache")
    found = blobs.ingest(paths, keep=keep)
    assert [one.md5 for one in found] == [md5(data) for data in datas]
    assert whole(blobs) == {md5(data): data for data in datas}
    assert all(path.samefile(blobs.path(md5(data))) for path, data in zip(paths, datas, strict=True)) == (
        keep == "link"
    )
    other = Blobs(tmp_path / "other")
    assert other.take(zip([one.md5 for one in found], paths, found, strict=True), keep="copy") == 550
    assert whole(other) == whole(blobs)
    assert other.take(zip([one.md5 for one in found], paths, found, strict=True), keep="copy") == 0


@pytest.mark.parametrize("keep", ["copy", "link"])
@pytest.mark.parametrize("size", [10, LARGE + 5])
@pytest.mark.parametrize("second", [True, False])
def test_a_file_that_changed_since_it_was_hashed_is_refused(
    tmp_path: Path, keep: Keep, size: int, second: bool
) -> None:
    (path,) = written(tmp_path / "w", [b"a" * size])
    digest, seen = file_digest(path), stamp(path)
    path.write_bytes(b"b" * size)
    blobs = Blobs(tmp_path / "cache")
    given_ = digest if second else Digest(digest.md5, b"", digest.size)
    with pytest.raises(Conflict, match="changed while"):
        blobs.take([Taking(digest.md5, path, given_, seen)], keep=keep)
    assert whole(blobs) == {}
    assert path.read_bytes() == b"b" * size
    assert path.stat().st_mode & 0o200


@pytest.mark.parametrize("keep", ["copy", "link"])
@pytest.mark.parametrize("size", [10, LARGE + 5])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, keep: Keep, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = written(tmp_path / "w", [b"a" * size])
    real = {name: getattr(taking, name) for name in ("read_small", "copy_hashed", "digest_of")}

    def meddled(name: str) -> Callable[..., object]:
        def work(*args: object, **more: object) -> object:
            found = real[name](*args, **more)
            os.utime(path, ns=(0, 0))
            return found

        return work

    for name in real:
        monkeypatch.setattr(taking, name, meddled(name))
    with pytest.raises(Conflict, match="changed while"):
        Blobs(tmp_path / "cache").ingest([path], keep=keep)
    assert whole(Blobs(tmp_path / "cache")) == {}
    assert path.stat().st_mode & 0o200


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "cache")
    with pytest.raises(Missing, match="no-such-file"):
        blobs.ingest([tmp_path / "no-such-file"])
    with pytest.raises(Missing, match="no-such-file"):
        blobs.take([("a" * 32, tmp_path / "no-such-file", None)], keep="link")


HOLDING = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0) if sys.argv[2] == "mapped" else None
if memory: os.close(fd)
print("holding", flush=True)
sys.stdin.readline()
if memory: memory[:4] = b"late"
else: os.pwrite(fd, b"late", 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's own")
@pytest.mark.parametrize("how", ["open", "mapped"])
@pytest.mark.parametrize("size", [10, LARGE + 5])
@pytest.mark.parametrize("ingest", [True, False])
def test_what_a_writer_holds_is_copied_and_the_writer_goes_on(
    tmp_path: Path, how: str, size: int, ingest: bool
) -> None:
    (path,) = written(tmp_path / "w", [b"a" * size])
    blobs, digest = Blobs(tmp_path / "cache"), file_digest(path)
    mode = path.stat().st_mode
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        if ingest:
            blobs.ingest([path], keep="link")
        else:
            blobs.take([Taking(digest.md5, path, digest, stamp(path))], keep="link")
    finally:
        process.communicate(b"\n", timeout=10)
    assert whole(blobs) == {digest.md5: b"a" * size}  # what it wrote late is in the user's file only
    assert path.read_bytes()[:4] == b"late"
    assert path.stat().st_mode == mode


@pytest.mark.parametrize("size", [10, LARGE + 5])
def test_a_link_is_the_user_s_own_inode_and_read_only(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = written(tmp_path / "w", [b"a" * size])
    inode = path.stat().st_ino
    seen, digest = stamp(path), file_digest(path)
    blobs = Blobs(tmp_path / "cache")
    monkeypatch.setattr(taking, "_FRESH_NS", -1)
    time.sleep(0.02)
    monkeypatch.setattr(taking, "digest_of", lambda *_, **__: pytest.fail("it need not be read"))
    monkeypatch.setattr(taking, "read_small", lambda *_, **__: pytest.fail("it need not be read"))
    assert blobs.take([Taking(digest.md5, path, digest, seen)], keep="link") == 1
    assert path.stat().st_ino == blobs.path(digest.md5).stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_stamp_as_young_as_the_clock_s_tick_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = written(tmp_path / "w", [b"a"])
    digest, read = file_digest(path), []
    real = taking.read_small
    monkeypatch.setattr(taking, "read_small", lambda *args: read.append(1) or real(*args))
    Blobs(tmp_path / "cache").take([Taking(digest.md5, path, digest, stamp(path))], keep="link")
    assert read == [1]


@pytest.mark.parametrize("size", [10, LARGE + 5])
def test_what_cannot_be_linked_is_copied(tmp_path: Path, size: int) -> None:
    executable, named, plain = written(tmp_path / "w", [b"a" * size, b"b" * size, b"c" * size])
    executable.chmod(0o755)
    other = tmp_path / "other-name"
    os.link(named, other)
    link = tmp_path / "w" / "link"
    link.symlink_to(plain.name)
    empty = tmp_path / "w" / "empty"
    empty.touch()
    blobs = Blobs(tmp_path / "cache")
    blobs.ingest([executable, named, link, empty], keep="link")
    assert set(whole(blobs)) == {md5(letter * size) for letter in (b"a", b"b", b"c")} | {md5(b"")}
    assert executable.stat().st_mode & 0o777 == 0o755
    assert named.samefile(blobs.path(md5(b"b" * size)))  # a copy whose link took the place of one name
    assert other.read_bytes() == named.read_bytes()
    assert other.stat().st_mode & 0o200
    assert link.is_symlink()
    assert plain.stat().st_mode & 0o200
    assert empty.stat().st_mode & 0o200


@pytest.mark.parametrize("size", [10, LARGE + 5])
def test_where_the_system_does_not_tell_a_copy_is_linked(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "has_writer", lambda fd: None)
    (path,) = written(tmp_path / "w", [b"a" * size])
    inode = path.stat().st_ino
    blobs = Blobs(tmp_path / "cache")
    blobs.ingest([path], keep="link")
    assert path.samefile(blobs.path(md5(b"a" * size)))
    assert path.stat().st_ino != inode


def test_on_another_file_system_a_link_is_a_copy(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    folder = shm / f"modelkeep-test-{os.getpid()}"
    paths = written(folder, [b"small", b"l" * LARGE])
    try:
        blobs = Blobs(tmp_path / "cache")
        blobs.ingest(paths, keep="link")
        assert set(whole(blobs)) == {md5(b"small"), md5(b"l" * LARGE)}
        assert all(path.stat().st_mode & 0o200 for path in paths)
    finally:
        for path in paths:
            path.unlink()
        folder.rmdir()


@pytest.mark.parametrize("how", ["take", "ingest"])
def test_a_corrupt_object_is_replaced_by_the_file_that_is_added(tmp_path: Path, how: str) -> None:
    datas = [b"good", b"g" * LARGE]
    paths = written(tmp_path / "w", datas)
    blobs = Blobs(tmp_path / "cache")
    digests = blobs.ingest(paths)
    for digest in digests:
        path = blobs.path(digest.md5)
        path.chmod(0o644)
        path.write_bytes(b"bad")
        path.chmod(0o444)
    if how == "ingest":
        Blobs(blobs.folder).ingest(paths)
    else:
        Blobs(blobs.folder).take([(one.md5, path, one) for one, path in zip(digests, paths, strict=True)])
    assert whole(blobs) == {md5(data): data for data in datas}
    assert len(list((blobs.folder / "modelkeep" / "quarantine").glob("*.txt"))) == 2


@pytest.mark.parametrize("size", [1, 400_000])
def test_a_text_of_dvc_before_3_is_named_as_it_named_it(tmp_path: Path, size: int) -> None:
    (path,) = written(tmp_path / "w", [b"a\r\n" * size])
    oid = dos2unix_md5(path)
    blobs = Blobs(tmp_path / "cache")
    assert blobs.take([(oid, path, None)], legacy=True) == 1
    assert blobs.path(oid, legacy=True).read_bytes() == path.read_bytes()
    assert blobs.verified([oid], legacy=True) == []
    assert blobs.scrub() == []
    assert blobs.read(oid, legacy=True) == path.read_bytes()
    assert blobs.take([(oid, path, None)], legacy=True) == 0
