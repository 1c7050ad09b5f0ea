"""The main job on real flights: what the server says equals what scikit-learn says of the exported predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from modelkeep.cli.client import Client
from modelkeep.cli.demo import house
from modelkeep.cli.demo.flights import flights
from modelkeep.cli.demo.model import NAME

FIRST, LAST = "2013-03-01", "2013-04-30"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, list[dict[str, object]]]]:
    """March and April served within seconds, on a server that stays for the questions."""
    from datetime import date

    from modelkeep.cli.commands.demo import settle

    folder = tmp_path_factory.mktemp("demo") / "data"
    with house.server(folder, 0) as client:
        days = list(house.serving(client, date.fromisoformat(FIRST), date.fromisoformat(LAST), 8))
        assert len(days) == 61
        settle(client)
        yield client, days


def command(client: Client, *words: str) -> dict[str, object]:
    own = {**os.environ, "MODELKEEP_URL": client.url}
    done = subprocess.run(
        [sys.executable, "-m", "modelkeep", *words, "--json"], env=own, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def exported(client: Client) -> pd.DataFrame:
    answer = client.post(
        "/api/v1/sql",
        {
            "sql": "select p.id, p.at, p.score, l.value as label from prediction p left join label l using (id)",
            "limit": 100_000,
        },
    )
    return pd.DataFrame(answer["rows"], columns=["id", "at", "score", "label"])


@pytest.mark.timeout(300)
def test_monthly_figures_equal_those_of_scikit_learn(told: tuple[Client, list[dict[str, object]]]) -> None:
    client, _ = told
    rows = command(client, "quality", "show", NAME, "--by", "month", "--timezone", "America/New_York")["rows"]
    frame = exported(client).merge(flights()[["id", "month", "late"]], on="id", validate="1:1")
    assert isinstance(rows, list)
    assert len(rows) == 2
    for row, month in zip(rows, (3, 4), strict=True):
        part = frame[frame["month"] == month]
        known = part[part["label"].notna()]
        truth, score = known["label"].to_numpy(float), known["score"].to_numpy(float)
        assert (row["predictions"], row["labels"]) == (len(part), len(known))
        assert row["predictions"] == {3: 28_834, 4: 28_330}[month]
        assert row["coverage"] == pytest.approx(len(known) / len(part))
        assert np.array_equal(truth, known["late"])
        figures = {name: figure["value"] for name, figure in row["metrics"].items()}
        assert figures["auc"] == pytest.approx(metrics.roc_auc_score(truth, score), abs=0.002)
        assert figures["log_loss"] == pytest.approx(metrics.log_loss(truth, score), abs=0.002)
        assert figures["brier"] == pytest.approx(metrics.brier_score_loss(truth, score), abs=0.002)
        assert figures["predicted_rate"] == pytest.approx(score.mean(), abs=0.002)
        assert figures["actual_rate"] == pytest.approx(truth.mean(), abs=0.002)


def test_one_day_into_april_is_told_as_it_was_known_then(told: tuple[Client, list[dict[str, object]]]) -> None:
    """As of 3 April, 00:00 UTC: the labels that had arrived by the end of 2 April, for flights since 1 April, local."""
    client, _ = told
    rows = command(client, "quality", "show", NAME, "--from", "2013-04-01T04:00:00Z", "--as-of", "2013-04-03")["rows"]
    assert isinstance(rows, list)
    (row,) = rows
    frame = flights()
    april = frame[(frame["at"] >= pd.Timestamp("2013-04-01T04:00Z").value)]
    arrived = april[april["late"].notna() & (april["at"] + 86_400 * 10**9 < pd.Timestamp("2013-04-03T00:00Z").value)]
    assert row["labels"] == len(arrived)
    assert 0 < row["labels"] < 1_000


def test_a_replay_gives_the_alerts_of_the_live_run(told: tuple[Client, list[dict[str, object]]]) -> None:
    client, _ = told
    live = command(client, "alert", "list", "--history", "--limit", "10000")["transitions"]
    clock = client.get("/api/v1/status")["clock"]
    assert isinstance(clock, dict)
    again = command(client, "alert", "replay", "--from", "2013-02-01", "--to", str(clock["now"]))["transitions"]
    assert isinstance(live, list)
    assert isinstance(again, list)

    def told_by(changes: list[dict[str, object]]) -> list[str]:
        keys = ("at", "rule", "labels", "from", "to", "value")
        return sorted(json.dumps({key: change[key] for key in keys}, sort_keys=True) for change in changes)

    events = [change for change in live if str(change["at"]).startswith("2013")]
    assert any(str(change["rule"]).startswith("ModelCalibration") and change["to"] == "firing" for change in events)
    assert told_by(events) == told_by(again)


def test_the_process_told_its_logs_and_its_resources_at_event_time(
    told: tuple[Client, list[dict[str, object]]],
) -> None:
    client, days = told
    found = client.get("/api/v1/logs", q='logger:flight-delay "Predicted"', limit=1000)
    assert found["count"] == len(days)
    data = client.get(
        "/api/v1/series", **{"match[]": "process_resident_memory_bytes", "start": "2013-03-01", "end": "2013-05-01"}
    )
    assert data["data"]


def test_why_leads_from_the_alert_of_april_to_the_model_and_its_training(
    told: tuple[Client, list[dict[str, object]]],
) -> None:
    client, _ = told
    answer = command(client, "why", "ModelCalibration")
    about, found = answer["alert"], answer["changes"]
    assert isinstance(about, dict)
    assert isinstance(found, list)
    assert (about["rule"], str(about["since"])[:7]) == ("ModelCalibration", "2013-04")
    assert [(one["kind"], one["near"], str(one["at"])[:10]) for one in found] == [
        ("release", "own", "2013-03-01"),
        ("training", "maybe", "2013-02-15"),
    ]
    assert "was trained: auc 0.6" in found[1]["title"]
    rules = {str(one["rule"]) for one in rows(client) if one["to"] == "firing"}
    assert "ModelNotTrained" in rules


def rows(client: Client) -> list[dict[str, object]]:
    answer = command(client, "alert", "list", "--history", "--limit", "10000")["transitions"]
    assert isinstance(answer, list)
    return answer


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo_ends_with_its_story(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelkeep", "demo", "--exit", "--port", "0", "--data", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2013-12" in done.stdout
    assert "Drift is not damage" in done.stdout
