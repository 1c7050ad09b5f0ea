"""The history in the process: what a ledger is told, and that nothing goes anywhere without a server."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelkeep as mk
from modelkeep.configuration.change import Change
from modelkeep.configuration.history import Memory
from modelkeep.configuration.make import Ledgers
from modelkeep.core.errors import BadInput


@dataclass
class Kept:
    changes: list[Change] = field(default_factory=list)

    def record(self, change: Change) -> None:
        self.changes.append(change)

    def list(self, limit: int = 100) -> list[Change]:
        return self.changes[::-1][:limit]


@given(count=st.integers(0, 30), limit=st.integers(1, 10), asked=st.integers(1, 12))
def test_memory_gives_the_newest_first_and_forgets_the_oldest(count: int, limit: int, asked: int) -> None:
    memory = Memory(limit)
    for number in range(count):
        memory.record(Change(at_ns=number, state="applied", hash=f"{number:064x}"))
    assert [one.at_ns for one in memory.list(asked)] == list(range(count))[-limit:][-asked:][::-1]


def test_everything_that_happens_is_told_with_author_reason_and_difference() -> None:
    kept = Kept()
    cfg = mk.config({"db": {"pool": 5, "password": "hunter2"}}, ledger=kept)
    first = cfg.hash
    cfg.set({"db.pool": 9}, author="ann", reason="more load")
    with pytest.raises(BadInput):
        cfg.set({"db.pool": "${nowhere}"}, author="bob")
    cfg.rollback(author="ann", reason="worse")
    assert [(one.state, one.author, one.reason) for one in kept.changes[1:]] == [
        ("applied", "ann", "more load"), ("rejected", "bob", ""), ("rolled back", "ann", "worse"),
    ]  # fmt: skip
    applied, back = kept.changes[1], kept.changes[3]
    assert [(one.key, one.before, one.after) for one in applied.differences] == [("db.pool", 5, 9)]
    assert (back.hash, back.previous) == (first, applied.hash)
    assert kept.changes[2].hash == applied.hash
    assert applied.tree == {"db": {"pool": 9, "password": "***"}}
    assert "hunter2" not in repr(kept.changes)


def test_a_configuration_that_is_wrong_from_the_start_is_told() -> None:
    kept = Kept()
    with pytest.raises(BadInput):
        mk.config({"a": "${nowhere}"}, ledger=kept)
    (change,) = kept.changes
    assert (change.state, change.hash, change.source) == ("rejected", "", "an object")
    assert "nowhere" in change.error


def test_the_default_ledger_is_asked_for_by_name_and_only_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class App:
        port: int = 1

    asked: list[str] = []

    def ledger(name: str) -> Kept:
        asked.append(name)
        return Kept()

    monkeypatch.setattr(Ledgers, "default", staticmethod(ledger))
    mk.config(App)
    mk.config({"a": 1})
    mk.config({"a": 1}, name="serving")
    mk.config({"a": 1}, ledger=Kept())
    assert asked == ["App", "config", "serving"]


def test_without_a_server_nothing_of_the_sdk_is_loaded_and_no_thread_runs() -> None:
    program = (
        "import sys, threading, modelkeep as mk\n"
        "cfg = mk.config({'a': 1}); cfg.set({'a': 2})\n"
        "print(len(cfg.history()), threading.active_count(), 'modelkeep.sdk' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["2", "1", "False"]
