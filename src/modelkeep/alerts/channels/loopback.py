"""Keeps what it is given in memory: for drills and for trying rules without a receiver."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from modelkeep.alerts.channel import Channel, Notification


@dataclass(frozen=True)
class Loopback:
    """Says it to itself.

    Args:
        keep: how many messages are kept; the oldest go first.

    >>> from modelkeep.alerts.channel import example
    >>> loop = Loopback()
    >>> loop.send(example())
    >>> [message.id for message in loop.messages]
    ['n-1']
    """

    keep: int = 1000
    messages: deque[Notification] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", deque[Notification](maxlen=self.keep))

    def send(self, notification: Notification) -> None:
        self.messages.append(notification)


plugin: type[Channel] = Loopback
