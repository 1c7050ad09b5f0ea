"""The reader: labels in any order, corrected, doubled and lost; restarts and crashes; broken input."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import parts
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.shapes import Entry, Part
from modelkeep.quality.quality import Quality

BEGIN = 15_800 * DAY


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "quality"


def brier(quality: Quality, as_of_ns: int | None = None, model: str = "m") -> tuple[int, int, float | None]:
    """Predictions, labels and Brier score of everything."""
    rows = quality.figures(model, version="*", as_of_ns=as_of_ns).rows
    if not rows:
        return 0, 0, None
    found = rows[0].metrics.get("brier")
    return rows[0].predictions, rows[0].labels, found and round(found.value, 9)


def test_a_late_label_corrects_the_predictions_own_hour(folder: Path) -> None:
    quality = Quality(folder)
    made = parts.prediction(["a", "b"], [BEGIN, BEGIN + 5 * HOUR], score=[0.25, 0.5])
    quality.apply(parts.entries(made, parts.fact(["b"], [1.0], [BEGIN + 80 * DAY])))
    rows = quality.figures("m", by="hour").rows
    assert [(row.start_ns - BEGIN, row.labels) for row in rows] == [(0, 0), (5 * HOUR, 1)]
    assert rows[1].metrics["brier"].value == 0.25


def test_an_answer_as_of_a_day_knows_only_what_had_come_by_then(folder: Path) -> None:
    quality = Quality(folder)
    made = parts.prediction(["a"], [BEGIN], score=[0.25])
    first, second = parts.fact(["a"], [1.0], [BEGIN + DAY]), parts.fact(["a"], [0.0], [BEGIN + 3 * DAY])
    quality.apply(parts.entries(made, first, second))
    known = [brier(quality, BEGIN + day * DAY) for day in range(6)]
    early, right = (1, 1, 0.5625), (1, 1, 0.0625)
    assert known == [(0, 0, None), (1, 0, None), early, early, right, right]
    assert brier(quality) == right
    assert (quality.status().corrections, quality.status().labels) == (1, 2)


def test_a_correction_dated_before_what_it_corrects_takes_its_place(folder: Path) -> None:
    quality = Quality(folder)
    quality.apply(
        parts.entries(
            parts.prediction(["a"], [BEGIN], score=[0.25]),
            parts.fact(["a"], [1.0], [BEGIN + 5 * DAY]),
            parts.fact(["a"], [0.0], [BEGIN + 1 * DAY]),
        )
    )
    assert [brier(quality, BEGIN + day * DAY)[1] for day in (2, 5, 6)] == [0, 0, 1]
    assert brier(quality) == (1, 1, 0.0625)


def test_the_same_label_again_changes_nothing(folder: Path) -> None:
    quality = Quality(folder)
    label = parts.fact(["a", "a"], [1.0, 1.0], [BEGIN, BEGIN + DAY])
    quality.apply(parts.entries(parts.prediction(["a"], [BEGIN], score=[0.5]), label, label))
    assert brier(quality) == (1, 1, 0.25)
    assert (quality.status().repeats, quality.status().labels) == (3, 1)


def test_a_label_waits_for_its_prediction_over_a_restart(folder: Path) -> None:
    quality = Quality(folder)
    named, nameless = parts.fact(["a"], [1.0], [BEGIN]), parts.fact(["b"], [0.0], [BEGIN], model=None)
    quality.apply(parts.entries(named, nameless))
    assert quality.status().waiting == 2
    quality.seal()
    quality.close()
    quality = Quality(folder)
    made = parts.prediction(["a", "b"], [BEGIN, BEGIN], score=[0.5, 0.5])
    quality.apply(parts.entries(made, first=3))
    assert brier(quality) == (2, 2, 0.25)


def test_a_label_without_a_model_finds_every_model_with_the_id(folder: Path) -> None:
    quality = Quality(folder)
    quality.apply(
        parts.entries(
            parts.prediction(["a"], [BEGIN], score=[0.5], model="m"),
            parts.prediction(["a", "b"], [BEGIN] * 2, score=[0.5] * 2, model="n"),
            parts.fact(["a", "b", "z"], [1.0, 1.0, 1.0], [BEGIN] * 3, model=None),
        )
    )
    assert (brier(quality, model="m")[1], brier(quality, model="n")[1], quality.status().waiting) == (1, 2, 1)


def test_the_first_prediction_with_an_id_counts(folder: Path) -> None:
    quality = Quality(folder)
    one, two = (parts.prediction(["a", "a"], [BEGIN, BEGIN], score=score) for score in ([0.5, 0.9], [0.8, 0.8]))
    quality.apply(parts.entries(one, two, parts.fact(["a"], [1.0], [BEGIN])))
    assert brier(quality) == (1, 1, 0.25)
    assert quality.status().duplicates == 3


def test_labels_that_do_not_fit_are_counted_and_forgotten_when_mended(folder: Path) -> None:
    quality = Quality(folder)
    made = parts.prediction(["a", "b", "c"], [BEGIN] * 3, score=[0.5, 0.5, None])
    quality.apply(parts.entries(made, parts.fact(["a", "b", "c"], ["late", float("nan"), 1.0], [BEGIN] * 3)))
    assert brier(quality) == (3, 0, None)
    assert quality.status().unusable == 4
    quality.apply(parts.entries(parts.fact(["a"], [1.0], [BEGIN]), first=3))
    assert brier(quality) == (3, 1, 0.25)


def test_failed_predictions_do_not_count_against_coverage(folder: Path) -> None:
    quality = Quality(folder)
    made = parts.prediction(["a", "b"], [BEGIN] * 2, score=[0.5, None], error=[None, "ValueError"])
    quality.apply(parts.entries(made, parts.fact(["a"], [1.0], [BEGIN])))
    row = quality.figures("m").rows[0]
    assert (row.predictions, row.labels, row.coverage) == (2, 1, 1.0)


def test_every_prediction_without_features_or_values_is_taken(folder: Path) -> None:
    quality = Quality(folder)
    odd = {"x": [None, float("nan"), float("inf")], "y": [None, None, None], "z": ["", "é" * 999, None]}
    quality.apply(parts.entries(parts.prediction(["a", "b", "c"], [0, BEGIN, -5], features=odd, score=[2.0, -1, None])))
    empty = Part("prediction", parts.prediction([], []).batch)
    quality.apply([Entry(2, "", 0, (empty, Part("log", empty.batch), parts.fact([], [], [])))])
    row = next(row for row in quality.drift("m").rows if row.feature == "x")
    assert (row.predictions, row.missing_ratio, row.measures) == (3, pytest.approx(2 / 3), {})
    assert quality.status().predictions == 3


def test_sealed_entries_are_not_taken_twice(folder: Path) -> None:
    quality = Quality(folder)
    feed = parts.entries(parts.prediction(["a"], [BEGIN], score=[0.5]), parts.fact(["a"], [1.0], [BEGIN]))
    quality.apply(feed)
    assert (quality.seal(), quality.sealed(), quality.seal()) == (2, 2, 2)
    quality.apply(feed)
    quality.close()
    quality = Quality(folder)
    quality.apply(feed)
    assert brier(quality) == (1, 1, 0.25)
    assert quality.status().predictions == 1


@pytest.mark.parametrize("broken", ["index", "cells"])
def test_a_seal_that_fails_is_taken_up_again(folder: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC between the two stores: the reader goes on, and a crash at that very point loses nothing either."""
    quality = Quality(folder)
    feed = parts.entries(
        parts.prediction(["a"], [BEGIN], score=[0.5]),
        parts.fact(["a"], [1.0], [BEGIN]),
        parts.fact(["a"], [0.0], [BEGIN + DAY]),
    )
    quality.apply(feed[:1])
    quality.seal()
    quality.apply(feed[1:2])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store = getattr(quality, f"_{broken}")
    with monkeypatch.context() as patch:
        patch.setattr(store, "seal", full)
        with pytest.raises(OSError, match="No space"):
            quality.seal()
    crashed = Path(tempfile.mkdtemp()) / "copy"
    shutil.copytree(folder, crashed)
    for one in (quality, Quality(crashed)):
        one.apply([entry for entry in feed if entry.seq > one.sealed()])
        assert brier(one) == (1, 1, 0.25)
        assert one.seal() == 3
        assert brier(one, BEGIN + DAY) == (1, 1, 0.25)
    shutil.rmtree(crashed.parent)


