"""A test message on the whole way: outbox, channel, and back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from modelkeep.alerts.channel import Notification
from modelkeep.alerts.ledger import Batch, Ledger, Posting
from modelkeep.alerts.outbox import Outbox
from modelkeep.core.clock import Clock
from modelkeep.core.errors import Unreachable
from modelkeep.store.entries import Entries

NAME: Final = "Drill"
_LOOK_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Drill:
    """What a drill showed.

    Args:
        channel: that took the message.
        notification: its id.
        latency_s: from the outbox to the channel's word that it took it.
        attempts: how often it was sent.
    """

    channel: str
    notification: str
    latency_s: float
    attempts: int


def deliver_drill(
    entries: Entries, outbox: Outbox, channel: str, *, wall: Clock, made: str, link: str, timeout_s: float
) -> Drill:
    """Puts a marked message into the outbox, has it sent and reads back that it was.

    Raises:
        Unreachable: it was not sent in time, or given up.
    """
    ledger, began = Ledger(entries), time.monotonic()
    message = _message(made, wall.now_ns(), link)
    posting = Posting(made, channel, 0, message, wall.now_ns(), next_ns=wall.now_ns())
    with entries.begin() as connection:
        ledger.write(connection, Batch(postings=[posting]))
    reason = "it is still on its way"
    while (left_s := began + timeout_s - time.monotonic()) > 0:
        outbox.deliver(wall.now_ns(), wait_s=min(left_s, 1.0))
        found = ledger.posting(made)
        if found is not None and found.state == "sent":
            return Drill(channel, made, time.monotonic() - began, found.attempts)
        if found is not None:
            reason = found.error or reason
            if found.state == "dead":
                break
        time.sleep(_LOOK_S)
    raise Unreachable(f"channel {channel}: {reason}", hint="Mend alerts.channels; the outbox keeps the message.")


def _message(made: str, at_ns: int, link: str) -> Notification:
    return Notification(
        id=made,
        alert=made,
        thread=made,
        state="test",
        title="modelkeep can reach you here",
        summary="This is a test. Nothing is wrong.",
        rule=NAME,
        labels={"alertname": NAME},
        annotations={},
        value=None,
        since_ns=0,
        at_ns=at_ns,
        link=link,
    )
