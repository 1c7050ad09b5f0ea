"""The history of configurations: what was applied, refused and rolled back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from modelkeep.configuration.change import Change

_WHOLE: Final = 20
"""So many of the newest hold on to the configuration itself; older ones keep its values and places only."""


class Memory:
    """A ledger in memory, for a process without a server.

    Args:
        limit: how many changes it keeps; older ones are forgotten.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._changes: deque[Change] = deque(maxlen=limit)

    def record(self, change: Change) -> None:
        """Takes a change."""
        self._changes.append(change)
        if len(self._changes) > _WHOLE:
            self._changes[-1 - _WHOLE] = self._changes[-1 - _WHOLE].settled()

    def list(self, limit: int = 100) -> Sequence[Change]:
        """Gives the newest changes, newest first."""
        return list(self._changes)[-limit:][::-1]
