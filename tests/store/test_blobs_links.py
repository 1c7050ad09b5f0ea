"""Kinds of link, and whether somebody writes to a file."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelkeep.store.blobs import links
from modelkeep.store.blobs.links import copy, has_writer, kinds, make, supported, works

linux = pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's own")


def test_each_kind_makes_a_file_with_the_bytes_of_the_object(tmp_path: Path) -> None:
    source = tmp_path / "object"
    source.write_bytes(os.urandom(100_000))
    found = supported(tmp_path, tmp_path)
    assert {"hardlink", "symlink", "copy"} <= set(found)
    for kind in found:
        make(kind, str(source), str(tmp_path / kind), mode=0o600)
        assert (tmp_path / kind).read_bytes() == source.read_bytes()
    assert (tmp_path / "hardlink").samefile(source)
    assert (tmp_path / "symlink").readlink() == source
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "copy").samefile(source)


def test_probing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    supported(tmp_path / "a", tmp_path / "b")
    assert not list((tmp_path / "a").iterdir())
    assert not list((tmp_path / "b").iterdir())


def test_a_hard_link_to_another_file_system_does_not_work(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    (tmp_path / "a").write_bytes(b"x")
    assert not works("hardlink", str(tmp_path / "a"), str(other))
    assert works("symlink", str(tmp_path / "a"), str(other))
    assert works("copy", str(tmp_path / "a"), str(other))


def test_a_full_disk_is_no_unsupported_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(links, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        works("copy", str(tmp_path / "a"), str(tmp_path))


def test_where_the_kernel_cannot_copy_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", unable, raising=False)
    (tmp_path / "a").write_bytes(data := os.urandom(3_000_000))
    assert copy(str(tmp_path / "a"), str(tmp_path / "b")) == len(data)
    assert (tmp_path / "b").read_bytes() == data


def test_unknown_kinds_are_passed_over() -> None:
    assert kinds(["hardlink", "quantum", "copy"]) == ["hardlink", "copy"]


@linux
def test_a_file_that_nobody_writes_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with path.open("rb") as ours, path.open("rb"):
        assert has_writer(ours.fileno()) is False
        assert has_writer(ours.fileno()) is False


HOLDING = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "mapped":
    memory = mmap.mmap(fd, 0)
    os.close(fd)
print("holding", flush=True)
sys.stdin.readline()
"""


@linux
@pytest.mark.parametrize("how", ["open", "mapped"])
def test_a_process_that_may_write_is_seen(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        with path.open("rb") as ours:
            assert has_writer(ours.fileno()) is True
    finally:
        process.communicate(b"\n", timeout=10)
    with path.open("rb") as ours:
        assert has_writer(ours.fileno()) is False


@linux
def test_our_own_writable_map_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    with path.open("rb") as ours:
        assert has_writer(ours.fileno()) is True
        memory.close()
        assert has_writer(ours.fileno()) is False
