"""A small house to look at: three models, one of them drifting, logs, releases, alerts; the same every time.

Everything stands still relative to the moment of the making: two days of predictions end then.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelkeep.core import encoding
from modelkeep.core.encoding import Envelope, Facts, Logs, Predictions, Reference, Release, Samples, Trainings
from modelkeep.server.house import House
from tests.page import configurations

SECOND = 1_000_000_000
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
SPAN_H = 48
CHURN, PRICE, SILENT = "churn", 'price/estimate "عقار"', "fraud"
"""Names: a plain one; one with a slash, quotes and right-to-left text; one that has gone silent."""
FIRST, SECOND_VERSION = "2026.1", "2026.2"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"> a log line that wants to be HTML"
LONG = "one very long line: " + "0123456789" * 100_000
A, B = "4f2a" * 10, "9c1d" * 10

RULES = """
groups:
  - name: page
    interval: 1s
    rules:
      - alert: ChurnLatencyHigh
        expr: |
          sum(rate(model_latency_seconds_sum{model="churn"}[30m]))
            / sum(rate(model_latency_seconds_count{model="churn"}[30m])) > 0.01
        labels: {severity: critical, model: churn}
        annotations:
          summary: "churn answers slowly: {{ $value | humanizeDuration }} on average"
          description: The mean latency of the last half hour is above 10 ms.
      - alert: ChurnDrift
        expr: 'count by (model, version) (model_feature_drift{model="churn", measure="psi"} > 0.25) > 0'
        labels: {severity: warning}
        annotations:
          summary: "{{ $value }} features of churn drift"
      - alert: FraudSilent
        expr: 'absent(increase(model_predictions_total{model="fraud"}[1h]) > 0)'
        for: 1h
        labels: {severity: info, model: fraud}
        annotations: {summary: fraud answers nobody}
"""


@dataclass(frozen=True)
class Told:
    """What the house was told, for tests that look for it.

    Args:
        now_ns: the end of everything.
        predictions: of churn, in all.
    """

    now_ns: int
    predictions: int


class Teller:
    """Sends envelopes to a server, as a model's process does."""

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._count = 0

    def send(self, **parts: Any) -> None:
        self._count += 1
        envelope = Envelope(token=f"page-{time.time_ns()}-{self._count}", process="api-1:77:x", **parts)
        answer = self._client.post("/api/v1/ingest", content=encoding.encode(envelope))
        assert answer.status_code == 200, answer.text

    def predict(self, at_ns: int, count: int = 1, *, model: str = CHURN, latency_ms: float = 12.0) -> None:
        """Tells some predictions at one moment."""
        ids = [f"live-{at_ns}-{place}" for place in range(count)]
        features = {"tenure": [12.0] * count, "plan": ["pro"] * count}
        latency = [round(latency_ms * 1e6)] * count
        rows = Predictions(model, SECOND_VERSION, "r2", ids, [at_ns] * count, features, [True] * count, [0.7] * count)
        rows.latency_ns = list(latency)
        self.send(predictions=[rows])

    def log(self, at_ns: int, *messages: str, level: str = "INFO") -> None:
        """Tells log records."""
        many = len(messages)
        logs = Logs(
            "churn-api", "api-1", [at_ns + place for place in range(many)], [9 if level == "INFO" else 17] * many,
            [level] * many, ["churn.serve"] * many, list(messages), [None] * many, [None] * many, ["{}"] * many,
        )  # fmt: skip
        self.send(logs=[logs])

    def close(self) -> None:
        self._client.close()


def fill(url: str, house: House, token: str = "") -> Told:
    """Tells a server everything."""
    now = time.time_ns() // MINUTE * MINUTE
    teller = Teller(url, token)
    teller.send(releases=_releases(now), references=[_reference(), _price_reference()], trainings=_trainings(now))
    teller.send(configurations=configurations.told(now))
    count = _churn(teller, now)
    _price(teller, now)
    _silent(teller, now)
    _samples(teller, now)
    _logs(teller, now)
    teller.close()
    house.evaluate()
    return Told(now, count)


