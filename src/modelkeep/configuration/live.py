"""Following live sources: what changes is read, validated and applied; what is wrong or away changes nothing.

One thread per live source waits for it; one more applies. What arrives while a change is being applied is applied
together in the next step: a flood costs one application, not one each.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelkeep.configuration.change import Heeding
from modelkeep.configuration.tree import Reading
from modelkeep.core.errors import BadInput, Error, Unreachable

if TYPE_CHECKING:
    from typing import Any

    from modelkeep.configuration.config import Config
    from modelkeep.configuration.source import Source

_SLICE_S: Final = 5.0
_PATIENCE_S: Final = 0.3
_LEAST_S: Final = 0.05
_FIRST_BACK_OFF_S: Final = 0.5
_LAST_BACK_OFF_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Followed:
    """How one source is doing.

    Args:
        name: the source, without credentials.
        age_s: seconds since it last answered.
        error: why it does not, or why what it says is refused; empty when all is well.
    """

    name: str
    age_s: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a watch has done.

    Args:
        read: how often a source was read because it may have changed.
        applied: changes of the configuration.
        refused: changes that were wrong.
        coalesced: readings that were applied together with others.
        failures: times that a source did not answer.
    """

    read: int = 0
    applied: int = 0
    refused: int = 0
    coalesced: int = 0
    failures: int = 0


class Watch:
    """Follows the live sources of a configuration until it is stopped; a context manager.

    A wrong change is refused and stands in the history; the last good configuration goes on holding. A source that is
    away is asked again with growing, random pauses; its going and its return stand in the history. Where the history is
    told to a server, a rollback that somebody wishes there is done here.

    Args:
        config: the configuration.
        least_s: the least time between two changes.
    """

    def __init__(self, config: Config[Any], *, least_s: float = _LEAST_S) -> None:
        self._config = config
        self._least_s = least_s
        self._latest: list[Reading] = list(config.readings)
        self._arrived = 0
        self._stopping = threading.Event()
        self._news = threading.Condition()
        self._seen = dict.fromkeys(range(len(config.sources)), time.monotonic())
        self._errors: dict[int, str] = {}
        self._gone: set[int] = set()
        self._counts: dict[str, int] = {}
        self._wishes: list[tuple[str, str, str]] = []
        self._end_heeding = config.ledger.heed(self._wished) if isinstance(config.ledger, Heeding) else None
        live = [number for number, source in enumerate(config.sources) if source.live]
        self._threads = [
            threading.Thread(target=self._follow, args=(number,), name=f"config-{number}", daemon=True)
            for number in live
        ]
        if live or self._end_heeding is not None:
            self._threads.append(threading.Thread(target=self._apply, name="config", daemon=True))
        for thread in self._threads:
            thread.start()

    def sources(self) -> list[Followed]:
        """Says how each source is doing."""
        now = time.monotonic()
        return [
            Followed(source.name, now - self._seen[number] if source.live else 0.0, self._errors.get(number, ""))
            for number, source in enumerate(self._config.sources)
        ]

    def counts(self) -> Counts:
        """Says what the watch has done so far."""
        return Counts(**self._counts)

    def stop(self, timeout_s: float = _PATIENCE_S) -> None:
        """Ends the watch; the configuration stays as it is.

        Nothing is applied after this returns. A thread that still waits for a source ends when that answers, at the
        latest after five seconds, or at once when the configuration is closed.
        """
        self._stopping.set()
        if self._end_heeding is not None:
            self._end_heeding()
        with self._news:
            self._news.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads[::-1]:  # the one that applies is the last
            if thread is not threading.current_thread():
                applies = thread is self._threads[-1]
                thread.join(None if applies else max(0.0, until - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _follow(self, number: int) -> None:
        source = self._config.sources[number]
        misses = 0
        while not self._stopping.is_set():
            try:
                if source.watch(self._latest[number].version, _SLICE_S):
                    self._read(number, source)
                else:
                    self._stopping.wait(_LEAST_S)  # one that was closed never waits
                self._well(number, source)
                misses = 0
            except BadInput as error:
                self._wrong(number, source, error)
            except Error as error:
                misses += 1
                self._away(number, source, error)
                self._stopping.wait(pause_s(misses))
            except Exception as error:  # noqa: BLE001 - a plugin's own fault must not end the watch unseen
                misses += 1
                self._away(number, source, Unreachable(f"{source.name}: {type(error).__name__}"))
                self._stopping.wait(pause_s(misses))

    def _read(self, number: int, source: Source) -> None:
        self._count("read")
        reading = source.read()
        with self._news:
            if reading.version and reading.version == self._latest[number].version:
                return
            self._latest[number] = reading
            self._arrived += 1
            self._news.notify_all()

    def _well(self, number: int, source: Source) -> None:
        if self._stopping.is_set():
            return
        self._seen[number] = time.monotonic()
        self._gone.discard(number)
        if self._errors.pop(number, ""):
            self._config.note("recovered", source.name)

    def _wrong(self, number: int, source: Source, error: Error) -> None:
        """It answers, but what it says cannot be read."""
        self._seen[number] = time.monotonic()
        self._gone.discard(number)
        if self._errors.get(number) != error.message:
            self._errors[number] = error.message
            self._count("refused")
            self._config.note("rejected", source.name, error.message)
        self._stopping.wait(self._least_s)

    def _away(self, number: int, source: Source, error: Error) -> None:
        self._count("failures")
        if number not in self._gone:
            self._gone.add(number)
            self._config.note("unreachable", source.name, error.message)
        self._errors[number] = error.message

    def _apply(self) -> None:
        while True:
            with self._news:
                while not (self._arrived or self._wishes or self._stopping.is_set()):
                    self._news.wait()
                if self._stopping.is_set():
                    return
                arrived, self._arrived = self._arrived, 0
                wishes, self._wishes = self._wishes, []
                readings = list(self._latest)
            if arrived:
                self._count("coalesced", arrived - 1)
                try:
                    self._count("applied", self._config.apply(readings) is not None)
                except Error:
                    self._count("refused")  # and told in the history
            for wish in wishes:
                self._roll_back(*wish)
            self._stopping.wait(self._least_s)

    def _wished(self, to: str, author: str, reason: str) -> None:
        """Takes a rollback that somebody wishes; it is done by the thread that applies."""
        with self._news:
            self._wishes.append((to, author, reason))
            self._news.notify_all()

    def _roll_back(self, to: str, author: str, reason: str) -> None:
        try:
            self._count("applied", self._config.rollback(to, author=author, reason=reason) is not None)
        except Error as error:
            self._count("refused")
            self._config.note("rejected", "rollback", error.message, author=author, reason=reason)

    def _count(self, what: str, amount: int = 1) -> None:
        self._counts[what] = self._counts.get(what, 0) + amount


def pause_s(misses: int, chance: float | None = None) -> float:
    """Gives the pause after so many failures in a row: a random part of a doubling span, a minute at most.

    >>> [pause_s(misses, chance=1.0) for misses in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """
    span = min(_LAST_BACK_OFF_S, _FIRST_BACK_OFF_S * (1 << min(misses - 1, 10)))
    return span * (random.uniform(0.1, 1.0) if chance is None else chance)  # noqa: S311
