"""The newest samples, in memory: series that come with the same timestamps share a matrix.

A group is a fixed set of series and the times at which any of them had a sample. A group takes a column when at
least half of its series are in it; the others have a hole there. Series that come apart from their group for good
begin a new one. So a steady scrape is one dense matrix, and a series with a rhythm of its own is a group of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from modelkeep.core.clock import DAY, HOUR
from modelkeep.store.series.codec import Mask, Times, Values
from modelkeep.store.series.postings import Ids

HOLE_BITS: Final = 0x7FF4_6D6B_686F_6C65
"""The bit pattern of "this series has no sample at this time of its group"; no sample keeps these bits."""

BLOCK_NS: Final = 2 * HOUR
_ENOUGH: Final = 120
_MOST: Final = 4096
_LONGEST_NS: Final = 30 * DAY
_FIRST: Final = 8


def is_hole(values: Values) -> Mask:
    """Tells where there is no sample."""
    found: Mask = values.view(np.int64) == HOLE_BITS
    return found


def holes(shape: tuple[int, ...]) -> Values:
    """Gives an array without samples."""
    return np.full(shape, HOLE_BITS, np.int64).view(np.float64)


class Group:
    """Series that share their times.

    Args:
        uid: its number in this engine, never given twice.
        ids: the series, increasing.
    """

    __slots__ = ("_times", "_values", "count", "ids", "sealed", "touched", "uid")

    def __init__(self, uid: int, ids: Ids) -> None:
        self.uid: Final = uid
        self.ids: Final = ids
        self.count = 0
        self.sealed = 0
        """How many columns are on disk as they are here."""
        self.touched = 0
        """The seal during which it last took a sample."""
        self._times = np.empty(_FIRST, np.int64)
        self._values = np.empty((_FIRST, len(ids)))

    @property
    def times(self) -> Times:
        """Shape (n,)."""
        return self._times[: self.count]

    @property
    def values(self) -> Values:
        """Shape (n, m): one row per time."""
        return self._values[: self.count]

    @property
    def size_bytes(self) -> int:
        """What its matrix takes in memory."""
        return self._values.nbytes + self._times.nbytes

    def last(self) -> int:
        """The newest time; before the first one, a time before all others."""
        return int(self._times[self.count - 1]) if self.count else -(2**63)

    def append(self, times: Times, values: Values) -> None:
        """Adds columns behind the last one.

        Args:
            times: shape (n,).
            values: shape (n, m).
        """
        need = self.count + len(times)
        if need > len(self._times):
            capacity = max(need, 2 * len(self._times))
            grown_times, grown = np.empty(capacity, np.int64), np.empty((capacity, len(self.ids)))
            grown_times[: self.count], grown[: self.count] = self.times, self.values
            self._times, self._values = grown_times, grown
        self._times[self.count : need], self._values[self.count : need] = times, values
        self.count = need

    def put(self, at: int, rows: Ids, values: Values) -> None:
        """Fills holes of one column."""
        column = self._values[at].copy()
        column[rows] = values
        self._values[at] = column
        self.sealed = min(self.sealed, at)

    def cut(self, count: int) -> None:
        """Forgets all columns but the first ones."""
        self.count = min(self.count, count)

    def over(self, at_ns: int) -> bool:
        """Whether a sample at this time should open a new group instead."""
        if not self.count:
            return False
        first = int(self._times[0])
        crossed = at_ns // BLOCK_NS != first // BLOCK_NS
        return (crossed and self.count >= _ENOUGH) or self.count >= _MOST or at_ns - first > _LONGEST_NS


class Head:
    """All groups, and which of them each series is adding to."""

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}
        self.done: set[int] = set()
        """Groups that take no further samples and wait to be written as a block."""
        self.round = 0
        self.next_uid = 1
        self.version = 0
        self._home = np.full(1024, -1, np.int64)
        self._alike: dict[bytes, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups.values())

    @property
    def size_bytes(self) -> int:
        """What all matrices take in memory."""
        return sum(group.size_bytes for group in self)

    def grow(self, series: int) -> None:
        """Makes room for that many series."""
        if series > len(self._home):
            self._home = longer(self._home, series, -1)

    def open(self, ids: Ids, uid: int = 0, *, home: bool = True) -> Group:
        """Gives a new group; its series add to it from now on, unless it is not to be their home."""
        group = Group(uid or self.next_uid, ids)
        self.next_uid = max(self.next_uid, group.uid + 1)
        self.groups[group.uid] = group
        if home:
            self._home[ids] = group.uid
            self._alike[ids.tobytes()] = group
        self.version += 1
        return group

    def finish(self, group: Group) -> None:
        """Lets a group take no further samples."""
        self.done.add(group.uid)
        self._alike.pop(group.ids.tobytes(), None)
        mine = group.ids[self._home[group.ids] == group.uid]
        self._home[mine] = -1

    def drop(self, uids: set[int]) -> None:
        """Takes groups out of memory."""
        for uid in uids:
            self.groups.pop(uid, None)
        self.done -= uids
        self._alike = {key: group for key, group in self._alike.items() if group.uid not in uids}
        self.version += 1

    def settle(self) -> None:
        """After loading: every series goes on in the group where it has been last."""
        for group in sorted(self, key=Group.last):
            self._home[group.ids] = group.uid
            self._alike[group.ids.tobytes()] = group

    def column(self, at_ns: int, ids: Ids, values: Values) -> None:
        """Takes samples of one time, each newer than what its series has.

        Args:
            at_ns: their time.
            ids: shape (m,), increasing.
            values: shape (m,), no holes.
        """
        group = self._alike.get(ids.tobytes())
        if group is not None and at_ns > group.last() and (self._home[ids] == group.uid).all():
            if group.over(at_ns):
                self.finish(group)
                group = self.open(ids)
            group.append(np.array([at_ns]), values[None, :])
            group.touched = self.round
            return
        left = np.ones(len(ids), bool)
        homes = self._home[ids]
        for uid in np.unique(homes[homes >= 0]).tolist():
            mine = homes == uid
            left &= ~(mine & self._join(self.groups[uid], at_ns, ids[mine], values[mine]))
        if left.any():
            group = self.open(ids[left])
            group.append(np.array([at_ns]), values[left][None, :])
            group.touched = self.round

    def _join(self, group: Group, at_ns: int, ids: Ids, values: Values) -> bool:
        """Adds to a group's last column or behind it; False when these series should part from it."""
        if group.over(at_ns):
            self.finish(group)
            return False
        rows = np.searchsorted(group.ids, ids)
        if at_ns == group.last():
            group.put(group.count - 1, rows, values)
        elif at_ns > group.last() and 2 * len(ids) >= len(group.ids):
            column = holes((1, len(group.ids)))
            column[0, rows] = values
            group.append(np.array([at_ns]), column)
        else:
            return False
        group.touched = self.round
        return True

    def run(self, series: int, times: Times, values: Values) -> None:
        """Takes samples of one series, in order and newer than what it has."""
        uid = int(self._home[series])
        group = self.groups[uid] if uid >= 0 else None
        if group is not None and group.over(int(times[0])):
            self.finish(group)
            group = None
        if group is None or len(group.ids) > 1 or group.last() >= times[0]:
            group = self.open(np.array([series], np.int64))
        group.append(times, values[:, None])
        group.touched = self.round

    def late(self, series: int, at_ns: int, value: float) -> None:
        """Takes a sample that is older than what its series has; the series goes on where it was."""
        key = b"late" + series.to_bytes(8, "little")
        group = self._alike.get(key)
        if group is None or group.uid in self.done or group.last() >= at_ns:
            group = self._alike[key] = self.open(np.array([series], np.int64), home=False)
        group.append(np.array([at_ns]), np.array([[value]]))
        group.touched = self.round


def longer(array: npt.NDArray[np.int64], size: int, fill: int) -> npt.NDArray[np.int64]:
    """Gives a copy with room for at least `size` numbers."""
    grown = np.full(max(size, 2 * len(array)), fill, np.int64)
    grown[: len(array)] = array
    return grown
