"""The contract of every source of configuration: what is written is read, what changes is heard, failures are told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from modelkeep.configuration.config import Config
from modelkeep.configuration.lastgood import LastGood
from modelkeep.configuration.make import config
from modelkeep.configuration.source import KIND, Source, Writable, open_sources
from modelkeep.configuration.tree import leaves
from modelkeep.core.errors import BadInput, Denied, Error, Missing, Unreachable
from tests.configuration.servers import CANARY, house, until
from tests.kinds.source_rigs import CHANGING, FIRST, LOGINS, REMOTE, RIGS, SECOND, WRITING, Rig

LIMIT_S = 5.0
_marks = count()


def parameters(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(RIGS[name][2]) if RIGS[name][2] else ()) for name in names]


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    home = house()
    yield RIGS[request.param][1]((home, f"rig{next(_marks)}", tmp_path, monkeypatch))
    home.consul.clear()


def rigs(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", parameters(names), indirect=True)


@pytest.fixture
def opened(rig: Rig) -> Iterator[Source]:
    rig.put(FIRST)
    source = rig.open()
    yield source
    source.close()


def flat(source: Source) -> dict[str, str]:
    """What it reads, as texts; INI has no keys without a section."""
    return {key.removeprefix("top."): str(value) for key, value in leaves(source.read().tree)}


def test_every_source_has_a_rig() -> None:
    assert set(KIND.names()) == {plugin for plugin, _, _ in RIGS.values()}


@rigs(list(RIGS))
def test_what_was_written_is_read(rig: Rig, opened: Source) -> None:
    reading = opened.read()
    assert flat(opened) == FIRST
    assert isinstance(opened, Source)
    assert opened.live is rig.live
    assert opened.name
    for key, _ in leaves(reading.tree):
        assert str(reading.mark(key))
    again = opened.read()
    assert (again.tree, again.version) == (reading.tree, reading.version)
    assert not opened.watch(reading.version, 0.01)


@rigs(CHANGING)
def test_what_changes_between_read_and_watch_is_heard(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    rig.put(SECOND)
    assert opened.watch(seen.version, LIMIT_S)
    assert flat(opened) == SECOND
    assert opened.read().version != seen.version


@rigs(CHANGING)
def test_what_changes_during_watch_is_heard(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(opened.watch(seen.version, LIMIT_S * 2)))
    thread.start()
    time.sleep(0.05)
    rig.put(SECOND)
    thread.join(LIMIT_S)
    assert told == [True]
    assert flat(opened) == SECOND


@rigs(CHANGING)
def test_what_somebody_else_read_first_is_heard_too(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    rig.put(SECOND)
    assert flat(opened) == SECOND
    assert opened.watch(seen.version, LIMIT_S)


@rigs(CHANGING)
def test_close_ends_a_waiting_watch(rig: Rig, opened: Source) -> None:
    seen = opened.read()
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(opened.watch(seen.version, 60)))
    thread.start()
    time.sleep(0.1)
    opened.close()
    thread.join(10)
    assert told == [False]
    opened.close()


@rigs(CHANGING)
def test_what_is_missing_is_told_and_its_coming_heard(rig: Rig) -> None:
    with closing(rig.open()) as source, pytest.raises(Missing) as caught:
        source.read()
    assert caught.value.hint
    (there,) = open_sources(f"optional:{rig.where}")
    assert there.read().tree == {}
    assert not there.watch("absent", 0.01)
    rig.put(FIRST)
    assert there.watch("absent", LIMIT_S)
    assert flat(there) == FIRST
    assert rig.clear is not None
    seen = there.read().version
    rig.clear()
    assert there.watch(seen, LIMIT_S)
    assert there.read().tree == {}
    there.close()


@rigs(REMOTE)
def test_what_is_away_is_told_and_its_last_good_copy_holds(rig: Rig, tmp_path: Path) -> None:
    (source,) = open_sources(rig.away)
    with pytest.raises(Unreachable) as caught:
        source.read()
    assert caught.value.hint
    unseen(rig, source, source.name, caught.value, caught.value.hint, caught.value.__cause__)
    kept = LastGood(tmp_path / "kept", "a key of some length")
    rig.put(FIRST)
    good = rig.open()
    kept.save(source.name, good.read())
    good.close()
    with Config[object]([source], last_good=kept) as cfg:
        assert int(cfg["db.pool"]) == 8
        states = {change.state for change in cfg.history()}
        assert states == {"applied", "unreachable"}
        unseen(rig, cfg, cfg.tree() if rig.canaries[0] != CANARY else "", cfg.history())


@rigs(CHANGING)
def test_a_wrong_change_is_never_applied(rig: Rig) -> None:
    rig.put(FIRST)
    assert rig.bad is not None
    with config(rig.where) as cfg:
        name = "db.pool" if "db" in cfg.tree() else "top.db.pool"
        watch = cfg.watch()
        rig.bad()
        until(lambda: any(change.state == "rejected" for change in cfg.history()))
        assert int(cfg[name]) == 8
        time.sleep(0.2)
        refused = [change for change in cfg.history() if change.state == "rejected"]
        assert len(refused) == 1
        unseen(rig, *refused)
        assert watch.counts().applied == 0
        cfg.close()
        watch.stop()


@rigs(LOGINS)
def test_who_may_not_read_is_denied(rig: Rig) -> None:
    rig.put(FIRST)
    (source,) = open_sources(rig.denied)
    with pytest.raises(Denied) as caught:
        source.read()
    assert caught.value.hint
    unseen(rig, source, source.name, caught.value)
    source.close()


@rigs(WRITING)
def test_what_is_written_through_it_is_read_as_it_was(rig: Rig, opened: Source) -> None:
    assert isinstance(opened, Writable)
    other = rig.open()
    assert isinstance(other, Writable)
    seen = opened.read().version
    values: dict[str, Any] = {
        "db.pool": 10,
        "a.text": "8",
        "a.list": [1, "x"],
        "a.on": True,
        "a.word": "null",
        "new": 0.5,
    }
    other.write({**values, "name": None}, author="ann", reason="a test")
    assert opened.watch(seen, LIMIT_S)
    tree: Any = opened.read().tree
    assert tree == {
        "db": {"pool": 10, "url": "pg://h"},
        "a": {"text": "8", "list": [1, "x"], "on": True, "word": "null"},
        "new": 0.5,
    }
    with pytest.raises(BadInput, match=r"a\.bytes"):
        other.write({"a.bytes": b"\0"})
    other.close()


@rigs(REMOTE)
def test_no_credential_is_seen(rig: Rig, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO)
    rig.put(FIRST)
    seen: list[object] = []
    with config(rig.where) as cfg:
        seen += [cfg, cfg.sources, [source.name for source in cfg.sources], cfg.history(), cfg.explain("db.pool")]
        seen += [[str(cfg.snapshot().mark(key)) for key in cfg.snapshot().names()], cfg.snapshot()]
    for text in (f"{rig.where}&nonsense=1", f"{rig.where}?nonsense=1", f"{rig.where}&poll=x", rig.denied):
        opened: list[Source] = []
        try:
            opened = open_sources(text) if text else []
            for source in opened:
                seen += [source, source.name]
                source.read()
        except Error as error:
            seen += [error, error.hint, error.__dict__, error.args, error.__cause__]
        for source in opened:
            source.close()
    for source in open_sources(rig.where):
        source.close()
        with pytest.raises(Error) as caught:
            source.read()
        seen.append(caught.value)
    out = capsys.readouterr()
    unseen(rig, *seen, out.out, out.err, caplog.text)


def unseen(rig: Rig, *things: object) -> None:
    """Nothing of what is secret is in what people see."""
    for thing in things:
        text = f"{thing!r} {thing!s}"
        for canary in rig.canaries:
            assert canary not in text
