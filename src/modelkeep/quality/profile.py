"""Profiles: what a column held, as counts over fixed edges. They add up, so any window is a sum of hours.

Numbers are counted in 256 equal-count ranges of the reference, divided further in its tails, with more edges at
and beyond its least and greatest value; a column with up to 256 different values gets one cell per value, and a value
that fills a whole range gets a cell of its own. Names are counted exactly up to `NAMED` different ones, the others of
the reference together in `OTHER`, and what the reference never held in `UNSEEN`. Nulls, NaN, infinities and values of
another type are states of a row beside these cells, so nothing a model is fed can break a profile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput
from modelkeep.quality.pair import Arrow, Floats, Ints, Profiles

RANGES: Final = 256
FINE: Final = (512, 1024, 2048, 4096, 8192)
"""The outermost ranges are divided at these fractions of the rows, since most of a long tail's width lies there."""
TAILS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0)
"""Edges beyond the reference's least and greatest number, in widths of its range."""
NAMED: Final = 254
UNSEEN: Final = 0
OTHER: Final = 1
LONGEST: Final = 128
"""Characters of a name that count; names are told apart by these."""

VALUE, NULL, NAN, UP, DOWN, MISFIT = range(6)
"""States of a row: it has a value; null; NaN; infinity; minus infinity; a value of another type."""
STATES: Final = 6


@dataclass(frozen=True)
class Edges:
    """The cells that a column is counted in.

    Args:
        id: names these cells; counts with different ids are never added.
        numbers: shape (k,), strictly increasing, for a numeric column; empty otherwise.
        values: names with a cell of their own, most frequent first; empty for a numeric column.
        rare: the reference's other names.
        numeric: whether the column has numbers.
        discrete: every number of the reference is an edge.
        low: the reference's least number.
        high: its greatest.
        scale: its standard deviation.
    """

    id: str
    numbers: Floats
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    numeric: bool = True
    discrete: bool = False
    low: float = 0.0
    high: float = 0.0
    scale: float = 1.0

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.numbers) + 1 if self.numeric else len(self.values) + 2

    @cached_property
    def outside(self) -> Ints:
        """The cells of what the reference never held: beyond its range, or unseen names."""
        if not self.numeric:
            return np.array([UNSEEN])
        first, last = np.searchsorted(self.numbers, [self.low, self.high])
        return np.concatenate([np.arange(first), np.arange(last + 1, self.cells)])

    @cached_property
    def places(self) -> dict[str, int]:
        """Name → cell."""
        return dict.fromkeys(self.rare, OTHER) | {name: at for at, name in enumerate(self.values, OTHER + 1)}

    def named(self, *parts: str) -> Edges:
        """The same edges with an id that also depends on some texts."""
        digest = blake2b(repr((parts, self.values, self.rare)).encode(), digest_size=8)
        digest.update(self.numbers.tobytes())
        return replace(self, id=digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as states and cells, one of each per row; a row without a value has cell 0 and number 0."""

    states: Ints
    cells: Ints
    numbers: Floats


@dataclass(frozen=True, slots=True)
class Profile:
    """The counts of one column over some edges.

    Args:
        counts: shape (cells,).
        states: shape (6,): rows per state; see `VALUE` and the others.
        low: least finite number, inf when there is none.
        high: greatest finite number.
        total: sum of the finite numbers.
        squares: sum of their squares.
    """

    counts: Floats
    states: Floats
    low: float
    high: float
    total: float
    squares: float

    @property
    def rows(self) -> float:
        """All rows, with or without a value."""
        return float(self.states.sum())

    def merged(self, other: Profile) -> Profile:
        """The profile of both columns together; the edges must be the same."""
        return Profile(
            self.counts + other.counts,
            self.states + other.states,
            min(self.low, other.low),
            max(self.high, other.high),
            self.total + other.total,
            self.squares + other.squares,
        )


def edges_of(values: Arrow) -> Edges:
    """Gives the edges that a reference column defines.

    Args:
        values: numbers, bools or texts; nulls, NaN and infinities are left out.

    Raises:
        BadInput: the column has no value.

    >>> edges_of(pa.array([1.0, 2.0, 3.0])).numbers.tolist()[len(TAILS) :][:4]
    [0.9999999999999999, 1.0, 2.0, 3.0]
    >>> edges_of(pa.array(["b", "a", "b"])).values
    ('b', 'a')
    """
    if is_text(values):
        return _name_edges(_clipped(values))
    numbers = np.sort(_numbers(values))
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        raise BadInput("the reference column has no value")
    return _number_edges(numbers)


@np.errstate(over="ignore", invalid="ignore")
def profile(values: Arrow, edges: Edges) -> Profile:
    """Gives the counts of a column over edges.

    >>> found = profile(pa.array([1.0, None, float("nan"), 99.0]), edges_of(pa.array([1.0, 2.0])))
    >>> found.states.tolist(), found.low, found.high
    ([2.0, 1.0, 1.0, 0.0, 0.0, 0.0], 1.0, 99.0)
    """
    coded = code(values, edges)
    held = coded.states == VALUE
    numbers = coded.numbers[held]
    return Profile(
        np.bincount(coded.cells[held], minlength=edges.cells).astype(np.float64),
        np.bincount(coded.states, minlength=STATES).astype(np.float64),
        float(numbers.min(initial=np.inf)),
        float(numbers.max(initial=-np.inf)),
        float(numbers.sum()),
        float(np.sum(numbers * numbers)),
    )


def code(values: Arrow, edges: Edges) -> Coded:
    """Gives each row's state and cell."""
    states = states_of(values, numeric=edges.numeric)
    if (states == MISFIT).any():
        return Coded(states, np.zeros(len(values), np.int64), np.zeros(len(values)))
    held = states == VALUE
    if not edges.numeric:
        return Coded(states, np.where(held, _name_cells(_clipped(values), edges), 0), np.zeros(len(values)))
    numbers = np.where(held, _numbers(values), 0.0)
    return Coded(states, np.where(held, np.searchsorted(edges.numbers, numbers), 0), numbers)


def states_of(values: Arrow, *, numeric: bool) -> Ints:
    """Gives each row's state in a column that ought to be numeric or not."""
    null = np.asarray(pc.is_null(values).to_numpy(zero_copy_only=False))
    if pa.types.is_null(values.type):
        return np.full(len(values), NULL)
    if is_text(values) == numeric:
        return np.where(null, NULL, MISFIT)
    if not numeric:
        return np.where(null, NULL, VALUE)
    numbers = _numbers(values)
    states = np.select([null, np.isnan(numbers), numbers == np.inf, numbers == -np.inf], [NULL, NAN, UP, DOWN], VALUE)
    return np.asarray(states, np.int64)


def profiles(edges: Edges, reference: Floats, current: Floats) -> Profiles:
    """Gives what the measures look at: a reference's counts, shape (cells,), and windows', shape (…, cells)."""
    return Profiles(edges.numbers if edges.numeric else None, reference, current, edges.scale, edges.discrete)


def is_text(values: Arrow) -> bool:
    """Whether a column holds names."""
    kind = values.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)


