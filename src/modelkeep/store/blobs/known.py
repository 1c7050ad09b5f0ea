"""What is known to be sound: which object was verified when, as it lay there, and its second hash.

An object is named by its md5, but md5 is slow and reading everything on every use is slower. So what was verified once
is written down with the file's stamp; as long as the stamp is the same, nobody wrote to the file since.

A shard is a file of records of one size, one shard for each first byte of the name: `<cache>/modelkeep/known/ab`. Records
are only ever appended, the newest wins. A record that a crash cut short is cut away by the next writer. Losing a shard
loses nothing but time: the objects are verified again.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

_RECORD: Final = struct.Struct("<16sBxxxxxxxqqq32s")
_STALE: Final = 4
"""A shard is written anew when it holds this many times more records than names."""
_FEW: Final = 64


class Stamp(NamedTuple):
    """What a file's metadata say about its bytes; not the time of its last change, which a hard link moves."""

    size: int
    mtime_ns: int
    inode: int


def stamp_of(stat: os.stat_result) -> Stamp:
    """The stamp of a file of which the system has told this."""
    return Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Sound(NamedTuple):
    """An object was sound when its file looked like this; `blake3` is 32 bytes, or empty when nobody computed it."""

    stamp: Stamp
    blake3: bytes


class Known:
    """The records of one cache; many processes may read and write at once.

    Args:
        folder: where the shards are; made by the first write.

    >>> import tempfile
    >>> known = Known(Path(tempfile.mkdtemp()))
    >>> known.remember({"d41d8cd98f00b204e9800998ecf8427e": Sound(Stamp(0, 1, 2), b"")})
    >>> known.of("d41d8cd98f00b204e9800998ecf8427e").stamp
    Stamp(size=0, mtime_ns=1, inode=2)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._shards: dict[str, dict[bytes, Sound]] = {}

    def of(self, oid: str, *, legacy: bool = False) -> Sound | None:
        """What is known of an object, if anything is; the caller compares the stamp."""
        return self._shard(oid[:2]).get(_key(oid, legacy))

    def remember(self, found: Mapping[str, Sound], *, legacy: bool = False) -> None:
        """Writes down that these objects are sound; a disk that is full or read-only is no error here."""
        shards: dict[str, list[bytes]] = {}
        for oid, sound in found.items():
            key = _key(oid, legacy)
            self._shard(oid[:2])[key] = sound
            record = _RECORD.pack(key[:16], key[16], *sound.stamp, sound.blake3)
            shards.setdefault(oid[:2], []).append(record)
        try:
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            for name, records in shards.items():
                self._append(name, records)
        except OSError:
            return

    def _shard(self, name: str) -> dict[bytes, Sound]:
        shard = self._shards.get(name)
        if shard is None:
            try:
                fd = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                data = b""
            else:
                with _closing(fd):
                    data = os.read(fd, os.fstat(fd).st_size)
            shard = self._shards[name] = dict(_records(data))
        return shard

    def _append(self, name: str, records: list[bytes]) -> None:
        fd = os.open(f"{self._folder}/{name}", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        with _closing(fd):
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            if torn := size % _RECORD.size:
                os.ftruncate(fd, size - torn)
            os.write(fd, b"".join(records))


def _key(oid: str, legacy: bool) -> bytes:
    return bytes.fromhex(oid[:32]) + (b"\1" if oid[32:] else b"\0" if not legacy else b"\2")


def _records(data: bytes) -> Iterator[tuple[bytes, Sound]]:
    whole = len(data) - len(data) % _RECORD.size
    for md5, kind, size, mtime_ns, inode, blake3 in _RECORD.iter_unpack(memoryview(data)[:whole]):
        yield md5 + bytes((kind,)), Sound(Stamp(size, mtime_ns, inode), blake3 if any(blake3) else b"")


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
