"""Configurations that change while they are read."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from modelkeep.configuration.change import Change
from modelkeep.configuration.config import Config
from modelkeep.configuration.history import Memory
from modelkeep.configuration.live import Watch, pause_s
from modelkeep.configuration.make import config
from modelkeep.configuration.tree import Mark, Reading, Tree
from modelkeep.core.errors import BadInput, Denied, Error, Unreachable


class Pair(BaseModel):
    one: int
    two: int
    text: str = ""


class Knob:
    """A source that a test turns: it pushes every change, and fails when told to."""

    live = True
    name = "knob"

    def __init__(self, tree: Tree) -> None:
        self._changed = threading.Condition()
        self._tree, self._version, self._error = tree, 1, None  # type: tuple[Tree, int, Error | None]
        self.reads = 0
        self.closed = False

    def turn(self, tree: Tree | None = None, *, error: Error | None = None) -> None:
        with self._changed:
            if tree is not None:
                self._tree, self._version = tree, self._version + 1
            self._error = error
            self._changed.notify_all()

    def read(self) -> Reading:
        with self._changed:
            self.reads += 1
            if self._error is not None:
                raise self._error
            return Reading(self._tree, version=str(self._version), origin=Mark("knob"), read_ns=time.time_ns())

    def watch(self, seen: str, wait_s: float) -> bool:
        with self._changed:
            if self._error is not None:
                raise self._error
            if str(self._version) == seen:
                self._changed.wait(min(wait_s, 0.2))
            if self._error is not None:
                raise self._error
            return str(self._version) != seen

    def close(self) -> None:
        self.closed = True


def wait(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.002)


@contextmanager
def followed(cfg: Config[object]) -> Iterator[Watch]:
    with cfg.watch() as watch:
        yield watch
    cfg.close()


def replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


READERS = 8


def read_while_changing(reads: int, changes: int) -> None:
    """Readers look at two keys that are always equal, by every way of reading, while they change."""
    cfg = config(Pair, {"one": 0, "two": 0, "text": "0"})
    torn: list[object] = []
    done = threading.Event()
    counts = [0] * READERS
    numbers: list[set[int]] = [set() for _ in range(READERS)]

    def reader(place: int) -> None:
        last = 0
        for _ in range(reads // READERS):
            held = cfg.snapshot()
            value = held.value
            if not (value.one == value.two == int(value.text) == held.get("one")) or held.number < last:
                torn.append((value, held.number, last))
            last = held.number
            numbers[place].add(value.one)
            counts[place] += 1
        done.set()

    threads = [threading.Thread(target=reader, args=(place,)) for place in range(READERS)]
    pace = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        number = 0
        while number < changes or not done.is_set():
            number += 1
            cfg.set({"one": number, "two": number, "text": str(number)})
            if number % 10 == 0:
                with pytest.raises(BadInput):
                    cfg.set({"one": number + 1, "two": "many"})
    finally:
        for thread in threads:
            thread.join()
        sys.setswitchinterval(pace)
    assert not torn
    assert sum(counts) == reads // READERS * READERS
    assert cfg.one == number


def test_no_reader_sees_a_mix() -> None:
    read_while_changing(80_000, 200)


@pytest.mark.slow
def test_no_reader_sees_a_mix_in_a_million_reads() -> None:
    read_while_changing(1_000_000, 200)


def test_a_changed_file_is_applied_and_a_bad_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one: 1\ntwo: 1\n")
    cfg = config(Pair, path)
    seen: list[Change] = []
    cfg.on_change(seen.append)
    with followed(cfg) as watch:  # type: ignore[arg-type]
        replace(path, "one: 2\ntwo: 2\n")
        wait(lambda: len(seen) == 1)
        path.write_text("one: 3\ntwo: 3\n")  # in place
        wait(lambda: len(seen) == 2)
        assert seen[-1].source == str(path)
        for bad in ("one: many\ntwo: 4\n", "one: [\n", "one: 4\n", "two: 4\none: 4\nthree: 4\n"):
            before = watch.counts().refused
            replace(path, bad)
            wait(lambda before=before: watch.counts().refused > before)  # type: ignore[misc]
            assert (cfg.one, cfg.two) == (3, 3)
            assert cfg.history()[0].state == "rejected"
            assert str(path) in cfg.history()[0].error
            assert "three" in cfg.history()[0].error or "three" not in bad
        replace(path, "one: 5\ntwo: 5\n")
        wait(lambda: cfg.one == 5)
        path.unlink()
        wait(lambda: bool(watch.sources()[0].error))
        assert cfg.one == 5
        replace(path, "one: 6\ntwo: 6\n")
        wait(lambda: cfg.one == 6)
        wait(lambda: not watch.sources()[0].error)
    assert [change.state for change in seen] == ["applied"] * 4


def test_fifty_updates_of_a_file_end_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one: 0\ntwo: 0\n")
    cfg = config(Pair, path)
    seen: list[int] = []
    cfg.on_change(lambda change: seen.append(cfg.one))
    with followed(cfg):  # type: ignore[arg-type]
        for number in range(1, 11):
            replace(path, f"one: {number}\ntwo: {number}\n")
            wait(lambda number=number: bool(seen) and seen[-1] == number)  # type: ignore[misc]
        for number in range(11, 51):  # faster than anybody follows
            replace(path, f"one: {number}\ntwo: {number}\n")
        wait(lambda: cfg.one == 50)
    assert seen == sorted(set(seen))
    assert seen[:10] == list(range(1, 11))


def test_a_link_that_is_turned_to_another_folder(tmp_path: Path) -> None:
    """As Kubernetes replaces mounted maps: the file's own folder does not change, only a link in it."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "a.yaml").write_text(f"one: {number}\ntwo: {number}\n")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    cfg = config(Pair, tmp_path / "a.yaml")
    with followed(cfg):  # type: ignore[arg-type]
        (tmp_path / "..next").symlink_to("..2")
        os.replace(tmp_path / "..next", tmp_path / "..data")  # noqa: PTH105 - renames the link itself
        wait(lambda: cfg.one == 2)


