"""What sources have in common that are asked now and then, whether or not they also tell of their own accord."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import Missing, Unreachable

T = TypeVar("T")
ABSENT: Final = "absent"
"""The version of what is not there."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a source holds, before it is read as configuration.

    Args:
        version: equal versions mean equal contents.
        content: bytes, rows, pairs.
    """

    version: str
    content: T


class Polled(Generic[T]):
    """A source that is asked every so often; what was wrong is not read again before it is something else.

    Args:
        name: the source, without credentials.
        poll_s: the time between two questions.
    """

    live: ClassVar[bool] = True

    def __init__(self, name: str, poll_s: float) -> None:
        self.name: Final = name
        self._poll_s = poll_s
        self._asked_s = -poll_s
        self._last = ""
        self._refused = ""
        self._closed = threading.Event()

    def fetch(self) -> Found[T]:
        """Gives what is there now."""
        raise NotImplementedError

    def parse(self, found: Found[T]) -> Reading:
        """Reads it as configuration."""
        raise NotImplementedError

    def peek(self) -> str:
        """Gives the version of what is there now, as cheaply as can be."""
        return self.fetch().version

    def listen(self) -> bool:
        """Begins to hear of changes where the system tells them; True when it began only now."""
        return False

    def wait(self, wait_s: float) -> bool:
        """Waits, and says whether something was heard."""
        self._closed.wait(wait_s)
        return False

    def read(self) -> Reading:
        """Gives the whole tree as it is now.

        Raises:
            Missing: nothing is there.
            BadInput: it cannot be read as configuration.
            Unreachable: nobody answers, or the source is closed.
            Denied: whoever answers refuses.
        """
        try:
            with self._until_closed():
                found = self.fetch()
        except Missing:
            self._last, self._refused = ABSENT, ""
            raise
        finally:
            self._asked_s = time.monotonic()
        self._refused = found.version
        reading = self.parse(found)
        self._refused, self._last = "", reading.version
        return reading

    def watch(self, seen: str, wait_s: float) -> bool:
        """Blocks until there is another version than `seen`, and than the one that was refused, at most `wait_s`."""
        if self._closed.is_set():
            return False
        if self._last and self._last != seen:
            return True  # somebody else has read it since
        try:
            with self._until_closed():
                return self._watched(seen, wait_s)
        except Unreachable:
            if self._closed.is_set():
                return False
            raise

    def close(self) -> None:
        """Ends a blocked `watch` soon."""
        self._closed.set()

    def _watched(self, seen: str, wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while not self._closed.is_set():
            heard = self.listen()
            due_s = self._asked_s + self._poll_s - time.monotonic()
            if (heard or due_s <= 0) and self._differs(seen):
                return True
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            due_s = self._asked_s + self._poll_s - time.monotonic()
            if self.wait(max(0.0, min(left_s, due_s))):
                self._asked_s = -self._poll_s
        return False

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        """Says of whatever breaks because the source was closed meanwhile that it is closed."""
        try:
            if self._closed.is_set():
                raise Unreachable(f"{self.name} is closed")
            yield
        except Exception:
            if self._closed.is_set():
                raise Unreachable(f"{self.name} is closed") from None
            raise

    def _differs(self, seen: str) -> bool:
        try:
            version = self.peek()
        except Missing:
            version = ABSENT
        finally:
            self._asked_s = time.monotonic()
        return version not in {seen, self._refused}
