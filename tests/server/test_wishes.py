"""Rollbacks wished at a real server: a process that watches goes back, and the history says by whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelkeep as mk
from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import BadInput, Missing
from modelkeep.sdk import client
from modelkeep.sdk.applied import applied
from modelkeep.sdk.wishes import Wishes as Heard
from modelkeep.server.configurations import Presence
from modelkeep.server.wishes import HEADER, Wishes, WishesTold, WishGiven
from modelkeep.store.configurations import Configurations
from modelkeep.store.entries import Entries
from tests.server.conftest import Running
from tests.server.test_configurations import entry

PATH = "/api/v1/configurations"


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    client.reset()
    applied.forget()
    yield
    client.reset()
    applied.forget()


@pytest.fixture
def told(server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Running:
    """The server, which this process tells of its configurations."""
    monkeypatch.setenv("MODELKEEP_URL", server.serving.url)
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
    return server


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        mk.event("beat", "nobody")  # every answer carries the wish
        assert mk.flush(20)


def changes(server: Running, name: str) -> list[dict[str, Any]]:
    mk.flush(20)
    found = server.get(f"{PATH}/history", name=name)["changes"]
    assert isinstance(found, list)
    return found


def test_a_process_that_watches_goes_back(told: Running, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text("pool: 5\n")
    cfg = mk.config(file, name="wished")
    heard: list[str] = []
    cfg.on_change(lambda change: heard.append(f"{change.state} by {change.author}"))
    first = cfg.hash
    file.write_text("pool: 9\n")
    cfg.refresh()
    second = cfg.hash
    assert mk.flush(20)
    given = {"name": "wished", "reason": "too slow", "author": "ann"}
    dry = told.post(f"{PATH}/rollback", {**given, "dry": True})
    with cfg.watch() as watch:
        until(lambda: True)
        assert cfg.pool == 9
        answer = told.post(f"{PATH}/rollback", given)
        assert answer == dry
        WishesTold.model_validate(answer, strict=True)
        process = client.here().process
        assert answer["wishes"] == [{"process": process, "name": "wished", "before": second, "hash": first}]
        until(lambda: cfg.pool == 5)
        for _ in range(3):
            until(lambda: True)  # the wish is told again, and heard once
        assert watch.counts().applied == 1
        assert heard[1:] == ["rolled back by ann"]
        row = changes(told, "wished")[0]
        assert (row["state"], row["hash"], row["author"], row["reason"]) == ("rolled back", first, "ann", "too slow")
        answer = told.post(f"{PATH}/rollback", {"process": process, "hash": second[:8], "author": "bob"})
        assert answer["wishes"] == [{"process": process, "name": "wished", "before": first, "hash": second}]
        until(lambda: cfg.pool == 9)
    told.post(f"{PATH}/rollback", given)
    for _ in range(3):
        until(lambda: True)
    assert cfg.pool == 9  # nobody watches


def test_what_a_process_does_not_have_any_more_is_refused_there(told: Running) -> None:
    mk.config({"pool": 5}, name="restarted")
    cfg = mk.config({"pool": 9}, name="restarted")
    assert mk.flush(20)
    with cfg.watch():
        assert told.post(f"{PATH}/rollback", {"name": "restarted", "author": "ann", "reason": "r"})["wishes"]
        until(lambda: changes(told, "restarted")[0]["state"] == "rejected")
    row = changes(told, "restarted")[0]
    assert (row["author"], row["reason"], row["hash"]) == ("ann", "r", cfg.hash)
    assert row["error"].startswith("no configuration ")


def test_wishes_that_fit_nobody_are_told(told: Running) -> None:
    mk.config({"pool": 5}, name="lonely")
    assert mk.flush(20)
    for given, status, words in (
        ({}, 400, "needs a process or a name"),
        ({"name": "nobody"}, 404, "nobody told of nobody"),
        ({"process": "none"}, 404, "in none"),
        ({"name": "lonely"}, 404, "another configuration before"),
        ({"name": "lonely", "hash": "abcdef"}, 404, "had abcdef before"),
        ({"name": "lonely", "hash": "xyz"}, 400, "hash"),
        ({"name": "lonely", "colour": 1}, 400, "colour"),
    ):
        answer = told.client.post(f"{PATH}/rollback", json=given)
        assert (answer.status_code, words in str(answer.json())) == (status, True), answer.text


class Still:
    def __init__(self) -> None:
        self.now = 10 * MINUTE

    def now_ns(self) -> int:
        return self.now


def test_a_wish_waits_five_minutes_for_its_process(tmp_path: Path) -> None:
    clock = Still()
    kept, presence = Configurations(Entries(str(tmp_path / "e.db"))), Presence(clock)
    held = [{"process": "p", "name": "app", "hash": letter * 64, "at": number} for number, letter in enumerate("ab")]
    kept.apply([entry(1, *held)])
    wishes = Wishes(kept, presence, clock)
    with pytest.raises(Missing, match="nobody told"):
        wishes.make(WishGiven(name="app"), "ann")
    with pytest.raises(BadInput):
        wishes.make(WishGiven(), "ann")
    presence.told("p")
    wishes.make(WishGiven(name="app", reason="größer\n"), "ann")
    ((name, value),) = wishes.headers("p")
    assert name == HEADER
    assert b"\n" not in value
    heard: list[tuple[str, str, str]] = []
    sdk = Heard()
    sdk.heed("app", lambda *wish: heard.append(wish))
    sdk.heed("other", lambda *wish: heard.append(wish))
    for text in (value.decode(), "", "{", '[{"id": 1}]', value.decode()):
        sdk.take(text)
    assert heard == [("a" * 64, "ann", "größer\n")]
    assert wishes.headers("q") == []
    clock.now += 5 * MINUTE + 1
    assert wishes.headers("p") == wishes.headers("p") == []