def test_a_flood_is_coalesced_and_counted() -> None:
    knob = Knob({"one": 0, "two": 0})
    cfg = config(Pair, knob)
    seen: list[int] = []
    cfg.on_change(lambda change: seen.append(cfg.one))
    watch = Watch(cfg, least_s=0.2)
    for number in range(1, 301):
        knob.turn({"one": number, "two": number})
        time.sleep(0.001)
    wait(lambda: cfg.one == 300)
    watch.stop()
    counts = watch.counts()
    assert counts.applied == len(seen) < 100
    assert counts.applied + counts.coalesced == counts.read - counts.refused
    assert seen == sorted(seen)


def test_changes_that_arrive_before_the_watch_begins_are_seen() -> None:
    knob = Knob({"one": 0, "two": 0})
    cfg = config(Pair, knob)
    knob.turn({"one": 1, "two": 1})
    with followed(cfg):  # type: ignore[arg-type]
        wait(lambda: cfg.one == 1)
    assert knob.closed


def test_a_source_that_goes_away_and_returns() -> None:
    knob = Knob({"one": 1, "two": 1})
    cfg = config(Pair, knob, {"text": "x"})
    with followed(cfg) as watch:  # type: ignore[arg-type]
        knob.turn(error=Unreachable("knob: no answer"))
        wait(lambda: bool(watch.sources()[0].error))
        assert watch.sources()[0].error == "knob: no answer"
        assert watch.sources()[1].age_s == 0.0  # cannot change
        assert cfg.one == 1
        age = watch.sources()[0].age_s
        knob.turn({"one": 2, "two": 2}, error=Denied("knob: refused"))
        wait(lambda: watch.sources()[0].error == "knob: refused")
        assert watch.sources()[0].age_s > age
        knob.turn()
        wait(lambda: cfg.one == 2)
        wait(lambda: not watch.sources()[0].error)
        told = {"unreachable", "recovered"}  # the history hears of it a moment later
        wait(lambda: [one.state for one in cfg.history() if one.state in told] == ["recovered", "unreachable"])
        assert watch.counts().failures >= 2


def test_a_source_that_raises_what_it_should_not_goes_on() -> None:
    class Broken(Knob):
        fail = True

        def watch(self, seen: str, wait_s: float) -> bool:
            if self.fail:
                raise RuntimeError("a bug with hunter2 in it")
            return super().watch(seen, wait_s)

    knob = Broken({"one": 1, "two": 1})
    cfg = config(Pair, knob)
    with followed(cfg) as watch:  # type: ignore[arg-type]
        wait(lambda: bool(watch.sources()[0].error))
        assert watch.sources()[0].error == "knob: RuntimeError"
        knob.fail = False
        knob.turn({"one": 2, "two": 2})
        wait(lambda: cfg.one == 2)