def _releases(now: int) -> list[Release]:
    origin = json.dumps({"remote": "https://github.com/example/churn.git", "branch": "main"})
    start = now - SPAN_H * HOUR
    return [
        Release("r1", start, CHURN, FIRST, A, author="Ann <ann@example.org>", data_version="md5: " + "1" * 32,
                config_version=configurations.named(configurations.BASE), host="api-1", process="api-1:77:x",
                extra=origin),
        Release("r2", now - 20 * HOUR, CHURN, SECOND_VERSION, B, author="Cy <cy@example.org>",
                data_version="md5: " + "2" * 32,
                config_version=configurations.named(configurations.LESS_ALARMS), host="api-1", process="api-1:78:x",
                extra=origin),
        Release("r3", start, PRICE, "7", A, author="Ann <ann@example.org>", host="api-2", process="api-2:9:x"),
    ]  # fmt: skip


def _trainings(now: int) -> list[Trainings]:
    return [
        Trainings(
            host="gpu-1", process="gpu-1:5:x", ids=["t1"], at=[now - 30 * HOUR], end=[now - 29 * HOUR], model=[CHURN],
            version=[SECOND_VERSION], status=["finished"], code=[B], dirty=[False], data_version=["2" * 32],
            config_version=[""], metrics=['{"auc":0.87}'], parameters=['{"depth":6}'], by=["Cy"], source=["train"],
            run=[""], error=[""], url=[""],
        )
    ]  # fmt: skip


def _features(chance: random.Random, drifted: float) -> dict[str, Any]:
    plans, weights = (
        (["basic", "pro", "team", "trial"], [6, 3, 1, 3]) if drifted else (["basic", "pro", "team"], [6, 3, 1])
    )
    return {
        "tenure": max(0.0, chance.gauss(24 + 18 * drifted, 9)),
        "monthly_fee": round(chance.lognormvariate(3.3 + 0.5 * drifted, 0.35), 2),
        "calls": float(chance.randrange(0, 9)),
        "discount": None if chance.random() < 0.03 + 0.3 * drifted else round(chance.random() * 0.3, 3),
        "plan": chance.choices(plans, weights)[0],
        "region": chance.choice(["north", "south", "east", "west"]),
    }  # fmt: skip


def _score(row: dict[str, Any], chance: random.Random) -> float:
    lean = -1.2 - 0.03 * (row["tenure"] - 24) + 0.25 * (row["calls"] - 4) + chance.gauss(0, 0.5)
    return 1 / (1 + math.exp(-lean))


def _reference() -> Reference:
    chance = random.Random(5)
    rows = [_features(chance, 0.0) for _ in range(3000)]
    scores = [_score(row, chance) for row in rows]
    labels = [chance.random() < score for score in scores]
    return Reference(
        CHURN, SECOND_VERSION, {name: [row[name] for row in rows] for name in rows[0]}, labels, list(scores)
    )


def _price_reference() -> Reference:
    chance = random.Random(6)
    area = [chance.uniform(30, 160) for _ in range(800)]
    return Reference(PRICE, "7", {"area": list(area)}, [2000 * size + chance.gauss(0, 9000) for size in area])


def _churn(teller: Teller, now: int) -> int:
    """Every minute some calls, more by day; from the last release on they drift, and some fail at the end."""
    chance = random.Random(7)
    sent, number = 0, 0
    facts = Facts([], [], [], [], [], [])
    for version, release, begin, end in (
        (FIRST, "r1", -SPAN_H * 60, -20 * 60),
        (SECOND_VERSION, "r2", -20 * 60, 0),
        (FIRST, "r1", -20 * 60, -17 * 60),
    ):
        groups: dict[str, list[Any]] = {name: [] for name in ("ids", "at", "rows", "score", "latency", "error")}
        for minute in range(begin, end):
            at = now + minute * MINUTE
            busy = 1.3 + math.sin(2 * math.pi * (at / HOUR % 24 - 9) / 24)
            for place in range(1 + int(busy * 3 * chance.random())):
                drifted = 1.0 if version == SECOND_VERSION and minute > -14 * 60 else 0.0
                row = _features(chance, drifted)
                score = _score(row, chance)
                number += 1
                failed = chance.random() < (0.06 if minute > -90 else 0.002)
                groups["ids"].append(f"c{number}")
                groups["at"].append(at + place * 7 * SECOND)
                groups["rows"].append(row)
                groups["score"].append(None if failed else score)
                groups["latency"].append(int(chance.lognormvariate(2.2 if minute < -60 else 3.2, 0.4) * 1e6))
                groups["error"].append("ValueError" if failed else None)
                if not failed and minute < -180 and chance.random() < 0.8:
                    real = min(1.0, max(0.0, score + 0.12 * drifted))
                    for column, value in zip(
                        (facts.ids, facts.model, facts.kind, facts.value, facts.source, facts.at),
                        (f"c{number}", CHURN, "label", chance.random() < real, "billing", at + 2 * HOUR),
                        strict=True,
                    ):
                        column.append(value)  # type: ignore[attr-defined]
        made = [None if score is None else score > 0.5 for score in groups["score"]]
        features = {name: [row[name] for row in groups["rows"]] for name in groups["rows"][0]}
        rows = Predictions(CHURN, version, release, groups["ids"], groups["at"], features, list(made), groups["score"])
        rows.latency_ns, rows.error = groups["latency"], groups["error"]
        teller.send(predictions=[rows])
        sent += len(groups["ids"])
    teller.send(facts=[facts])
    return sent


