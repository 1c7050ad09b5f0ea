"""Rollbacks that people wish of running processes, told in the answers to what these send anyway.

A process that follows its configuration (`cfg.watch()`) hears of a wish within ten seconds and puts the earlier
configuration back; that it did, or why not, becomes a change in the history, by whoever wished it.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Request
from fastapi.responses import Response
from pydantic import Field

from modelkeep.core.clock import MINUTE, Clock
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.ids import token
from modelkeep.server.answers import Headers
from modelkeep.server.configurations import Presence
from modelkeep.server.values import Row
from modelkeep.server.words import Given, Told
from modelkeep.store.configurations import APPLIED, Change, Configurations

if TYPE_CHECKING:
    from modelkeep.server.api import Api

HEADER: Final = b"modelkeep-wishes"
_WAITS_NS: Final = 5 * MINUTE
_PROCESSES: Final = 10_000
_MOST: Final = 10
_LOOKED_AT: Final = 1000

Name = Annotated[str, Field(max_length=200)]


class WishGiven(Given):
    """Which processes shall go back, to what, and why."""

    process: Annotated[str, Field(max_length=512)] = ""
    name: Name = ""
    hash: Annotated[str, Field(pattern="^([0-9a-f]{4,64})?$")] = ""
    reason: Annotated[str, Field(max_length=500)] = ""
    author: Annotated[Name, Field(description="Who; the owner of the token where there is one.")] = ""
    dry: bool = False


class WishTold(Told):
    """One process that is told to go back."""

    process: str
    name: str
    before: str
    hash: str


class WishesTold(Told):
    """The processes that are told."""

    wishes: list[WishTold]


@dataclass(frozen=True, slots=True)
class Wish:
    """What one process is asked for.

    Args:
        id: by which it knows that it has heard it.
        name: of the configuration.
        hash: of the one to go back to.
        author: who wishes it.
        reason: why.
    """

    id: str
    name: str
    hash: str
    author: str
    reason: str


@dataclass(slots=True)
class _Waiting:
    until_ns: int
    wishes: list[Wish] = field(default_factory=list)


class Wishes:
    """Wishes that wait for their processes, each for five minutes.

    Args:
        kept: what the processes told of their configurations.
        presence: which of them are there.
        clock: the wall.
    """

    def __init__(self, kept: Configurations, presence: Presence, clock: Clock) -> None:
        self._kept, self._presence, self._clock = kept, presence, clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    def make(self, given: WishGiven, author: str) -> Row:
        """Takes a wish for every live process that it fits.

        Raises:
            BadInput: neither a process nor a name is given.
            Missing: no live process has such a configuration, or had another one before.
        """
        if not (given.process or given.name):
            raise BadInput("a rollback needs a process or a name", hint="`modelkeep config show` lists them.")
        live = self._presence.live()
        found = [one for one in self._kept.current(live, name=given.name) if given.process in {"", one.process}]
        if not found:
            what = f"{given.name or 'a configuration'} in {given.process or 'any process'}"
            raise Missing(f"nobody told of {what} within a minute", hint="`modelkeep config show` lists who did.")
        wanted = [(one, earlier) for one in found if (earlier := self._earlier(one, given.hash))]
        if not wanted:
            raise Missing(
                f"none of {len(found)} processes had {given.hash or 'another configuration'} before",
                hint="`modelkeep config history` lists what they had.",
            )
        if not given.dry:
            for one, earlier in wanted:
                self._add(one.process, Wish(token()[:16], one.name, earlier, author, given.reason))
        return {
            "wishes": [
                {"process": one.process, "name": one.name, "before": one.hash, "hash": earlier}
                for one, earlier in wanted
            ]
        }

    def headers(self, process: str) -> Headers:
        """Gives what an answer to a process says of its wishes."""
        if process not in self._waiting:
            return []
        with self._lock:
            waiting = self._waiting.get(process)
            if waiting is None or waiting.until_ns < self._clock.now_ns():
                self._waiting.pop(process, None)
                return []
            return [(HEADER, json.dumps([asdict(one) for one in waiting.wishes]).encode("ascii"))]

    def _earlier(self, held: Change, beginning: str) -> str:
        """Gives the last configuration that a process had before the one it has; empty when there is none."""
        changes = self._kept.history(process=held.process, name=held.name, limit=_LOOKED_AT)
        hashes = [one.hash for one in changes if one.state in APPLIED and one.hash != held.hash]
        return next((one for one in hashes if one.startswith(beginning)), "")

    def _add(self, process: str, wish: Wish) -> None:
        with self._lock:
            waiting = self._waiting.setdefault(process, _Waiting(0))
            waiting.until_ns = self._clock.now_ns() + _WAITS_NS
            waiting.wishes = [*(one for one in waiting.wishes if one.name != wish.name), wish][-_MOST:]
            while len(self._waiting) > _PROCESSES:
                self._waiting.popitem(last=False)


def enter(api: Api, wishes: Wishes) -> None:
    """Enters the route by which people wish."""

    @api.enter("POST", "/api/v1/configurations/rollback", "admin", WishesTold)
    async def roll_back(given: WishGiven, request: Request) -> Response:
        """Has running processes that follow their configuration put an earlier one back."""
        token = request.scope.get("modelkeep.token")
        author = token.name if token else given.author or "nobody"
        return await api.reply("entries", lambda: wishes.make(given, author), "configurations")
