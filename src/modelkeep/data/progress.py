"""How long work reports itself: the room counts, the command line draws."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Literal, Protocol, Self

Unit = Literal["bytes", "files"]


class Step(Protocol):
    """One piece of work under way."""

    def add(self, amount: int) -> None:
        """Tells that `amount` more bytes or files are done."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Hears of every piece of work when it begins, and of what it has to say meanwhile."""

    def begin(self, task: str, *, total: int | None = None, unit: Unit = "files") -> Step:
        """Opens a step; `total` is None while nobody knows it.

        Args:
            task: what is done, a few words for people: `Hashing data/`.
            total: how many bytes or files there are.
            unit: what is counted.
        """

    def say(self, message: str) -> None:
        """Tells people something that they would want to know while they wait, such as whom we wait for."""


class _SilentStep:
    __slots__ = ()

    def add(self, amount: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class _Silent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "SILENT"

    def begin(self, task: str, *, total: int | None = None, unit: Unit = "files") -> Step:
        return _SilentStep()

    def say(self, message: str) -> None:
        pass


SILENT: Final[Progress] = _Silent()
"""Hears everything and says nothing."""
