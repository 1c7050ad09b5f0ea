"""What happened to a configuration, told to whoever keeps the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from modelkeep.configuration.snapshot import Difference

State = Literal["applied", "rejected", "rolled back", "unreachable", "recovered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, applied or refused; nothing in it shows a secret.

    Args:
        at_ns: when.
        state: what became of it.
        hash: the configuration that holds now.
        previous: the one that held before; equal to `hash` where nothing was applied.
        source: what changed or failed.
        author: who; the user of the process when nobody said.
        reason: why, in the words of the author.
        differences: what differs from before.
        error: why it was refused.
        tree: the applied values, masked.
        marks: dotted key → where it was written.
    """

    at_ns: int
    state: State
    hash: str
    previous: str = ""
    source: str = ""
    author: str = ""
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    error: str = ""
    tree: Mapping[str, object] | None = None
    marks: Mapping[str, str] | None = None


class Ledger(Protocol):
    """Keeps what was applied, refused and rolled back."""

    def record(self, change: Change) -> None:
        """Takes a change; never raises and never blocks for long."""

    def list(self, limit: int = 100) -> Sequence[Change]:
        """Gives the newest changes, newest first."""
