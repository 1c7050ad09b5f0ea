"""Work shared by several processes: every item once, errors as errors, nobody left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import Busy, Conflict, Error
from modelkeep.store import forked
from modelkeep.store.forked import MANY, parted


def children() -> set[str]:
    """The processes that this thread has started and that are still there."""
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


@pytest.fixture(autouse=True)
def forking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets tests fork although other tests may have left threads behind; gives what was forked."""
    started: list[int] = []
    real = os.fork

    def fork() -> int:
        pid = real()
        started.append(pid)
        return pid

    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    monkeypatch.setattr(forked.os, "fork", fork)
    return started


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5 * MANY))
def test_every_item_is_worked_on_once(count: int) -> None:
    items = list(range(count))
    found = [number for part in parted(lambda some: [one * 2 for one in some], items, list[int]) for number in part]
    assert sorted(found) == [one * 2 for one in items]


def test_several_processes_do_it() -> None:
    before = children()

    def work(some: Sequence[int]) -> int:
        time.sleep(0.01)
        return os.getpid()

    pids = set(parted(work, range(5 * MANY), int))
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert children() == before


def _refuse(some: Sequence[int]) -> int:
    if MANY in some:
        raise Conflict("it is taken", hint="Leave it.")
    return 0


def _fail(some: Sequence[int]) -> int:
    if MANY in some:
        raise FileNotFoundError(2, "No such file or directory", "gone")
    return 0


def _break(some: Sequence[int]) -> int:
    return 1 // (MANY not in some)


def _die(some: Sequence[int]) -> int:
    if MANY in some:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_an_error_there_is_that_error_here() -> None:
    before = children()
    with pytest.raises(Conflict, match="it is taken") as refused:
        list(parted(_refuse, range(3 * MANY), int))
    assert refused.value.hint == "Leave it."
    with pytest.raises(FileNotFoundError) as failed:
        list(parted(_fail, range(3 * MANY), int))
    assert failed.value.filename == "gone"
    with pytest.raises(Error, match="ZeroDivisionError: integer division"):
        list(parted(_break, range(3 * MANY), int))
    assert children() == before


def test_a_process_that_is_killed_is_noticed() -> None:
    before = children()
    with pytest.raises(Busy, match="signal 9") as caught:
        list(parted(_die, range(4 * MANY), int))
    assert caught.value.hint
    assert children() == before


def test_without_forks_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "may_fork", lambda: False)
    assert set(parted(lambda some: os.getpid(), range(5 * MANY), int)) == {os.getpid()}


def test_whoever_stops_listening_leaves_nobody_behind() -> None:
    before = children()
    parts = parted(lambda some: "x" * 200_000, range(5 * MANY), str)
    next(parts)
    parts.close()
    assert children() == before


def test_every_error_keeps_its_kind() -> None:
    for kind in forked.KINDS:

        def fail(number: int, kind: type[Error] = kind) -> bytes:
            raise kind("what é", hint="next")

        with pytest.raises(kind, match="what é") as caught:
            list(forked.forked(1, fail, 1))
        assert type(caught.value) is kind
        assert caught.value.hint == "next"


def test_no_worker_outlives_an_iteration_that_is_left(forking: list[int]) -> None:
    answers = forked.forked(1000, lambda number: bytes(100_000), 2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(forking) == 2


def test_work_is_done_here_when_nothing_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(forked.os, "fork", refuse)
    assert sorted(forked.forked(3, lambda number: bytes([number]), 2)) == [(0, b"\0"), (1, b"\1"), (2, b"\2")]
