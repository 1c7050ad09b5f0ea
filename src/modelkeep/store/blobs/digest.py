"""What a file's bytes are: the values that this room and its callers hand each other."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol


class Digest(NamedTuple):
    """What one pass over a file's bytes found.

    Args:
        md5: 32 hex digits, the name that DVC knows the bytes by.
        blake3: 32 bytes, the second hash, by which bytes are checked later; empty when nobody computed it.
        size: how many bytes there were.
    """

    md5: str
    blake3: bytes
    size: int


class Bad(NamedTuple):
    """An object whose bytes are not what its name says.

    Args:
        oid: the object.
        reason: what is wrong, for people.
    """

    oid: str
    reason: str


class Step(Protocol):
    """Who hears how far the work is: the amounts are files or bytes, as the caller began it."""

    def add(self, amount: int) -> None:
        """Tells that `amount` more is done."""


class _Silent:
    __slots__ = ()

    def add(self, amount: int) -> None:
        pass


SILENT: Final[Step] = _Silent()
"""Hears everything and says nothing."""
