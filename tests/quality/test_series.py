"""The derived series say at each moment what the figures say about the window before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parts
import pytest

from modelkeep.core.clock import DAY, HOUR, MINUTE
from modelkeep.core.errors import BadInput
from modelkeep.core.series import AT_STEP, STALE_BITS, Block, Matcher, Want
from modelkeep.quality.quality import Quality

BEGIN = 15_800 * DAY
DAYS = 20
ROWS = 6_000


def select(quality: Quality, name: str, want: Want, **labels: str) -> dict[tuple[str, ...], np.ndarray]:
    """Values by what the labels say beside model and version; no sample = NaN."""
    found: dict[tuple[str, ...], np.ndarray] = {}
    for block in quality.series.select(matchers(name, **labels), want):
        assert block.values.flags.c_contiguous
        assert block.values.dtype == np.float64
        assert np.all(np.diff(block.times) > 0)
        for at, full in enumerate(block.labels):
            assert list(full) == sorted(full)
            known = {key: value for key, value in full if key not in ("__name__", "model", "version")}
            found[tuple(known.values())] = gaps(block, at)
    return found


def gaps(block: Block, at: int) -> np.ndarray:
    absent = block.values[at].view(np.uint64) == STALE_BITS
    assert np.isnan(block.values[at]).tolist() == absent.tolist()
    return np.where(absent, np.nan, block.values[at])


def matchers(name: str, **labels: str) -> list[Matcher]:
    return [Matcher("__name__", "=", name), *(Matcher(key, "=", value) for key, value in labels.items())]


def at(moment: int, **more: int | None) -> Want:
    return Want(moment, moment, HOUR, 5 * MINUTE, **more)  # type: ignore[arg-type]


def steps(count: int, step: int = HOUR, **more: int | None) -> Want:
    return Want(BEGIN, BEGIN + count * step, step, 5 * MINUTE, **more)  # type: ignore[arg-type]


@pytest.fixture(name="quality", scope="module")
def _quality(tmp_path_factory: pytest.TempPathFactory) -> Quality:
    """Twenty days; every label comes two days after its prediction, and x is shifted from the tenth day on."""
    rng = np.random.default_rng(0)
    quality = Quality(tmp_path_factory.mktemp("series"), window_ns=7 * DAY)
    ids = np.array([f"i{one}" for one in range(ROWS)])
    moments = BEGIN + np.arange(ROWS) * (DAYS * DAY // ROWS)
    score = rng.beta(2, 4, ROWS)
    y = (rng.random(ROWS) < score).astype(float)
    x = rng.normal(size=ROWS) + 2.0 * (moments >= BEGIN + 10 * DAY)
    z = [None if one % 4 == 0 else "abc"[one % 3] for one in range(ROWS)]
    feed = [parts.reference({"x": rng.normal(size=5_000), "z": list("abcb") * 1_250}, score=rng.beta(2, 4, 5_000))]
    latency = [int(1e6 * (1 + one % 10)) for one in range(ROWS)]
    feed.append(parts.prediction(ids, moments, score=score, features={"x": x, "z": z}, latency_ns=latency))
    feed.append(parts.fact(ids, y.tolist(), moments + 2 * DAY))
    feed.append(parts.fact(["i5", "i6", "lost"], [1.0, 0.0, 1.0], [BEGIN + HOUR] * 3, kind="feedback"))
    failed = parts.prediction(["bad"], [BEGIN + 90 * MINUTE], error=["ValueError"])
    quality.apply(parts.entries(*feed, failed))
    return quality


@pytest.mark.parametrize("hour", [24, 7 * 24, 12 * 24 + 5])
@pytest.mark.parametrize("as_of", [None, AT_STEP, "fixed"])
def test_quality_is_that_of_the_complete_hours_before(quality: Quality, hour: int, as_of: int | str | None) -> None:
    moment = BEGIN + hour * HOUR + 17 * MINUTE
    known = {None: None, AT_STEP: moment, "fixed": moment + 3 * DAY}[as_of]
    want = at(moment, as_of_ns=known if as_of == "fixed" else as_of)
    found = select(quality, "model_quality", want)
    start = BEGIN + (hour - 168) * HOUR
    rows = quality.figures("m", start_ns=start, end_ns=BEGIN + hour * HOUR, as_of_ns=known).rows
    if rows[0].labels < 100:
        assert found == {}
        return
    low = select(quality, "model_quality_low", want)
    for name, figure in rows[0].metrics.items():
        assert found[name,][0] == pytest.approx(figure.value, abs=1e-9), name
        assert low[name,][0] == pytest.approx(figure.low, abs=1e-9), name
    coverage = select(quality, "model_label_coverage_ratio", want)[()]
    assert coverage[0] == pytest.approx(rows[0].coverage)


def test_all_steps_at_once_are_each_step_alone(quality: Quality) -> None:
    for name in (
        "model_quality_high",
        "model_feature_drift",
        "model_feature_drift_threshold",
        "model_label_coverage_ratio",
    ):
        whole = select(quality, name, steps(DAYS * 24, as_of_ns=AT_STEP))
        for hour in (30, 200, 333, 480):
            alone = select(quality, name, at(BEGIN + hour * HOUR, as_of_ns=AT_STEP))
            for key, values in whole.items():
                expected = alone[key][0] if key in alone else np.nan
                assert values[hour] == pytest.approx(expected, abs=1e-9, nan_ok=True), (name, key, hour)


def test_drift_is_that_of_the_complete_hours_before(quality: Quality) -> None:
    moment = BEGIN + 15 * DAY
    found, bound = (
        select(quality, name, at(moment)) for name in ("model_feature_drift", "model_feature_drift_threshold")
    )
    rows = quality.drift("m", start_ns=moment - 7 * DAY, end_ns=moment).rows
    assert {row.feature for row in rows} == {"x", "z", "@score"}
    for row in rows:
        for name, verdict in row.measures.items():
            assert found[row.feature, name][0] == pytest.approx(verdict.value, abs=1e-9)
            assert bound[row.feature, name][0] == pytest.approx(verdict.threshold)
    assert found["x", "ks"][0] > bound["x", "ks"][0]
    assert found["z", "psi"][0] < bound["z", "psi"][0]


def test_missing_values_are_a_ratio(quality: Quality) -> None:
    found = select(quality, "model_feature_missing_ratio", at(BEGIN + 9 * DAY))
    assert found["z",][0] == pytest.approx(0.25, abs=0.01)
    assert found["x",][0] == 0


def test_another_window_is_a_label(quality: Quality) -> None:
    moment = BEGIN + 15 * DAY
    found = select(quality, "model_quality", at(moment), window="1d", metric="brier")
    row = quality.figures("m", start_ns=moment - DAY, end_ns=moment).rows[0]
    assert found["brier", "1d"][0] == pytest.approx(row.metrics["brier"].value)
    for wrong in ("90m", "nonsense"):
        with pytest.raises(BadInput):
            select(quality, "model_quality", at(moment), window=wrong)
    assert select(quality, "model_predictions_total", at(moment), window="1d") == {}


def test_nothing_is_known_after_the_moment_asked_as_of(quality: Quality) -> None:
    found = select(quality, "model_predictions_total", steps(DAYS, DAY, as_of_ns=BEGIN + 5 * DAY))[()]
    assert len(found) == 6


def test_an_offset_looks_back_with_the_knowledge_of_the_step(quality: Quality) -> None:
    """`x offset 3d` at a step: the window three days ago, with the labels that are there at the step."""
    step, back = BEGIN + 12 * DAY, 3 * DAY
    want = Want(step - back, step - back, HOUR, 5 * MINUTE, offset_ns=back, as_of_ns=AT_STEP)
    found = select(quality, "model_label_coverage_ratio", want)[()]
    known = quality.figures("m", start_ns=step - back - 7 * DAY, end_ns=step - back, as_of_ns=step).rows[0]
    assert found[0] == pytest.approx(known.coverage)
    assert found[0] > select(quality, "model_label_coverage_ratio", at(step - back, as_of_ns=AT_STEP))[()][0]


def test_counters_count_the_minutes_before(quality: Quality) -> None:
    total = select(quality, "model_predictions_total", steps(60 * 24 * DAYS, MINUTE))[()]
    moments = BEGIN + np.arange(60 * 24 * DAYS + 1) * MINUTE
    made = np.sort(np.append(BEGIN + np.arange(ROWS) * (DAYS * DAY // ROWS), BEGIN + 90 * MINUTE))
    assert total.tolist() == np.searchsorted(made, moments, "left").astype(float).tolist()
    assert select(quality, "model_errors_total", at(BEGIN + 2 * HOUR))[()][0] == 1
    labels = select(quality, "model_labels_total", steps(DAYS, DAY))[()]
    assert labels.tolist() == [max(0, day - 2) * ROWS / DAYS for day in range(DAYS + 1)]


def test_a_counter_is_not_there_before_its_first_minute(quality: Quality) -> None:
    found = select(quality, "model_predictions_total", Want(BEGIN - 2 * HOUR, BEGIN, HOUR, 5 * MINUTE))[()]
    assert np.isnan(found).tolist() == [True, True, False]
    assert found[-1] == 0


def test_a_counter_is_the_same_however_it_is_asked(quality: Quality) -> None:
    by_hour = select(quality, "model_predictions_total", steps(100))[()]
    odd = Want(BEGIN + 30 * MINUTE, BEGIN + 100 * HOUR, 30 * MINUTE, 5 * MINUTE)
    assert select(quality, "model_predictions_total", odd)[()][1::2].tolist() == by_hour[1:].tolist()
    ranged = Want(BEGIN + 7 * HOUR, BEGIN + 9 * HOUR, HOUR, 5 * MINUTE, ranged=True)
    block = quality.series.select(matchers("model_predictions_total"), ranged)[0]
    assert len(block.times) == 15
    assert block.values[0][block.times == BEGIN + 8 * HOUR] == by_hour[8]


def test_the_latency_histogram_counts_up_to_each_bound(quality: Quality) -> None:
    moment = BEGIN + 10 * DAY
    found = select(quality, "model_latency_seconds_bucket", at(moment))
    count = select(quality, "model_latency_seconds_count", at(moment))[()][0]
    total = select(quality, "model_latency_seconds_sum", at(moment))[()][0]
    assert found["+Inf",][0] == count == ROWS / 2
    assert found["0.001",][0] == count / 10
    assert found["0.0047",][0] == count * 4 / 10
    assert found["0.015",][0] == count
    assert total == pytest.approx(count * 0.0055)


def test_feedback_counts_whether_or_not_the_prediction_is_known(quality: Quality) -> None:
    blocks = quality.series.select(matchers("model_feedback_total"), at(BEGIN + 2 * HOUR))
    found = {
        dict(full).get("version", ""): value[-1] for full, value in zip(blocks[0].labels, blocks[0].values, strict=True)
    }
    assert found == {"1": 2, "": 1}


def test_a_range_selector_sees_hourly_samples(quality: Quality) -> None:
    end = BEGIN + 10 * DAY + 20 * MINUTE
    want = Want(end, end, HOUR, 6 * HOUR, ranged=True)
    block = quality.series.select(matchers("model_quality", metric="auc"), want)[0]
    assert block.times.tolist() == [BEGIN + 10 * DAY - back * HOUR for back in range(5, -1, -1)]


def test_matchers_choose(quality: Quality) -> None:
    moment = at(BEGIN + 10 * DAY)
    auc = quality.series.select([Matcher("__name__", "=~", "model_quality.*"), Matcher("metric", "=", "auc")], moment)
    assert [dict(full)["__name__"] for block in auc for full in block.labels] == [
        "model_quality",
        "model_quality_low",
        "model_quality_high",
    ]
    assert quality.series.select(matchers("model_quality", model="other"), moment) == []
    assert quality.series.select(matchers("up"), moment) == []
    everything = quality.series.select([Matcher("model", "=", "m")], moment)
    named = {dict(full)["__name__"] for block in everything for full in block.labels}
    assert {"model_feature_drift", "model_predictions_total", "model_label_coverage_ratio"} <= named


def test_series_lists_what_there_can_be(quality: Quality) -> None:
    found = quality.series.series(matchers("model_feature_drift"), BEGIN, BEGIN + DAY)
    assert len(found) == 4 + 3 + 4
    assert quality.series.series(matchers("model_quality"), BEGIN - 9 * DAY, BEGIN - 8 * DAY) == []
    assert quality.series.series(matchers("model_quality"), BEGIN + 90 * DAY, BEGIN + 91 * DAY) == []
    assert len(quality.series.series(matchers("model_predictions_total"), BEGIN + 90 * DAY, BEGIN + 91 * DAY)) == 1


def test_an_empty_room_has_no_series(tmp_path: Path) -> None:
    empty = Quality(tmp_path / "empty")
    assert empty.series.select([Matcher("__name__", "=~", "model.*")], at(BEGIN)) == []
    assert empty.series.series([Matcher("__name__", "=~", "model.*")], 0, BEGIN) == []
