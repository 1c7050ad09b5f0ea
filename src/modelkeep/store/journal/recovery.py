"""What a journal finds when it opens its folder again, and what it does about it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from modelkeep.core.errors import Unreachable
from modelkeep.store.disk import Disk
from modelkeep.store.journal.frames import NO_LIMIT, Frame, Hole, Stretch, scan
from modelkeep.store.journal.receipts import Receipts, key
from modelkeep.store.journal.segments import Segment, listed

_CUTS_KEPT: Final = 16
_COPY: Final = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes in the middle of a journal that are not what was written.

    Args:
        file: the segment's name.
        offset: where they begin.
        size: how many.
        lost: how many entries are gone with them.
    """

    file: str
    offset: int
    size: int
    lost: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a journal found.

    Args:
        last_seq: the last entry on disk; 0 when there is none.
        cut_bytes: how many bytes of a torn frame were cut from the end.
        cut_file: the segment they were cut from; empty when nothing was cut.
        cut_offset: where the cut was made.
        kept_as: the file that holds the bytes cut; empty when there was no room for it.
        damaged: what is damaged before the end.
        seconds: how long it took.
    """

    last_seq: int = 0
    cut_bytes: int = 0
    cut_file: str = ""
    cut_offset: int = 0
    kept_as: str = ""
    damaged: tuple[Damage, ...] = ()
    seconds: float = 0.0


@dataclass(slots=True)
class Found:
    """What a journal starts from.

    Args:
        segments: those that hold something, in order.
        ordinal: the highest ordinal ever seen.
        following: the seq of the next entry.
        recovery: what is to be told.
    """

    segments: list[Segment]
    ordinal: int
    following: int
    recovery: Recovery


def recover(disk: Disk, folder: Path, receipts: Receipts) -> Found:
    """Gives what the folder holds, with a torn end cut off and everything left made durable.

    Args:
        disk: where it is.
        folder: the journal's.
        receipts: gets the tokens that only the segments know.

    Raises:
        Conflict: a segment is of a newer form.
        Unreachable: the disk does not let the newest segment be made durable.
    """
    began = time.monotonic()
    segments = listed(disk, folder)
    damaged: list[Damage] = []
    for segment, newer in pairwise(segments):
        damaged += _walk(disk, segment, newer.first, receipts)
    ordinal = segments[-1].ordinal if segments else 0
    following = segments[-1].first if segments else 1
    cut = Recovery()
    if segments:
        following, cut, holes = _mend(disk, segments[-1], receipts)
        damaged += holes
        if not segments[-1].end:
            disk.remove(segments.pop().path)
    for hole in damaged:
        log.error("%s: %d bytes at %d are damaged, %d entries lost", hole.file, hole.size, hole.offset, hole.lost)
    recovery = Recovery(
        following - 1,
        cut.cut_bytes,
        cut.cut_file,
        cut.cut_offset,
        cut.kept_as,
        tuple(damaged),
        time.monotonic() - began,
    )
    return Found(segments, ordinal, following, recovery)


def _walk(disk: Disk, segment: Segment, high: int, receipts: Receipts) -> list[Damage]:
    """Reads the heads of a finished segment, unless a run knows its tokens already."""
    fd = disk.open(segment.path)
    try:
        segment.end = disk.size(fd)
        if receipts.covers(segment.first, high - 1):
            segment.retired = True
            return []
        stretch = Stretch(0, segment.end, segment.salt, segment.first - 1, high)
        damaged = []
        for found in scan(lambda at, size: disk.read(fd, at, size), stretch, bodies=False):
            if isinstance(found, Frame):
                _note(segment, found, receipts)
            elif found.lost:
                damaged.append(Damage(segment.path.name, found.offset, found.size, found.lost))
        return damaged
    finally:
        disk.close(fd)


def _mend(disk: Disk, segment: Segment, receipts: Receipts) -> tuple[int, Recovery, list[Damage]]:
    """Checks every byte of the newest segment, cuts it behind its last whole frame and makes it durable."""
    fd = disk.open(segment.path, write=True)
    try:
        stop, following = disk.size(fd), segment.first
        holes: list[Hole] = []
        stretch = Stretch(0, stop, segment.salt, segment.first - 1, NO_LIMIT)
        torn_from = 0
        for found in scan(lambda at, size: disk.read(fd, at, size), stretch, bodies=True):
            if isinstance(found, Hole):
                holes.append(found)
                continue
            _note(segment, found, receipts)
            following, torn_from = found.head.seq + 1, len(holes)
            segment.end = found.offset + found.head.size
        torn = holes[torn_from:]
        cut = _keep_cut(disk, fd, segment, torn[-1].offset + torn[-1].size) if torn else Recovery()
        if stop > segment.end:
            disk.truncate(fd, segment.end)
        disk.sync(fd)
        disk.sync_folder(segment.path.parent)
    except OSError as error:
        raise Unreachable(f"{segment.path} cannot be made durable: {error}", hint="Check the disk.") from error
    finally:
        disk.close(fd)
    damaged = [Damage(segment.path.name, hole.offset, hole.size, hole.lost) for hole in holes[:torn_from]]
    return following, cut, damaged


def _note(segment: Segment, found: Frame, receipts: Receipts) -> None:
    token = key(found.head.token) if found.head.token else b""
    segment.saw(found.head.received_ns, token)
    if token:
        receipts.note(token, found.head.seq)


def _keep_cut(disk: Disk, fd: int, segment: Segment, stop: int) -> Recovery:
    """Copies what is about to be cut into a file of its own, when there is room for it."""
    size, folder = stop - segment.end, segment.path.parent
    path = folder / f"{segment.path.name}.{segment.end}.cut"
    log.warning("%s: %d bytes of a torn frame cut at %d", segment.path, size, segment.end)
    try:
        for old in [name for name in disk.names(folder) if name.endswith(".cut")][: -_CUTS_KEPT + 1]:
            disk.remove(folder / old)
        disk.remove(path)
        copy = disk.open(path, create=True)
        try:
            for at in range(segment.end, stop, _COPY):
                disk.write(copy, at - segment.end, [disk.read(fd, at, min(_COPY, stop - at))])
        finally:
            disk.close(copy)
    except OSError as error:
        log.warning("the bytes cut are not kept: %s", error)
        path = Path()
    return Recovery(0, size, segment.path.name, segment.end, path.name)
