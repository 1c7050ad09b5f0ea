"""What a drift measure looks at: two columns, or the counts of a reference and of many windows over the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Arrow: TypeAlias = "pa.Array[pa.Scalar[pa.DataType]]"
Chunked: TypeAlias = "pa.ChunkedArray[pa.Scalar[pa.DataType]]"
Column: TypeAlias = "Floats | Sequence[float] | Sequence[str] | Arrow"


@dataclass(frozen=True, slots=True)
class Sample:
    """How much data stands behind a value, for the question what chance alone would give.

    Args:
        reference: rows of the reference with a value.
        current: rows with a value, one number per window.
        cells: categories, or for numbers 0.
        roughness: integral of sqrt(F (1 - F)) over the reference, in its standard deviations; 0 for categories.
        rarity: sum of 1 / share over the categories.
    """

    reference: float
    current: Floats
    cells: int = 0
    roughness: float = 0.0
    rarity: float = 0.0

    @property
    def spread(self) -> Floats:
        """1 / n + 1 / m, at most 2."""
        return np.asarray(1.0 / max(self.reference, 1.0) + 1.0 / np.maximum(self.current, 1.0))


class Pair:
    """Two columns of the same kind, each sorted or counted once for all measures.

    Args:
        reference: numbers, or category names.
        current: the same kind. Nulls, NaN and infinities are left out of both.

    Raises:
        BadInput: a column has no value, or one has numbers and the other names.

    >>> Pair([1.0, 2.0], [2.0, 4.0]).numeric
    True
    """

    def __init__(self, reference: Column, current: Column) -> None:
        self._reference = _array(reference)
        self._current = _array(current)
        self.numeric: Final = not pa.types.is_string(self._reference.type)
        if self.numeric != (not pa.types.is_string(self._current.type)):
            raise BadInput("one column has numbers, the other names", hint="Compare columns of the same kind.")

    @cached_property
    def reference(self) -> Floats:
        """The reference's numbers, sorted."""
        return _sorted(self._reference, "reference")

    @cached_property
    def current(self) -> Floats:
        """The current numbers, sorted."""
        return _sorted(self._current, "current")

    @cached_property
    def gap(self) -> tuple[Floats, Floats]:
        """All values sorted, and at each (the last of equal ones) the difference of the two distribution functions."""
        reference, current = self.reference, self.current
        whole = np.concatenate([reference, current])
        order = np.argsort(whole, kind="stable")
        points = whole[order]
        below = np.cumsum(order < len(reference))
        rank = np.arange(1, len(points) + 1)
        gap = below / len(reference) - (rank - below) / len(current)
        last = np.concatenate([points[1:] != points[:-1], [True]])
        return points[last], gap[last]

    @cached_property
    def counts(self) -> tuple[Floats, Floats]:
        """How often each category occurs in the two columns, over the union of their categories."""
        values = pa.concat_arrays([self._reference, self._current]).dictionary_encode()
        codes = np.asarray(values.indices)
        cells = len(values.dictionary)
        split = len(self._reference)
        counts = tuple(np.bincount(part, minlength=cells).astype(np.float64) for part in (codes[:split], codes[split:]))
        for name, part in zip(("reference", "current"), counts, strict=True):
            if not part.sum():
                raise BadInput(f"the {name} column has no value")
        return counts[0], counts[1]

    @cached_property
    def scale(self) -> float:
        """The reference's standard deviation, 1 when it has none."""
        return _scale(float(np.std(self.reference)))

    @cached_property
    def sample(self) -> Sample:
        """How much data this is."""
        if not self.numeric:
            reference, current = self.counts
            rarity = float(np.sum((reference.sum() + current.sum()) / (reference + current)))
            return Sample(float(reference.sum()), np.asarray(current.sum()), len(reference), rarity=rarity)
        values = self.reference
        share = np.arange(1, len(values)) / len(values)
        roughness = float(np.sum(np.sqrt(share * (1 - share)) * np.diff(values))) / self.scale
        return Sample(float(len(values)), np.asarray(float(len(self.current))), roughness=roughness)


