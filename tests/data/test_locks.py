from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.data.locks import MOST, held, wanted
from modelkeep.data.progress import SILENT, Step, Unit

PARTS = st.text("ab", min_size=1, max_size=2)
PATHS = st.lists(PARTS, max_size=4).map("/".join)

HOLDER = """
import sys, time
from pathlib import Path
from modelkeep.data.locks import held
from modelkeep.data.progress import SILENT
with held(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], SILENT):
    print("held", flush=True)
    time.sleep(60)
"""


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, task: str, *, total: int | None = None, unit: Unit = "files") -> Step:
        return SILENT.begin(task, total=total, unit=unit)

    def say(self, message: str) -> None:
        self.said.append(message)


@contextmanager
def holder(folder: Path, *paths: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder / "lock"), str(folder / "locks"), *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def free(folder: Path, *paths: str) -> bool:
    """Whether locks are had at once."""
    done = threading.Event()

    def take() -> None:
        with held(folder / "lock", folder / "locks", paths, SILENT):
            done.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return done.wait(0.3)


@given(st.lists(PATHS, min_size=1, max_size=5))
def test_paths_are_held_alone_and_the_folders_above_them_shared(paths: list[str]) -> None:
    found = wanted(paths)
    assert list(found) == sorted(found)
    if "" in paths:
        assert found == {"": True}
        return
    assert {name for name, alone in found.items() if alone} == set(paths)
    above = {"/".join(path.split("/")[:count]) for path in paths for count in range(path.count("/") + 1)}
    assert set(found) == above | set(paths)


@given(PATHS, PATHS)
def test_two_paths_clash_exactly_when_one_lies_in_the_other(first: str, second: str) -> None:
    one, other = wanted([first]), wanted([second])
    clash = any(name in other and (alone or other[name]) for name, alone in one.items())
    inside = f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")
    assert clash == (inside or not first or not second)


def test_many_paths_lock_the_whole_repository() -> None:
    assert wanted(f"f{number}" for number in range(MOST + 1)) == {"": True}


def test_who_wants_something_else_does_not_wait(tmp_path: Path) -> None:
    with holder(tmp_path, "data/a"):
        assert free(tmp_path, "data/b")
        assert free(tmp_path, "data2")


@pytest.mark.parametrize("path", ["data/a", "data", "data/a/b", ""])
def test_who_wants_the_same_or_what_lies_in_it_waits_until_the_holder_is_killed(tmp_path: Path, path: str) -> None:
    with holder(tmp_path, "data/a") as process:
        got = threading.Event()

        def take() -> None:
            with held(tmp_path / "lock", tmp_path / "locks", [path], SILENT):
                got.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.15)
        process.send_signal(signal.SIGKILL)
        assert got.wait(10)
        thread.join()


def test_after_a_second_it_is_said_for_whom_one_waits(tmp_path: Path) -> None:
    heard = Heard()
    with holder(tmp_path, "data") as process:
        killer = threading.Timer(1.5, process.kill)
        killer.start()
        with held(tmp_path / "lock", tmp_path / "locks", ["data"], heard):
            pass
        killer.join()
    assert len(heard.said) == 1
    assert f"process {process.pid}" in heard.said[0]


def test_a_running_dvc_keeps_us_out_and_is_named(tmp_path: Path) -> None:
    import fcntl

    heard, got = Heard(), threading.Event()
    lock = tmp_path / "lock"
    with lock.open("a+", encoding="utf-8") as file:  # as zc.lockfile does it
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(f" {os.getpid()}\n")
        file.flush()

        def take() -> None:
            with held(lock, tmp_path / "locks", ["data"], heard):
                got.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(1.3)
    assert got.wait(10)
    thread.join()
    assert heard.said


def test_we_keep_dvc_out_and_not_each_other(tmp_path: Path) -> None:
    import fcntl

    with holder(tmp_path, "a"), (tmp_path / "lock").open("r+", encoding="utf-8") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert free(tmp_path, "b")


def test_no_lock_file_of_a_path_is_left(tmp_path: Path) -> None:
    with held(tmp_path / "lock", tmp_path / "locks", ["data/a", "data/b"], SILENT):
        assert len(list((tmp_path / "locks").iterdir())) == 4
    assert len(list((tmp_path / "locks").iterdir())) == 2  # the folders above, which others may share


def _count(folder: Path, times: int) -> None:
    counter = folder / "counter"
    for number in range(times):
        with held(folder / "lock", folder / "locks", ["c" if number % 2 else "c/d", "e"], SILENT):
            value = int(counter.read_text(encoding="ascii"))
            time.sleep(0.0005)
            counter.write_text(str(value + 1), encoding="ascii")


def test_eight_processes_never_overlap(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0", encoding="ascii")
    processes = [multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path, 25)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "counter").read_text(encoding="ascii") == "200"
