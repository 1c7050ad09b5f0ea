"""What stands behind the figures: predicted against actual, who was taken for whom, and how late labels come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelkeep.quality import binary, classes
from modelkeep.quality.catalogue import Catalogue, Version
from modelkeep.quality.intervals import proportion, ratio
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.tally import CONFUSION, HISTOGRAM, OUTCOME, SCORES
from modelkeep.quality.windows import Windows, sums
from modelkeep.store.cells import CellRows, Cells

GROUPS: Final = 10
"""Equal ranges of the score."""
SHOWN: Final = 20
"""Classes with a row of their own; the others share one."""
OTHER: Final = ""
"""The name of the row of the others."""
_DAY_H: Final = 24


@dataclass(frozen=True, slots=True)
class Calibration:
    """Labelled predictions by range of the score; arrays have shape (10,).

    Args:
        starts: lower ends; each range is 0.1 wide.
        predictions: all of them, labelled or not.
        labels: labelled ones.
        predicted: their mean score, to a thousandth; NaN without any.
        actual: share of positive labels.
        low: lower end of the interval around it.
        high: upper end.
    """

    starts: Floats
    predictions: Floats
    labels: Floats
    predicted: Floats
    actual: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a class was taken for another.

    Args:
        names: of the classes.
        counts: shape (classes, classes), by actual, then predicted class.
    """

    names: tuple[str, ...]
    counts: Floats


@dataclass(frozen=True, slots=True)
class Delays:
    """Days from a prediction to its label, in calendar days of UTC; shape (windows,) each but the last.

    Args:
        labels: how many came.
        median: half of them were no later.
        late: nine in ten were no later.
        by_day: shape (days,), labels that came after so many days, of all windows together.
    """

    labels: Floats
    median: Floats
    late: Floats
    by_day: Floats


class Scorecard:
    """Reads outcomes out of the cells; any thread may ask.

    Args:
        cells: what was counted.
        catalogue: knows the names of classes.
        lock: held while cells change.
    """

    def __init__(self, cells: Cells, catalogue: Catalogue, lock: threading.RLock) -> None:
        self._cells, self._catalogue, self._lock = cells, catalogue, lock

    def calibration(self, version: Version, window: Windows) -> Calibration | None:
        """Gives predicted against actual rates in one window; None where there are no probabilities."""
        if version.task != "binary" or not version.scored:
            return None
        rows = self._rows(OUTCOME, version, window)
        negative, positive = self._histogram(rows, window)
        every = sums(rows, _within(rows.index, SCORES, binary.BINS), window, binary.BINS)[0]
        middles = np.append((np.arange(binary.BINS - 1) + 0.5) / (binary.BINS - 1), 1.0)
        labels = _grouped(negative + positive)
        rate = proportion(_grouped(positive), labels)
        predicted = ratio(_grouped((negative + positive) * middles), labels)
        starts = np.arange(GROUPS) / GROUPS
        return Calibration(starts, _grouped(every), labels, predicted, rate.value, rate.low, rate.high)

    def confusion(self, version: Version, window: Windows, threshold: float) -> Confusion | None:
        """Gives the table of one window; None for a task without classes.

        Args:
            version: whose predictions.
            window: a single one.
            threshold: scores from here on count as positive.
        """
        if version.task == "classes":
            return self._classes(version, window)
        if version.task != "binary":
            return None
        negative, positive = self._histogram(self._rows(OUTCOME, version, window), window)
        first = int(np.searchsorted(np.arange(binary.BINS) / (binary.BINS - 1), threshold, "left"))
        counts = [[part[:first].sum(), part[first:].sum()] for part in (negative, positive)]
        return Confusion(("negative", "positive"), np.array(counts))

    def delays(self, versions: Sequence[Version], windows: Windows) -> Delays:
        """Gives how late the labels of predictions in each window came."""
        found = [self._rows(OUTCOME, one, windows) for one in versions]
        hours, days, values = (
            np.concatenate([getattr(rows, name)[rows.index == binary.N] for rows in found])
            for name in ("bucket", "day", "value")
        )
        late = np.maximum(days - hours // _DAY_H, 0)
        size = int(late.max(initial=0)) + 1
        at = np.searchsorted(windows.starts, hours, "right") - 1
        inside = (at >= 0) & (hours < windows.ends[np.maximum(at, 0)])
        summed = np.bincount((at * size + late)[inside], values[inside], len(windows) * size)
        table = np.maximum(np.rint(summed.astype(np.float64)), 0).reshape(-1, size)
        labels = table.sum(axis=1)
        return Delays(labels, _level(table, 0.5), _level(table, 0.9), table.sum(axis=0))

    def _classes(self, version: Version, window: Windows) -> Confusion:
        rows = self._rows(CONFUSION, version, window)
        with self._lock:
            names = [self._catalogue.name(place) for place in version.classes]
        size = len(names)
        if not size:
            return Confusion((), np.zeros((0, 0)))
        actual, predicted = rows.index // classes.MOST, rows.index % classes.MOST
        whole = sums(rows, actual * size + predicted, window, size * size)[0].reshape(size, size)
        seen = whole.sum(axis=0) + whole.sum(axis=1)
        order = [at for at in np.argsort(-seen, kind="stable").tolist() if seen[at] > 0]
        shown, rest = order[:SHOWN], order[SHOWN:]
        places = np.full(size, len(shown))
        places[shown] = np.arange(len(shown))
        width = len(shown) + bool(rest)
        kept = np.flatnonzero(seen > 0)
        flat = (places[kept][:, None] * width + places[kept][None, :]).ravel()
        counts = np.bincount(flat, whole[np.ix_(kept, kept)].ravel(), width * width).astype(np.float64)
        return Confusion((*(names[at] for at in shown), *([OTHER] if rest else [])), counts.reshape(width, width))

    def _histogram(self, rows: CellRows, window: Windows) -> tuple[Floats, Floats]:
        size = 2 * binary.BINS
        found = sums(rows, _within(rows.index, HISTOGRAM, size), window, size)[0]
        return found[: binary.BINS], found[binary.BINS :]

    def _rows(self, table: str, version: Version, windows: Windows) -> CellRows:
        with self._lock:
            return self._cells.rows(table, version.group, int(windows.starts[0]), int(windows.ends[-1]))


def _within(index: Ints, first: int, size: int) -> Ints:
    return np.where((index >= first) & (index < first + size), index - first, -1)


def _grouped(bins: Floats) -> Floats:
    """Sums of a thousand and one ranges in ten; the last one, of exactly 1, belongs to the tenth."""
    whole = bins[:-1].reshape(GROUPS, -1).sum(axis=1)
    whole[-1] += bins[-1]
    return np.asarray(whole)


def _level(table: Floats, share: float) -> Floats:
    """The first column by which so large a share of each row is reached; NaN for an empty row."""
    total = table.sum(axis=1)
    reached = np.cumsum(table, axis=1) >= (share * total)[:, None] - 1e-9
    return np.where(total > 0, np.argmax(reached, axis=1).astype(np.float64), np.nan)