def test_a_part_that_raises_is_taken_up_where_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = Quality(folder)
    made, label = parts.prediction(["a"], [BEGIN], score=[0.5]), parts.fact(["a"], [1.0], [BEGIN])
    entry = Entry(1, "", 0, (made, label))
    with monkeypatch.context() as patch:
        patch.setattr(quality._intake, "_facts", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quality.apply([entry])
    assert quality.seal() == 0
    quality.apply([entry])
    assert brier(quality) == (1, 1, 0.25)


def test_a_waiting_label_of_no_model_that_is_repeated_keeps_its_day(folder: Path) -> None:
    quality = Quality(folder)
    quality.apply(
        parts.entries(
            parts.fact(["a"], [1.0], [BEGIN + 2 * DAY], model=None),
            parts.fact(["a"], [1.0], [BEGIN], model=None),
            parts.prediction(["a"], [BEGIN], score=[0.5]),
        )
    )
    assert brier(quality, BEGIN + 2 * DAY)[:2] == (1, 0)
    assert brier(quality, BEGIN + 3 * DAY)[:2] == (1, 1)
    assert quality.status().repeats == 1


@dataclass
class Naive:
    """The same rules on plain dictionaries."""

    scores: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    labels: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)

    def predict(self, model: str, name: str, hour: int, score: float) -> None:
        if (model, name) in self.scores:
            return
        self.scores[model, name] = (hour, score)
        waited = self.labels.get((model, name)) or self.labels.get(("", name))
        self.labels[model, name] = waited[-1:] if waited else []

    def label(self, model: str | None, name: str, value: float, day: int) -> None:
        models = [model] if model else sorted({one for one, known in self.scores if known == name}) or [""]
        for one in models:
            known = self.labels.setdefault((one, name), [])
            if known and known[-1][1] == value:
                continue
            predicted = (one, name) in self.scores
            known.append((max(day, known[-1][0]) if known and predicted else day, value))

    def answer(self, model: str, as_of: int | None) -> tuple[int, int, float | None]:
        rows = [(name, *one) for (owner, name), one in self.scores.items() if owner == model]
        rows = [row for row in rows if as_of is None or row[1] < as_of * 24]
        losses = []
        for name, _, score in rows:
            known = [value for day, value in self.labels[model, name] if as_of is None or day < as_of]
            if known:
                losses.append((score - known[-1]) ** 2)
        return len(rows), len(losses), round(float(np.mean(losses)), 9) if losses else None


