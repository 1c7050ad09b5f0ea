"""What the server asks of this process in its answers: to put an earlier configuration back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from modelkeep.sdk.complaints import complain

Act = Callable[[str, str, str], None]
"""Takes a hash, an author and a reason; returns at once."""


class _Wish(msgspec.Struct):
    id: str
    name: str
    hash: str
    author: str = ""
    reason: str = ""


class Wishes:
    """Who heeds wishes for which configuration; safe from many threads.

    >>> told, wishes = [], Wishes()
    >>> ended = wishes.heed("app", lambda *wish: told.append(wish))
    >>> text = '[{"id": "1", "name": "app", "hash": "ab", "author": "ann", "reason": "slow"}]'
    >>> wishes.take(text); wishes.take(text); told
    [('ab', 'ann', 'slow')]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: dict[object, tuple[str, Act]] = {}
        self._heard: deque[str] = deque(maxlen=1000)

    def heed(self, name: str, act: Act) -> Callable[[], None]:
        """Has wishes for a configuration told to a function; gives what ends it."""
        ticket = object()
        with self._lock:
            self._acts[ticket] = name, act

        def end() -> None:
            with self._lock:
                self._acts.pop(ticket, None)

        return end

    def take(self, text: str) -> None:
        """Takes what an answer says, each wish once; never raises."""
        if not text:
            return
        try:
            found = msgspec.json.decode(text, type=list[_Wish])
        except (msgspec.DecodeError, ValueError) as error:
            complain("wishes", f"modelkeep: the server's wishes cannot be read: {error}")
            return
        with self._lock:
            new = [wish for wish in found if wish.id not in self._heard]
            self._heard.extend(wish.id for wish in new)
            told = [(act, wish) for wish in new for name, act in self._acts.values() if name == wish.name]
        for act, wish in told:
            act(wish.hash, wish.author, wish.reason)


wishes: Final = Wishes()
