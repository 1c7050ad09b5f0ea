"""Trainings as the journal tells them: told twice, out of order, after a restart; the end always wins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.core.encoding import Envelope, Trainings, encode
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Entry
from modelkeep.store import trainings as module
from modelkeep.store.entries import Entries
from modelkeep.wire import native


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    made = Entries(tmp_path / "entries.db")
    yield made
    made.close()


def given(**changes: object) -> Trainings:
    texts = ("version", "code", "data_version", "config_version", "by", "run", "error", "url")
    row: dict[str, object] = {name: [""] for name in texts} | {"ids": ["t1"], "at": [10], "end": [0]}
    row |= {"model": ["churn"], "status": ["running"], "dirty": [False], "source": ["train"]}
    row |= {"metrics": ["{}"], "parameters": ["{}"], "host": "h", "process": "h:1:x"}
    return Trainings(**{**row, **changes})  # type: ignore[arg-type]


def entry(seq: int, *items: Trainings) -> Entry:
    decoded = native.parts(encode(Envelope(token=f"t{seq}", trainings=list(items))), sender="ci")
    return Entry(seq, f"t{seq}", seq, decoded.parts)


def ended(**changes: object) -> Trainings:
    return given(**{"end": [30], "status": ["finished"], "metrics": ['{"auc":0.9}'], "version": ["7"], **changes})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_end_wins_whatever_comes_first(entries: Entries, order: tuple[int, int]) -> None:
    store = module.Trainings(entries)
    told = [given(code=["abc"]), ended()]
    for seq, place in enumerate(order, 1):
        store.apply([entry(seq, told[place])])
    (one,) = store.list()
    assert (one.status, one.end_ns, one.at_ns, one.version) == ("finished", 30, 10, "7")
    assert (one.metrics, one.deployer, one.host) == ('{"auc":0.9}', "ci", "h")
    assert one.code == ("abc" if order == (0, 1) else "")


def test_what_was_read_is_read_once(entries: Entries) -> None:
    store = module.Trainings(entries)
    store.apply([entry(1, given()), entry(2)])
    assert store.seal() == 2
    again = module.Trainings(entries)
    assert again.sealed() == 2
    again.apply([entry(1, ended()), entry(3, given(ids=["t2"], at=[50], model=["other"]))])
    assert [(one.id, one.status) for one in again.list()] == [("t2", "running"), ("t1", "running")]
    assert [one.id for one in again.list("churn")] == ["t1"]
    assert [one.id for one in again.list(start_ns=11)] == ["t2"]
    assert [one.id for one in again.list(end_ns=50)] == ["t1"]
    assert again.list(status="failed") == []
    assert [one.id for one in again.list(limit=1)] == ["t2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": ["done"]}, "status"),
        ({"source": ["wandb"]}, "source"),
        ({"metrics": ["[1]"]}, "metrics"),
        ({"parameters": ["x"]}, "parameters"),
        ({"end": [5]}, "ends before it begins"),
        ({"model": [""]}, "model"),
        ({"ids": [""]}, "id is empty"),
        ({"at": [1 << 70]}, "does not fit int64"),
        ({"end": [1 << 70]}, "does not fit int64"),
        ({"version": ["a", "b"]}, "has 2 values"),
        ({"host": "a\nb"}, "control"),
    ],
)
def test_what_is_no_training_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        native.trainings(given(**changes))
