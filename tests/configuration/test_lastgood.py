"""Last good copies: encrypted, bounded in what they reveal, and used when a source is away at the start."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from modelkeep.configuration.lastgood import LastGood, age
from modelkeep.configuration.make import config
from modelkeep.configuration.tree import Mark, Reading
from modelkeep.core.errors import BadInput, Unreachable
from tests.configuration.test_live import Knob

KEY = "a key of some length"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_SECRET_KEY", KEY)


READING = Reading(
    {
        "db": {"password": "hunter2hunter2", "list": [1, None, 2.5, True, "ä"]},
        "raw": b"\x00\xff",
        "keys": {1: "a", False: "b", "inf": float("inf")},
    },
    {"db": Mark("consul://h/app", 3)},
    version="17",
    read_ns=5,
    origin=Mark("consul://h/app"),
    texts={"db.x": "007"},
    secrets=frozenset({"db.list"}),
)


def test_a_copy_comes_back_as_it_was_and_is_not_readable(tmp_path: Path) -> None:
    kept = LastGood(tmp_path / "kept", KEY)
    assert kept.load("consul://h/app") is None
    kept.save("consul://h/app", READING)
    assert kept.load("consul://h/app") == READING
    assert kept.load("consul://h/other") is None
    (path,) = (tmp_path / "kept").iterdir()
    assert b"hunter2" not in path.read_bytes()
    assert b"db" not in path.read_bytes()[:8]
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert "hunter2" not in repr(vars(kept))
    assert KEY not in repr(vars(kept))


def test_another_key_and_broken_files_are_as_good_as_absent(tmp_path: Path) -> None:
    LastGood(tmp_path, KEY).save("s", READING)
    assert LastGood(tmp_path, KEY + "x").load("s") is None
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for broken in (whole[:-5], b"", b"\x00" * 100, whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(broken)
        assert LastGood(tmp_path, KEY).load("s") is None
    with pytest.raises(BadInput, match="fewer than 16 characters"):
        LastGood(tmp_path, "short")


def test_without_a_key_nothing_is_kept_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MODELKEEP_SECRET_KEY", raising=False)
    cfg = config(Knob({"a": 1}), last_good=tmp_path / "kept")
    assert cfg.a == 1
    assert "no last good copies are kept" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("key")
def test_a_process_starts_with_the_copy_while_the_source_is_away(tmp_path: Path) -> None:
    knob = Knob({"a": 1, "token": "hunter2hunter2"})
    config(knob, last_good=tmp_path)
    knob.turn(error=Unreachable("knob: no answer"))
    cfg = config(knob, last_good=tmp_path)
    assert (cfg.a, cfg.token) == (1, "hunter2hunter2")
    change = cfg.history()[0]
    assert change.state == "unreachable"
    assert change.error.startswith("knob: no answer; a copy of ")
    with cfg.watch() as watch:
        knob.turn({"a": 2})
        until = time.monotonic() + 20
        while cfg.a != 2 and time.monotonic() < until:
            time.sleep(0.005)
        assert cfg.a == 2
        assert not watch.sources()[0].error
    again = Knob({})
    again.turn(error=Unreachable("no"))
    assert config(again, last_good=tmp_path).a == 2  # the newer one was kept
    with pytest.raises(Unreachable):
        config(again)


@pytest.mark.usefixtures("key")
def test_a_bad_configuration_is_not_kept(tmp_path: Path) -> None:
    knob = Knob({"a": 1})
    cfg = config(knob, last_good=tmp_path)
    knob.turn({"a": "${nope}"})
    with pytest.raises(BadInput):
        cfg.refresh()
    knob.turn(error=Unreachable("no"))
    assert config(knob, last_good=tmp_path).a == 1


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs a disk that refuses")
@pytest.mark.usefixtures("key")
def test_a_disk_that_refuses_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    cfg = config(Knob({"a": 1}), last_good=tmp_path / "kept")
    assert cfg.a == 1
    assert "no last good copy of knob was kept" in capsys.readouterr().err


def test_ages_in_words() -> None:
    now = time.time_ns()
    ages = [age(Reading({}, read_ns=now - seconds * 10**9)) for seconds in (1, 90, 7200, 200_000)]
    assert ages == ["1 s", "1 min", "2 h", "2 d"]
    assert age(Reading({}, read_ns=now + 10**12)) == "0 s"  # the clock has jumped back
