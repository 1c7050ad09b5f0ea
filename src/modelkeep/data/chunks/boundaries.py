"""Where a file is cut: at places that its bytes choose, so that an insertion moves no other cut.

Every position has a hash of the 32 bytes that end there: h = sum of gear[byte] << age, modulo 2**32. For a whole block
at once this takes five steps: the hash over 2w bytes is the hash over w bytes plus, shifted by w, that of w bytes
earlier. A cut is chosen among the positions with a low hash, rarer ones while the chunk is small.

Source: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX
ATC 2016, for the gear hash and the two masks; the doubling is ours.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Words: TypeAlias = NDArray[np.uint32]

WINDOW: Final = 32
LEAST: Final = 8 << 10
USUAL: Final = 56 << 10
MOST: Final = 128 << 10
_RARE: Final = 1 << 15
"""A hash below this (1 in 131,072) cuts a chunk of any allowed size."""
_COMMON: Final = 1 << 18
"""A hash below this (1 in 16,384) cuts a chunk that has reached `USUAL`."""
_BLOCK: Final = 1 << 16
"""Positions hashed at a time: the working set stays in a core's second-level cache."""
_SEED: Final = 0x6D6F64656C6B6565


class Gear:
    """Hashes positions; one per thread, it keeps its working memory.

    >>> import numpy as np
    >>> gear = Gear()
    >>> data = np.arange(200, dtype=np.uint8)
    >>> whole = gear.hashes(data).copy()
    >>> bool((whole[40:] == gear.hashes(data[8:])[32:]).all())
    True
    """

    def __init__(self) -> None:
        import numpy as np

        dice = random.Random(_SEED)  # noqa: S311  a fixed table: the same bytes are cut alike everywhere, for ever
        self._table: Words = np.array([dice.getrandbits(32) for _ in range(256)], dtype=np.uint32)
        self._hash: Words = np.empty(_BLOCK + WINDOW, dtype=np.uint32)
        self._shifted: Words = np.empty(_BLOCK + WINDOW, dtype=np.uint32)

    def hashes(self, data: Bytes) -> Words:
        """Gives the hash at every position of at most `_BLOCK + WINDOW` bytes.

        The first 31 are over fewer bytes than the others. The answer is overwritten by the next call.
        """
        import numpy as np

        found, shifted = self._hash[: len(data)], self._shifted[: len(data)]
        np.take(self._table, data, out=found, mode="clip")
        for width in (1, 2, 4, 8, 16):
            np.left_shift(found[:-width], width, out=shifted[width:])
            found[width:] += shifted[width:]
        return found

    def low(self, data: Bytes, below: int, first: int = 0) -> tuple[NDArray[np.int64], Words]:
        """Gives the positions from `first` on whose hash is low, and these hashes.

        Args:
            data: any number of bytes; those before `first` only fill the window.
            below: the bound.
            first: the first position wanted.
        """
        import numpy as np

        places: list[NDArray[np.int64]] = []
        values: list[Words] = []
        for begin in range(first, len(data), _BLOCK):
            context = max(begin - (WINDOW - 1), 0)
            found = self.hashes(data[context : begin + _BLOCK])[begin - context :]
            at = np.flatnonzero(found < below)
            places.append(at + begin)
            values.append(found[at])
        if not places:
            return np.empty(0, np.int64), np.empty(0, np.uint32)
        return np.concatenate(places), np.concatenate(values)

    def candidates(self, data: Bytes, first: int) -> tuple[list[int], list[int]]:
        """Gives (positions that may end a small chunk, positions that may end a usual one) from `first` on."""
        places, values = self.low(data, _COMMON, first)
        return places[values < _RARE].tolist(), places.tolist()


def cut(rare: list[int], common: list[int], start: int, end: int) -> int:
    """Gives where the chunk that begins at `start` ends: behind a position that its bytes choose.

    Args:
        rare: positions that may end a small chunk, ascending.
        common: positions that may end a usual one, ascending.
        start: first byte of the chunk.
        end: end of the known bytes; at least `MOST` more than `start` unless the file ends there.

    >>> cut([20_000], [20_000, 70_000], 0, 200_000), cut([20_000], [20_000, 80_000], 15_000, 200_000)
    (20001, 80001)
    >>> cut([], [], 0, 200_000), cut([], [], 0, 5)
    (131072, 5)
    """
    for places, least, most in ((rare, start + LEAST, start + USUAL), (common, start + USUAL, start + MOST)):
        at = bisect_left(places, least - 1)
        if at < len(places) and places[at] + 1 <= min(most, end):
            return places[at] + 1
    return min(start + MOST, end)
