"""Which sealed files to join, and which are old enough to go: decisions only, from the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from modelkeep.core.clock import DAY
from modelkeep.store.rows.columns import Stream
from modelkeep.store.rows.manifest import Sealed
from modelkeep.store.rows.parquet import DAY_ROWS

FAN_IN: Final = 8
"""So many files of like size are joined into one."""
FULL_ROWS: Final = 500_000
"""Joining stops at this many rows."""
MOST_SHARE: Final = 0.2
"""An expiry that would take more than this share of a kind's rows at once needs a confirmation …"""
USUAL_NS: Final = 2 * DAY
"""… unless it is only so much of the past."""


def plan(files: Iterable[Sealed], today: int) -> list[list[Sealed]]:
    """Gives the sets of files to be joined, each of one stream.

    Files of one day are joined among themselves: while the day goes on in tiers of like size, and all together when
    it is over. Files of past days that are small are joined across days, in tiers too. A join leaves fewer files, or
    turns small ones into large ones, so joining comes to an end.

    Args:
        files: live.
        today: days since 1970; days before yesterday are over.
    """
    groups: dict[tuple[Stream, int], list[Sealed]] = {}
    for file in files:
        if (shelf := _shelf(file, today)) is not None:
            groups.setdefault((Stream(file.kind, file.model), shelf), []).append(file)
    found = []
    for (_, day), group in groups.items():
        group.sort(key=lambda file: (file.from_ns, file.name))
        together = [group] if day != _ANY and day < today - 1 else _tiers(group)
        found += [taken for some in together if len(taken := _fitting(some)) > 1]
    return found


_ANY: Final = -(1 << 62)


def _shelf(file: Sealed, today: int) -> int | None:
    """Gives the day among whose files this one is joined, `_ANY` for small files of past days, None for none."""
    first, last = file.from_ns // DAY, file.to_ns // DAY
    if file.rows >= FULL_ROWS:
        return None
    if first == last and (first >= today - 1 or file.rows >= DAY_ROWS):
        return first
    return _ANY if file.rows < DAY_ROWS else None


def _tiers(group: Sequence[Sealed]) -> list[list[Sealed]]:
    tiers: dict[int, list[Sealed]] = {}
    for file in group:
        tiers.setdefault((file.rows.bit_length() + 2) // 3, []).append(file)
    return [tier for tier in tiers.values() if len(tier) >= FAN_IN]


def _fitting(files: Sequence[Sealed]) -> list[Sealed]:
    taken: list[Sealed] = []
    rows = 0
    for file in files:
        if rows + file.rows <= FULL_ROWS:
            taken.append(file)
            rows += file.rows
    return taken


@dataclass(frozen=True, slots=True)
class Expiry:
    """What one run of retention would do to one kind.

    Args:
        whole: files whose rows all go.
        partly: files of which some rows go.
        rows: how many rows go, about.
        allowed: whether that is so little that it needs no confirmation.
    """

    whole: tuple[Sealed, ...]
    partly: tuple[Sealed, ...]
    rows: int
    allowed: bool


def expiry(files: Sequence[Sealed], cutoff_ns: int) -> Expiry:
    """Judges what a cutoff would take from the files of one kind.

    A clock that jumped ahead makes everything old at once; a clock that goes on takes a day at a time. So a run that
    reaches further than `USUAL_NS` behind the oldest row and takes more than `MOST_SHARE` of the rows is not allowed.

    History that was brought in later is as young as its arrival: a file that took a row since the cutoff stays whole.

    Args:
        files: live, of one kind.
        cutoff_ns: rows before it go.
    """
    settled = [file for file in files if file.received_ns < cutoff_ns]
    whole = tuple(file for file in settled if file.to_ns < cutoff_ns)
    partly = tuple(file for file in settled if file.from_ns < cutoff_ns <= file.to_ns)
    rows = sum(file.rows for file in whole) + sum(_share(file, cutoff_ns) for file in partly)
    oldest = min((file.from_ns for file in settled), default=cutoff_ns)
    usual = cutoff_ns - oldest <= USUAL_NS
    return Expiry(whole, partly, rows, usual or rows <= MOST_SHARE * sum(file.rows for file in files))


def _share(file: Sealed, cutoff_ns: int) -> int:
    return file.rows * (cutoff_ns - file.from_ns) // (file.to_ns - file.from_ns + 1)
