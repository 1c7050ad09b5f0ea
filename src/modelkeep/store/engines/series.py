"""The series engine: samples in memory heads and sealed blocks, answered as dense blocks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelkeep.core.clock import DAY, HOUR, Clock, Wall
from modelkeep.core.series import Block, Labels, Matcher, Want, parse
from modelkeep.core.shapes import Entry


@dataclass(frozen=True, slots=True)
class SeriesStatus:
    """What the engine holds and what it refused.

    Args:
        series: different label sets.
        samples: samples taken since the engine was opened.
        refused: samples refused, by reason.
    """

    series: int
    samples: int
    refused: dict[str, int] = field(default_factory=dict)


class Series:
    """Keeps samples; a reader of the journal and a source of series."""

    name = "series"

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        retention_ns: int = 90 * DAY,
        out_of_order_ns: int = HOUR,
        max_series: int = 1_000_000,
    ) -> None:
        self._folder = folder
        self._clock = clock or Wall()
        self._lock = threading.RLock()
        self._data: dict[str, dict[int, float]] = {}
        self._refused: Counter[str] = Counter()
        self._samples = 0
        self._sealed = 0
        self._applied = 0

    def sealed(self) -> int:
        return self._sealed

    def apply(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._applied = entry.seq
                for part in entry.parts:
                    if part.kind == "sample":
                        columns = part.batch.to_pydict()
                        for text, at, value in zip(columns["series"], columns["at"], columns["value"], strict=True):
                            self._data.setdefault(text, {})[at] = value
                            self._samples += 1

    def seal(self) -> int:
        return self._sealed

    def close(self) -> None:
        self._data = {}

    def status(self) -> SeriesStatus:
        return SeriesStatus(len(self._data), self._samples, dict(self._refused))

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        """Gives every matching series with at least the wanted samples."""
        found = []
        with self._lock:
            for text, points in self._data.items():
                labels = parse(text)
                pairs = dict(labels)
                if all(matcher.matches(pairs.get(matcher.name, "")) for matcher in matchers):
                    times = np.array(sorted(points), np.int64)
                    found.append(Block([labels], times, np.array([[points[at] for at in times.tolist()]])))
        return found

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        """Gives the label sets that match and have a sample in the closed interval."""
        blocks = self.select(matchers, Want(start_ns, end_ns, 1, 0))
        return [b.labels[0] for b in blocks if ((b.times >= start_ns) & (b.times <= end_ns)).any()]