def test_what_was_rolled_back_stays_away_until_a_source_changes() -> None:
    knob = Knob({"one": 1, "two": 1})
    cfg = config(Pair, knob)
    with followed(cfg):  # type: ignore[arg-type]
        knob.turn({"one": 2, "two": 2})
        wait(lambda: cfg.one == 2)
        cfg.rollback()
        assert cfg.one == 1
        assert cfg.refresh() is None
        knob.turn({"one": 3, "two": 3})
        wait(lambda: cfg.one == 3)


class Heeds(Memory):
    """A ledger that passes on what people wish elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[Callable[[str, str, str], None]] = []

    def heed(self, act: Callable[[str, str, str], None]) -> Callable[[], None]:
        self.acts.append(act)
        return lambda: self.acts.remove(act)


def test_a_rollback_that_is_wished_elsewhere_is_done_by_who_watches() -> None:
    ledger, knob = Heeds(), Knob({"one": 1, "two": 2})
    cfg = config(Pair, knob, ledger=ledger)
    first = cfg.hash
    cfg.set({"one": 5}, author="bob")
    with cfg.watch() as watch:
        (wish,) = ledger.acts
        wish(first[:9], "ann", "slow")
        wait(lambda: cfg.history()[0].state == "rolled back")
        newest = cfg.history()[0]
        assert cfg.one == 1
        assert (newest.state, newest.author, newest.reason, newest.hash) == ("rolled back", "ann", "slow", first)
        wish("feed", "ann", "why not")
        wait(lambda: cfg.history()[0].state == "rejected")
        newest = cfg.history()[0]
        assert (newest.author, newest.source, newest.hash) == ("ann", "rollback", first)
        assert newest.error == "no configuration feed"
        wait(lambda: watch.counts().refused == 1)
        assert (watch.counts().applied, watch.counts().coalesced) == (1, 0)
    assert ledger.acts == []
    with config({"a": 1}, ledger=ledger) as fixed, fixed.watch():  # nothing is live, and yet somebody may wish
        fixed.set({"a": 2})
        ledger.acts[0]("", "ann", "")
        wait(lambda: fixed.a == 1)


def test_the_pauses_grow_and_differ() -> None:
    assert [pause_s(misses, chance=1.0) for misses in (1, 2, 3, 7, 8, 10_000)] == [0.5, 1.0, 2.0, 32.0, 60.0, 60.0]
    found = {pause_s(20) for _ in range(50)}
    assert len(found) > 40
    assert all(6.0 <= one <= 60.0 for one in found)


def test_a_jump_of_the_clock_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    knob = Knob({"one": 1, "two": 1})
    cfg = config(Pair, knob)
    with followed(cfg) as watch:  # type: ignore[arg-type]
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - 10 * 365 * 86_400 * 10**9)
        knob.turn({"one": 2, "two": 2})
        wait(lambda: cfg.one == 2)
        assert 0 <= watch.sources()[0].age_s < 60
        assert [change.state for change in cfg.history()] == ["applied", "applied"]
        assert cfg.history()[0].hash == cfg.hash  # the order is that of the changes, not of their times
        monkeypatch.setattr(time, "time_ns", lambda: real() + 10 * 365 * 86_400 * 10**9)
        knob.turn({"one": 3, "two": 3})
        wait(lambda: cfg.one == 3)
        assert cfg.rollback() is not None
        assert cfg.one == 2


def test_stopping_ends_the_threads_soon(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one: 1\ntwo: 1\n")
    before = threading.active_count()
    cfg = config(Pair, path, Knob({"two": 1}))
    watch = cfg.watch()
    assert threading.active_count() == before + 3
    watch.stop()
    watch.stop()
    again = cfg.watch()  # while a thread of the first may still wait
    again.stop()
    cfg.close()
    wait(lambda: threading.active_count() == before)
    assert Watch(config({"a": 1})).sources()[0].error == ""  # nothing live: no thread
    assert threading.active_count() == before


def test_a_listener_may_change_and_stop(tmp_path: Path) -> None:
    knob = Knob({"one": 1, "two": 1})
    cfg = config(Pair, knob)
    watch = cfg.watch()

    def listener(change: Change) -> None:
        if cfg.text != "seen":
            cfg.set({"text": "seen"})
            watch.stop()

    cfg.on_change(listener)
    knob.turn({"one": 2, "two": 2})
    wait(lambda: cfg.get("text") == "seen")
    assert cfg.one == 2
    watch.stop()
