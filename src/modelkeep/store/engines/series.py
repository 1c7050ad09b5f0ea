"""The series engine: samples in memory groups and sealed blocks, answered as dense blocks."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from modelkeep.core.clock import DAY, HOUR, Clock, Wall
from modelkeep.core.series import Block, Labels, Matcher, Want
from modelkeep.core.shapes import Entry
from modelkeep.store.disk import Disk
from modelkeep.store.series.blocks import BlockFile, Matrix
from modelkeep.store.series.codec import Mask, Times, Values
from modelkeep.store.series.head import Group, Head, is_hole, longer
from modelkeep.store.series.intake import Intake, taken
from modelkeep.store.series.pieces import Piece, woven
from modelkeep.store.series.postings import Ids, Postings
from modelkeep.store.series.retention import Retention
from modelkeep.store.series.strata import Notes, Strata
from modelkeep.store.series.tiles import Tiles

NEVER: Final = -(2**63)
_RAGGED: Final = 2
_INCREMENTS: Final = 16
_IDLE_SEALS: Final = 120

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeriesStatus:
    """What the engine holds and what it refused.

    Args:
        series: different label sets.
        samples: samples taken.
        refused: samples refused, by reason: `duplicate` (another value at the same time), `out_of_order` (older than
            the window), `series_limit`, `malformed`.
        blocks: sealed block files.
        block_bytes: their size.
        memory_bytes: what the newest samples take.
        failures: merges of blocks that went wrong; nothing is lost by them.
    """

    series: int
    samples: int
    refused: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    block_bytes: int = 0
    memory_bytes: int = 0
    failures: int = 0


class Series:
    """Keeps samples; a reader of the journal and a source of series.

    Samples of one series must come in order, up to a window; different series may be years apart.

    Args:
        folder: made when missing.
        clock: tells retention what is old.
        retention_ns: how long samples are kept; whole blocks go.
        out_of_order_ns: how much older than its series' newest sample a sample may be.
        max_series: the most label sets; samples of further ones are refused.
        memory_bytes: the most memory for samples that are not in blocks.
        cache_bytes: the most memory for decoded blocks.
        disk: where.

    >>> import tempfile
    >>> from modelkeep.core.series import Matcher
    >>> engine = Series(Path(tempfile.mkdtemp()))
    >>> engine.status().series
    0
    """

    name: ClassVar[str] = "series"

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        retention_ns: int = 90 * DAY,
        out_of_order_ns: int = HOUR,
        max_series: int = 1_000_000,
        memory_bytes: int = 1 << 30,
        cache_bytes: int = 128 << 20,
        disk: Disk | None = None,
    ) -> None:
        self._window = out_of_order_ns
        self._memory = memory_bytes
        self._lock = threading.RLock()
        self._postings = Postings(max_series)
        self._strata = Strata(folder, self._postings, disk or Disk(), max(retention_ns // 10, DAY))
        self._retention = Retention(clock or Wall(), retention_ns, self._strata.manifest.notes.now_ns)
        self._tiles = Tiles(cache_bytes)
        self._head = Head()
        self._last = np.full(1024, NEVER, np.int64)
        self._samples = self._strata.manifest.notes.samples
        self._refused = Counter(self._strata.manifest.notes.refused)
        self._applied = self._strata.manifest.sealed
        self._failures = 0
        self._load()

    def sealed(self) -> int:
        return self._strata.manifest.sealed

    def close(self) -> None:
        """Lets go of what is in memory."""
        with self._lock:
            self._head, self._tiles = Head(), Tiles(0)

    def status(self) -> SeriesStatus:
        """Tells what is held and what was refused."""
        with self._lock:
            return SeriesStatus(
                len(self._postings),
                self._samples,
                dict(self._refused),
                len(self._strata.blocks),
                sum(file.size_bytes for file in self._strata.blocks),
                self._head.size_bytes,
                self._failures,
            )

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes the samples of entries; what cannot be taken is counted, see `status`."""
        for entry in entries:
            with self._lock:
                for part in entry.parts:
                    if part.kind == "sample" and part.batch.num_rows:
                        self._take(taken(part.batch, self._postings, self._refused))
                self._applied = entry.seq

    def _take(self, samples: Intake) -> None:
        if not len(samples.ids):
            return
        self._grow()
        times = 1 + int((samples.at[1:] != samples.at[:-1]).sum())
        if times > 1 and len(samples.at) < _RAGGED * times:
            for one, at, values in samples.runs():
                self._run(one, at, values)
        else:
            for at_ns, ids, column in samples.columns():
                self._column(at_ns, ids, column)

    def _grow(self) -> None:
        if self._postings.size > len(self._last):
            self._last = longer(self._last, self._postings.size, NEVER)
        self._head.grow(self._postings.size)

    def _column(self, at_ns: int, ids: Ids, values: Values) -> None:
        newer = self._last[ids] < at_ns
        if not newer.all():
            for one, value in zip(ids[~newer].tolist(), values[~newer].tolist(), strict=True):
                self._late(one, at_ns, value)
            ids, values = ids[newer], values[newer]
        if len(ids):
            self._head.column(at_ns, ids, values)
            self._last[ids] = at_ns
            self._samples += len(ids)

    def _run(self, one: int, at: Times, values: Values) -> None:
        old = int(np.searchsorted(at, self._last[one], side="right"))
        for at_ns, value in zip(at[:old].tolist(), values[:old].tolist(), strict=True):
            self._late(one, at_ns, value)
        if old < len(at):
            self._head.run(one, at[old:], values[old:])
            self._last[one] = at[-1]
            self._samples += len(at) - old

    def _late(self, one: int, at_ns: int, value: float) -> None:
        """Takes a sample that is not newer than what its series has, if it may."""
        if at_ns < int(self._last[one]) - self._window:
            self._refused["out_of_order"] += 1
            return
        for piece in self._pieces(np.array([one], np.int64), at_ns, at_ns):
            known = piece.values(piece.ids)
            if known.size and not is_hole(known).all():
                same = known.view(np.int64).item() == np.float64(value).view(np.int64)
                self._refused["duplicate"] += not same
                return
        self._head.late(one, at_ns, value)
        self._samples += 1

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        """Gives every matching series with the wanted samples; `as_of_ns` changes nothing here."""
        with self._lock:
            ids = self._postings.select(matchers)
            pieces = self._pieces(ids, want.start_ns - want.range_ns + 1, want.end_ns)
        return woven(pieces, self._postings.labels)

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        """Gives the label sets that match and have a sample in the closed interval."""
        with self._lock:
            pieces = self._pieces(self._postings.select(matchers), start_ns, end_ns)
        found: set[int] = set()
        for piece in pieces:
            if len(piece.times()):
                there = ~is_hole(piece.values(piece.ids)).all(axis=1)
                found.update(piece.ids[there].tolist())
        return [self._postings.labels(one) for one in sorted(found)]

    def _pieces(self, ids: Ids, from_ns: int, to_ns: int) -> list[Piece]:
        """Gives the parts of groups and sections that may have samples of some series in a closed interval."""
        if not len(ids):
            return []
        wanted = np.zeros(self._postings.size, bool)
        wanted[ids] = True
        found: list[Piece] = []
        for file in self._strata.blocks:
            found += self._in_file(file, wanted, from_ns, to_ns)
        for group in self._head:
            if group.count and group.times[0] <= to_ns and group.last() >= from_ns:
                found += _in_group(group, wanted, from_ns, to_ns)
        return found

    def _in_file(self, file: BlockFile, wanted: Mask, from_ns: int, to_ns: int) -> list[Piece]:
        near = (file.from_ns <= to_ns) & (file.to_ns >= from_ns)
        if not near.any():
            return []
        hits = np.flatnonzero(wanted[file.ids] & near[file.piece])
        return [self._in_section(file, file.piece[some[0]], some, from_ns, to_ns) for some in _apart(file.piece, hits)]

    def _in_section(self, file: BlockFile, section: int, hits: Ids, from_ns: int, to_ns: int) -> Piece:
        def part() -> slice:
            return _within(self._tiles.times(file, section), from_ns, to_ns)

        return Piece(
            file.ids[hits],
            hits - file.starts[section],
            int(file.from_ns[section]),
            lambda: self._tiles.times(file, section)[part()],
            lambda rows: self._tiles.values(file, section, rows, part()),
        )

    def seal(self) -> int:
        """Writes what is new to disk: full groups as a block, new columns of the others as an increment."""
        with self._lock:
            seq = self._applied
            self._head.round += 1
            self._close_groups()
            whole = len(self._strata.manifest.increments) >= _INCREMENTS
            counts = {group.uid: group.count for group in self._head}
            closing = set(self._head.done)
            full = [_matrix(group, 0) for group in self._head if group.uid in closing]
            others = [group for group in self._head if group.uid not in closing]
            fresh = [_matrix(group, 0 if whole else group.sealed) for group in others]
            now_ns = self._retention.now_ns()
            notes = Notes(self._samples, dict(self._refused), now_ns)
        new, blocks = [one for one in fresh if len(one.times)], self._strata.blocks
        if full or new or seq != self.sealed():
            blocks = self._strata.seal(seq, full, new, whole=whole, notes=notes)
        with self._lock:
            self._strata.blocks = blocks
            for group in others:
                group.sealed = counts[group.uid]
            self._head.drop(closing)
        self._tidy(now_ns)
        return self.sealed()

    def _close_groups(self) -> None:
        head = self._head
        tight = head.size_bytes > self._memory
        for group in list(head):
            idle = group.touched < head.round - _IDLE_SEALS
            if group.count and group.uid not in head.done and (tight or idle):
                head.finish(group)

    def _tidy(self, now_ns: int) -> None:
        """Merges small blocks and lets old ones go; a failure here loses nothing and is tried again."""
        try:
            with self._lock:
                newest = int(self._last[: self._postings.size].max(initial=NEVER))
            gone = self._strata.expire(self._retention.before_ns(now_ns, newest))
            self._strata.compact()
        except OSError as error:
            self._failures += 1
            log.warning("blocks of samples could not be merged or let go: %s", error)
            return
        if gone:
            self._forget()

    def _forget(self) -> None:
        """Takes series without samples out of the index."""
        with self._lock:
            alive = np.zeros(self._postings.size, bool)
            for file in self._strata.blocks:
                alive[file.ids] = True
            for group in self._head:
                alive[group.ids] = True
            self._postings.forget(np.flatnonzero(~alive).tolist())
            self._last[: len(alive)][~alive] = NEVER

    def _load(self) -> None:
        """Builds the groups from the increments, and what each series has last from all files."""
        self._grow()
        for file in self._strata.blocks:
            self._remember(file)
        for increment, file in self._strata.increments():
            self._grow()
            self._remember(file)
            live = set(increment.live)
            for at, section in enumerate(file.sections):
                if section.uid in live:
                    _load(self._head, file, at)
        self._head.settle()

    def _remember(self, file: BlockFile) -> None:
        for ids, times in file.newest():
            np.maximum.at(self._last, ids, times)


