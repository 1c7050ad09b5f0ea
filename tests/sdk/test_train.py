"""`mk.train` tells a training twice, keeps the last figures, and never disturbs what it surrounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import modelkeep as mk
from modelkeep.core.encoding import Trainings
from modelkeep.sdk import client
from modelkeep.sdk.train import Run
from tests.sdk.conftest import Receiver


def rows(receiver: Receiver) -> list[dict[str, object]]:
    assert mk.flush(20)
    found: list[dict[str, object]] = []
    for part in [part for envelope in receiver.envelopes for part in envelope.trainings]:
        columns = [name for name in Trainings.__struct_fields__ if isinstance(getattr(part, name), list)]
        found += [{name: getattr(part, name)[row] for name in columns} for row in range(len(part.ids))]
    return found


def test_a_training_is_told_at_its_beginning_and_at_its_end(sending: Receiver, tmp_path: Path) -> None:
    (tmp_path / "rows.csv.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef\n  path: rows.csv\n")
    with mk.train("churn", data=str(tmp_path / "rows.csv.dvc"), depth=6, path=Path("x")) as run:
        run.log_metrics({"auc": 0.5, "loss": math.nan, "name": "text"}, epochs=3)
        first = rows(sending)
        run.log_metrics(auc=0.91)
        run.log_params(rounds=100)
        run.version = "7"
    begun, ended = rows(sending)
    assert first == [begun]
    assert (begun["status"], begun["end"], begun["version"]) == ("running", 0, "v1")
    assert (ended["status"], ended["version"], ended["error"]) == ("finished", "7", "")
    assert ended["ids"] == begun["ids"] == run.id
    assert ended["at"] == begun["at"]
    assert int(str(ended["end"])) > int(str(ended["at"]))
    assert json.loads(str(ended["metrics"])) == {"auc": 0.91, "epochs": 3.0}
    assert json.loads(str(ended["parameters"])) == {"depth": 6, "path": "x", "rounds": 100}
    assert ended["data_version"] == "0123456789abcdef0123456789abcdef"
    assert ended["source"] == "train"
    assert not sending.faults


def test_what_fails_within_fails_as_before_and_is_told(sending: Receiver) -> None:
    with pytest.raises(ZeroDivisionError), mk.train("churn"):
        _ = 1 / 0
    *_, ended = rows(sending)
    assert (ended["status"], ended["error"], ended["metrics"]) == ("failed", "ZeroDivisionError", "{}")


def test_nothing_that_is_given_stops_the_training(sending: Receiver) -> None:
    class Awkward:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with mk.train("a\nb" * 200, big="x" * 1_000_000, odd=Awkward(), huge=10**400) as run:
        run.log_metrics({"a": Awkward(), "b": "0.5", "c": 10**400, Awkward(): 1})  # type: ignore[dict-item]
        run.log_metrics(d=1)
        run.version = None  # type: ignore[assignment]
    *_, ended = rows(sending)
    assert ended["status"] == "finished"
    assert json.loads(str(ended["metrics"]))["d"] == 1.0
    assert len(str(ended["parameters"])) < 300_000
    assert not sending.faults


def test_a_training_of_another_time_is_dated_so(sending: Receiver) -> None:
    with mk.at("2013-02-14"), mk.train("flights"):
        pass
    begun, ended = rows(sending)
    assert begun["at"] == ended["at"] == 1_360_800_000 * 10**9
    assert 0 < int(str(ended["end"])) - int(str(ended["at"])) < 60 * 10**9


def test_who_trains_is_named(sending: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "ann")
    with mk.train("churn"):
        pass
    assert [row["by"] for row in rows(sending)] == ["ann", "ann"]


def test_without_a_server_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    client.reset()
    with mk.train("churn", depth=6) as run:
        run.log_metrics(auc=0.9)
    assert isinstance(run, Run)
    assert run.metrics == {"auc": 0.9}
    assert not client.here().buffer.items
