"""Work shared by several processes: every item once, errors as errors, nobody left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import Conflict, Error
from modelkeep.store.blobs import forked
from modelkeep.store.blobs.forked import MANY, parted


def children() -> set[str]:
    """The processes that this thread has started and that are still there."""
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


@pytest.fixture(autouse=True)
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_cores", lambda: 3)


@given(st.integers(0, 5 * MANY))
def test_every_item_is_worked_on_once(count: int) -> None:
    items = list(range(count))
    found = [number for part in parted(lambda some: [one * 2 for one in some], items, list[int]) for number in part]
    assert sorted(found) == [one * 2 for one in items]


def test_several_processes_do_it() -> None:
    before = children()
    pids = set(parted(lambda some: os.getpid(), range(5 * MANY), int))
    assert len(pids) == (3 if forked._may_fork() else 1)
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
    with pytest.raises((RuntimeError, ZeroDivisionError), match="division"):
        list(parted(_break, range(3 * MANY), int))
    assert children() == before


@pytest.mark.skipif(not forked._may_fork(), reason="this process has threads, so it does not fork")
def test_a_process_that_is_killed_is_noticed() -> None:
    before = children()
    parent = os.getpid()

    def die(some: Sequence[int]) -> int:
        return _die(some) if os.getpid() != parent else 0

    with pytest.raises(Error, match="-9"):
        list(parted(die, range(4 * MANY), int))
    assert children() == before


def test_whoever_stops_listening_leaves_nobody_behind() -> None:
    before = children()
    parts = parted(lambda some: "x" * 200_000, range(5 * MANY), str)
    next(parts)
    parts.close()
    assert children() == before
