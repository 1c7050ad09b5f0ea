"""Readers that can be held still, all at one moment, so that a copy of their files fits together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from modelkeep.core.shapes import Entry, Reader


class Pausable:
    """A reader whose applying and sealing wait while somebody holds it.

    Args:
        reader: the real one.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.name = reader.name
        self._turn = threading.Lock()

    def sealed(self) -> int:
        return self.reader.sealed()

    def apply(self, entries: Sequence[Entry]) -> None:
        with self._turn:
            self.reader.apply(entries)

    def seal(self) -> int:
        with self._turn:
            return self.reader.seal()

    def close(self) -> None:
        self.reader.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is applied or sealed inside."""
        with self._turn:
            yield


@contextmanager
def all_held(readers: Sequence[Pausable]) -> Iterator[None]:
    """Holds every reader, one after the other, and lets all go together."""
    with ExitStack() as stack:
        for reader in readers:
            stack.enter_context(reader.held())
        yield
