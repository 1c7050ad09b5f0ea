"""Counters and histograms of this process, sent as series."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]
BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_SERIES: Final = 2000
"""So many label sets of one meter are kept apart; the rest is counted under `other`."""


class Meters:
    """What middleware counts; cumulative since the process began.

    >>> meters = Meters()
    >>> meters.request({"method": "GET", "status": "200"}, 0.02)
    >>> [sample for sample in meters.read() if sample[0]["__name__"] == "http_requests_total"]
    [({'__name__': 'http_requests_total', 'method': 'GET', 'status': '200'}, 1.0)]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[Labels, list[float]] = {}

    def request(self, labels: Mapping[str, str], seconds: float) -> None:
        """Counts one request and its duration."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            if key not in self._requests and len(self._requests) >= MOST_SERIES:
                key = tuple((name, "other") for name, _ in key)
            found = self._requests.get(key)
            if found is None:
                found = self._requests[key] = [0.0] * (len(BOUNDS_S) + 2)
            found[bisect_left(BOUNDS_S, seconds)] += 1
            found[-1] += seconds

    def read(self) -> list[tuple[dict[str, str], float]]:
        """Gives every series with its value."""
        with self._lock:
            snapshot = [(dict(key), list(values)) for key, values in self._requests.items()]
        found: list[tuple[dict[str, str], float]] = []
        for labels, values in snapshot:
            *counts, total = values
            sofar = 0.0
            for bound, count in zip((*BOUNDS_S, float("inf")), counts, strict=True):
                sofar += count
                text = "+Inf" if bound == float("inf") else f"{bound:g}"
                found.append(({"__name__": "http_request_duration_seconds_bucket", **labels, "le": text}, sofar))
            found.append(({"__name__": "http_request_duration_seconds_sum", **labels}, total))
            found.append(({"__name__": "http_request_duration_seconds_count", **labels}, sofar))
            found.append(({"__name__": "http_requests_total", **labels}, sofar))
        return found