NAMES = st.sampled_from(["a", "b", "c", "d"])
PREDICT = st.tuples(st.just("predict"), st.sampled_from(["m", "n"]), NAMES, st.integers(0, 100), st.integers(0, 1000))
LABEL = st.tuples(st.just("label"), st.sampled_from(["m", "n", None]), NAMES, st.integers(0, 1), st.integers(0, 6))
EVENTS = st.lists(st.lists(PREDICT | LABEL, max_size=6), min_size=1, max_size=8)


def build(events: list[tuple[str, str | None, str, int, int]]) -> tuple[Part, ...]:
    found = []
    for what, model, name, first, second in events:
        if what == "predict":
            at, score = BEGIN + first * HOUR, second / 1000
            found.append(parts.prediction([name], [at], score=[score], model=model or ""))
        else:
            found.append(parts.fact([name], [float(first)], [BEGIN + second * DAY + 1], model=model))
    return tuple(found)


@settings(max_examples=60)
@given(batches=EVENTS, crashes=st.lists(st.sampled_from(["", "seal", "crash", "half"]), min_size=8, max_size=8))
def test_any_order_of_predictions_and_labels_with_crashes(
    batches: list[list[tuple[str, str | None, str, int, int]]], crashes: list[str]
) -> None:
    """After every batch the process may seal, die, or die between its two stores; the answers are those of a dict."""
    with tempfile.TemporaryDirectory() as name:
        folder, naive = Path(name), Naive()
        quality = Quality(folder)
        journal = [Entry(seq, "", 0, build(batch)) for seq, batch in enumerate(batches, 1)]
        for entry, batch, crash in zip(journal, batches, crashes, strict=False):
            quality.apply([entry])
            for what, model, one, first, second in batch:
                if what == "predict":
                    naive.predict(model or "", one, BEGIN // HOUR + first, second / 1000)
                else:
                    naive.label(model, one, float(first), BEGIN // DAY + second)
            if crash == "seal":
                quality.seal()
            elif crash:
                if crash == "half":
                    quality._catalogue.save()
                    quality._index.seal(entry.seq)
                quality.close()
                quality = Quality(folder)
                quality.apply([one for one in journal[: entry.seq] if one.seq > quality.sealed()])
        for model in {one.model for one in quality.models()}:
            for day in (None, 0, 2, 4, 5, 9):
                as_of = None if day is None else BEGIN + day * DAY
                known = None if day is None else BEGIN // DAY + day
                found, expected = brier(quality, as_of, model), naive.answer(model, known)
                assert found[:2] == expected[:2]
                assert found[2] == (pytest.approx(expected[2], abs=1e-8) if expected[2] is not None else None)
        quality.close()


def test_features_of_a_new_version_are_compared_with_the_models_newest_reference(folder: Path) -> None:
    rng = np.random.default_rng(0)
    quality = Quality(folder)
    made = parts.prediction(
        [f"i{at}" for at in range(500)],
        [BEGIN + at * HOUR for at in range(500)],
        version="2",
        score=[0.5] * 500,
        features={"x": rng.normal(3, 1, 500), "y": pa.array(["a"] * 500)},
    )
    quality.apply(parts.entries(parts.reference({"x": rng.normal(size=2_000), "y": ["a", "b"] * 1_000}), made))
    rows = {row.feature: row for row in quality.drift("m").rows}
    assert rows["x"].drifted
    assert rows["x"].measures["ks"].value > 0.8
    assert rows["x"].unseen_ratio > 0.1
    assert rows["y"].measures["chi_square"].drifted
    assert rows["@score"].measures == {}


def test_a_replaced_reference_makes_new_edges_and_keeps_the_old_rows_answerable(folder: Path) -> None:
    rng = np.random.default_rng(0)

    def made(name: str, begin: int) -> Part:
        x = {"x": rng.normal(size=400)}
        return parts.prediction([f"{name}{at}" for at in range(400)], [begin] * 400, score=[0.5] * 400, features=x)

    quality = Quality(folder)
    quality.apply(
        parts.entries(
            parts.reference({"x": rng.normal(size=3_000)}),
            made("a", BEGIN),
            parts.reference({"x": rng.normal(5, 1, 3_000)}),
            made("b", BEGIN + 40 * DAY),
        )
    )
    rows = quality.drift("m", by="month", features=["x"]).rows
    assert [row.drifted for row in rows] == [False, True]
    assert [row.predictions for row in rows] == [400, 400]


def test_without_a_reference_the_first_week_stands_in(folder: Path) -> None:
    rng = np.random.default_rng(0)
    quality = Quality(folder)
    count, days = 6_000, 30
    at = BEGIN + np.arange(count) * (days * DAY // count)
    x = rng.normal(size=count) + 2.0 * (at >= BEGIN + 20 * DAY)
    ids = np.array([f"i{one}" for one in range(count)])
    feed = []
    for first in range(0, count, 400):
        part = slice(first, first + 400)
        feed.append(parts.prediction(ids[part], at[part], score=[0.5] * 400, features={"x": x[part]}))
    quality.apply(parts.entries(*feed[:2]))
    quality.seal()
    quality.close()
    quality = Quality(folder)
    quality.apply(parts.entries(*feed))
    rows = quality.drift("m", by="day", features=["x"]).rows
    assert sum(row.predictions for row in rows) == count
    assert all(row.measures == {} for row in rows[:7])
    assert [row.drifted for row in rows[7:]] == [False] * 13 + [True] * 10


def test_a_reference_that_comes_late_is_the_counterpart_of_what_was_counted_before(folder: Path) -> None:
    rng = np.random.default_rng(0)
    quality = Quality(folder)
    ids = [f"i{at}" for at in range(1_500)]
    made = parts.prediction(ids, [BEGIN] * 1_500, score=[0.5] * 1_500, features={"x": rng.normal(size=1_500)})
    quality.apply(parts.entries(made))
    assert all(row.measures == {} for row in quality.drift("m").rows)
    quality.apply(parts.entries(parts.reference({"x": rng.normal(2, 1, 1_500)}), first=2))
    assert [row.drifted for row in quality.drift("m", features=["x"]).rows] == [True]


def test_a_feature_whose_type_changes_is_counted_as_a_misfit(folder: Path) -> None:
    quality = Quality(folder)
    first = parts.prediction(["a", "b"], [BEGIN] * 2, score=[0.5] * 2, features={"x": [1.0, 2.0]})
    then = parts.prediction(["c", "d"], [BEGIN] * 2, score=[0.5] * 2, features={"x": ["one", None]})
    quality.apply(parts.entries(parts.reference({"x": [1.0, 2.0, 3.0]}), first, then))
    assert quality.status().mismatches == 1
    assert quality.drift("m", features=["x"]).rows[0].predictions == 4
