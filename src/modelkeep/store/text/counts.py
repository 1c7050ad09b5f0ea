"""How many log records each stretch of time holds, by how serious they are."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import tantivy

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.store.text.days import Span, within
from modelkeep.store.text.lines import Line, Test

BANDS: Final = ("none", "debug", "info", "warn", "error")
"""From no severity to the most serious: 0, 1 to 8, 9 to 12, 13 to 16, 17 and more."""
MOST: Final = 5_000
"""Stretches of one answer."""
_EDGES: Final = (1, 9, 13, 17)

Cells = Counter[tuple[int, str]]
"""Number of the stretch since 1970, and band."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of records by stretch of time and severity.

    Args:
        start: where the first stretch begins, ns; a multiple of the step.
        step: length of a stretch, ns.
        bands: one list for each of `BANDS`, all of one length.
        count: all together, exactly. In an index, a record within 128 ns of an edge may stand beside its stretch.
    """

    start: int
    step: int
    bands: dict[str, list[int]]
    count: int


def stretches(start_ns: int, end_ns: int, step_ns: int) -> range:
    """Gives the numbers of the stretches that an interval touches.

    Raises:
        BadInput: the step is too short for the interval.

    >>> stretches(15, 31, 10)
    range(1, 4)
    """
    if step_ns < 1 or end_ns < start_ns:
        raise BadInput("expected a step, and an end that is not before the start")
    found = range(start_ns // step_ns, -(-end_ns // step_ns))
    if len(found) > MOST:
        raise BadInput(f"{len(found)} stretches of time, at most {MOST} are given", hint="Ask with a longer step.")
    return found


def band(severity: int) -> str:
    """Gives the band of a severity.

    >>> [band(severity) for severity in (0, 5, 9, 13, 24)]
    ['none', 'debug', 'info', 'warn', 'error']
    """
    return BANDS[bisect_right(_EDGES, severity)]


def of_lines(lines: Iterable[Line], test: Test, span: Span, step: int) -> Cells:
    """Counts lines that are in memory."""
    inside = (line for line in lines if span.start <= line.at < span.end and test(line))
    return Counter((line.at // step, band(line.severity)) for line in inside)


def of_index(searcher: tantivy.Searcher, query: tantivy.Query, span: Span, step: int) -> Cells:
    """Counts the records of a day's index."""
    edges = (None, *_EDGES, None)
    ranges = [
        {"key": name, **({} if low is None else {"from": low}), **({} if high is None else {"to": high})}
        for name, low, high in zip(BANDS, edges, edges[1:], strict=False)
    ]
    asked = {
        "at": {
            "histogram": {"field": "at", "interval": float(step), "min_doc_count": 1},
            "aggs": {"band": {"range": {"field": "severity", "ranges": ranges}}},
        }
    }
    found: Json = searcher.aggregate(within(query, span.start, span.end), asked)
    cells: Cells = Counter()
    for stretch in _buckets(found, "at"):
        for part in _buckets(stretch, "band"):
            key, number = stretch.get("key"), part.get("doc_count")
            if isinstance(key, int | float) and isinstance(number, int | float) and number:
                cells[round(key / step), str(part.get("key"))] += int(number)
    return cells


def _buckets(found: Json, name: str) -> Iterator[dict[str, Json]]:
    inner = found.get(name) if isinstance(found, dict) else None
    buckets = inner.get("buckets") if isinstance(inner, dict) else None
    for one in buckets if isinstance(buckets, list) else ():
        if isinstance(one, dict):
            yield one


def gathered(cells: Cells, numbers: range, step: int) -> Counts:
    """Gives cells as lists; what rounding put beside the ends goes into the outermost stretch."""
    bands = {name: [0] * len(numbers) for name in BANDS}
    for (number, name), count in cells.items():
        bands[name][min(max(number, numbers.start), numbers.stop - 1) - numbers.start] += count
    return Counts(numbers.start * step, step, bands, cells.total())
