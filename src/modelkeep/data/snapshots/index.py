"""What was seen when: one binary file for each tracked path, so that unchanged files need no second reading.

A file's stamp is its inode, size, mtime and ctime. Nobody can set a ctime, so bytes that change leave another stamp
behind, with one exception: the file system's clock ticks, and a change within the tick of the one before it leaves the
same. So a stamp that was young when the bytes were read, as the file system's own clock tells it, is not kept. A stamp
from the future, which a clock set back leaves behind, is never kept either.

The index is a cache: it is written without fsync, and one that is torn, foreign or of another version counts as none.

    "MKINDEX" version · length and CRC-32 of the front · front · length and CRC-32 of the back · back

The front is all that comparing needs; the back holds the manifest and is read only after something changed. Both are
marshalled: whoever looks at unchanged files should not wait for a library to load, and the file never leaves the
repository's private folder and the Python that wrote it.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
import time
import zlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate, compress
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, cast

from modelkeep.data.snapshots.scan import STAMP, Link, Listing, Stamp, stamp_of

_MAGIC: Final = b"MKINDEX\x02" + bytes(sys.version_info[:2])
_PART: Final = Struct("<QI")
_TICK_NS: Final = 20_000_000
"""Longer than any kernel's tick (10 ms at 100 Hz)."""
_SECONDS_NS: Final = 2_000_000_000
"""The coarsest file systems count in steps of 2 s."""
GONE: Final[Stamp] = (0, 0, 0, 0)
"""The stamp of an entry that must be read again: no file has inode 0."""


class Key(NamedTuple):
    """What an index is of.

    Args:
        path: the tracked path below the repository's root, POSIX.
        hash: md5 or md5-dos2unix.
        rules: the `.dvcignore` patterns that were in force.
    """

    path: str
    hash: str
    rules: tuple[str, ...] = ()


class Front(NamedTuple):
    """What comparing needs."""

    key: Key
    is_dir: bool
    oid: str
    size: int
    nfiles: int
    written: int
    """When, in ns, by this machine's clock."""
    folders: list[str]
    starts: bytes
    lengths: bytes
    """Bytes of each folder's joined names."""
    names: bytes
    stamps: bytes
    kinds: bytes
    links: list[tuple[int, str, Stamp | None]]


