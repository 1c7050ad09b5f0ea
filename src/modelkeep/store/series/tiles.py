"""Decoded tiles of sealed samples, the most recently used ones kept within a limit of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from modelkeep.store.series.blocks import TILE, BlockFile
from modelkeep.store.series.codec import Times, Values
from modelkeep.store.series.postings import Ids

_Key = tuple[str, int, int]


class Tiles:
    """Reads tiles of sealed files.

    Args:
        limit_bytes: how much decoded data is kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[_Key, Values | Times] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def times(self, file: BlockFile, section: int) -> Times:
        """Gives the times of a section."""
        key = (file.path.name, section, -1)
        found = self._get(key)
        if found is None:
            found = self._put(key, file.times(section))
        return found.view(np.int64)

    def values(self, file: BlockFile, section: int, rows: Ids, part: slice) -> Values:
        """Gives some rows of a section at some of its times: shape (m, n)."""
        tile_of = rows // TILE
        length = part.stop - part.start
        found = np.empty((len(rows), length))
        for number in np.unique(tile_of).tolist():
            mine = np.flatnonzero(tile_of == number)
            inside = rows[mine] - number * TILE
            tile = self._tile(file, section, number)
            if len(mine) == len(tile) and (np.diff(inside) == 1).all() and (np.diff(mine) == 1).all():
                found[mine[0] : mine[0] + len(mine)] = tile[:, part]
            else:
                found[mine] = tile[inside, part]
        return found

    def _tile(self, file: BlockFile, section: int, number: int) -> Values:
        key = (file.path.name, section, number)
        found = self._get(key)
        if found is None:
            found = self._put(key, file.tile(section, number))
        return found.view(np.float64)

    def _get(self, key: _Key) -> Values | Times | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _put(self, key: _Key, data: Values | Times) -> Values | Times:
        with self._lock:
            if key not in self._kept and data.nbytes <= self._limit:
                self._kept[key] = data
                self.size_bytes += data.nbytes
            while self.size_bytes > self._limit:
                _, old = self._kept.popitem(last=False)
                self.size_bytes -= old.nbytes
        return data