class _Stored(msgspec.Struct, array_like=True):
    id: str
    numbers: bytes
    values: tuple[str, ...]
    rare: tuple[str, ...]
    numeric: bool
    discrete: bool
    low: float
    high: float
    scale: float
    counts: bytes = b""
    states: bytes = b""
    moments: tuple[float, ...] = ()


def pack(edges: Edges, reference: Profile | None) -> bytes:
    """Gives edges and the reference's profile as bytes."""
    stored = _Stored(
        edges.id,
        edges.numbers.tobytes(),
        edges.values,
        edges.rare,
        edges.numeric,
        edges.discrete,
        edges.low,
        edges.high,
        edges.scale,
    )
    if reference is not None:
        stored.counts, stored.states = reference.counts.tobytes(), reference.states.tobytes()
        stored.moments = (reference.low, reference.high, reference.total, reference.squares)
    return msgspec.msgpack.encode(stored)


def unpack(data: bytes) -> tuple[Edges, Profile | None]:
    """Gives back what `pack` was given.

    >>> edges = edges_of(pa.array([1.0, 2.0]))
    >>> unpack(pack(edges, None))[0].numbers.tolist() == edges.numbers.tolist()
    True
    """
    stored = msgspec.msgpack.decode(data, type=_Stored)
    edges = Edges(
        stored.id,
        np.frombuffer(stored.numbers),
        stored.values,
        stored.rare,
        stored.numeric,
        stored.discrete,
        stored.low,
        stored.high,
        stored.scale,
    )
    if not stored.moments:
        return edges, None
    return edges, Profile(np.frombuffer(stored.counts), np.frombuffer(stored.states), *stored.moments)


@np.errstate(over="ignore", invalid="ignore")
def _number_edges(numbers: Floats) -> Edges:
    distinct = np.unique(numbers)
    low, high = float(distinct[0]), float(distinct[-1])
    discrete = len(distinct) <= RANGES
    inner = distinct if discrete else _quantile_edges(numbers)
    width = (high - low) or max(abs(high), 1.0)
    lower = [low - share * width for share in TAILS]
    upper = [high + share * width for share in TAILS]
    whole = np.unique(np.concatenate([lower, [np.nextafter(low, -np.inf)], inner, upper]))
    scale = float(np.std(numbers))
    scale = scale if np.isfinite(scale) and scale > 0 else 1.0
    return Edges("", whole[np.isfinite(whole)], discrete=discrete, low=low, high=high, scale=scale).named()


@np.errstate(over="ignore")
def _quantile_edges(numbers: Floats) -> Floats:
    """Quantiles that hold every twentieth exactly, so that measures over 10 or 20 bins lose nothing."""
    places = [np.zeros(1, np.int64)]
    for part in range(20):
        pieces = RANGES // 20 + (part % 5 != 0)
        steps = part * pieces + np.arange(1, pieces + 1)
        places.append(-(-steps * len(numbers) // (20 * pieces)) - 1)
    fine = -(-len(numbers) // np.array(FINE))
    found = numbers[np.sort(np.concatenate([*places, fine - 1, len(numbers) - fine - 1]))]
    atoms = np.unique(found[1:][found[1:] == found[:-1]])
    return np.union1d(found, np.nextafter(atoms, -np.inf))


def _name_edges(values: Arrow) -> Edges:
    counted = pc.value_counts(pc.drop_null(values))
    pairs: list[tuple[int, str]] = sorted((-one["counts"].as_py(), one["values"].as_py()) for one in counted)
    if not pairs:
        raise BadInput("the reference column has no value")
    names = tuple(name for _, name in pairs)
    return Edges("", np.empty(0), values=names[:NAMED], rare=names[NAMED:], numeric=False).named()


def _name_cells(values: Arrow, edges: Edges) -> Ints:
    coded = values.dictionary_encode()
    names = [str(name) for name in coded.dictionary.to_pylist()]
    cells = np.array([edges.places.get(name, UNSEEN) for name in names] or [UNSEEN], np.int64)
    return np.asarray(cells[np.asarray(coded.indices.fill_null(0))])


def _numbers(values: Arrow) -> Floats:
    if not pa.types.is_floating(values.type):
        whole = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
        values = whole.cast(pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


def _clipped(values: Arrow) -> Arrow:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pc.utf8_slice_codeunits(values.cast(pa.string()), 0, LONGEST)
