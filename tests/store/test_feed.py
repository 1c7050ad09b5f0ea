"""Feeds: every entry to the reader once and in order, whatever the reader does."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from modelkeep.core.shapes import Entry, Part
from modelkeep.store.journal.feed import Feed, of_surroundings
from modelkeep.store.journal.journal import Journal


class Numbers:
    """A reader that keeps the numbers it is given, in memory and, sealed, in a file."""

    name = "numbers"

    def __init__(self, path: Path) -> None:
        self.path, self.seen, self.applied, self.seals = path, [], 0, 0
        self.trouble: dict[int, list[Exception]] = {}
        self.seal_trouble: list[Exception] = []
        self.calls: list[int] = []
        if path.exists():
            head, *seen = path.read_text().split()
            self.applied, self.seen = int(head), [int(each) for each in seen]
        self._sealed = self.applied

    def sealed(self) -> int:
        return self._sealed

    def apply(self, entries: Sequence[Entry]) -> None:
        self.calls.append(len(entries))
        for entry in entries:
            if errors := self.trouble.get(entry.seq):
                raise errors.pop() if len(errors) > 1 else errors[0]
        for entry in entries:
            assert entry.seq > self.applied
            self.applied = entry.seq
            self.seen.append(entry.parts[0].batch["number"][0].as_py())

    def seal(self) -> int:
        if self.seal_trouble:
            raise self.seal_trouble.pop()
        self.path.write_text(" ".join(map(str, [self.applied, *self.seen])))
        self._sealed, self.seals = self.applied, self.seals + 1
        return self._sealed

    def close(self) -> None:
        pass


def parts(number: int, size: int = 0) -> list[Part]:
    return [Part("event", pa.record_batch({"number": [number], "filler": ["x" * size]}))]


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal", segment_bytes=4_000)
    yield journal
    journal.close()


@pytest.fixture
def numbers(tmp_path):
    return Numbers(tmp_path / "numbers")


def until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_reader_gets_what_was_there_and_what_comes(journal, numbers):
    for number in range(10):
        journal.append(parts(number))
    feed = Feed(journal, numbers)
    assert feed.applied() == 0
    feed.start()
    assert feed.wait(10, 10)
    seq = journal.append(parts(10)).seq
    assert feed.wait(seq, 10)
    assert numbers.seen == list(range(11))
    assert not feed.wait(seq + 1, 0.01)
    assert feed.status().behind == 0
    feed.stop()
    assert numbers.sealed() == 11
    assert feed.status().sealed == 11
    assert feed.failure is None


def test_a_restart_goes_on_behind_what_was_sealed(journal, numbers, tmp_path):
    for number in range(10):
        journal.append(parts(number))
    feed = Feed(journal, numbers)
    feed.start()
    assert feed.wait(10, 10)
    feed.stop()
    journal.append(parts(10))
    feed = Feed(journal, Numbers(tmp_path / "numbers"))
    feed.start()
    assert feed.wait(11, 10)
    feed.stop(seal=False)
    again = Numbers(tmp_path / "numbers")
    assert again.sealed() == 10
    feed = Feed(journal, again)
    feed.start()
    assert feed.wait(11, 10)
    feed.stop()
    assert again.seen == list(range(11))


def test_it_seals_by_time_and_by_bytes_and_releases_the_journal(journal, numbers):
    feed = Feed(journal, numbers, seal_every_s=0.05)
    feed.start()
    for number in range(30):
        journal.append(parts(number))
    until(lambda: numbers.sealed() == 30)
    until(lambda: journal.first() > 20)
    assert numbers.seals < 10
    feed.stop()
    by_bytes = Feed(journal, numbers, seal_every_s=1_000, seal_bytes=5_000)
    by_bytes.start()
    for number in range(30, 34):
        journal.append(parts(number, 2_000))
    until(lambda: numbers.sealed() >= 33)
    assert by_bytes.wait(34, 10)
    by_bytes.stop()
    assert numbers.seen == list(range(34))


def test_nothing_is_deleted_before_every_feed_has_sealed(journal, tmp_path):
    first, second = Numbers(tmp_path / "first"), Numbers(tmp_path / "second")
    second.name = "second"
    feeds = [Feed(journal, first, seal_every_s=0.01), Feed(journal, second, seal_every_s=0.01)]
    feeds[0].start()
    for number in range(30):
        journal.append(parts(number))
    until(lambda: first.sealed() == 30)
    assert journal.first() == 1
    feeds[1].start()
    until(lambda: journal.first() > 20)
    for feed in feeds:
        feed.stop()
    assert first.seen == second.seen == list(range(30))


def test_a_passing_failure_is_kept_counted_and_overcome(journal, numbers, caplog):
    numbers.trouble[3] = [ValueError("first"), ValueError("second")]
    feed = Feed(journal, numbers)
    for number in range(6):
        journal.append(parts(number))
    feed.start()
    until(lambda: feed.failure is not None)
    assert isinstance(feed.failure, ValueError)
    assert "ValueError" in feed.status().failure
    numbers.trouble.clear()
    assert feed.wait(6, 10)
    until(lambda: feed.failure is None)
    assert numbers.seen == list(range(6))
    assert feed.status().failures > 0
    assert feed.status().quarantined == 0
    assert "applying failed behind entry" in caplog.text
    feed.stop()


def test_an_entry_that_always_fails_goes_to_quarantine_and_the_rest_goes_on(journal, numbers, tmp_path, caplog):
    numbers.trouble[3] = [KeyError("at")]
    feed = Feed(journal, numbers, patience=3, quarantine=tmp_path / "quarantine")
    for number in range(6):
        journal.append(parts(number))
    feed.start()
    assert feed.wait(6, 20)
    feed.stop()
    assert numbers.seen == [0, 1, 3, 4, 5]
    assert feed.status().quarantined == 1
    (kept,) = (tmp_path / "quarantine" / "numbers").iterdir()
    assert kept.name == f"{3:020d}-0-event.arrows"
    with pa.ipc.open_stream(kept) as stream:
        assert stream.read_next_batch()["number"].to_pylist() == [2]
    assert "cannot take entry 3" in caplog.text
    assert numbers.sealed() == 6


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), duckdb.IOException("Could not write")]
)
def test_errors_of_the_surroundings_are_waited_out(journal, numbers, error, caplog):
    numbers.trouble[1] = [error]
    feed = Feed(journal, numbers, patience=2)
    journal.append(parts(0))
    feed.start()
    until(lambda: feed.status().failures >= 4)
    assert feed.status().quarantined == 0
    numbers.trouble.clear()
    assert feed.wait(1, 10)
    feed.stop()
    assert numbers.seen == [0]


def test_a_locked_database_is_of_the_surroundings_and_wrong_sql_is_not(tmp_path):
    one, two = (sqlite3.connect(tmp_path / "db", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("begin exclusive")
    with pytest.raises(sqlite3.OperationalError) as locked:
        two.execute("begin exclusive")
    with pytest.raises(sqlite3.OperationalError) as wrong:
        two.execute("selekt")
    wrapped = RuntimeError("while writing")
    wrapped.__cause__ = locked.value
    assert of_surroundings(locked.value)
    assert of_surroundings(wrapped)
    assert not of_surroundings(wrong.value)
    one.close()
    two.close()


def test_a_seal_that_fails_is_tried_again_while_entries_go_on(journal, numbers, caplog):
    numbers.seal_trouble = [OSError(28, "full"), OSError(28, "full")]
    feed = Feed(journal, numbers, seal_every_s=0.02)
    feed.start()
    journal.append(parts(0))
    until(lambda: feed.status().failures == 1)
    assert feed.failure is not None
    journal.append(parts(1))
    assert feed.wait(2, 10)
    until(lambda: numbers.sealed() == 2)
    until(lambda: feed.failure is None)
    feed.stop()


def test_batches_are_bounded(journal, numbers):
    for number in range(12):
        journal.append(parts(number, 1 << 20))
    feed = Feed(journal, numbers)
    feed.start()
    assert feed.wait(12, 10)
    feed.stop()
    assert max(numbers.calls) < 12


def test_a_reader_ahead_of_the_journal_moves_it_on(journal, numbers, caplog):
    numbers.applied = numbers._sealed = 40
    feed = Feed(journal, numbers)
    feed.start()
    assert journal.append(parts(1)).seq == 41
    assert feed.wait(41, 10)
    feed.stop()
    assert numbers.seen == [1]


def test_entries_that_are_gone_are_counted(tmp_path, numbers, caplog):
    journal = Journal(tmp_path / "short", segment_bytes=4_000, tail_bytes=0)
    journal.release("other", 0)
    for number in range(30):
        journal.append(parts(number))
    journal.release("other", 30)
    first = journal.first()
    feed = Feed(journal, numbers)
    assert "the journal begins at" in caplog.text
    feed.start()
    assert feed.wait(30, 10)
    feed.stop()
    assert numbers.seen == list(range(first - 1, 30))
    assert feed.status().missed == first - 1 > 0
    journal.close()


def test_stop_is_prompt_and_may_come_before_start(journal, numbers):
    feed = Feed(journal, numbers)
    feed.start()
    began = time.monotonic()
    feed.stop()
    assert time.monotonic() - began < 5
    Feed(journal, numbers).stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "feed-numbers"]


def test_while_sealing_fails_only_so_much_is_applied(journal, numbers, caplog):
    numbers.seal_trouble = [OSError(28, "full")] * 1_000
    feed = Feed(journal, numbers, seal_every_s=0.01, seal_bytes=2_000)
    feed.start()
    for number in range(60):
        journal.append(parts(number, 1_000))
        time.sleep(0.002)
    until(lambda: feed.status().failures >= 3)
    time.sleep(0.1)
    assert feed.applied() < 50
    numbers.seal_trouble = []
    assert feed.wait(60, 10)
    feed.stop()
    assert numbers.seen == list(range(60))
    assert numbers.sealed() == 60
