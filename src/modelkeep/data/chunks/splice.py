"""What a stretch of a new version has in common with the old one, to the byte.

Both are hashed at every position. Positions with a low hash are anchors; an anchor that occurs once in each is taken
for the same place. Anchors in the same order on both sides give *shifts* (old position - new position). Under one
shift the bytes are compared one by one, so edits in place cost what they changed; where the shift changes, bytes were
inserted or deleted, and the equal bytes are taken from both sides.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from modelkeep.data.chunks.boundaries import Bytes, Gear

    Places = NDArray[np.int64]

_ANCHOR: Final = 1 << 22
"""A hash below this (1 in 1,024) is an anchor."""
_LEAST: Final = 32
"""Equal bytes in a shorter row are not worth an extent of their own."""
_PIECE: Final = 1 << 16


def align(new: Bytes, old: Bytes, shift: int, gear: Gear) -> Places:
    """Gives what can be copied from the old bytes: rows of (begin in new, begin in old, length), ascending in new.

    Args:
        new: bytes of the new version.
        old: bytes of the old version around the same place.
        shift: old position - new position at the beginning, as far as known; a wrong one costs little.
        gear: hashes.

    >>> import numpy as np
    >>> from modelkeep.data.chunks.boundaries import Gear
    >>> old = np.random.default_rng(1).integers(0, 256, 10_000, dtype=np.uint8)
    >>> new = np.concatenate([old[:5000], np.zeros(10, np.uint8), old[5000:]])
    >>> align(new, old, 0, Gear()).tolist()
    [[0, 0, 5000], [5010, 5000, 5000]]
    """
    import numpy as np

    runs = _runs(new, old, shift, gear)
    found: list[Places] = []
    done = 0
    for at, (first, last, by) in enumerate(runs):
        begin = _reach_back(new, old, max(first, done), max(done, -by), by)
        following = runs[at + 1] if at + 1 < len(runs) else None
        limit = min(len(new), len(old) - by)
        end = limit if following is None else _reach_on(new, old, max(last, begin), min(following[0], limit), by)
        if end - begin >= _LEAST:
            found.append(_equal(new, old, begin, end, by))
            done = end
    return np.concatenate(found) if found else np.empty((0, 3), np.int64)


def _runs(new: Bytes, old: Bytes, shift: int, gear: Gear) -> list[tuple[int, int, int]]:
    """(first position, behind the last position, shift) of every stretch under one shift, in the order of new."""
    runs: list[tuple[int, int, int]] = []
    if 0 <= shift < len(old):
        runs.append((0, 0, shift))
    for here, there in _pairs(new, old, gear):
        by = there - here
        if runs and runs[-1][2] == by:
            runs[-1] = (runs[-1][0], here + 1, by)
        else:
            runs.append((here, here + 1, by))
    return runs


def _pairs(new: Bytes, old: Bytes, gear: Gear) -> list[tuple[int, int]]:
    """Anchors that occur once on each side, in an order that both sides share."""
    import numpy as np

    sides = []
    for data in (new, old):
        places, values = gear.low(data, _ANCHOR, min(31, len(data)))
        unique, first, count = np.unique(values, return_index=True, return_counts=True)
        once = count == 1
        sides.append((unique[once], places[first[once]]))
    _, left, right = np.intersect1d(sides[0][0], sides[1][0], assume_unique=True, return_indices=True)
    here, there = sides[0][1][left], sides[1][1][right]
    order = np.argsort(here)
    return _rising(list(zip(here[order].tolist(), there[order].tolist(), strict=True)))


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest selection in which the second member rises with the first (patience sorting)."""
    if all(before[1] < after[1] for before, after in pairwise(pairs)):
        return pairs
    ends: list[int] = []
    which: list[int] = []
    before: list[int] = []
    for at, (_, there) in enumerate(pairs):
        pile = bisect_left(ends, there)
        before.append(which[pile - 1] if pile else -1)
        if pile == len(ends):
            ends.append(there)
            which.append(at)
        else:
            ends[pile], which[pile] = there, at
    kept: list[tuple[int, int]] = []
    at = which[-1]
    while at >= 0:
        kept.append(pairs[at])
        at = before[at]
    return kept[::-1]


def _reach_back(new: Bytes, old: Bytes, begin: int, limit: int, by: int) -> int:
    """How far the bytes before `begin` are equal under a shift, down to `limit`."""
    import numpy as np

    while begin > limit:
        piece = max(begin - _PIECE, limit)
        differs = np.flatnonzero(new[piece:begin] != old[piece + by : begin + by])
        if len(differs):
            return piece + int(differs[-1]) + 1
        begin = piece
    return begin


def _reach_on(new: Bytes, old: Bytes, end: int, limit: int, by: int) -> int:
    """How far the bytes from `end` on are equal under a shift, up to `limit`."""
    import numpy as np

    while end < limit:
        piece = min(end + _PIECE, limit)
        differs = np.flatnonzero(new[end:piece] != old[end + by : piece + by])
        if len(differs):
            return end + int(differs[0])
        end = piece
    return end


def _equal(new: Bytes, old: Bytes, begin: int, end: int, by: int) -> Places:
    """Stretches of at least `_LEAST` equal bytes between two positions under one shift."""
    import numpy as np

    differs = np.flatnonzero(new[begin:end] != old[begin + by : end + by]) + begin
    starts = np.concatenate([[begin], differs + 1])
    ends = np.concatenate([differs, [end]])
    long = ends - starts >= _LEAST
    starts, ends = starts[long], ends[long]
    return np.stack([starts, starts + by, ends - starts], axis=1).astype(np.int64)
