"""What happened to a configuration, told to whoever keeps the history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from modelkeep.configuration.snapshot import Difference, Snapshot

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
        of: what was applied; its tree and marks are made when somebody asks.
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
    of: Snapshot[Any] | None = field(default=None, repr=False, compare=False)
    kept: tuple[Mapping[str, object], Mapping[str, str]] | None = field(default=None, repr=False, compare=False)

    @property
    def tree(self) -> Mapping[str, object] | None:
        """The applied values, masked; None where nothing was applied."""
        return self.kept[0] if self.kept is not None else self.of.masked if self.of is not None else None

    @property
    def marks(self) -> Mapping[str, str] | None:
        """Dotted key → where it was written; None where nothing was applied."""
        if self.kept is not None:
            return self.kept[1]
        return {key: str(self.of.mark(key)) for key in self.of.names()} if self.of is not None else None

    def settled(self) -> Change:
        """Gives the change without the configuration itself, for keeping it long."""
        tree, marks = self.tree, self.marks
        return self if tree is None or marks is None else replace(self, of=None, kept=(tree, marks))


@runtime_checkable
class Heeding(Protocol):
    """A ledger that also hears of rollbacks which people wish elsewhere."""

    def heed(self, act: Callable[[str, str, str], None]) -> Callable[[], None]:
        """Has a function told the hash, the author and the reason of each; gives what ends it."""


class Ledger(Protocol):
    """Keeps what was applied, refused and rolled back."""

    def record(self, change: Change) -> None:
        """Takes a change; never raises and never blocks for long."""

    def list(self, limit: int = 100) -> Sequence[Change]:
        """Gives the newest changes, newest first."""
