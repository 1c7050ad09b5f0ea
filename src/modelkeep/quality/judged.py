"""A feature's measures over many windows, judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelkeep.quality.intervals import ratio
from modelkeep.quality.measure import Measure, threshold
from modelkeep.quality.pair import Floats
from modelkeep.quality.profile import Edges, profiles

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judged:
    """One measure per window; shape (n,) each.

    Args:
        value: NaN where there is none.
        threshold: what it must exceed to count as drift.
        chance: its p-value; NaN unless asked for.
    """

    value: Floats
    threshold: Floats
    chance: Floats

    def each(self, change: Callable[[Floats], Floats]) -> Judged:
        """The same change on all three."""
        return Judged(change(self.value), change(self.threshold), change(self.chance))


@dataclass(frozen=True, slots=True)
class Drift:
    """One feature per window; shape (n,) each.

    Args:
        rows: with a value, over the edges that were compared.
        unseen: share of them that the reference never held.
        measures: by name.
    """

    rows: Floats
    unseen: Floats
    measures: Mapping[str, Judged]

    def masked(self, usable: Bools) -> Drift:
        """Without values where `usable` is false."""
        if usable.all():
            return self
        kept = {name: one.each(lambda part: np.where(usable, part, np.nan)) for name, one in self.measures.items()}
        return Drift(self.rows, self.unseen, kept)

    def better(self, other: Drift) -> Drift:
        """Per window the one with more rows."""
        newer = other.rows > self.rows
        none = nothing(dict.fromkeys([*self.measures, *other.measures]), len(newer)).measures
        chosen = {}
        for name, absent in none.items():
            left, right = self.measures.get(name, absent), other.measures.get(name, absent)
            chosen[name] = Judged(
                np.where(newer, right.value, left.value),
                np.where(newer, right.threshold, left.threshold),
                np.where(newer, right.chance, left.chance),
            )
        return Drift(np.where(newer, other.rows, self.rows), np.where(newer, other.unseen, self.unseen), chosen)


@dataclass(frozen=True, slots=True)
class Judge:
    """How to judge.

    Args:
        wanted: names of measures, None for all that apply.
        alpha: the probability of a false alarm that each measure may have.
        chances: whether p-values are wanted.
    """

    wanted: Sequence[str] | None
    alpha: float
    chances: bool = False

    def judged(self, edges: Edges, reference: Floats, current: Floats, measures: Mapping[str, Measure]) -> Drift:
        """Gives the measures of windows from counts.

        Args:
            edges: of both.
            reference: shape (cells,).
            current: shape (n, cells).
            measures: by name.
        """
        pair = profiles(edges, reference, current)
        found = {}
        for name, measure in measures.items():
            value = measure.profiles(pair)
            chance = measure.chance(value, pair.sample) if self.chances else np.full(len(value), np.nan)
            found[name] = Judged(value, threshold(measure, pair.sample, self.alpha), chance)
        return Drift(pair.rows, ratio(current[:, edges.outside].sum(axis=1), pair.rows), found)


def joined(parts: Sequence[Drift]) -> Drift:
    """Gives windows that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    found = {}
    for name in parts[0].measures:
        each = [part.measures[name] for part in parts]
        found[name] = Judged(
            np.concatenate([one.value for one in each]),
            np.concatenate([one.threshold for one in each]),
            np.concatenate([one.chance for one in each]),
        )
    rows, unseen = (
        np.concatenate(column) for column in zip(*((part.rows, part.unseen) for part in parts), strict=True)
    )
    return Drift(rows, unseen, found)


def nothing(names: Collection[str], windows: int) -> Drift:
    """Gives windows without any value."""
    nan = np.full(windows, np.nan)
    return Drift(np.zeros(windows), nan, dict.fromkeys(names, Judged(nan, nan, nan)))