class Back(NamedTuple):
    """What is needed after something changed.

    Args:
        written: as in the front.
        manifest: the folder's; empty for a file.
        offsets: where each entry's md5 stands in it.
        blake3: of the entries that have one.
    """

    written: int
    manifest: bytes
    offsets: bytes
    blake3: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Seen:
    """An index as it was read.

    Args:
        front: its first part.
        listing: what was there, with stamps that may be trusted.
        place: the file.
        behind: where the second part begins.
    """

    front: Front
    listing: Listing
    place: Path
    behind: int

    def back(self) -> Back | None:
        """Gives the second part; None when it is torn, or somebody wrote another index meanwhile."""
        try:
            with open(self.place, "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(self.behind)
                data = _part(file.fileno())
            found = Back(*marshal.loads(data))  # noqa: S302 - our own, by its checksum
        except (OSError, EOFError, ValueError, TypeError):
            return None
        whole = len(found.offsets) == 8 * len(self.listing.kinds) if self.front.is_dir else True
        return found if whole and found.written == self.front.written else None


def place_of(folder: Path, key: Key) -> Path:
    """Gives where an index lies.

    Args:
        folder: the repository's private one.
        key: what it is of; two of one name would only forget each other, for an index knows its key.
    """
    name = f"{key.hash}\0{key.path}".encode("utf-8", "surrogateescape")
    return folder / "index" / f"{zlib.crc32(name):08x}{zlib.crc32(name[::-1]):08x}{len(name):x}"


def read(place: Path, key: Key) -> Seen | None:
    """Gives the index of a path; None when there is none that can be used."""
    try:
        file = os.open(place, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            if os.read(file, len(_MAGIC)) != _MAGIC:
                return None
            data = _part(file)
        finally:
            os.close(file)
        values = marshal.loads(data)  # noqa: S302 - our own, by its checksum
        front = Front(Key(*values[0]), *values[1:])
        listing = _listing(front)
    except (OSError, EOFError, ValueError, TypeError):
        return None
    return Seen(front, listing, place, len(_MAGIC) + _PART.size + len(data)) if front.key == key else None


def _part(file: int) -> bytes:
    """Reads a part; ValueError when it is not whole."""
    head = os.read(file, _PART.size)
    if len(head) != _PART.size:
        raise ValueError("cut short")
    length, check = _PART.unpack(head)
    if length > os.fstat(file).st_size:
        raise ValueError("cut short")
    data = os.read(file, length)
    while len(data) < length and (more := os.read(file, length - len(data))):
        data += more
    if len(data) != length or zlib.crc32(data) != check:
        raise ValueError("not what was written")
    return data


def _listing(front: Front) -> Listing:
    """Takes the front's rows apart; ValueError when they do not fit each other."""
    starts, lengths = array("q", front.starts), array("q", front.lengths)
    if not len(starts) == len(lengths) == len(front.folders) or len(front.stamps) != STAMP.size * len(front.kinds):
        raise ValueError("rows are missing")
    ends = list(accumulate(lengths))
    names = [front.names[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    links = {entry: Link(target, stamp) for entry, target, stamp in front.links}
    return Listing(front.folders, starts, names, array("q", front.stamps), bytearray(front.kinds), links)


class Clock(NamedTuple):
    """The time by the clock that stamps files.

    Args:
        now: in ns.
        certain: whether it was read off the same file system.
    """

    now: int
    certain: bool


def clock_of(folder: Path, device: int) -> Clock:
    """Gives the time by the clock of the private folder's file system.

    Args:
        folder: the repository's private one.
        device: where the tracked data lies.
    """
    place = folder / "index"
    try:
        place.mkdir(parents=True, exist_ok=True)
        file = os.open(place / "clock", os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            os.utime(file)
            there = os.fstat(file)
        finally:
            os.close(file)
    except OSError:  # a read-only repository
        return Clock(time.time_ns(), False)
    return Clock(min(there.st_ctime_ns, there.st_mtime_ns), there.st_dev == device)


def young(stamp: Stamp, clock: Clock) -> bool:
    """Whether a stamp was so young at that time that a later change could have left the same.

    >>> young((1, 5, 1_000_000_001, 1_000_000_001), Clock(1_500_000_000, True))
    False
    >>> young((1, 5, 1_000_000_001, 1_499_000_001), Clock(1_500_000_000, True))
    True
    """
    _, _, mtime, ctime = stamp
    coarse = not clock.certain or (mtime % 1_000_000_000 == 0 and ctime % 1_000_000_000 == 0)
    return max(mtime, ctime) >= clock.now - (_SECONDS_NS if coarse else _TICK_NS)


def doubtful(listing: Listing, clock: Clock) -> list[int]:
    """Gives the entries whose stamps, or whose targets' stamps, were young at that time."""
    targets = {entry for entry, link in listing.links.items() if link.stamp is not None and young(link.stamp, clock)}
    late = (clock.now - _SECONDS_NS).__le__
    entries = range(len(listing.kinds))
    own = {entry for column in (2, 3) for entry in compress(entries, map(late, listing.stamps[column::4]))}
    content = set(listing.content()) if own else own
    return sorted(targets.union(entry for entry in own & content if young(listing.own_stamp(entry), clock)))


def ripe(
    home: str, listing: Listing, entries: Iterable[int], clock: Clock, again: Callable[[], Clock]
) -> tuple[Clock, list[int]]:
    """Waits for the file system's clock to tick when entries are young, so that the index may keep their stamps.

    To be called before the entries are read; they are looked at again afterwards.

    Args:
        home: where the listing's paths start.
        listing: its young entries get new stamps.
        entries: those that will be read.
        clock: from before the listing.
        again: asks for the time.

    Returns:
        The time to judge by, and the entries whose stamp changed meanwhile.
    """
    waiting = set(entries) & set(doubtful(listing, clock))
    if not waiting or not clock.certain:
        return clock, []
    newest = max(max(*listing.stamp(entry)[2:], *listing.own_stamp(entry)[2:]) for entry in waiting)
    for _ in range(4):  # its clock may tick later than ours
        if clock.now <= newest + _TICK_NS:
            time.sleep(max(1_000_000, min(newest + _TICK_NS - clock.now, _TICK_NS)) / 1e9)
            clock = again()
    moved = []
    for entry, path in zip(sorted(waiting), listing.located(sorted(waiting)), strict=True):
        before = listing.own_stamp(entry), listing.links.get(entry)
        with contextlib.suppress(OSError):
            link = listing.links.get(entry)
            if link is not None:
                listing.restamp(entry, stamp_of(os.lstat(f"{home}/{path}")))
                listing.links[entry] = Link(link.target, stamp_of(os.stat(f"{home}/{path}")))  # noqa: PTH116
            else:
                listing.restamp(entry, stamp_of(os.stat(f"{home}/{path}")))  # noqa: PTH116
        if before != (listing.own_stamp(entry), listing.links.get(entry)):
            moved.append(entry)
    return clock, moved


def after_setback(seen: Seen) -> Seen:
    """Gives an index without the stamps from the future when the clock was set back since it was written."""
    now = time.time_ns()
    if now >= seen.front.written:
        return seen
    listing = seen.listing.copy()
    for entry in doubtful(listing, Clock(now, False)):
        listing.restamp(entry, GONE)
    return replace(seen, listing=listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is written: the state of a path.

    Args:
        listing: what was seen, and hashed after that.
        is_dir: whether the path is a folder.
        oid: the object id.
        size: of all files, in bytes.
        nfiles: how many files.
        manifest: of a folder.
        offsets: where each entry's md5 stands in it.
        blake3: by entry.
    """

    listing: Listing
    is_dir: bool
    oid: str
    size: int
    nfiles: int
    manifest: bytes
    offsets: array[int]
    blake3: dict[int, bytes]


def write(folder: Path, key: Key, found: Found, clock: Clock, unknown: Iterable[int] = ()) -> None:
    """Writes the index of a path, whole or not at all; a disk that refuses it is no error.

    Args:
        folder: the repository's private one.
        key: what it is of.
        found: what was found.
        clock: from before the first stamp was taken.
        unknown: entries that must be read again.
    """
    listing = found.listing
    again = [*doubtful(listing, clock), *unknown]
    if again:
        listing = listing.copy()
        for entry in again:
            listing.restamp(entry, GONE)
    written = time.time_ns()
    front = Front(
        key=key,
        is_dir=found.is_dir,
        oid=found.oid,
        size=found.size,
        nfiles=found.nfiles,
        written=written,
        folders=listing.folders,
        starts=listing.starts.tobytes(),
        lengths=array("q", map(len, listing.names)).tobytes(),
        names=b"".join(listing.names),
        stamps=listing.stamps.tobytes(),
        kinds=bytes(listing.kinds),
        links=[(entry, link.target, link.stamp) for entry, link in listing.links.items()],
    )
    _put(place_of(folder, key), front, Back(written, found.manifest, found.offsets.tobytes(), found.blake3))


def _put(place: Path, front: Front, back: Back) -> None:
    aside = place.with_name(f"{place.name}.{os.getpid()}-{time.monotonic_ns():x}.new")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, "xb", buffering=0) as file:  # noqa: PTH123
                file.write(_MAGIC)
                values = (tuple(front.key), *front[1:]), tuple(back)
                for value in values:  # one after the other: they may be large
                    part = marshal.dumps(cast("list[bytes]", value))
                    file.write(_PART.pack(len(part), zlib.crc32(part)))
                    file.write(part)
            os.replace(aside, place)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)  # noqa: PTH108
            raise


def forget(folder: Path, key: Key) -> None:
    """Removes the index of a path, so that it is read again."""
    with contextlib.suppress(OSError):
        place_of(folder, key).unlink(missing_ok=True)
