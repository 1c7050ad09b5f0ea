"""The configurations that hold in this process: kept over a fork, told again by whoever begins to send."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, cast

from modelkeep.sdk.buffer import Item

CHANGES: Final = "config_changes_total"
APPLIED: Final = "config_applied_timestamp_seconds"
HELP: Final = {
    CHANGES: "Changes of the configuration `name` in one process, by `state`: applied, rejected, rolled back, "
    "unreachable or recovered.",
    APPLIED: "When the configuration `name` that holds in a process was applied, unix seconds.",
}
"""What the series say; the page docs/reference/series.md is made from it."""
_APPLIED: Final = frozenset({"applied", "rolled back"})


class Applied:
    """What holds now, and how often it changed; safe from many threads.

    >>> told = Applied()
    >>> told.take((8, 5_000_000_000, "applied", "h", "", "app", "", "", "", "", "[]", "{}", "{}"))
    >>> told.read()[1]
    ({'__name__': 'config_applied_timestamp_seconds', 'name': 'app'}, 5.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, Item] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def take(self, item: Item) -> None:
        """Takes a change: an item of the kind CONFIGURATION."""
        state, name = cast("str", item[2]), cast("str", item[5])
        with self._lock:
            self._counts[name, state] += 1
            if state in _APPLIED:
                self._latest[name] = item

    def latest(self) -> list[Item]:
        """Gives the latest applied change of each configuration."""
        with self._lock:
            return list(self._latest.values())

    def read(self) -> list[tuple[dict[str, str], float]]:
        """Gives every series with its value."""
        with self._lock:
            counts = [(name, state, float(count)) for (name, state), count in self._counts.items()]
            times = [(name, cast("int", item[1]) / 1e9) for name, item in self._latest.items()]
        found = [({"__name__": CHANGES, "name": name, "state": state}, count) for name, state, count in counts]
        return found + [({"__name__": APPLIED, "name": name}, at_s) for name, at_s in times]

    def forget(self) -> None:
        """Forgets everything, for tests."""
        with self._lock:
            self._latest.clear()
            self._counts.clear()


applied: Final = Applied()
