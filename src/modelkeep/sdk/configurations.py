"""Changes of configuration told to the server: never raising, never waiting, kept on disk while it is away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from modelkeep.sdk import values
from modelkeep.sdk.applied import applied
from modelkeep.sdk.buffer import CONFIGURATION
from modelkeep.sdk.client import here
from modelkeep.sdk.complaints import complain
from modelkeep.sdk.wishes import wishes

_LARGEST: Final = 2_000_000


class Difference(Protocol):
    """One key that differs; values of secrets are masked."""

    @property
    def key(self) -> str: ...
    @property
    def before(self) -> object: ...
    @property
    def after(self) -> object: ...
    @property
    def mark(self) -> str: ...


class Change(Protocol):
    """What became of a configuration; nothing in it shows a secret."""

    @property
    def at_ns(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def previous(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def differences(self) -> Sequence[Difference]: ...
    @property
    def tree(self) -> Mapping[str, object] | None: ...
    @property
    def marks(self) -> Mapping[str, str] | None: ...


C = TypeVar("C", bound=Change)


class Ledger(Protocol[C]):
    """Keeps changes in this process."""

    def record(self, change: C) -> None: ...
    def list(self, limit: int = 100) -> Sequence[C]: ...


class Reported(Generic[C]):
    """A ledger that also tells the server.

    The applied configuration becomes the `config_version` of the releases of predictions that follow.

    Args:
        name: of the configuration, at the server.
        ledger: keeps the history in this process.
    """

    def __init__(self, name: str, ledger: Ledger[C]) -> None:
        self._name = values.named(name, "config")
        self._ledger = ledger

    def record(self, change: C) -> None:
        """Takes a change; never raises and never waits."""
        self._ledger.record(change)
        try:
            self._tell(change)
        except Exception as error:  # noqa: BLE001 - the program must not fail over its reporting
            complain("config", f"modelkeep: a change of configuration is not told: {type(error).__name__}: {error}")

    def heed(self, act: Callable[[str, str, str], None]) -> Callable[[], None]:
        """Has a function told of each rollback that somebody wishes at the server: hash, author, reason.

        Returns:
            what ends it.
        """
        return wishes.heed(self._name, act)

    def list(self, limit: int = 100) -> Sequence[C]:
        """Gives the newest changes of this process, newest first."""
        return self._ledger.list(limit)

    def _tell(self, change: C) -> None:
        tree, marks = _text(change.tree or {}), _text(change.marks or {})
        if len(tree) + len(marks) > _LARGEST:
            complain("config_size", f"modelkeep: configuration {self._name} is too large to be kept at the server")
            tree, marks = "{}", "{}"
        words = (change.state, change.hash, change.previous, self._name)
        said = (change.source, change.author, change.reason, change.error)
        rows = [
            {"key": one.key, "before": one.before, "after": one.after, "mark": one.mark} for one in change.differences
        ]
        item = (CONFIGURATION, change.at_ns, *words, *map(values.clean, said), _text(rows), tree, marks)
        client = here()
        applied.take(item)
        if client.on:
            client.buffer.items.append(item)  # changes are few, and predictions after one depend on it: never dropped
            client.buffer.nudge()


def _text(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, RecursionError):
        return values.json(value)
