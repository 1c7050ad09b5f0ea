"""Which readers a journal knows, across restarts, so that it deletes nothing that one of them still needs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from modelkeep.store.disk import Disk

log = logging.getLogger(__name__)


class Readers:
    """Names and the seq up to which each needs nothing more.

    Names are on disk; a name known from before stands at 0 until its reader tells.

    Args:
        disk: what writes.
        path: a small JSON file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "readers.json"
    >>> Readers(Disk(), path).told("rows", 7)
    7
    >>> readers = Readers(Disk(), path)
    >>> readers.told("series", 9), readers.told("rows", 8)
    (0, 8)
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk, self._path = disk, path
        self._sealed, self._durable = self._load(), True

    def told(self, name: str, sealed: int) -> int:
        """Takes what a reader tells; gives the seq up to which nobody needs anything more."""
        self._durable = self._durable and name in self._sealed
        self._sealed[name] = sealed
        return self._least()

    def forget(self, name: str) -> None:
        """Lets go of a reader."""
        if self._sealed.pop(name, None) is not None:
            self._durable = False
            self._least()

    def _least(self) -> int:
        if not self._durable:
            try:
                self._disk.keep(self._path, json.dumps(sorted(self._sealed)).encode())
                self._durable = True
            except OSError as error:
                log.warning("the list of readers is not on disk yet, so nothing is deleted: %s", error)
                return 0
        return min(self._sealed.values(), default=0)

    def _load(self) -> dict[str, int]:
        try:
            return dict.fromkeys(map(str, json.loads(self._path.read_bytes())), 0)
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            log.error("%s is damaged (%s): readers are known again when they tell", self._path, error)
            return {}