@dataclass(frozen=True)
class Profiles:
    """Counts of a reference and of windows over the same cells.

    Args:
        edges: shape (k,), strictly increasing; cell i holds edges[i - 1] < x ≤ edges[i], the first and the last
            are open. None for categories.
        reference: shape (cells,): k + 1 for numbers, one per category otherwise.
        current: shape (…, cells).
        scale: the reference's standard deviation.
        discrete: every value of the reference is an edge.
    """

    edges: Floats | None
    reference: Floats
    current: Floats
    scale: float = 1.0
    discrete: bool = False

    def __post_init__(self) -> None:
        if not self.reference.sum():
            raise BadInput("the reference profile is empty")

    @property
    def numeric(self) -> bool:
        """Whether the cells are ranges of numbers."""
        return self.edges is not None

    @cached_property
    def rows(self) -> Floats:
        """Rows per window, shape (…)."""
        return np.asarray(self.current.sum(axis=-1))

    @cached_property
    def expected(self) -> Floats:
        """The reference's distribution function at the edges, shape (k,)."""
        return np.asarray(np.cumsum(self.reference)[:-1] / self.reference.sum())

    @cached_property
    def below(self) -> Floats:
        """Rows at or below each edge, shape (…, k)."""
        return np.asarray(np.cumsum(self.current, axis=-1)[..., :-1])

    @cached_property
    def gap(self) -> Floats:
        """The reference's distribution function minus the window's at the edges, shape (…, k); NaN without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.expected - self.below * (1.0 / self.rows)[..., None])

    @cached_property
    def sample(self) -> Sample:
        """How much data stands behind each window."""
        total = float(self.reference.sum())
        if self.edges is None:
            held = self.reference[self.reference > 0]
            return Sample(total, self.rows, len(held) + 1, rarity=float(np.sum(total / held) + total))
        height = np.sqrt(self.expected * (1 - self.expected))
        mean = height[:-1] if self.discrete else (height[1:] + height[:-1]) / 2
        return Sample(total, self.rows, roughness=float(np.sum(mean * np.diff(self.edges))) / self.scale)

    def merged(self, bins: int) -> tuple[Floats, Floats]:
        """Counts of the two over at most `bins` equal-count bins of the reference; categories stay as they are."""
        if self.edges is None:
            return self.reference, self.current
        at = quantile_places(self.reference, bins)
        whole = np.concatenate([np.cumsum(self.reference)[at], [self.reference.sum()]])
        parts = np.concatenate([self.below[..., at], self.rows[..., None]], axis=-1)
        return np.diff(whole, prepend=0.0), np.diff(parts, axis=-1, prepend=0.0)


def quantile_places(counts: Floats, bins: int) -> Ints:
    """Gives the cells whose upper edges are the reference's quantiles 1/bins … (bins - 1)/bins, each once."""
    total = np.cumsum(counts)
    levels = np.arange(1, bins) * total[-1]
    places = np.unique(np.searchsorted(total * bins, levels - 1e-6))
    return np.asarray(places[total[places] < total[-1]])


def quantiles(values: Floats, bins: int) -> Floats:
    """Gives the inner edges of at most `bins` equal-count bins: values such that j/bins of all lie at or below.

    >>> quantiles(np.arange(10.0), 5).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    places = -(-np.arange(1, bins) * len(values) // bins) - 1
    return np.unique(values[places])


def binned(pair: Pair, bins: int) -> tuple[Floats, Floats]:
    """Counts of two columns over equal-count bins of the reference, or per category."""
    if not pair.numeric:
        return pair.counts
    pair.current  # noqa: B018 (an empty column is refused here)
    edges = quantiles(pair.reference, bins)
    edges = edges[edges < pair.reference[-1]]
    counts = [
        np.diff(np.searchsorted(column, edges, "right"), prepend=0, append=len(column)).astype(np.float64)
        for column in (pair.reference, pair.current)
    ]
    return counts[0], counts[1]


def _array(column: Column) -> Arrow:
    values = column if isinstance(column, pa.Array) else pa.array(column, from_pandas=True)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if pa.types.is_null(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        values = values.cast(pa.float64(), safe=False)
    elif not pa.types.is_string(values.type):
        raise BadInput(f"a column of {values.type} cannot be compared", hint="Give numbers or texts.")
    return pc.drop_null(values)


def _sorted(values: Arrow, name: str) -> Floats:
    numbers = values.to_numpy(zero_copy_only=False)
    whole = np.sort(numbers)
    low, high = np.searchsorted(whole, [-np.inf, np.inf], side="left")
    low = np.searchsorted(whole, -np.inf, side="right")
    found: Floats = whole[low:high]
    if not len(found):
        raise BadInput(f"the {name} column has no value")
    return found


def _scale(deviation: float) -> float:
    return deviation if deviation > 0 and np.isfinite(deviation) else 1.0
