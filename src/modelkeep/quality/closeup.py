"""Drift from near: all features of a version over time, and one feature beside its reference."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from modelkeep.quality.catalogue import Catalogue, Version, group
from modelkeep.quality.intervals import ratio
from modelkeep.quality.judged import Drift
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.profile import OTHER, STATES, UNSEEN, Edges, Profile
from modelkeep.quality.readings import Readings
from modelkeep.quality.tally import PRESENCE, PROFILE
from modelkeep.quality.windows import Windows, sums
from modelkeep.store.cells import CellRows, Cells

WORST: Final = "worst"
"""As a measure: of all that apply the one that is furthest above its threshold."""
RANGES: Final = 40
"""At most about so many ranges of numbers are told, and half as many names."""
NAMES: Final = 20
_LEFT_OUT: Final = 0.002
"""Share of either side that may lie in the first or last open range, unless one wide cell has more."""
_WORTH: Final = 0.01
"""A cell at the end with so large a share of one side is shown, however wide it is."""


@dataclass(frozen=True, slots=True)
class Traced:
    """One feature over windows; arrays have shape (n,).

    Args:
        feature: its name.
        numeric: whether it holds numbers; None while nobody can tell.
        rows: predictions that had it.
        missing: share of them without a value.
        values: the measure, NaN where there is none.
        ratios: the measure over its threshold, NaN where there are too few values to judge.
    """

    feature: str
    numeric: bool | None
    rows: Floats
    missing: Floats
    values: Floats
    ratios: Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """A range of numbers or a name, with the shares of both sides in it.

    Args:
        start: lower end, exclusive; None for a name or for everything up to `end`.
        end: upper end, inclusive; None for a name or for everything above `start`.
        name: the category, or the number where every number stands for itself.
        kind: range, name, other (names of the reference that share a bin) or unseen.
        reference: share, 0 to 1.
        current: share, 0 to 1; NaN without rows.
    """

    start: float | None
    end: float | None
    name: str
    kind: Literal["range", "name", "other", "unseen"]
    reference: float
    current: float


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Args:
        rows: with or without a value.
        states: shape (6,), rows per state of `profile`.
        mean: of the finite numbers; NaN for names.
    """

    rows: float
    states: Floats
    mean: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A feature in one window beside its reference.

    Args:
        numeric: whether it holds numbers.
        against: `reference`, or `first week` where none was sent.
        reference: what is known of it.
        current: the window.
        bins: in order of value, or of frequency; empty while there is nothing to compare with.
        unseen: share of the window's values that the reference never held.
        drift: the measures, one window.
    """

    numeric: bool
    against: Literal["reference", "first week"]
    reference: Side
    current: Side
    bins: tuple[Bin, ...]
    unseen: float
    drift: Drift | None


class Closeup:
    """Reads drift out of the cells for people who look at it; any thread may ask.

    Args:
        cells: what was counted.
        catalogue: which edges it was counted over.
        readings: computes the measures.
        lock: held while cells change.
    """

    def __init__(self, cells: Cells, catalogue: Catalogue, readings: Readings, lock: threading.RLock) -> None:
        self._cells, self._catalogue, self._readings, self._lock = cells, catalogue, readings, lock

    def traced(self, version: Version, windows: Windows, measure: str) -> list[Traced]:
        """Gives one measure of every feature over windows.

        Args:
            version: whose features.
            windows: n of them, at least one.
            measure: its name, or `WORST`.
        """
        with self._lock:
            names = sorted(version.features)
            alpha = self._readings.alpha(version)
        wanted = None if measure == WORST else [measure]
        found = []
        for name in names:
            presence = self._readings.presence(version, name, windows)
            drift = self._readings.drift(version, name, windows, wanted=wanted, alpha=alpha)
            values, ratios = _furthest(drift, len(windows), as_ratio=measure == WORST)
            missing = ratio(presence.missing, presence.rows)
            numeric = self._readings.numeric(version, name)
            found.append(Traced(name, numeric, presence.rows, missing, values, ratios))
        return found

    def compared(self, version: Version, feature: str, window: Windows) -> Compared:
        """Gives one feature in one window beside its reference.

        Where rows were counted over several edges the ones that most rows of the window were counted over are shown.

        Args:
            version: whose feature.
            feature: its name, one that the version has.
            window: a single one.
        """
        drift = self._readings.drift(version, feature, window, chances=True)
        with self._lock:
            states = self._states(version, feature, window)
            chosen = self._chosen(version, feature, window)
        if chosen is None:
            nothing = Side(0, np.zeros(STATES), np.nan)
            return Compared(True, "first week", nothing, _side(states, numeric=True), (), np.nan, drift)
        edges, reference, counts, current = chosen
        known = _known(reference, counts)
        side = _side(states, numeric=edges.numeric)
        bins = tuple(_bins(edges, counts, current)) if counts.sum() else ()
        unseen = float(ratio(current[edges.outside].sum(), current.sum()))
        against: Literal["reference", "first week"] = "first week" if reference is None else "reference"
        return Compared(edges.numeric, against, known, side, bins, unseen, drift)

    def _states(self, version: Version, feature: str, window: Windows) -> Floats:
        rows = self._between(PRESENCE, group(version.model, version.version, feature), window)
        return np.asarray(sums(rows, np.where(rows.index <= STATES, rows.index, -1), window, STATES + 1)[0])

    def _chosen(
        self, version: Version, feature: str, window: Windows
    ) -> tuple[Edges, Profile | None, Floats, Floats] | None:
        """Edges, the reference's profile, its counts and the window's counts."""
        best: tuple[Edges, Profile | None, Floats, Floats] | None = None
        for edges_id in version.features.get(feature, ()):
            edges, reference = self._catalogue.edges(edges_id)
            name = group(version.model, version.version, feature, edges_id)
            rows = self._between(PROFILE, name, window)
            current = sums(rows, np.where(rows.index < edges.cells, rows.index, -1), window, edges.cells)[0]
            counts = reference.counts if reference is not None else self._readings.stand_in(name, edges, window)[0]
            if best is None or current.sum() >= best[3].sum():
                best = edges, reference, counts, current
        return best

    def _between(self, table: str, name: str, window: Windows) -> CellRows:
        return self._cells.rows(table, name, int(window.starts[0]), int(window.ends[0]))


def _furthest(drift: Drift | None, windows: int, *, as_ratio: bool) -> tuple[Floats, Floats]:
    """The value of the measure that is furthest above its threshold, and how far."""
    nan = np.full(windows, np.nan)
    if drift is None or not drift.measures:
        return nan, nan
    each = list(drift.measures.values())
    with np.errstate(invalid="ignore"):
        ratios = np.stack([np.where(np.isfinite(one.threshold), one.value / one.threshold, np.nan) for one in each])
    most = np.fmax.reduce(ratios)
    return (most if as_ratio else each[0].value), most


def _side(states: Floats, *, numeric: bool) -> Side:
    mean = float(ratio(states[STATES], states[0])) if numeric else np.nan
    return Side(float(states[:STATES].sum()), states[:STATES], mean)


def _known(reference: Profile | None, counts: Floats) -> Side:
    if reference is None:
        states = np.zeros(STATES)
        states[0] = counts.sum()
        return Side(float(states[0]), states, np.nan)
    held = reference.states[0]
    return Side(reference.rows, reference.states, float(ratio(np.asarray(reference.total), held)))


def _bins(edges: Edges, counts: Floats, current: Floats) -> list[Bin]:
    shares = [counts / counts.sum(), ratio(current, np.full(len(current), current.sum()))]
    if not edges.numeric:
        return _named(edges, *shares)
    if edges.discrete and int(np.sum(counts > 0)) <= NAMES:
        return _single(edges, *shares)
    return _ranges(edges, *shares)


def _named(edges: Edges, reference: Floats, current: Floats) -> list[Bin]:
    weight = np.fmax(reference, np.nan_to_num(current))
    order = [at for at in np.argsort(-weight, kind="stable").tolist() if at > OTHER]
    shown, rest = sorted(order[:NAMES]), [*order[NAMES:], OTHER]
    bins = [
        Bin(None, None, edges.values[at - OTHER - 1], "name", float(reference[at]), float(current[at])) for at in shown
    ]
    others = Bin(None, None, "", "other", float(reference[rest].sum()), float(current[rest].sum()))
    unseen = Bin(None, None, "", "unseen", float(reference[UNSEEN]), float(current[UNSEEN]))
    return [*bins, *(one for one in (others, unseen) if one.reference > 0 or one.current > 0)]


def _single(edges: Edges, reference: Floats, current: Floats) -> list[Bin]:
    """One bin per number of the reference; numbers between and beyond them are unseen."""
    inside = np.flatnonzero(reference > 0)
    bins = [
        Bin(None, None, f"{edges.numbers[at]:.6g}", "name", float(reference[at]), float(current[at])) for at in inside
    ]
    rest = np.ones(len(current), np.bool_)
    rest[inside] = False
    beyond = float(current[rest].sum())
    return [*bins, Bin(None, None, "", "unseen", 0.0, beyond)] if beyond > 0 else bins


def _ranges(edges: Edges, reference: Floats, current: Floats) -> list[Bin]:
    """Ranges of about equal width that end at edges, so that no cell is divided; the rest in two open ones."""
    numbers, weight = edges.numbers, np.cumsum(np.stack([reference, np.nan_to_num(current)]), axis=1)
    inner = np.flatnonzero((weight > _LEFT_OUT).any(axis=0) & (weight < 1 - _LEFT_OUT).any(axis=0))
    first, last = (int(inner[0]), int(inner[-1])) if len(inner) else (0, len(numbers) - 1)
    beside = np.fmax(reference, np.nan_to_num(current))
    first = max(first - (beside[first] > _WORTH), 0)
    last = min(last + (beside[last + 1] > _WORTH), len(numbers) - 1)
    grid = np.linspace(numbers[first], numbers[last], RANGES + 1)
    places: Ints = np.unique([first, *_nearest(numbers[first : last + 1], grid, first), last])
    bounds = [0, *(int(at) + 1 for at in places), len(reference)]
    bins = []
    for start, end in pairwise(bounds):
        low = float(numbers[start - 1]) if start else None
        high = float(numbers[end - 1]) if end <= len(numbers) else None
        one = Bin(low, high, "", "range", float(reference[start:end].sum()), float(current[start:end].sum()))
        if (low is not None and high is not None) or one.reference > 0 or one.current > 0:
            bins.append(one)
    return bins


def _nearest(numbers: Floats, grid: Floats, first: int) -> Sequence[int]:
    right = np.clip(np.searchsorted(numbers, grid), 1, max(len(numbers) - 1, 1))
    right = np.minimum(right, len(numbers) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.where(grid - numbers[left] <= numbers[right] - grid, left, right)
    return [int(at) + first for at in nearer]
