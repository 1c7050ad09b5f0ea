"""Folders named `column=value`: which file stands in which partition, and what changed in each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote

from modelkeep.core.shapes import Json

Change = Literal["added", "deleted", "modified"]

_LEVEL: Final = re.compile(r"([^=/]+)=([^/]*)")


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """What happened to one partition.

    Args:
        partition: its folder, relative to the tracked folder: `dt=2026-01-02/region=eu`.
        state: `added` when it had no file before, `deleted` when it has none now, `modified` otherwise.
        added: how many files are new.
        deleted: how many are gone.
        modified: how many have other bytes.
    """

    partition: str
    state: Change
    added: int = 0
    deleted: int = 0
    modified: int = 0

    @property
    def values(self) -> dict[str, str]:
        """Column → value, as the folder's name says.

        >>> PartitionChange("dt=2026-01-02/city=K%C3%B6ln", "added", 1).values
        {'dt': '2026-01-02', 'city': 'Köln'}
        """
        return {unquote(name): unquote(value) for name, value in _LEVEL.findall(self.partition)}

    def json(self) -> dict[str, Json]:
        """The change in plain JSON types."""
        return {
            "partition": self.partition,
            "state": self.state,
            "added": self.added,
            "deleted": self.deleted,
            "modified": self.modified,
        }


@dataclass(slots=True)
class _Count:
    changes: dict[Change, int] = field(default_factory=lambda: {"added": 0, "deleted": 0, "modified": 0})
    stayed: bool = False

    def state(self) -> Change:
        if self.stayed or self.changes["modified"]:
            return "modified"
        if not self.changes["deleted"]:
            return "added"
        return "modified" if self.changes["added"] else "deleted"


def partition_of(relpath: str) -> str:
    """Gives the partition in which a file stands, empty for none.

    Leading folders that are no partition belong to its name; a file's own name never counts.

    >>> partition_of("dt=2026-01-02/region=eu/part-0.parquet")
    'dt=2026-01-02/region=eu'
    >>> partition_of("sales/dt=2026-01-02/raw/a.csv")
    'sales/dt=2026-01-02'
    >>> partition_of("plain/file.csv"), partition_of("a=b.csv")
    ('', '')
    """
    folders = relpath.split("/")[:-1]
    last = max((at for at, name in enumerate(folders) if _LEVEL.fullmatch(name)), default=-1)
    return "/".join(folders[: last + 1])


def summarise(paths: Iterable[tuple[str, Change]], *, unchanged: Iterable[str] = ()) -> tuple[PartitionChange, ...]:
    """Gives what changed per partition, sorted by its name; files outside partitions are left out.

    Args:
        paths: (path relative to the tracked folder, what happened to it).
        unchanged: files that are there before and after; they tell a new partition from one that grew.

    >>> changes = [("dt=1/a.csv", "added"), ("dt=2/b.csv", "modified"), ("dt=3/c.csv", "added"), ("notes.txt", "added")]
    >>> [(one.partition, one.state) for one in summarise(changes, unchanged=["dt=3/a.csv"])]
    [('dt=1', 'added'), ('dt=2', 'modified'), ('dt=3', 'modified')]
    """
    counts: dict[str, _Count] = {}
    for path, change in paths:
        counts.setdefault(partition_of(path), _Count()).changes[change] += 1
    counts.pop("", None)
    for path in unchanged:
        if (found := counts.get(partition_of(path))) is not None:
            found.stayed = True
    return tuple(PartitionChange(name, found.state(), **found.changes) for name, found in sorted(counts.items()))
