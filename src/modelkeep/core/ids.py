"""Time-ordered 128-bit ids."""

from __future__ import annotations

import os
import time
from itertools import count


class Ids:
    """Makes ids that sort by the time they were made, unique across processes.

    An id is 32 hex digits: 64 bits of nanoseconds since 1970, a 16-bit counter and 48 random bits
    that belong to this maker. A forked child must make its own `Ids`.

    >>> make = Ids()
    >>> first, second = make(), make()
    >>> first < second, len(first)
    (True, 32)
    """

    __slots__ = ("_next", "_tail")

    def __init__(self) -> None:
        self._next = count().__next__
        self._tail = int.from_bytes(os.urandom(6))

    def __call__(self) -> str:
        return (time.time_ns() << 64 | (self._next() & 0xFFFF) << 48 | self._tail).to_bytes(16).hex()


def token() -> str:
    """Gives 128 random bits as hex: the idempotency token of one batch.

    >>> len(token())
    32
    """
    return os.urandom(16).hex()
