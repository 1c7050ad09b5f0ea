"""What a file's bytes are: the values that this room and its callers hand each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime_ns, ctime_ns of a workspace file as its bytes were hashed."""


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


class Taking(NamedTuple):
    """A workspace file that becomes an object.

    Args:
        oid: its name.
        path: where it is.
        digest: what hashing it found.
        stamp: inode, size, mtime_ns and ctime_ns as it was hashed; then a file that is linked is not read again.
    """

    oid: str
    path: Path
    digest: Digest | None = None
    stamp: Stamp | None = None


class Placing(NamedTuple):
    """An object that becomes a workspace file; `legacy`: it lies where DVC before 3.0 put it."""

    oid: str
    path: Path | str
    executable: bool = False
    legacy: bool = False


class Placed(NamedTuple):
    """What became of objects that were to be placed.

    Args:
        files: how many workspace files were made.
        size: their bytes.
        bad: objects that were not sound; they are in quarantine and were not placed.
        missing: objects that are not in the cache.
        kind: how files were made; executables and empty files are copies all the same.
        stamps: by the path asked for, what each file looked like right after its bytes were written; the time of the
            last change of its metadata is 0, since a rename moves it.
    """

    files: int
    size: int
    bad: tuple[Bad, ...] = ()
    missing: tuple[str, ...] = ()
    kind: str = "copy"
    stamps: Mapping[str, Stamp] = MappingProxyType({})


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
