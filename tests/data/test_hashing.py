"""Hashes: DVC's and those of the libraries, however many files, threads and processes there are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Denied, Missing
from modelkeep.data.snapshots import hashing
from modelkeep.data.snapshots.hashing import dos2unix_md5, file_md5, many
from modelkeep.store import forked
from tests.peers import program

MIB = 1 << 20


class Counter:
    """Hears of bytes."""

    def __init__(self) -> None:
        self.moved = 0
        self.threads: set[int] = set()

    def add(self, amount: int) -> None:
        self.moved += amount
        self.threads.add(threading.get_ident())


def dos2unix(data: bytes) -> str:
    """The legacy md5, part by part, from its description."""
    found = md5()
    for at in range(0, len(data), MIB):
        part = data[at : at + MIB]
        start = part[:512]
        odd = sum(byte not in b"\n\r\t\f\b" and not 32 <= byte < 127 for byte in start)
        text = 0 not in start and odd / len(start) <= 0.3
        found.update(part.replace(b"\r\n", b"\n") if text else part)
    return found.hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB + 17, 33 * MIB])
def test_one_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    step = Counter()
    found = file_md5(tmp_path / "f", step)
    assert found == (md5(data).hexdigest(), blake3(data).digest() if size >= hashing.LARGE else b"", size)
    assert step.moved == size


@given(st.lists(st.sampled_from([b"a,b", b"\r\n", b"\n", b"\r", b"\0", b"\xff\xfe", b"x" * 600]), max_size=12))
def test_legacy_hashes_of_small_files(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "f"
        path.write_bytes(data)
        expected = dos2unix(data) if data else md5(b"").hexdigest()
        assert dos2unix_md5(path) == expected
        [found] = many(Path(name), ["f"], hash="md5-dos2unix")
        assert found == (expected, b"", len(data))


@pytest.mark.parametrize("cut", [-1, 0, 1])
def test_legacy_hashes_mend_lines_within_a_part_only(tmp_path: Path, cut: int) -> None:
    text = b"x" * (MIB - 1 + cut) + b"\r\n" + b"a\r\n" * MIB
    data = text[: 2 * MIB] + b"\0" + b"binary\r\n" * 1000
    (tmp_path / "f").write_bytes(data)
    assert dos2unix_md5(tmp_path / "f") == dos2unix(data)
    (tmp_path / "g").write_bytes(data)
    assert [one.md5 for one in many(tmp_path, ["f", "g"], hash="md5-dos2unix")] == [dos2unix(data)] * 2


@pytest.mark.needs("dvc")
def test_legacy_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    script = (
        "import sys; from dvc_data.hashfile.hash import file_md5; print(file_md5(sys.argv[1], name='md5-dos2unix'))"
    )
    data = b"1,2\r\n" * 300_000 + b"\0\r\n" * 300_000 + b"\xe9\r\n" * 300_000
    (tmp_path / "f").write_bytes(data)
    python = program("dvc").with_name("python")
    done = subprocess.run([python, "-c", script, tmp_path / "f"], capture_output=True, text=True, check=True)
    assert dos2unix_md5(tmp_path / "f") == done.stdout.strip() == dos2unix(data)


def grown(folder: Path, sizes: list[int]) -> dict[str, bytes]:
    files = {f"f{number}": os.urandom(size) for number, size in enumerate(sizes)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Lets tests fork although other tests may have left threads behind; gives what was forked."""
    started: list[int] = []
    real = os.fork

    def fork() -> int:
        pid = real()
        started.append(pid)
        return pid

    monkeypatch.setattr(forked, "may_fork", lambda: True)
    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(forked.os, "fork", fork)
    monkeypatch.setattr(hashing, "_FORK_COST", 0)
    monkeypatch.setattr(hashing, "_BATCH_BYTES", 20_000)
    yield started
    for pid in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@settings(max_examples=15)
