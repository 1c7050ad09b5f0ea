"""From pieces of series, cut by group and by block, to dense blocks that span the whole time asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from modelkeep.core.series import Block, Labels
from modelkeep.store.series.codec import Times, Values
from modelkeep.store.series.head import is_hole
from modelkeep.store.series.postings import Ids


class Piece:
    """Some series of one group or section, within the time asked for.

    Args:
        ids: shape (m,), the wanted series.
        rows: shape (m,), where they stand in the group.
        from_ns: not after its first sample.
        times: gives the times, shape (n,).
        values: gives the values of some rows, shape (rows, n), with holes.
    """

    __slots__ = ("_found", "_times", "_values", "from_ns", "ids", "rows")

    def __init__(
        self, ids: Ids, rows: Ids, from_ns: int, times: Callable[[], Times], values: Callable[[Ids], Values]
    ) -> None:
        order = np.argsort(ids)
        self.ids: Final = ids[order]
        self.rows: Final = rows[order]
        self.from_ns: Final = from_ns
        self._times = times
        self._values = values
        self._found: Times | None = None

    def times(self) -> Times:
        """Shape (n,)."""
        if self._found is None:
            self._found = self._times()
        return self._found

    def values(self, ids: Ids) -> Values:
        """Gives the values of some of its series: shape (m, n)."""
        return self._values(self.rows[np.searchsorted(self.ids, ids)])


def woven(pieces: Sequence[Piece], labels: Callable[[int], Labels]) -> list[Block]:
    """Gives the samples of all pieces, series with the same times together, without holes.

    Args:
        pieces: of one answer.
        labels: gives a series' labels.
    """
    ordered = sorted(pieces, key=lambda piece: piece.from_ns)
    found: list[Block] = []
    for ids, parts in _alike(ordered):
        kept = [part for part in parts if len(part.times())]
        if kept:
            found.extend(_block(ids, kept, labels))
    return found


def _alike(pieces: Sequence[Piece]) -> Iterator[tuple[Ids, list[Piece]]]:
    """Gives sets of series that are in the same pieces, with these."""
    if not pieces:
        return
    every = np.unique(np.concatenate([piece.ids for piece in pieces]))
    kind = np.zeros(len(every), np.int64)
    chain: list[tuple[int, int]] = [(0, -1)]
    for number, piece in enumerate(pieces):
        at = np.searchsorted(every, piece.ids)
        before, which = np.unique(kind[at], return_inverse=True)
        kind[at] = len(chain) + which.reshape(-1)
        chain.extend((one, number) for one in before.tolist())
    order = np.argsort(kind, kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1):
        parts: list[Piece] = []
        step, number = chain[int(kind[some[0]])]
        while number >= 0:
            parts.append(pieces[number])
            step, number = chain[step]
        yield every[some], parts[::-1]


def _block(ids: Ids, parts: Sequence[Piece], labels: Callable[[int], Labels]) -> Iterator[Block]:
    times = [part.times() for part in parts]
    if any(before[-1] >= after[0] for before, after in pairwise(times)):
        for one in ids:
            yield _threaded(np.array([one]), parts, labels)
        return
    whole = np.concatenate(times)
    values = np.empty((len(ids), len(whole)))
    at = 0
    for part, some in zip(parts, times, strict=True):
        values[:, at : at + len(some)] = part.values(ids)
        at += len(some)
    yield from _filled([labels(one) for one in ids.tolist()], whole, values)


def _threaded(one: Ids, parts: Sequence[Piece], labels: Callable[[int], Labels]) -> Block:
    """One series whose pieces overlap in time, because some samples came late."""
    times = np.concatenate([part.times() for part in parts])
    values = np.concatenate([part.values(one)[0] for part in parts])
    there = ~is_hole(values)
    order = np.argsort(times[there], kind="stable")
    return Block([labels(int(one[0]))], times[there][order], np.ascontiguousarray(values[there][order][None, :]))


def _filled(labels: Sequence[Labels], times: Times, values: Values) -> Iterator[Block]:
    """Parts series with different holes."""
    gone = is_hole(values)
    if not gone.any():
        yield Block(labels, times, values)
        return
    alike: dict[bytes, list[int]] = {}
    for row, mask in enumerate(gone):
        alike.setdefault(mask.tobytes(), []).append(row)
    for rows in alike.values():
        kept = ~gone[rows[0]]
        if kept.any():
            some = np.ascontiguousarray(values[rows][:, kept])
            yield Block([labels[row] for row in rows], times[kept], some)
