"""The ingest routes: decompress, decode, check the times, journal, answer. Bare ASGI: every record passes here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from modelkeep.core.clock import Clock, Events
from modelkeep.core.errors import Busy, Error
from modelkeep.server import answers, body
from modelkeep.server.crew import Crew
from modelkeep.server.own import Own
from modelkeep.server.settings import Limits
from modelkeep.server.stamps import Bounds
from modelkeep.store.journal.journal import Journal, Receipt
from modelkeep.wire.compression import decompress
from modelkeep.wire.form import Decoded, HttpForm, Sent

SMALL: Final = 4096
"""Plain bodies up to this size are decoded on the loop: a thread would cost more."""
_PROCESSES: Final = 10_000


class Gate(Protocol):
    """Whether records are taken at all."""

    def closed(self) -> str:
        """Why not; empty when they are."""
        ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """The times that ingest needs.

    Args:
        wall: this machine's.
        events: the watermark, None with the wall clock.
    """

    wall: Clock
    events: Events | None

    def now_ns(self) -> int:
        """The active clock; the wall while no prediction was seen."""
        return (self.events.now_ns() if self.events else 0) or self.wall.now_ns()

    def bounds(self) -> Bounds:
        """What times are believed now."""
        return Bounds(self.wall.now_ns(), self.events.now_ns() if self.events else None)


class Ingest:
    """Answers one form's routes.

    Args:
        forms: by path.
        journal: where everything goes.
        clocks: for times that are missing or to be checked.
        own: where it is counted.
        limits: sizes and times.
        gate: may close ingest.
        crew: threads for large bodies.
        heard: told the name of every process that sent something.
        wishes: what its answer says besides.
    """

    def __init__(
        self,
        *,
        forms: dict[str, HttpForm],
        journal: Journal,
        clocks: Clocks,
        own: Own,
        limits: Limits,
        gate: Gate,
        crew: Crew,
        heard: Callable[[str], None],
        wishes: Callable[[str], answers.Headers] = lambda process: [],
    ) -> None:
        self._forms, self._journal, self._clocks = forms, journal, clocks
        self._own, self._limits, self._gate, self._crew = own, limits, gate, crew
        self._drops = Drops(own)
        self._heard, self._wishes = heard, wishes
        self._room = body.Room(limits.waiting_bytes)
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        self.waiting += 1
        try:
            with self._room.taken() as take:
                await self._keep(scope, receive, send, take)
        except Error as error:
            self._own.add("modelkeep_ingest_refused_total", reason=error.name)
            raise
        finally:
            self.waiting -= 1
        self._own.time("modelkeep_ingest_seconds", time.perf_counter() - start)

    async def _keep(self, scope: Scope, receive: Receive, send: Send, take: Callable[[int], None]) -> None:
        if why := self._gate.closed():
            raise Busy(f"no records are taken now: {why}", retry_after_s=5)
        path, limits = scope["path"], self._limits
        raw = await body.read(scope, receive, limit_bytes=limits.body_bytes, seconds=limits.body_seconds, take=take)
        coding, sent = body.header(scope, b"content-encoding"), self._sent(scope)
        if len(raw) <= SMALL and not coding:
            decoded, future = self._work(path, raw, coding, sent)
        else:
            decoded, future = await self._crew.run(lambda: self._work(path, raw, coding, sent))
        receipt = await asyncio.wrap_future(future) if future else Receipt(0, False)
        self._kept(path, len(raw), decoded, receipt)
        said = self._forms[path].answer(path, decoded, repeated=receipt.repeated)
        await answers.json(send, said, headers=self._wishes(decoded.process))

    def _sent(self, scope: Scope) -> Sent:
        token = scope.get("modelkeep.token")
        return Sent(self._clocks.now_ns(), token.name if token else "", body.header(scope, b"idempotency-key"))

    def _work(self, path: str, raw: bytes, coding: str, sent: Sent) -> tuple[Decoded, Future[Receipt] | None]:
        plain = decompress(raw, coding, limit_bytes=self._limits.decoded_bytes)
        decoded = self._forms[path].decode(path, plain, sent)
        self._clocks.bounds().check(decoded)
        if not decoded.parts:
            return decoded, None
        return decoded, self._journal.submit(decoded.parts, token=decoded.token)

    def _kept(self, path: str, size: int, decoded: Decoded, receipt: Receipt) -> None:
        own = self._own
        own.add("modelkeep_ingest_requests_total", path=path)
        own.add("modelkeep_ingest_bytes_total", size, path=path)
        self._heard(decoded.process)
        self._drops.told(decoded.process, decoded.dropped)
        if receipt.repeated:
            own.add("modelkeep_ingest_repeated_total")
            return
        for kind, rows in decoded.counts.items():
            own.add("modelkeep_ingest_rows_total", rows, kind=kind)
        if self._clocks.events and decoded.newest_prediction_ns:
            self._clocks.events.advance(decoded.newest_prediction_ns)


class Drops:
    """Sums what SDKs dropped: each tells its own running total.

    >>> own = Own()
    >>> drops = Drops(own)
    >>> drops.told("a", {"full": 2}); drops.told("a", {"full": 5}); drops.told("b", {"full": 1})
    >>> own.samples()[0][1]
    6.0
    """

    def __init__(self, own: Own) -> None:
        self._own = own
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, dict[str, int]] = OrderedDict()

    def told(self, process: str, totals: Mapping[str, int]) -> None:
        """Takes one process's running totals."""
        if not totals:
            return
        with self._lock:
            before = self._seen.pop(process, {})
            self._seen[process] = {reason: max(count, before.get(reason, 0)) for reason, count in totals.items()}
            while len(self._seen) > _PROCESSES:
                self._seen.popitem(last=False)
        for reason, count in totals.items():
            if (more := count - before.get(reason, 0)) > 0:
                self._own.add("modelkeep_sdk_dropped_total", more, reason=reason)
