"""Files that nobody counts on any more stay on disk until the last one who is reading them has finished."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelkeep.store.disk import Disk


class Shelf:
    """Deletes dropped files when everybody who came before the drop has gone.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "old"
    >>> path.touch()
    >>> shelf = Shelf(Disk())
    >>> with shelf.reading():
    ...     shelf.drop([path])
    ...     path.exists()
    True
    >>> path.exists()
    False
    """

    def __init__(self, disk: Disk) -> None:
        self._disk: Final = disk
        self._lock = threading.Lock()
        self._moment = 0
        self._readers: dict[int, int] = {}
        self._dropped: list[tuple[int, Path]] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keeps every file that is there now until the end of the block."""
        with self._lock:
            moment = self._moment
            self._readers[moment] = self._readers.get(moment, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._readers[moment] -= 1
                if not self._readers[moment]:
                    del self._readers[moment]
            self._sweep()

    def drop(self, paths: Iterable[Path]) -> None:
        """Deletes files as soon as nobody reads who began before now."""
        with self._lock:
            self._dropped += [(self._moment, path) for path in paths]
            self._moment += 1
        self._sweep()

    def _sweep(self) -> None:
        with self._lock:
            oldest = min(self._readers, default=self._moment)
            gone = [path for moment, path in self._dropped if moment < oldest]
            self._dropped = [(moment, path) for moment, path in self._dropped if moment >= oldest]
        for path in gone:
            self._disk.remove(path)
