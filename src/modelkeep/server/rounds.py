"""Recurring work: each piece has a thread of its own, so that a slow one holds up no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from modelkeep.server.own import Own

log: Final = logging.getLogger(__name__)


class Round:
    """Does one thing again and again.

    Args:
        name: of the work, for threads and figures.
        every_s: pause between the end of one turn and the beginning of the next.
        work: what is done; a failure is counted and logged, and the next turn comes all the same.
        own: where failures and time are counted.

    >>> done = threading.Event()
    >>> turn = Round("demo", 0.01, done.set, Own())
    >>> turn.start(); done.wait(5); turn.stop()
    True
    """

    def __init__(self, name: str, every_s: float, work: Callable[[], object], own: Own) -> None:
        self.name = name
        self._every_s, self._work, self._own = every_s, work, own
        self._ended = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name=f"modelkeep-{name}", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends after the turn in hand, or after `timeout_s`."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            start = time.perf_counter()
            try:
                self._work()
                self._said = ""
            except Exception as error:
                self._own.add("modelkeep_round_failures_total", round=self.name)
                if self._new(error):
                    log.exception("%s failed", self.name)
            self._own.add("modelkeep_round_seconds_total", time.perf_counter() - start, round=self.name)

    def _new(self, error: Exception) -> bool:
        """Whether it failed otherwise than in the turn before: a failure that stays is logged once."""
        said, self._said = self._said, f"{type(error).__name__}: {error}"
        return said != self._said
