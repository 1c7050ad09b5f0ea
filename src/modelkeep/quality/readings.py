"""Figures and drift per window, read from the cells."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelkeep.quality import binary, classes, regression
from modelkeep.quality.catalogue import Catalogue, Version, group
from modelkeep.quality.intervals import Estimate, ratio
from modelkeep.quality.judged import Bools, Drift, Judge, joined, nothing
from modelkeep.quality.measure import applicable, family_alpha
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.profile import NAN, NULL, STATES, Edges
from modelkeep.quality.tally import CONFUSION, FAILED, HISTOGRAM, OUTCOME, PREDICTIONS, PRESENCE, PROFILE
from modelkeep.quality.windows import EVER, Windows, blocked, sums
from modelkeep.store.cells import CellRows, Cells

TASKS: Final[Mapping[str, tuple[str, ...]]] = {
    "binary": binary.METRICS,
    "classes": classes.METRICS,
    "regression": regression.METRICS,
}
STAND_IN_HOURS: Final = 168
"""Without a reference the first week of a feature stands in for it, and what comes after is compared with that."""
_TERMS: Final = {"binary": 7, "classes": 5, "regression": 11}


@dataclass(frozen=True, slots=True)
class Quality:
    """How good predictions were per window; shape (n,) each.

    Args:
        predictions: made.
        answered: made without failing.
        labels: usable ones.
        metrics: by name.
    """

    predictions: Floats
    answered: Floats
    labels: Floats
    metrics: Mapping[str, Estimate]

    @property
    def coverage(self) -> Floats:
        """Labels per prediction that did not fail."""
        return ratio(self.labels, self.answered)


@dataclass(frozen=True, slots=True)
class Presence:
    """Rows per window and how many of them had no value; shape (n,) each."""

    rows: Floats
    missing: Floats


class Readings:
    """Reads windows out of the cells; any thread may ask.

    Args:
        lock: held while cells change.
    """

    def __init__(self, cells: Cells, catalogue: Catalogue, lock: threading.RLock) -> None:
        self._cells = cells
        self._catalogue = catalogue
        self._lock = lock

    def coverage(self, versions: Sequence[Version], windows: Windows) -> Quality:
        """Counts without any metric."""
        return self.quality(versions, windows, wanted=())

    def quality(
        self,
        versions: Sequence[Version],
        windows: Windows,
        *,
        cut: float = 0.5,
        wanted: Collection[str] | None = None,
    ) -> Quality:
        """Gives the figures of versions (of one task) together.

        Args:
            versions: at least one.
            windows: n of them.
            cut: scores from here on count as positive.
            wanted: which metrics; None for all of the task.
        """
        task, scored = versions[0].task, versions[0].scored
        names = [name for name in TASKS.get(task, ()) if wanted is None or name in wanted]
        with self._lock:
            rows = self._rows(OUTCOME, [one.group for one in versions], windows)
            tables = [self._rows(CONFUSION, [one.group], windows) for one in versions] if task == "classes" else []
        width = _TERMS.get(task, 1)
        whole = sums(rows, np.where(rows.index <= FAILED, rows.index, -1), windows, FAILED + 1)
        terms = whole[:, :width]
        metrics: dict[str, Estimate] = {}
        if names and task == "binary":
            metrics = _binary(rows, terms, windows, cut=cut, scored=scored, names=names)
        elif names and task == "regression":
            metrics = regression.metrics(terms, names)
        elif names:
            metrics = self._classes(versions, tables, terms, windows, names)
        made = whole[:, PREDICTIONS]
        return Quality(made, made - whole[:, FAILED], np.rint(terms[:, 0]), metrics)

    def presence(self, version: Version, feature: str, windows: Windows) -> Presence:
        """Gives how many rows a feature had, and how many of them null or NaN."""
        with self._lock:
            rows = self._rows(PRESENCE, [group(version.model, version.version, feature)], windows)
        states = sums(rows, np.where(rows.index < STATES, rows.index, -1), windows, STATES)
        return Presence(states.sum(axis=1), states[:, NULL] + states[:, NAN])

    def drift(
        self,
        version: Version,
        feature: str,
        windows: Windows,
        *,
        wanted: Sequence[str] | None = None,
        chances: bool = False,
        alpha: float | None = None,
    ) -> Drift | None:
        """Gives a feature's measures; None when it has no edges yet or no measure applies.

        Where rows were counted over several edges because a reference was replaced, each window is judged over those
        that most of its rows were counted over.

        Args:
            version: whose feature.
            feature: its name.
            windows: n of them, at least one.
            wanted: names of measures; None for all that apply.
            chances: whether p-values are wanted.
            alpha: what `alpha` gives, for who asks about many features of one version.
        """
        with self._lock:
            names = list(version.features.get(feature, ()))
            judge = Judge(wanted, self.alpha(version) if alpha is None else alpha, chances)
        found: Drift | None = None
        for edges_id in names:
            one = self._over(group(version.model, version.version, feature, edges_id), edges_id, windows, judge)
            if one is not None:
                found = one if found is None else found.better(one)
        return found

    def numeric(self, version: Version, feature: str) -> bool | None:
        """Whether a feature is counted as numbers; None while it has no edges."""
        names = version.features.get(feature, ())
        return self._catalogue.edges(names[-1])[0].numeric if names else None

    def alpha(self, version: Version) -> float:
        """The probability of a false alarm that each measure of each feature of a version may have."""
        kinds = [self.numeric(version, feature) for feature in list(version.features)]
        return family_alpha(sum(len(applicable(kind)) for kind in kinds if kind is not None))

    def _over(self, name: str, edges_id: str, windows: Windows, judge: Judge) -> Drift | None:
        with self._lock:
            edges, reference = self._catalogue.edges(edges_id)
            rows = self._rows(PROFILE, [name], windows)
            if reference is not None:
                counts, usable = reference.counts, np.ones(len(windows), np.bool_)
            else:
                counts, usable = self.stand_in(name, edges, windows)
        measures = applicable(edges.numeric, judge.wanted)
        if not measures:
            return None
        if not counts.sum():
            return nothing(measures, len(windows))
        parts = [
            judge.judged(edges, counts, block, measures)
            for _, block in blocked(rows, np.where(rows.index < edges.cells, rows.index, -1), windows, edges.cells)
        ]
        return joined(parts).masked(usable)

    def stand_in(self, name: str, edges: Edges, windows: Windows) -> tuple[Floats, Bools]:
        """Counts of the first week of a group of cells, and which windows lie behind it."""
        everything = self._cells.rows(PROFILE, name)
        if not len(everything):
            return np.zeros(edges.cells), np.zeros(len(windows), np.bool_)
        end = int(everything.bucket[0]) + STAND_IN_HOURS
        first = self._cells.rows(PROFILE, name, None, end)
        counts = np.bincount(first.index, first.value, edges.cells).astype(np.float64)
        return counts, windows.starts >= end

    def _classes(
        self,
        versions: Sequence[Version],
        tables: Sequence[CellRows],
        terms: Floats,
        windows: Windows,
        names: Collection[str],
    ) -> dict[str, Estimate]:
        with self._lock:
            known = sorted({place for one in versions for place in one.classes})
        size = max(len(known), 1)
        totals = np.zeros((3, len(windows), size))
        for version, rows in zip(versions, tables, strict=True):
            common = np.searchsorted(known, np.array(version.classes, np.int64))
            if not len(common):
                continue
            actual, predicted = common[rows.index // classes.MOST], common[rows.index % classes.MOST]
            right = np.where(actual == predicted, actual, -1)
            for at, places in enumerate((actual, predicted, right)):
                totals[at] += sums(rows, places, windows, size)
        return classes.metrics(terms, totals[0], totals[1], totals[2], names)

    def _rows(self, table: str, names: Sequence[str], windows: Windows) -> CellRows:
        if not len(windows):
            return _concatenated([])
        first, last = int(windows.starts.min()), int(windows.ends.max())
        return _concatenated([self._cells.rows(table, name, first, last) for name in names])


def whole(starts: Ints, ends: Ints, known: int = EVER) -> Windows:
    """Gives windows that all see the same facts."""
    return Windows(starts, ends, np.full(len(ends), known))


def _binary(
    rows: CellRows, terms: Floats, windows: Windows, *, cut: float, scored: bool, names: Collection[str]
) -> dict[str, Estimate]:
    size = 2 * binary.BINS
    inside = (rows.index >= HISTOGRAM) & (rows.index < HISTOGRAM + size)
    if not set(names) - {"log_loss", "brier", "calibration", "actual_rate"}:
        return binary.metrics(terms, np.zeros((len(terms), size)), threshold=cut, scored=scored, wanted=names)
    places = np.where(inside, rows.index - HISTOGRAM, -1)
    parts = []
    for first, block in blocked(rows, places, windows, size):
        here = terms[first : first + len(block)]
        parts.append(binary.metrics(here, block, threshold=cut, scored=scored, wanted=names))
    return {name: _stacked([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _stacked(parts: Sequence[Estimate]) -> Estimate:
    return Estimate(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.high for part in parts]),
    )


def _concatenated(parts: Sequence[CellRows]) -> CellRows:
    if len(parts) == 1:
        return parts[0]
    none = np.empty(0, np.int64)
    return CellRows(
        np.concatenate([none, *(part.bucket for part in parts)]),
        np.concatenate([none, *(part.day for part in parts)]),
        np.concatenate([none, *(part.index for part in parts)]),
        np.concatenate([np.empty(0), *(part.value for part in parts)]),
    )