@given(st.lists(st.sampled_from([0, 1, 100, 5000, MIB - 1, MIB, MIB + 3]), max_size=30))
def test_many_files_of_all_sizes(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        files = grown(Path(name), sizes)
        step = Counter()
        found = many(Path(name), list(files), step=step)
        for one, data in zip(found, files.values(), strict=True):
            assert one.md5 == md5(data).hexdigest()
            assert one.size == len(data)
            assert one.blake3 == (blake3(data).digest() if len(data) >= hashing.LARGE else b"")
        assert step.moved == sum(sizes)
        assert step.threads <= {threading.get_ident()}


def test_many_files_by_forked_processes(tmp_path: Path, forking: list[int]) -> None:
    files = grown(tmp_path, [0, 10, 9000, *[700] * 60, 3 * MIB, 2 * MIB, *[12_000] * 5])
    found = many(tmp_path, list(files))
    assert [one.md5 for one in found] == [md5(data).hexdigest() for data in files.values()]
    assert len(forking) == 3


def test_an_error_in_a_worker_is_told(tmp_path: Path, forking: list[int]) -> None:
    files = grown(tmp_path, [9000] * 10)
    stamps = [hashing.stamp_of((tmp_path / name).stat()) for name in files]
    (tmp_path / "f7").unlink()
    with pytest.raises(Missing, match="f7"):
        many(tmp_path, list(files), stamps)
    assert len(forking) == 3


@pytest.mark.parametrize("size", [10, 4 * MIB])
def test_a_file_that_keeps_changing_is_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "busy"
    path.write_bytes(bytes(size))
    real = hashing.digest_of
    passed = []

    def disturbed(*args: object, **more: object) -> object:
        found = real(*args, **more)  # type: ignore[arg-type]
        passed.append(found)
        with path.open("ab") as file:
            file.write(b"x")
        return found

    monkeypatch.setattr(hashing, "digest_of", disturbed)
    with pytest.raises(Conflict, match="busy: changed while it was read") as caught:
        file_md5(path)
    assert caught.value.hint
    assert len(passed) == 3
    stamps = [(0, size, 0, 0)]
    with pytest.raises(Conflict, match="busy"):
        many(tmp_path, ["busy"], stamps)
    with pytest.raises(Conflict, match="busy"):
        many(tmp_path, ["busy", "busy"], stamps * 2)


def test_a_file_that_changed_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "busy"
    path.write_bytes(b"old")
    real = hashing.digest_of
    news = [b"newer"]

    def disturbed(*args: object, **more: object) -> object:
        found = real(*args, **more)  # type: ignore[arg-type]
        if news:
            path.write_bytes(news.pop())
        return found

    monkeypatch.setattr(hashing, "digest_of", disturbed)
    assert file_md5(path).md5 == md5(b"newer").hexdigest()


def test_the_first_error_ends_all_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = grown(tmp_path, [2 * MIB] * 6)
    stamps = [hashing.stamp_of((tmp_path / name).stat()) for name in files]
    (tmp_path / "f1").unlink()
    before = threading.active_count()
    with pytest.raises(Missing, match="f1"):
        many(tmp_path, list(files), stamps)
    assert threading.active_count() == before


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nothing"):
        file_md5(tmp_path / "nothing")
    with pytest.raises(BadInput, match=tmp_path.name):
        file_md5(tmp_path)
    with pytest.raises(BadInput, match="sha1"):
        many(tmp_path, [], hash="sha1")
    assert many(tmp_path, []) == []


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").write_bytes(b"1")
    real = os.open

    def refuse(path: str, *more: int) -> int:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *more)

    monkeypatch.setattr(hashing.os, "open", refuse)
    with pytest.raises(Denied, match="closed: may not be read") as caught:
        many(tmp_path, ["closed"])
    assert caught.value.hint


def test_a_process_with_threads_is_not_forked() -> None:
    """And with one thread it is, without a warning of any kind."""
    script = """
import os, sys, threading, warnings
warnings.simplefilter("error")
from modelkeep.data.snapshots import hashing
from modelkeep.store import forked
from pathlib import Path
hashing._FORK_COST = 0
forked.cores = lambda: 2
pids = []
real = os.fork
os.fork = lambda: pids.append(1) or real()
alone = hashing.many(Path(sys.argv[1]), ["a", "b"])
assert forked.may_fork() and pids, pids
gate = threading.Event()
thread = threading.Thread(target=gate.wait); thread.start()
pids.clear()
assert not forked.may_fork()
assert hashing.many(Path(sys.argv[1]), ["a", "b"]) == alone and not pids
gate.set(); thread.join()
"""
    with tempfile.TemporaryDirectory() as name:
        grown(Path(name), [5, 6])
        for old, new in (("f0", "a"), ("f1", "b")):
            (Path(name) / old).rename(Path(name) / new)
        subprocess.run([sys.executable, "-c", script, name], check=True)
