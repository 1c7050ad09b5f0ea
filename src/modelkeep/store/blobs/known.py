"""What is known to be sound: which object was verified when, as it lay there, and its second hash.

An object is named by its md5, but md5 is slow and reading everything on every use is slower. So what was verified once
is written down with the file's stamp; as long as the stamp is the same, nobody wrote to the file since.

A shard is a file of records of one size, one shard for each first byte of the name: `<cache>/modelkeep/known/ab`. They
are only ever appended, the newest wins. A record that a crash cut short is cut away by the next writer. Losing a shard
loses nothing but time: the objects are verified again. A record says nothing by itself that anybody would believe: an
object is reported as bad only when its md5 says so.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

_RECORD: Final = struct.Struct("<17s56s7x")
_STAMP: Final = struct.Struct("<QqQ")
_STALE: Final = 4
"""A shard is written anew when it holds this many times more records than objects."""
_LEAST: Final = 64
_NO_BLAKE3: Final = bytes(32)


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
    blake3: bytes = b""


class Known:
    """The records of one cache; many processes may read and write at once.

    Args:
        folder: where the shards are; made by the first write.
        file_mode: of a new shard, less the umask.

    >>> import tempfile
    >>> known = Known(Path(tempfile.mkdtemp()))
    >>> known.remember({"d41d8cd98f00b204e9800998ecf8427e": Sound(Stamp(0, 1, 2))})
    >>> known.of("d41d8cd98f00b204e9800998ecf8427e").stamp
    Stamp(size=0, mtime_ns=1, inode=2)
    """

    def __init__(self, folder: Path, *, file_mode: int = 0o666) -> None:
        self._folder: Final = os.fspath(folder)
        self._mode: Final = file_mode
        self._shards: Final[dict[str, dict[bytes, bytes]]] = {}
        self._stale: Final[set[str]] = set()

    def of(self, oid: str, *, legacy: bool = False) -> Sound | None:
        """What is known of an object, if anything is; the caller compares the stamp."""
        data = self._shard(oid[:2]).get(_key(oid, legacy))
        if data is None:
            return None
        blake3 = data[24:]
        return Sound(Stamp(*_STAMP.unpack(data[:24])), b"" if blake3 == _NO_BLAKE3 else blake3)

    def fits(self, oid: str, stat: os.stat_result, *, legacy: bool = False) -> bool:
        """Whether an object was verified when its file looked as it does now."""
        data = self._shard(oid[:2]).get(_key(oid, legacy))
        return data is not None and data[:24] == _STAMP.pack(stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def remember(self, found: Mapping[str, Sound], *, legacy: bool = False) -> None:
        """Writes down that these objects are sound; a disk that is full or read-only is no error here."""
        shards: dict[str, list[bytes]] = {}
        for oid, (stamp, blake3) in found.items():
            data = _STAMP.pack(*stamp) + (blake3 or _NO_BLAKE3)
            shards.setdefault(oid[:2], []).append(_RECORD.pack(_key(oid, legacy), data))
        for name, records in shards.items():
            try:
                if name in self._shards or self._is_long(name, len(records)):
                    self._shard(name).update(map(_RECORD.unpack, records))
                if not os.path.isdir(self._folder):
                    os.makedirs(self._folder, exist_ok=True)
                self._append(name, records)
            except OSError:  # what is not written down is verified again by others, which costs time and nothing else
                self._shard(name).update(map(_RECORD.unpack, records))

    def _is_long(self, name: str, count: int) -> bool:
        """Whether a shard is so much longer than what comes to it that it is worth reading, to see what is stale."""
        try:
            return os.stat(f"{self._folder}/{name}").st_size > _RECORD.size * max(_LEAST, _STALE * count)
        except FileNotFoundError:
            return False

    def _shard(self, name: str) -> dict[bytes, bytes]:
        shard = self._shards.get(name)
        if shard is None:
            shard = self._shards[name] = self._load(name)
        return shard

    def _load(self, name: str) -> dict[bytes, bytes]:
        try:
            fd = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            data = _all(fd)
        except OSError:
            return {}
        finally:
            os.close(fd)
        shard = _parsed(data)
        if len(data) > _RECORD.size * max(_LEAST, _STALE * len(shard)):
            self._stale.add(name)
        return shard

    def _append(self, name: str, records: Iterable[bytes]) -> None:
        fd = self._locked(f"{self._folder}/{name}")
        try:
            if name in self._stale:
                self._stale.discard(name)
                self._compact(name, _parsed(_all(fd)) | dict(map(_RECORD.unpack, records)))
                return
            size = os.fstat(fd).st_size
            if torn := size % _RECORD.size:
                os.ftruncate(fd, size - torn)
            os.write(fd, b"".join(records))
        finally:
            os.close(fd)

    def _locked(self, path: str) -> int:
        while True:
            fresh = not os.path.exists(path)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, self._mode)
            try:
                if fresh and self._mode & 0o002 == 0:
                    os.fchmod(fd, self._mode)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # somebody has written the shard anew meanwhile

    def _compact(self, name: str, shard: Mapping[bytes, bytes]) -> None:
        path, fresh = f"{self._folder}/{name}", f"{self._folder}/{name}.{os.getpid()}"
        with open(fresh, "wb") as file:
            file.write(b"".join(_RECORD.pack(key, data) for key, data in shard.items()))
        os.chmod(fresh, os.stat(path).st_mode & 0o777)
        os.replace(fresh, path)


def _key(oid: str, legacy: bool) -> bytes:
    return bytes.fromhex(oid[:32]) + bytes((bool(oid[32:]) | legacy << 1,))


def _parsed(data: bytes) -> dict[bytes, bytes]:
    return dict(_RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]))


def _all(fd: int) -> bytes:
    pieces = []
    while data := os.read(fd, 1 << 20):
        pieces.append(data)
    return b"".join(pieces)
