"""Age and number of trainings as series: against plain counting, through PromQL, and in the default rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts.replay import replay
from modelkeep.alerts.rules import default_rules
from modelkeep.core.clock import DAY, HOUR, SECOND
from modelkeep.core.series import NAME, STALE_BITS, Matcher, Want, labels
from modelkeep.core.shapes import Entry, Part
from modelkeep.metrics.promql.evaluate import PromQL
from modelkeep.models.training import First, TrainingSeries, ends
from modelkeep.quality.quality import Quality
from modelkeep.store.trainings import Training

START = 15_706 * DAY


def run(model: str, version: str, end_ns: int | None, status: str = "finished") -> Training:
    return Training(id=f"{model}{version}{end_ns}", model=model, version=version, at_ns=0, end_ns=end_ns, status=status)


def source(trainings: Sequence[Training], firsts: Sequence[First] = ()) -> TrainingSeries:
    return TrainingSeries(lambda: ends(trainings, firsts))


RUNS = st.lists(
    st.builds(
        run,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["", "1", "2"]),
        st.integers(1, 50) | st.none(),
        st.sampled_from(["finished", "failed", "running"]),
    ),
    max_size=15,
)


@given(RUNS, st.integers(0, 30), st.integers(1, 7))
def test_the_series_are_those_of_plain_counting(runs: list[Training], start: int, step: int) -> None:
    found = source(runs)
    want = Want(start_ns=start, end_ns=start + 30, step_ns=step, range_ns=5)
    done = [one for one in runs if one.status == "finished" and one.end_ns is not None]
    values = {
        (pairs, int(at)): value
        for name in ("model_age_seconds", "model_trained_total")
        for block in found.select([Matcher(NAME, "=", name)], want)
        for pairs, row in zip(block.labels, block.values, strict=True)
        for at, value in zip(block.times, row, strict=True)
        if np.float64(value).view(np.int64) != STALE_BITS
    }
    expected: dict[object, float] = {}
    for at in range(start, start + 31, step):
        past = [one for one in done if (one.end_ns or 0) <= at]
        for model in {one.model for one in past}:
            pairs = labels({NAME: "model_trained_total", "model": model})
            expected[pairs, at] = sum(one.model == model for one in past)
        for model, version in {(one.model, one.version) for one in past}:
            last = max(one.end_ns or 0 for one in past if (one.model, one.version) == (model, version))
            pairs = labels({NAME: "model_age_seconds", "model": model, "version": version})
            expected[pairs, at] = (at - last) / SECOND
    assert values == expected


def test_a_version_without_a_training_of_its_own_takes_the_last_unnamed_one_before_it() -> None:
    runs = [run("m", "", 10 * DAY), run("m", "", 20 * DAY), run("m", "7", 15 * DAY)]
    firsts = [First("m", "old", 12 * DAY), First("m", "7", 16 * DAY), First("m", "early", DAY), First("n", "1", DAY)]
    promql = PromQL([source(runs, firsts)])
    found = promql.instant("model_age_seconds / 86400", 30 * DAY)
    ages = {
        dict(pairs).get("version", ""): value for pairs, value in zip(found.labels, found.values[:, 0], strict=True)
    }
    assert ages == {"": 10.0, "7": 15.0, "old": 20.0}
    assert promql.instant("min by (model) (model_age_seconds) / 3600", 30 * DAY).values.item() == 240.0
    assert promql.instant("increase(model_trained_total[25d])", 30 * DAY).values.item() > 0
    assert not len(promql.instant('model_age_seconds{window="1d"}', 30 * DAY).labels)


def test_what_matches_is_named() -> None:
    found = source([run("m", "1", 10), run("n", "2", 20)])
    assert found.series([Matcher(NAME, "=", "model_trained_total")], 0, 15) == [
        labels({NAME: "model_trained_total", "model": "m"})
    ]
    named = found.series([Matcher(NAME, "=~", "model_.*"), Matcher("version", "=", "2")], 0, 30)
    assert named == [labels({NAME: "model_age_seconds", "model": "n", "version": "2"})]
    assert found.series([Matcher(NAME, "=", "up")], 0, 30) == []
    want = Want(start_ns=40, end_ns=40, step_ns=1, range_ns=5, as_of_ns=30)
    assert found.select([Matcher(NAME, "=", "model_trained_total")], want) == []


@pytest.fixture
def quality(tmp_path: Path) -> Quality:
    """Predictions of `m` every hour for 50 days, of `quiet` on the first day only."""
    made = Quality(tmp_path / "quality")
    for model, hours in (("m", 50 * 24), ("quiet", 24), ("untrained", 50 * 24)):
        at = START + np.arange(hours) * HOUR
        columns = {
            "id": pa.array([f"{model}{n}" for n in range(hours)]),
            "at": pa.array(at),
            "score": pa.nulls(hours, pa.float64()),
            "latency_ns": pa.nulls(hours, pa.int64()),
            "error": pa.nulls(hours, pa.string()),
            "prediction": pa.array(np.ones(hours)),
        }
        meta = {"model": model, "version": "1", "release": ""}
        batch = pa.record_batch(columns).replace_schema_metadata(meta)
        made.apply([Entry(len(model), "", 0, (Part("prediction", batch),))])
    return made


def test_the_default_rule_tells_of_models_that_serve_and_are_not_trained_any_more(quality: Quality) -> None:
    runs = [run("m", "", START - 5 * DAY), run("m", "", START + 10 * DAY), run("quiet", "", START - DAY)]
    promql = PromQL([quality.series, source(runs)])
    groups = [group for group in default_rules() if group.name == "models-age"]
    changes = replay(promql, groups, START, START + 50 * DAY)
    told = [((one.at_ns - START) / DAY, one.to_state, one.labels["model"]) for one in changes]
    assert told == [(pytest.approx(40, abs=0.1), "firing", "m")]
    quality.close()
