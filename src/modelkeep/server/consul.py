"""The key-value store by Consul's own API, so that its clients work without a Consul.

Reads with `recurse`, `keys`, `separator`, `raw`, and blocking ones with `index` and `wait`; writes with `flags` and
`cas`. Sessions, locks, transactions and other data centres are not here; what asks for a lock is refused.

Source: https://developer.hashicorp.com/consul/api-docs/kv and /api-docs/features/blocking
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from modelkeep.core.errors import BadInput, Busy
from modelkeep.server import answers, body
from modelkeep.server.crew import Crew
from modelkeep.store.pairs import LARGEST_BYTES, Pair

if TYPE_CHECKING:
    from modelkeep.server.house import House

PATH: Final = "/v1/kv/"
_DEFAULT_S: Final = 300.0
_LONGEST_S: Final = 600.0
_JITTER: Final = 16
_SLICE_S: Final = 0.5
_THREADS: Final = 4
_BODY_S: Final = 30.0
_WAIT: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1e-9}
_LOCKS: Final = ("acquire", "release")

Query = Mapping[str, str]


class Consul:
    """Answers `/v1/kv/KEY`.

    Args:
        house: which has the store.
        most: blocking queries at a time; one more is answered Busy.
    """

    def __init__(self, house: House, most: int) -> None:
        self._pairs, self._house = house.pairs, house
        self._crew = Crew("consul", _THREADS, waiting=4 * most)
        self._most = most
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = False
        self.waiting = 0
        self._pairs.listeners.append(self._written)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        key = scope["path"][len(PATH) :]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if scope["method"] == "GET":
            await self._read(key, query, receive, send)
            return
        for name in _LOCKS:
            if name in query:
                raise BadInput(f"{name}: sessions and locks are not kept here", hint="Use cas, or a real Consul.")
        token = scope.get("modelkeep.token")
        author = token.name if token else "nobody"
        if scope["method"] == "PUT":
            done = await self._put(key, query, scope, receive, author)
        else:
            expected, below = _number(query, "cas"), "recurse" in query
            _named(key, below=below)
            work = self._pairs.delete
            done = await self._crew.run(lambda: work(key, below=below, author=author, expected=expected))
        await answers.json(send, b"true" if done else b"false")

    def end(self) -> None:
        """Lets blocked queries go, as the server stops."""
        self._ending = True

    def close(self) -> None:
        """Waits for the threads."""
        self._crew.close()

    async def _put(self, key: str, query: Query, scope: Scope, receive: Receive, author: str) -> bool:
        value = await body.read(scope, receive, limit_bytes=LARGEST_BYTES, seconds=_BODY_S)
        flags, expected = _number(query, "flags") or 0, _number(query, "cas")
        return await self._crew.run(
            lambda: self._pairs.put(key, value, flags=flags, author=author, expected=expected, reason="")
        )

    async def _read(self, key: str, query: Query, receive: Receive, send: Send) -> None:
        below = "recurse" in query or "keys" in query
        _named(key, below=below)
        wanted, wait_s = _number(query, "index"), min(_seconds(query.get("wait", "")), _LONGEST_S)
        if wanted:
            seen, found = await self._blocked(key, wanted, wait_s, receive, below=below)
        else:
            seen, found = await self._look(key, below=below)
        headers: answers.Headers = [
            (b"x-consul-index", b"%d" % seen),
            (b"x-consul-knownleader", b"true"),
            (b"x-consul-lastcontact", b"0"),
        ]
        if not found:
            await answers.answer(send, b"", status=404, media_type=b"text/plain", headers=headers)
        elif "raw" in query and not below:
            kind = b"text/plain; charset=utf-8"
            await answers.answer(send, found[0].value, status=200, media_type=kind, headers=headers)
        else:
            rows = _keys(key, query, found) if "keys" in query else [_row(one) for one in found]
            await answers.json(send, orjson.dumps(rows), headers=headers)

    async def _blocked(
        self, key: str, wanted: int, wait_s: float, receive: Receive, *, below: bool
    ) -> tuple[int, list[Pair]]:
        """Waits until the state's index is another than the one wanted; an index from before a restore is answered now.

        The wait is lengthened by up to a sixteenth, as Consul does, so that watchers do not all come back at once.
        """
        if self.waiting >= self._most:
            raise Busy(f"{self.waiting} queries wait already", retry_after_s=1)
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s * (1 + random.random() / _JITTER)  # noqa: S311 - no secret
        gone = asyncio.ensure_future(_gone(receive))
        self.waiting += 1
        try:
            while True:
                changed = self._changed  # before looking: a write in between is not missed
                state = await self._look(key, below=below)
                if state[0] != wanted or not await self._wake(changed, gone, end):
                    return state
        finally:
            self.waiting -= 1
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    async def _wake(self, changed: asyncio.Event, gone: asyncio.Task[None], end: float) -> bool:
        """Waits for a write; False: the time is over, the peer is gone or the server stops."""
        loop = asyncio.get_running_loop()
        wait = asyncio.ensure_future(changed.wait())
        both: set[asyncio.Task[object]] = {cast("asyncio.Task[object]", one) for one in (wait, gone)}
        try:
            while not (changed.is_set() or gone.done() or self._ending or loop.time() >= end):
                slice_s = min(end - loop.time(), _SLICE_S)
                await asyncio.wait(both, timeout=slice_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wait.cancel()
        return changed.is_set()

    async def _look(self, key: str, *, below: bool) -> tuple[int, list[Pair]]:
        return await self._crew.run(lambda: self._pairs.look(key, below=below))

    def _written(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _gone(receive: Receive) -> None:
    """Ends when the peer is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _named(key: str, *, below: bool) -> None:
    if not key and not below:
        raise BadInput("the key is empty", hint="Name a key: /v1/kv/KEY; or add ?recurse.")


def _number(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,20}", text, re.ASCII):
        raise BadInput(f"{name}: {text[:60]!r}, expected a number")
    return int(text)


def _seconds(text: str) -> float:
    """Gives a wait in seconds, written as Go writes durations.

    >>> _seconds("10s"), _seconds("1m30s"), _seconds("50ms"), _seconds("")
    (10.0, 90.0, 0.05, 300.0)
    """
    if not text or text == "0":
        return _DEFAULT_S
    found = _WAIT.findall(text)
    if "".join(number + unit for number, unit in found) != text:
        raise BadInput(f"wait: {text[:60]!r}, expected a duration such as 10s or 5m")
    return sum(float(number) * _UNITS[unit or None] for number, unit in found)


def _row(one: Pair) -> dict[str, int | str | None]:
    return {
        "LockIndex": 0,
        "Key": one.key,
        "Flags": one.flags,
        "Value": base64.b64encode(one.value).decode() if one.value else None,
        "CreateIndex": one.created,
        "ModifyIndex": one.modified,
    }


def _keys(prefix: str, query: Query, found: Sequence[Pair]) -> list[str]:
    """Gives the names of keys; with a separator only up to its first place behind the prefix, each once."""
    separator = query.get("separator", "")
    if not separator:
        return [one.key for one in found]
    names: dict[str, None] = {}
    for one in found:
        cut = one.key.find(separator, len(prefix))
        names[one.key if cut < 0 else one.key[: cut + len(separator)]] = None
    return list(names)