def _price(teller: Teller, now: int) -> None:
    chance = random.Random(8)
    times = [now - minute * MINUTE for minute in range(SPAN_H * 60, 0, -12)]
    area = [chance.uniform(30, 160) for _ in times]
    ids = [f"e{place}" for place in range(len(times))]
    rows = Predictions(PRICE, "7", "r3", ids, times, {"area": list(area)}, [2000 * size for size in area])
    rows.latency_ns = [int(chance.uniform(2, 6) * 1e6) for _ in times]
    real = [2000 * size + chance.gauss(0, 9000) for size in area[:-30]]
    many = len(real)
    facts = Facts(
        ids[:-30], [PRICE] * many, ["label"] * many, list(real), ["sales"] * many, [at + HOUR for at in times[:-30]]
    )
    teller.send(predictions=[rows])
    teller.send(facts=[facts])


def _silent(teller: Teller, now: int) -> None:
    times = [now - SPAN_H * HOUR + minute * MINUTE for minute in range(0, 600, 5)]
    ids = [f"f{place}" for place in range(len(times))]
    rows = Predictions(SILENT, "3", "", ids, times, {"amount": [9.5] * len(times)}, [False] * len(times))
    teller.send(predictions=[rows])


def _samples(teller: Teller, now: int) -> None:
    chance = random.Random(9)
    labels = [
        {"__name__": "process_cpu_seconds_total", "service": "churn-api", "instance": "api-1:78"},
        {"__name__": "process_resident_memory_bytes", "service": "churn-api", "instance": "api-1:78"},
    ]
    times = [now - minute * MINUTE for minute in range(24 * 60, 0, -1)]
    used, series, at, values = 0.0, [], [], []
    for place, moment in enumerate(times):
        used += chance.uniform(4, 14)
        for which, value in enumerate((used, 3.1e8 + 2e4 * place)):
            series.append(which)
            at.append(moment)
            values.append(value)
    teller.send(samples=[Samples(labels, series, at, values)])


def _logs(teller: Teller, now: int) -> None:
    chance = random.Random(10)
    words = {
        "INFO": ["request served", "cache warmed", "model loaded", "features fetched in 3 ms"],
        "WARN": ["feature discount is missing", "slow call: 310 ms"],
        "ERROR": ["ValueError: could not convert string to float: 'n/a'"],
    }
    columns: dict[str, list[Any]] = {name: [] for name in ("at", "severity", "level", "logger", "message", "extra")}
    for number in range(600):
        level = chance.choices(["INFO", "WARN", "ERROR"], [85, 11, 4])[0]
        columns["at"].append(now - (600 - number) * 2 * MINUTE + number)
        columns["severity"].append({"INFO": 9, "WARN": 13, "ERROR": 17}[level])
        columns["level"].append(level)
        columns["logger"].append("churn.serve")
        columns["message"].append(f"{chance.choice(words[level])} #{number}")
        columns["extra"].append(json.dumps({"user": f"u{number % 37}", "model": CHURN}))
    many = len(columns["at"])
    none: list[str | None] = [None] * many
    logs = Logs(
        "churn-api", "api-1", columns["at"], columns["severity"], columns["level"], columns["logger"],
        columns["message"], none, none, columns["extra"],
    )  # fmt: skip
    teller.send(logs=[logs])
    teller.log(now - 30 * SECOND, HOSTILE, LONG)


def rules(folder: Path) -> str:
    """Writes the rules of the house into a file; gives its path."""
    path = folder / "rules.yaml"
    path.write_text(RULES, encoding="utf-8")
    return str(path)