def _apart(piece: Ids, hits: Ids) -> list[Ids]:
    """Parts row numbers by the section they are in."""
    return [some for some in np.split(hits, np.flatnonzero(np.diff(piece[hits])) + 1) if len(some)]


def _within(times: Times, from_ns: int, to_ns: int) -> slice:
    return slice(int(np.searchsorted(times, from_ns)), int(np.searchsorted(times, to_ns, side="right")))


def _in_group(group: Group, wanted: Mask, from_ns: int, to_ns: int) -> list[Piece]:
    rows = np.flatnonzero(wanted[group.ids])
    if not len(rows):
        return []
    part = _within(group.times, from_ns, to_ns)
    times, values = group.times[part], group.values[part]
    return [
        Piece(
            group.ids[rows],
            rows,
            int(times[0]) if len(times) else from_ns,
            lambda: times,
            partial(_turned, values),
        )
    ]


def _turned(values: Values, rows: Ids) -> Values:
    """Gives some columns of a group's matrix as rows."""
    return np.ascontiguousarray(values[:, rows].T)


def _matrix(group: Group, begin: int) -> Matrix:
    """Gives a group's columns from `begin` on as they go to disk."""
    times = group.times[begin:].copy()
    values = np.ascontiguousarray(group.values[begin:].T)
    gone = is_hole(values)
    whole = not gone.any()
    if whole or not len(times):
        newest = np.full(len(group.ids), times[-1] if len(times) else NEVER)
    else:
        at = len(times) - 1 - np.argmin(gone[:, ::-1], axis=1)
        newest = np.where(gone.all(axis=1), NEVER, times[at])
    return Matrix(group.uid, group.ids, times, values, newest, whole)


def _load(head: Head, file: BlockFile, at: int) -> None:
    """Puts an increment's columns into its group; a column that the group has already is replaced."""
    section = file.sections[at]
    ids = file.section_ids(at)
    order = np.argsort(ids)
    times = file.times(at)
    tiles = [file.tile(at, number) for number in range(len(section.tiles))]
    values = np.concatenate(tiles)[order].T
    group = head.groups.get(section.uid) or head.open(ids[order], section.uid)
    again = int(np.searchsorted(group.times, times[0])) if group.count else 0
    group.cut(again)
    group.append(times, values)
    group.sealed = group.count
