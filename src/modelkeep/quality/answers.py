"""What the quality room answers: figures, drift and summaries, with the JSON form of docs/reference/http.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from modelkeep.core.shapes import Json
from modelkeep.core.times import iso


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with the interval that holds the true value 95 times in 100."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, Json]:
        """The figure as in the HTTP API; a bound that does not exist is null."""
        return {"value": _number(self.value), "low": _number(self.low), "high": _number(self.high)}


@dataclass(frozen=True, slots=True)
class QualityRow:
    """How good the predictions of one period were.

    Args:
        start_ns: begin of the period, a whole hour.
        end_ns: its end, exclusive.
        version: whose predictions; `*` for all versions together.
        predictions: how many were made.
        labels: how many of them had a usable label at the answer's `as_of`.
        coverage: labels per prediction that did not fail, 0 to 1.
        metrics: name → figure.
    """

    start_ns: int
    end_ns: int
    version: str
    predictions: int
    labels: int
    coverage: float
    metrics: Mapping[str, Figure]

    def json(self) -> dict[str, Json]:
        """The row as in the HTTP API."""
        return {
            "from": iso(self.start_ns),
            "to": iso(self.end_ns),
            "version": self.version,
            "predictions": self.predictions,
            "labels": self.labels,
            "coverage": _number(self.coverage),
            "metrics": {name: figure.json() for name, figure in self.metrics.items()},
        }


@dataclass(frozen=True, slots=True)
class QualityAnswer:
    """Rows sorted by version, then time.

    Args:
        model: its name.
        task: binary, classes or regression; empty while unknown.
        as_of_ns: the knowledge of which moment; None for everything known now.
        rows: one per version and period that has predictions.
    """

    model: str
    task: str
    as_of_ns: int | None
    rows: tuple[QualityRow, ...]

    def json(self) -> dict[str, Json]:
        """The answer as in the HTTP API."""
        return {
            "model": self.model,
            "task": self.task,
            "as_of": None if self.as_of_ns is None else iso(self.as_of_ns),
            "rows": [row.json() for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measure's value beside the threshold that it must exceed to count as drift.

    Args:
        value: the effect.
        threshold: the larger of the least effect that counts and of what chance explains.
        drifted: value > threshold.
        p_value: how often chance alone gives at least this value; says nothing about its size.
    """

    value: float
    threshold: float
    drifted: bool
    p_value: float = math.nan

    def json(self) -> dict[str, Json]:
        """The verdict as in the HTTP API."""
        return {
            "value": _number(self.value),
            "threshold": _number(self.threshold),
            "drifted": self.drifted,
            "p_value": _number(self.p_value),
        }


@dataclass(frozen=True, slots=True)
class DriftRow:
    """How far one feature was from its reference in one period.

    Args:
        start_ns: begin of the period, a whole hour.
        end_ns: its end, exclusive.
        version: whose predictions.
        feature: its name; `@score` and `@prediction` are what the model gave.
        predictions: rows in the period that had this feature, missing or not.
        missing_ratio: null or NaN among them, 0 to 1.
        unseen_ratio: values outside the reference's range or categories among those present, 0 to 1.
        measures: name → verdict.
        drifted: some measure exceeds its threshold.
    """

    start_ns: int
    end_ns: int
    version: str
    feature: str
    predictions: int
    missing_ratio: float
    unseen_ratio: float
    measures: Mapping[str, Verdict]
    drifted: bool

    def json(self) -> dict[str, Json]:
        """The row as in the HTTP API."""
        return {
            "from": iso(self.start_ns),
            "to": iso(self.end_ns),
            "version": self.version,
            "feature": self.feature,
            "predictions": self.predictions,
            "missing_ratio": _number(self.missing_ratio),
            "unseen_ratio": _number(self.unseen_ratio),
            "measures": {name: verdict.json() for name, verdict in self.measures.items()},
            "drifted": self.drifted,
        }


@dataclass(frozen=True, slots=True)
class DriftAnswer:
    """Rows sorted by version, feature, then time."""

    model: str
    rows: tuple[DriftRow, ...]

    def json(self) -> dict[str, Json]:
        """The answer as in the HTTP API."""
        return {"model": self.model, "rows": [row.json() for row in self.rows]}


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """What arrived of one version; times are those of the predictions."""

    version: str
    predictions: int
    first_ns: int
    last_ns: int

    def json(self) -> dict[str, Json]:
        """The version as in the HTTP API."""
        return {
            "version": self.version,
            "predictions": self.predictions,
            "first_at": iso(self.first_ns),
            "last_at": iso(self.last_ns),
        }


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model with its versions, sorted by their first prediction."""

    model: str
    versions: tuple[VersionSummary, ...]

    def json(self) -> dict[str, Json]:
        """The model as in the HTTP API."""
        return {"model": self.model, "versions": [version.json() for version in self.versions]}


@dataclass(frozen=True, slots=True)
class QualityStatus:
    """What the room counted since its store was made.

    Args:
        applied: last journal position taken.
        sealed: last journal position that survives without the journal.
        predictions: predictions counted.
        duplicates: predictions whose id was there before; the first one counts.
        labels: labels joined to a prediction, corrections included.
        corrections: labels that replaced another one.
        repeats: labels that said again what was known.
        waiting: labels whose prediction has not come yet.
        unusable: labels or predictions that do not fit the model's task.
        mismatches: feature values of another type than before.
    """

    applied: int = 0
    sealed: int = 0
    predictions: int = 0
    duplicates: int = 0
    labels: int = 0
    corrections: int = 0
    repeats: int = 0
    waiting: int = 0
    unusable: int = 0
    mismatches: int = 0

    def json(self) -> dict[str, Json]:
        """The counts by name."""
        return dict(asdict(self))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
