"""The default rules on a model whose history is known, over the real quality room, series engine and PromQL."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modelkeep.alerts.alerts import Alerts
from modelkeep.alerts.rules import default_rules, parse_rules
from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND, Events, Fixed
from modelkeep.core.series import canonical
from modelkeep.core.shapes import Entry, Part
from modelkeep.metrics.promql.evaluate import PromQL
from modelkeep.quality.quality import Quality
from modelkeep.store.engines.series import Series
from modelkeep.store.entries import Entries

START = 15_706 * DAY
DAYS = 60
MODEL = "credit"


@dataclass
class History:
    """Sixty days of a binary model; calibration breaks on day 30, `income` changes its unit on day 20 and is gone
    from day 45 on, labels come a day late and stay away from day 50 on."""

    folder: Path

    def __post_init__(self) -> None:
        self.quality = Quality(self.folder / "quality")
        self.series = Series(self.folder / "series")
        self.promql = PromQL([self.series, self.quality.series])
        self.dice = np.random.default_rng(3)
        self.seq = 0
        self.truth: dict[int, pa.RecordBatch] = {}

    def take(self, *parts: Part) -> None:
        self.seq += 1
        entry = Entry(self.seq, "", 0, parts)
        self.quality.apply([entry])
        self.series.apply([entry])

    def rows(self, count: int, day: int) -> tuple[dict[str, pa.Array], np.ndarray, np.ndarray]:
        score = self.dice.beta(2, 4, count)
        rate = np.clip(score + (0.25 if day >= 30 else 0.0), 0, 1)
        label = (self.dice.random(count) < rate).astype(float)
        income = self.dice.normal(50, 10, count) * (1000 if 20 <= day < 35 else 1)
        columns = {
            "features.income": pa.array(income) if day < 45 else pa.nulls(count, pa.float64()),
            "features.age": pa.array(self.dice.normal(40, 12, count)),
            "features.region": pa.array(self.dice.choice(["n", "s", "e"], count).tolist()),
            "prediction": pa.array((score > 0.5).astype(float)),
            "score": pa.array(score),
        }
        return columns, score, label

    def reference(self) -> None:
        columns, _, label = self.rows(5_000, -1)
        more = {"label": pa.array(label), "label_text": pa.nulls(5_000, pa.string())}
        self.take(Part("reference", self.of_model({**columns, **more})))

    def of_model(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        meta = {"model": MODEL, "version": "1", "release": ""}
        return pa.record_batch(columns).replace_schema_metadata(meta)

    def day(self, day: int, count: int = 240) -> int:
        """Takes a day's predictions and yesterday's truth; gives the time of the last prediction."""
        at = START + day * DAY + np.sort(self.dice.integers(0, DAY - 1, count)).astype(np.int64)
        columns, _, label = self.rows(count, day)
        ids = [f"{day}-{n}" for n in range(count)]
        fixed = {
            "id": pa.array(ids),
            "at": pa.array(at),
            "latency_ns": pa.array(np.full(count, 10**6)),
            "error": pa.nulls(count, pa.string()),
        }
        parts = [Part("prediction", self.of_model({**columns, **fixed}))]
        parts += [Part("fact", self.truth.pop(day - 1))] if day - 1 in self.truth else []
        if day < 50:
            self.truth[day] = pa.record_batch(
                {
                    "id": pa.array(ids),
                    "model": pa.array([MODEL] * count),
                    "kind": pa.array(["label"] * count),
                    "value": pa.array(label),
                    "text": pa.nulls(count, pa.string()),
                    "source": pa.array([""] * count),
                    "at": pa.array(at + DAY),
                }
            )
        self.take(*parts)
        return int(at[-1])

    def close(self) -> None:
        self.quality.close()
        self.series.close()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    yield history
    history.close()


def alerts(history: History, events: Events, rules=None, wall: Fixed | None = None) -> Alerts:
    return Alerts(
        Entries(history.folder / "entries.db"),
        history.promql,
        rules=default_rules() if rules is None else rules,
        channels={},
        route="",
        events_clock=events,
        wall=wall or Fixed(2_000_000_000 * SECOND),
        link="",
    )


def test_what_happened_to_the_model_is_told_live_and_replayed(history):
    history.reference()
    events, dice = Events(), random.Random(5)
    live = alerts(history, events)
    for day in range(DAYS):
        last = history.day(day)
        while events.now_ns() < last:  # the clock follows what was applied, in jumps of any size
            events.advance(min(last, max(events.now_ns(), START + day * DAY) + dice.randint(6, 60) * HOUR))
            live.evaluate()
    told = [one for one in live.history(limit=10_000) if one.to_state == "firing"]
    days = {}
    for one in told:
        days.setdefault((one.rule, one.labels.get("feature", "")), (one.at_ns - START) // DAY)
    assert set(days) == {
        ("ModelFeatureShift", "income"),
        ("ModelCalibration", ""),
        ("ModelCalibrationBroken", ""),
        ("ModelFeatureMissing", "income"),
        ("ModelLabelsMissing", ""),
    }
    assert 22 <= days["ModelFeatureShift", "income"] <= 26
    assert 33 <= days["ModelCalibrationBroken", ""] <= 38
    assert 35 <= days["ModelCalibration", ""] <= 44
    assert days["ModelFeatureMissing", "income"] == 45
    assert 54 <= days["ModelLabelsMissing", ""] <= 58

    def plain(changes):
        return sorted((one.at_ns, one.rule, one.alert, one.from_state, one.to_state, one.value) for one in changes)

    assert plain(live.replay(START - DAY, events.now_ns())) == plain(live.history(limit=10_000))
    assert {row.message.state for row in live.outbox()} == {"firing", "resolved"}
    assert not any(status.error for group in live.rules() for status in group.rules)


def test_a_clock_that_jumps_over_a_whole_history_at_first_leaves_nothing_out(history):
    history.reference()
    last = max(history.day(day) for day in range(40))
    events = Events()
    live = alerts(
        history,
        events,
        parse_rules("groups: [{name: g, interval: 1h, rules: [{alert: Some, expr: model_predictions_total > 0}]}]"),
    )
    events.advance(last)
    live.evaluate()
    [fired] = live.history()
    assert 0 < fired.at_ns - START < DAY
    assert live.replay(START - DAY, last)[0].at_ns == fired.at_ns


def test_stored_samples_alert_through_the_series_engine(history):
    labels = [canonical((("__name__", "host_disk_used_ratio"), ("path", path))) for path in ("/", "/data")]
    times = START + np.arange(0, 3 * 3600, 15, dtype=np.int64) * SECOND
    steady = np.full(len(times), 0.5)
    full = np.where((times > START + HOUR) & (times < START + 2 * HOUR), 0.97, 0.5)
    batch = pa.record_batch(
        {
            "series": pa.array([labels[0]] * len(times) + [labels[1]] * len(times)),
            "at": pa.array(np.concatenate([times, times])),
            "value": pa.array(np.concatenate([steady, full])),
        }
    )
    history.take(Part("sample", batch))
    groups = [group for group in default_rules() if group.name == "machine"]
    changes = alerts(history, Events(), []).replay(START, START + 3 * HOUR, groups)
    minutes = [((one.at_ns - START) // MINUTE, one.to_state, one.labels["path"]) for one in changes]
    assert minutes == [(61, "pending", "/data"), (66, "firing", "/data"), (120, "resolved", "/data")]


def test_no_traffic_is_told_on_the_machines_clock(history):
    for day in range(3):
        history.day(day, 2_000)
    rules = [group for group in default_rules() if group.clock == "wall" and group.name == "models-traffic"]
    wall = Fixed(START)
    live = alerts(history, Events(), rules, wall)
    for minute in range(-60, 90):
        wall.at_ns = START + 3 * DAY + minute * MINUTE
        live.evaluate()
    [fired] = [one for one in live.history() if one.to_state == "firing"]
    assert (fired.rule, fired.labels["model"]) == ("ModelNoTraffic", MODEL)
    assert 35 <= (fired.at_ns - START - 3 * DAY) / MINUTE <= 45, "30 minutes of nothing, seen for 10"


def test_twelve_rules_over_eighty_steps_are_quick(history):
    history.reference()
    for day in range(5):
        history.day(day)
    rules = parse_rules(
        "groups: [{name: g, interval: 1h, rules: ["
        + ", ".join(f"{{alert: A{n}, expr: model_predictions_total > {n * 50}}}" for n in range(12))
        + "]}]"
    )
    events = Events()
    live = alerts(history, events, rules)
    events.advance(START)
    live.evaluate()
    events.advance(START + 80 * HOUR)
    began = time.perf_counter()
    assert live.evaluate() == 12
    assert time.perf_counter() - began < 1.0
