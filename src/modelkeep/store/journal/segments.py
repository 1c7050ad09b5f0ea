"""Segments: the journal's files, by name, and the pen that writes the newest.

A segment is named `<ordinal>-<first seq>-<salt>.v<form>`. Ordinals only grow; a segment's seqs are below the first
seq of the next one, so what a failed write may have left behind the last good frame never counts.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Conflict
from modelkeep.store.disk import FULL, Disk
from modelkeep.store.journal.frames import FORMAT

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NAME: Final = re.compile(r"(\d{10})-(\d{20})-([0-9a-f]{8})\.v(\d+)")
_AHEAD_LEAST: Final = 64 << 10
_AHEAD_MOST: Final = 4 << 20
_SMALL: Final = 16 << 10
_ZEROS: Final = bytes(_AHEAD_MOST)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Segment:
    """One file of the journal.

    Args:
        path: the file.
        ordinal: its place among the segments.
        first: its first seq.
        salt: begins the checksum of its heads.
        end: one behind the last byte that counts.
        oldest_ns: when its first entry arrived; 0 before that.
        newest_ns: when its last entry arrived.
        keys: of the tokens in it, until they are retired.
        retired: its tokens are on disk apart from it.
    """

    path: Path
    ordinal: int
    first: int
    salt: int
    end: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0
    keys: list[bytes] = field(default_factory=list)
    retired: bool = False

    def saw(self, received_ns: int, key: bytes) -> None:
        """Notes an entry's arrival and its token's key, which may be empty."""
        self.oldest_ns = min(self.oldest_ns or received_ns, received_ns)
        self.newest_ns = max(self.newest_ns, received_ns)
        if key:
            self.keys.append(key)


def named(folder: Path, ordinal: int, first: int, salt: int) -> Segment:
    """Gives a segment with its name.

    >>> named(Path("j"), 1, 5, 255).path.name
    '0000000001-00000000000000000005-000000ff.v1'
    """
    return Segment(folder / f"{ordinal:010d}-{first:020d}-{salt:08x}.v{FORMAT}", ordinal, first, salt)


def listed(disk: Disk, folder: Path) -> list[Segment]:
    """Gives the segments in a folder in their order.

    Raises:
        Conflict: one is of a newer form.
    """
    found = []
    for name in disk.names(folder):
        if match := _NAME.fullmatch(name):
            if int(match[4]) > FORMAT:
                raise Conflict(
                    f"{folder / name} is of journal form {match[4]}; this modelkeep reads up to {FORMAT}",
                    hint="Start the newer modelkeep that wrote it.",
                )
            found.append(Segment(folder / name, int(match[1]), int(match[2]), int(match[3], 16)))
    return sorted(found, key=lambda segment: segment.ordinal)


class Pen:
    """Writes one segment, durably.

    Small writes go over zeros that were laid out ahead: making bytes durable whose place in the file is settled
    costs half of what growing the file costs.

    Args:
        disk: what writes.
        segment: new; its file is made here.
        limit: how far zeros may be laid out, bytes.

    Raises:
        OSError: the file could not be made; nothing is left of it.
    """

    def __init__(self, disk: Disk, segment: Segment, limit: int) -> None:
        self.segment = segment
        self.broken = False
        """The file cannot be trusted any more: a sync failed, or a torn write could not be cut off."""
        self.end = 0
        """One behind the last byte that is on disk; the segment's own `end` follows when its readers may go there."""
        self._disk, self._limit, self._laid = disk, limit, 0
        self._fd = disk.open(segment.path, create=True)
        try:
            disk.sync_folder(segment.path.parent)
        except OSError:
            disk.close(self._fd)
            _try_remove(disk, segment.path)
            raise

    def put(self, pieces: Sequence[Buffer], size: int, *, ahead: bool) -> None:
        """Returns when the pieces are on disk behind all earlier ones.

        Args:
            pieces: in order.
            size: the sum of their lengths.
            ahead: zeros may be laid out.

        Raises:
            OSError: they are not; the pen may be broken now.
        """
        zeros = self._zeros(size) if ahead else 0
        try:
            self._disk.write(self._fd, self.end, self._with(pieces, zeros))
        except OSError as error:
            self._cut()
            if not zeros or error.errno not in FULL or self.broken:
                raise
            self.put(pieces, size, ahead=False)
            return
        try:
            self._disk.sync(self._fd)
        except OSError:
            self._cut()
            self.broken = True
            raise
        self.end += size
        self._laid = max(self._laid, self.end + zeros)

    def close(self) -> None:
        """Takes the zeros off the end and lets go of the file."""
        try:
            self._disk.truncate(self._fd, self.end)
        except OSError as error:
            log.warning("%s keeps %d zeros at its end: %s", self.segment.path, self._laid - self.end, error)
        self._disk.close(self._fd)
        if not self.end:
            _try_remove(self._disk, self.segment.path)

    def _zeros(self, size: int) -> int:
        end = self.end + size
        if size > _SMALL or end <= self._laid:
            return 0
        return max(min(max(end, _AHEAD_LEAST), _AHEAD_MOST, self._limit - end), 0)

    def _with(self, pieces: Sequence[Buffer], zeros: int) -> Sequence[Buffer]:
        return [*pieces, memoryview(_ZEROS)[:zeros]] if zeros else pieces

    def _cut(self) -> None:
        """Takes off what a failed write may have left, so that it cannot come back."""
        try:
            self._disk.truncate(self._fd, self.end)
            self._disk.sync(self._fd)
            self._laid = 0
        except OSError as error:
            self.broken = True
            log.warning("%s is left behind at byte %d: %s", self.segment.path, self.end, error)


def fresh(folder: Path, ordinal: int, first: int) -> Segment:
    """Gives a new segment with a salt of its own."""
    return named(folder, ordinal, first, int.from_bytes(os.urandom(4), "big"))


def _try_remove(disk: Disk, path: Path) -> None:
    try:
        disk.remove(path)
    except OSError as error:
        log.warning("%s stays, empty: %s", path, error)
