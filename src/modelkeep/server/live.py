"""What is new, pushed: one WebSocket a page, small messages, at most one a second for each thing that is looked at.

Pages that look at the same thing share one topic: it is computed once, however many look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import orjson
from starlette.types import Message, Receive, Scope, Send

from modelkeep.core.errors import BadInput, Busy, Error
from modelkeep.server import answers
from modelkeep.server.topics import Topic, topic

if TYPE_CHECKING:
    from modelkeep.server.crew import Crew
    from modelkeep.server.house import House

log: Final = logging.getLogger(__name__)

TURN_S: Final = 1.0
HEARTBEAT_S: Final = 5.0
"""How often a page is told the time; longer silence tells it that the connection is dead."""
MOST: Final = 64
"""Subscriptions of one connection."""
TOPICS: Final = 2_000
_WAITING: Final = 256
"""Messages that may wait for a slow page; one more and it has to come again."""
_LONGEST: Final = 16 << 10
_TRY_AGAIN: Final = 1013
_POLICY: Final = 1008
_STILL_S: Final = 5.0


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page says."""

    op: Literal["subscribe", "unsubscribe"]
    id: msgspec.Raw
    what: str = ""
    params: dict[str, str | float] = {}


@dataclass(eq=False)
class _Connection:
    """One page."""

    scope: Scope
    queue: asyncio.Queue[bytes | int] = field(default_factory=lambda: asyncio.Queue(_WAITING))
    topics: dict[bytes, Topic] = field(default_factory=dict)
    checked: float = 0.0

    def put(self, message: bytes) -> None:
        """Hands a message on; a page that does not keep up is sent away, to come again and ask for all."""
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(message)
            return
        self.end(_TRY_AGAIN)

    def end(self, code: int) -> None:
        """Ends it, without waiting for what it was not told yet."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(code)


class Live:
    """The route `/api/v1/live`.

    Args:
        house: which knows.
        crew: threads that compute.
        still: whether whoever opened a connection may still read.
    """

    def __init__(self, house: House, crew: Crew, still: Callable[[Scope], bool]) -> None:
        self._house, self._crew, self._still = house, crew, still
        self._connections: set[_Connection] = set()
        self._topics: dict[str, Topic] = {}
        self._lookers: dict[Topic, set[tuple[_Connection, bytes]]] = {}
        self._beating: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._now = b""
        self._told_s = 0.0
        self.messages = 0

    @property
    def connections(self) -> int:
        """How many pages are connected."""
        return len(self._connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise BadInput("this is a WebSocket", hint="Open it as one.", status=426)
        await receive()
        await send({"type": "websocket.accept"})
        connection = _Connection(scope, checked=time.monotonic())
        self._connections.add(connection)
        connection.put(self._time())
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())
        writing = asyncio.create_task(self._write(connection, send))
        try:
            await self._listen(connection, receive)
        finally:
            writing.cancel()
            self._connections.discard(connection)
            for id_ in list(connection.topics):
                self._leave(connection, id_)

    # --- one page ---

    async def _listen(self, connection: _Connection, receive: Receive) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or ""
            id_ = b"null"
            try:
                said = _decoded(text)
                id_ = bytes(said.id)
                self._take(connection, said, id_)
            except Error as error:
                connection.put(_failure(id_, error))

    def _take(self, connection: _Connection, said: _Said, id_: bytes) -> None:
        self._leave(connection, id_)
        if said.op == "unsubscribe":
            return
        if len(connection.topics) >= MOST:
            raise Busy(f"a page may look at {MOST} things at a time")
        key = f"{said.what}\n{orjson.dumps(said.params, option=orjson.OPT_SORT_KEYS).decode()}"
        found = self._topics.get(key)
        if found is None:
            if len(self._topics) >= TOPICS:
                raise Busy("too many different things are looked at")
            found = self._topics[key] = topic(self._house, said.what, said.params)
        connection.topics[id_] = found
        self._lookers.setdefault(found, set()).add((connection, id_))
        if found.last:
            connection.put(_message(id_, found.last))
        self._begin(found, time.monotonic())

    def _leave(self, connection: _Connection, id_: bytes) -> None:
        found = connection.topics.pop(id_, None)
        if found is None:
            return
        lookers = self._lookers[found]
        lookers.discard((connection, id_))
        if not lookers:
            del self._lookers[found]
            self._topics = {key: one for key, one in self._topics.items() if one is not found}

    async def _write(self, connection: _Connection, send: Send) -> None:
        while True:
            message = await connection.queue.get()
            if isinstance(message, int):
                await send({"type": "websocket.close", "code": message})
                return
            await send({"type": "websocket.send", "text": message.decode()})
            self.messages += 1

    # --- all pages ---

    async def _beat(self) -> None:
        """Looks once a second, as long as anybody is there."""
        while self._connections:
            start = time.monotonic()
            self._tell_time(start)
            self._look_again(start)
            for one in list(self._lookers):
                self._begin(one, start)
            await asyncio.sleep(max(0.05, TURN_S - (time.monotonic() - start)))

    def _begin(self, one: Topic, now_s: float) -> None:
        """Begins to look, unless that is under way or too early."""
        if not one.working and one.is_due(now_s):
            one.working = True
            task = asyncio.create_task(self._compute(one))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _compute(self, one: Topic) -> None:
        try:
            found = await self._crew.run(one.compute)
        except Error as error:
            one.rest()
            for connection, id_ in self._lookers.get(one, ()):
                connection.put(_failure(id_, error))
        except Exception:
            one.rest()
            log.exception("%s could not be computed", one.what)
        else:
            for connection, id_ in self._lookers.get(one, ()) if found else ():
                connection.put(_message(id_, found))
        finally:
            one.working = False

    def _tell_time(self, now_s: float) -> None:
        """Tells the time every few seconds, and at once when a replay has moved on."""
        text = self._time()
        moved = self._house.watermark is not None and text.partition(b'"wall"')[0] != self._now.partition(b'"wall"')[0]
        if moved or now_s - self._told_s >= HEARTBEAT_S:
            self._now, self._told_s = text, now_s
            for connection in self._connections:
                connection.put(text)

    def _look_again(self, now_s: float) -> None:
        """Sends away whoever logged out, and whose token has ended."""
        for connection in self._connections:
            if now_s - connection.checked >= _STILL_S:
                connection.checked = now_s
                if not self._still(connection.scope):
                    connection.end(_POLICY)

    def _time(self) -> bytes:
        clocks, kind = self._house.clocks, self._house.settings.clock
        now, wall = clocks.now_ns() // 1_000_000, self._house.wall.now_ns() // 1_000_000
        return b'{"now":%d,"wall":%d,"clock":"%b"}' % (now, wall, kind.encode())


def _decoded(text: str) -> _Said:
    if len(text) > _LONGEST:
        raise BadInput(f"a message of {len(text)} characters", hint=f"At most {_LONGEST}.")
    try:
        said = msgspec.json.decode(text, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"message: {error}", hint='{"op": "subscribe", "id": "1", "what": "alerts"}') from None
    if len(bytes(said.id)) > 80 or bytes(said.id)[:1] not in b'"0123456789':
        raise BadInput("id: expected a short text or a number")
    return said


def _message(id_: bytes, body: bytes) -> bytes:
    return b'{"id":%b,"data":%b}' % (id_, body)


def _failure(id_: bytes, error: Error) -> bytes:
    return b'{"id":%b,%b' % (id_, orjson.dumps(answers.plain_error(error))[1:])
