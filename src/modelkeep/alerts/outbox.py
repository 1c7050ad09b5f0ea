"""What must still be sent: at least once, with back-off, and no channel waits for another."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from modelkeep.alerts.channel import Channel
from modelkeep.alerts.ledger import Delivery, Ledger, Posting
from modelkeep.core.clock import DAY, HOUR, SECOND
from modelkeep.core.errors import Busy, Error
from modelkeep.store.entries import Entries

logger = logging.getLogger(__name__)

FIRST_NS: Final = 5 * SECOND
LONGEST_NS: Final = HOUR
HOLD_NS: Final = 30 * SECOND
GIVE_UP_NS: Final = DAY
_ROUND: Final = 100


@dataclass(slots=True)
class _Line:
    """One channel while the server runs."""

    busy: threading.Thread | None = None
    hold_until_ns: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a message was not taken, whether to try again, and how long the other side asked to wait."""

    reason: str
    retry: bool
    wait_ns: int = 0


class Outbox:
    """Sends the messages that the tables hold.

    A message leaves outside of any transaction and is settled after it was taken, so that a crash in between
    sends it again, with the same id. Messages about one alert keep their order. Each channel has a thread of its
    own; one that hangs holds up nothing but its own messages.

    Args:
        entries: where the messages wait.
        channels: by name.
        fallback: told what another channel could not deliver; empty for none.
        give_up_ns: a message older than this is dead.
        seed: of the jitter; None for a random one.
    """

    def __init__(
        self,
        entries: Entries,
        channels: Mapping[str, Channel],
        *,
        fallback: str = "",
        give_up_ns: int = GIVE_UP_NS,
        seed: int | None = None,
    ) -> None:
        self._ledger = Ledger(entries)
        self._channels, self._fallback, self._give_up = channels, fallback, give_up_ns
        self._random = random.Random(seed)  # noqa: S311  (jitter)
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def deliver(self, now_ns: int, *, wait_s: float = 10.0) -> int:
        """Sends what is due and gives how many messages were taken.

        Args:
            now_ns: wall time.
            wait_s: how long to wait for the channels; those that need longer go on by themselves.
        """
        with self._lock:
            begun = [line for name in self._ledger.waiting_channels() if (line := self._begin(name, now_ns))]
        until = time.monotonic() + wait_s
        for line in begun:
            if line.busy is not None:
                line.busy.join(max(0.0, until - time.monotonic()))
        with self._lock:
            sent = sum(line.sent for line in self._lines.values())
            for line in self._lines.values():
                line.sent = 0
            return sent

    def close(self, *, wait_s: float) -> None:
        """Waits for sends that are under way, at most `wait_s` altogether."""
        until = time.monotonic() + wait_s
        for line in list(self._lines.values()):
            if line.busy is not None:
                line.busy.join(max(0.0, until - time.monotonic()))

    def _begin(self, name: str, now_ns: int) -> _Line | None:
        line = self._lines.setdefault(name, _Line())
        if _running(line):
            self._abandon(name, now_ns)
            return None
        if now_ns < line.hold_until_ns:
            return None
        due = _due(self._ledger.waiting(name, limit=_ROUND), now_ns)
        if not due:
            return None
        line.busy = threading.Thread(
            target=self._round, args=(name, line, due, now_ns), name=f"modelkeep-channel-{name}", daemon=True
        )
        line.busy.start()
        return line

    def _abandon(self, name: str, now_ns: int) -> None:
        """Gives up what is too old although the channel hangs; what it holds in hand settles by itself."""
        for posting in self._ledger.waiting(name, limit=_ROUND)[1:]:
            if now_ns - posting.created_ns >= self._give_up:
                self._bury(posting, "the channel hangs", now_ns)

    def _round(self, name: str, line: _Line, due: Sequence[Posting], started_ns: int) -> None:
        """Sends one after the other; a channel that is away is left alone for a while."""
        began = time.monotonic_ns()
        try:
            for posting in due:
                failure = self._attempt(name, posting)
                now_ns = started_ns + time.monotonic_ns() - began
                if not self._settled(line, replace(posting, attempts=posting.attempts + 1), failure, now_ns):
                    return
        except Exception:
            logger.exception("channel %s: the outbox could not be written; the message will be sent again", name)

    def _settled(self, line: _Line, posting: Posting, failure: _Failure | None, now_ns: int) -> bool:
        """Keeps what became of a message; False when the channel is to be left alone."""
        if failure is None:
            self._ledger.settle(replace(posting, state="sent", sent_ns=now_ns, error=""))
            with self._lock:
                line.sent += 1
            return True
        if not failure.retry or now_ns - posting.created_ns >= self._give_up:
            self._bury(posting, failure.reason, now_ns)
            return True
        delay = max(self._delay(posting.attempts - 1), failure.wait_ns)
        self._ledger.settle(replace(posting, next_ns=now_ns + delay, error=failure.reason))
        line.hold_until_ns = now_ns + (failure.wait_ns or min(delay, HOLD_NS))
        return False

    def _attempt(self, name: str, posting: Posting) -> _Failure | None:
        channel = self._channels.get(name)
        if channel is None:
            return _Failure(f"no channel {name!r} is configured", retry=True)
        try:
            channel.send(posting.message)
        except Busy as error:
            return _Failure(error.message, retry=True, wait_ns=round(error.retry_after_s * SECOND))
        except Error as error:
            logger.warning("channel %s: %s", name, error.message)
            return _Failure(error.message, retry=error.retry)
        except Exception as error:
            logger.exception("channel %s", name)
            return _Failure(f"{type(error).__name__}: {error}", retry=True)
        return None

    def _bury(self, posting: Posting, reason: str, now_ns: int) -> None:
        """Keeps a message as dead, and tells the other channel."""
        follow = None
        if self._fallback and posting.channel != self._fallback:
            summary = f"{posting.channel} could not deliver this: {reason}\n{posting.message.summary}".strip()
            made = f"{posting.id}-{self._fallback}"
            message = replace(posting.message, id=made, summary=summary)
            follow = Posting(made, self._fallback, posting.transition, message, now_ns, posting.covers, next_ns=now_ns)
        dead: Delivery = "dead"
        self._ledger.settle(replace(posting, state=dead, error=reason), follow=follow)

    def _delay(self, attempts: int) -> int:
        longest = min(LONGEST_NS, FIRST_NS << min(attempts, 20))
        return round(longest * self._random.uniform(0.5, 1.0))


def _running(line: _Line) -> bool:
    return line.busy is not None and line.busy.is_alive()


def _due(waiting: Sequence[Posting], now_ns: int) -> list[Posting]:
    """Gives those to send now: none overtakes an earlier one about the same alert."""
    blocked: set[str] = set()
    due = []
    for posting in waiting:
        if posting.next_ns > now_ns or posting.message.alert in blocked:
            blocked.add(posting.message.alert)
        else:
            due.append(posting)
    return due
