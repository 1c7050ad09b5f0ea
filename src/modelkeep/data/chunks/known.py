"""Which blobs the packs of a cache hold already."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.chunks.packs import PackIndex, read_index
from modelkeep.data.chunks.place import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Known(NamedTuple):
    """Where a blob lies: name of the pack, offset, length."""

    pack: str
    offset: int
    length: int


class KnownBlobs:
    """All blobs of all packs by id: about 56 bytes of memory each.

    Args:
        place: the chunk store. A pack that cannot be read counts as empty; `verify` is who reports it.
    """

    def __init__(self, place: Place) -> None:
        import numpy as np

        self._names: list[str] = []
        found: list[PackIndex] = []
        for name, path in place.packs():
            try:
                found.append(read_index(path))
                self._names.append(name)
            except (Corrupt, Missing):
                continue
        ids = b"".join(index.ids for index in found)
        short = np.frombuffer(ids, np.dtype("<u8")).reshape(-1, 4)[:, 0]
        self._order = np.argsort(short, kind="stable")
        self._short: NDArray[np.uint64] = short[self._order]
        self._ids = ids
        self._found = found
        self._ends = np.cumsum([len(index.offsets) for index in found])

    def get(self, name: bytes) -> Known | None:
        """Gives where a blob lies, if some pack has it."""
        import numpy as np

        short = np.frombuffer(name, np.dtype("<u8"), 1)[0]
        at = int(np.searchsorted(self._short, short))
        while at < len(self._short) and self._short[at] == short:
            row = int(self._order[at])
            if self._ids[32 * row : 32 * row + 32] == name:
                pack = int(np.searchsorted(self._ends, row, side="right"))
                index = self._found[pack]
                inside = row - (int(self._ends[pack - 1]) if pack else 0)
                return Known(self._names[pack], index.offsets[inside], index.lengths[inside])
            at += 1
        return None
