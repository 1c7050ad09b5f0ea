"""The journal: everything that arrives is written here once, and acknowledged when it is on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.clock import Clock, Wall
from modelkeep.core.errors import BadInput, Busy, Error, Unreachable
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.disk import FULL, Disk
from modelkeep.store.hold import Hold
from modelkeep.store.journal.frames import TOKEN_LIMIT, Head, body, checksum
from modelkeep.store.journal.readers import Readers
from modelkeep.store.journal.receipts import KEEP_NS, Receipt, Receipts, key
from modelkeep.store.journal.recovery import Damage, Recovery, recover
from modelkeep.store.journal.segments import Pen, fresh
from modelkeep.store.journal.stock import Stock

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Damage", "Journal", "JournalStatus", "Receipt", "Recovery"]

_AGAIN_S: Final = 0.2
"""How long after a full disk was met it is not asked again."""
_RETRY_AFTER_S: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """How a journal is doing.

    Args:
        first: the oldest seq that can still be read.
        last: the newest seq.
        bytes: length of all segments.
        segments: how many files.
        busy: entries are refused right now, for want of space.
        free_bytes: what the disk has left.
        waiting: entries submitted and not yet on disk.
        entries: written since the start.
        groups: in how many groups they were written.
        fsyncs: how often the disk was made to keep them.
        refused: entries refused since the start.
        repeated: entries whose token was kept before, since the start.
        damaged: places met, at the start and since, where stored bytes are not what was written.
        lost: entries that are gone with them.
        tokens: how many are remembered.
    """

    first: int
    last: int
    bytes: int
    segments: int
    busy: bool
    free_bytes: int
    waiting: int
    entries: int
    groups: int
    fsyncs: int
    refused: int
    repeated: int
    damaged: int
    lost: int
    tokens: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """An entry on its way to disk."""

    parts: tuple[Part, ...]
    token: str
    key: bytes
    head: Head
    pieces: list[Buffer]
    since: float
    future: Future[Receipt] = field(default_factory=Future)


class Journal:
    """Keeps entries in order, durably, and gives them to readers until all of these have sealed them.

    One thread writes. A lone caller of `append` writes by itself, at once; as soon as others arrive while a group
    is being written, the next group waits for as many as came before, for `group_wait_s` or for `group_bytes`.

    Args:
        folder: made when missing; one journal at a time may have it.
        clock: stamps arrivals.
        segment_bytes: length after which a new file is begun.
        group_wait_s: the longest that an entry waits for company.
        group_bytes: a group that holds so much waits no longer.
        reserve_bytes: entries are refused while the disk has less than this left.
        disk: reads and writes.
        tail_bytes: how much of the newest is kept in memory for readers.
        queue_bytes: how much may wait to be written before entries are refused.
        token_keep_ns: how long a token is remembered at least.

    Raises:
        Conflict: another process has the folder, or a newer modelkeep wrote it.

    >>> import tempfile, pyarrow as pa
    >>> journal = Journal(Path(tempfile.mkdtemp()))
    >>> parts = [Part("event", pa.record_batch({"at": [1, 2]}))]
    >>> journal.append(parts, token="a"), journal.append(parts, token="a")
    (Receipt(seq=1, repeated=False), Receipt(seq=1, repeated=True))
    >>> [entry.parts[0].batch.num_rows for entry in journal.read(0)]
    [2]
    >>> journal.close()
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        segment_bytes: int = 64 << 20,
        group_wait_s: float = 0.005,
        group_bytes: int = 1 << 20,
        reserve_bytes: int = 256 << 20,
        disk: Disk | None = None,
        tail_bytes: int = 32 << 20,
        queue_bytes: int = 128 << 20,
        token_keep_ns: int = KEEP_NS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        self._clock, self._disk = clock or Wall(), disk or Disk()
        self._segment_bytes, self._reserve_bytes = segment_bytes, reserve_bytes
        self._group_wait_s, self._group_bytes, self._queue_bytes = group_wait_s, group_bytes, queue_bytes
        self._hold = Hold(folder)
        try:
            self._receipts = Receipts(self._disk, folder / "tokens", keep_ns=token_keep_ns)
            found = recover(self._disk, folder, self._receipts)
        except BaseException:
            self._hold.close()
            raise
        self.recovered: Final[Recovery] = found.recovery
        self._stock, self._ordinal = Stock(self._disk, found, tail_bytes), found.ordinal
        self._readers = Readers(self._disk, folder / "readers.json")
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._turn, self._keeping = threading.Lock(), threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes, self._company, self._closing = 0, 1, False
        self._pending: dict[bytes, Future[Receipt]] = {}
        self._pen: Pen | None = None
        self._shut_until, self._full = 0.0, False
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # -- writing ---------------------------------------------------------------------------------------------------

    def append(self, parts: Sequence[Part], *, token: str = "") -> Receipt:
        """Returns when all parts are on disk, in one entry.

        Args:
            parts: at least one.
            token: the sender's idempotency token; an entry with a token kept before is not written again.

        Raises:
            BadInput: there is no part, or it is too large.
            Busy: there is no room, on disk or in the queue.
            Unreachable: the disk fails, or the journal is closed.
        """
        return self._enter(parts, token, direct=True).result()

    def submit(self, parts: Sequence[Part], *, token: str = "") -> Future[Receipt]:
        """Does what `append` does, without waiting: the future has its result or its error.

        Raises:
            BadInput: there is no part, or it is too large.
        """
        return self._enter(parts, token, direct=False)

    def _enter(self, parts: Sequence[Part], token: str, *, direct: bool) -> Future[Receipt]:
        raw = token.encode()
        if len(raw) > TOKEN_LIMIT:
            raise BadInput(f"a token of {len(raw)} bytes; the most is {TOKEN_LIMIT}")
        wanted = key(raw) if raw else b""
        known = self._receipts.find(wanted) if wanted else None
        if known is not None:
            return self._repeated(known)
        waiting = self._encoded(tuple(parts), token, wanted)
        with self._lock:
            earlier = self._earlier(wanted)
            if earlier is not None:
                return earlier
            refusal = self._full_queue(waiting)
            if refusal is not None:
                self._counts["refused"] += 1
                waiting.future.set_exception(refusal)
                return waiting.future
            if wanted:
                self._pending[wanted] = waiting.future
            direct = direct and not self._queue and self._company <= 1 and self._turn.acquire(blocking=False)
            if not direct:
                self._queue.append(waiting)
                self._queued_bytes += waiting.head.size
                self._arrived.notify()
        if direct:
            try:
                self._commit([waiting])
            finally:
                self._turn.release()
        return waiting.future

    def _encoded(self, parts: tuple[Part, ...], token: str, wanted: bytes) -> _Waiting:
        pieces = body(parts)
        size = sum(len(memoryview(piece)) for piece in pieces)
        head = Head(0, self._clock.now_ns(), token.encode(), size, checksum(pieces))
        waiting = _Waiting(parts, token, wanted, head, pieces, time.monotonic())
        waiting.future.set_running_or_notify_cancel()
        return waiting

    def _earlier(self, wanted: bytes) -> Future[Receipt] | None:
        """The answer to a token that is kept, or about to be."""
        if not wanted:
            return None
        pending = self._pending.get(wanted)
        if pending is not None:
            self._counts["repeated"] += 1
            return _echo(pending)
        known = self._receipts.recent(wanted)
        return None if known is None else self._repeated(known)

    def _repeated(self, seq: int) -> Future[Receipt]:
        self._counts["repeated"] += 1
        future: Future[Receipt] = Future()
        future.set_result(Receipt(seq, repeated=True))
        return future

    def _full_queue(self, waiting: _Waiting) -> Error | None:
        if self._closing:
            return Unreachable("the journal is closed", hint="Send it again when the server is back.")
        if self._queue and self._queued_bytes + waiting.head.size > self._queue_bytes:
            return Busy(f"{self._queued_bytes:,} bytes wait for the disk", retry_after_s=_RETRY_AFTER_S)
        return None

    def _run(self) -> None:
        while True:
            with self._lock:
                self._arrived.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
            with self._turn:
                group = self._gathered()
                if group:
                    self._commit(group)

    def _gathered(self) -> list[_Waiting]:
        """Takes what waits, after giving as many as came before the time to come again."""
        with self._lock:
            until = self._queue[0].since + self._group_wait_s if self._queue else 0.0
            while len(self._queue) < self._company and self._queued_bytes < self._group_bytes and not self._closing:
                left = until - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            group: list[_Waiting] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].head.size <= self._group_bytes):
                group.append(self._queue.popleft())
                size += group[-1].head.size
            self._queued_bytes -= size
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            self._write(group)
        except BaseException as error:
            if self._pen and not isinstance(error, Error | OSError):
                self._pen.broken = True
            self._refuse(group, _refusal(error, self.folder))
            if not isinstance(error, Exception):
                raise

    def _write(self, group: list[_Waiting]) -> None:
        size = sum(waiting.head.size for waiting in group)
        roomy = self._room(size)
        try:
            pen = self._writable(size)
            heads = [waiting.head.at(seq) for seq, waiting in enumerate(group, self._stock.following)]
            pieces: list[Buffer] = []
            for head, waiting in zip(heads, group, strict=True):
                pieces.append(head.pack(pen.segment.salt))
                pieces += waiting.pieces
            pen.put(pieces, size, ahead=roomy)
        except OSError as error:
            if error.errno in FULL:
                self._full, self._shut_until = True, time.monotonic() + _AGAIN_S
            raise
        self._full = False
        self._kept(group, heads, pen)

    def _kept(self, group: list[_Waiting], heads: list[Head], pen: Pen) -> None:
        """The group is on disk: readers may have it, and its senders are told."""
        for waiting in group:
            pen.segment.saw(waiting.head.received_ns, waiting.key)
        entries = [
            Entry(head.seq, waiting.token, head.received_ns, waiting.parts)
            for head, waiting in zip(heads, group, strict=True)
        ]
        self._stock.kept(pen.segment, pen.end, entries, heads)
        with self._lock:
            for head, waiting in zip(heads, group, strict=True):
                if waiting.key:
                    self._receipts.note(waiting.key, head.seq)
                    del self._pending[waiting.key]
            self._counts["entries"] += len(group)
            self._counts["groups"] += 1
            self._counts["fsyncs"] += 1
            self._company = len(group) + len(self._queue)
        for head, waiting in zip(heads, group, strict=True):
            waiting.future.set_result(Receipt(head.seq))

    def _refuse(self, group: list[_Waiting], error: Error) -> None:
        with self._lock:
            self._counts["refused"] += len(group)
            for waiting in group:
                self._pending.pop(waiting.key, None)
        for waiting in group:
            waiting.future.set_exception(error)

    def _room(self, size: int) -> bool:
        """Refuses a group that the disk has no room for; tells whether there is plenty."""
        if time.monotonic() < self._shut_until:
            raise Busy(f"the disk of {self.folder} is full", hint=_FREE, retry_after_s=_RETRY_AFTER_S)
        free = self._disk.free(self.folder)
        if free - size < self._reserve_bytes:
            raise Busy(
                f"the disk of {self.folder} has {free:,} bytes left, of which {self._reserve_bytes:,} are reserved",
                hint=_FREE,
                retry_after_s=_RETRY_AFTER_S,
            )
        return free - size > self._reserve_bytes + (64 << 20)

    def _writable(self, size: int) -> Pen:
        """Gives a pen that can be trusted, on a segment that is not full."""
        pen = self._pen
        if pen and not pen.broken and (not pen.end or pen.end + size <= self._segment_bytes):
            return pen
        if pen:
            self._put_down(pen)
        self._ordinal += 1
        self._pen = Pen(self._disk, fresh(self.folder, self._ordinal, self._stock.following), self._segment_bytes)
        self._stock.add(self._pen.segment)
        return self._pen

    def _put_down(self, pen: Pen) -> None:
        self._pen = None
        pen.close()
        if not pen.end:
            self._stock.drop(pen.segment)

    # -- reading and keeping ---------------------------------------------------------------------------------------

    def last(self) -> int:
        """The newest seq on disk; 0 when nothing was ever kept."""
        return self._stock.following - 1

    def first(self) -> int:
        """The oldest seq that can still be read; one more than `last` when there is none."""
        return self._stock.first()

    def wait(self, after: int, timeout_s: float) -> bool:
        """Waits until there is an entry behind `after`; tells whether there is one."""
        return self._stock.wait(after, timeout_s)

    def read(self, after: int, *, limit_bytes: int = 16 << 20) -> list[Entry]:
        """Gives entries behind `after` in order; at least one when there is any.

        Args:
            after: a seq; 0 reads from the beginning.
            limit_bytes: no more than this, by their length on disk, except for a first one that is longer.

        Raises:
            Unreachable: the disk does not let itself be read.
        """
        return self._stock.read(after, limit_bytes)

    def release(self, reader: str, sealed: int) -> None:
        """Takes note that a reader needs nothing up to `sealed`, and deletes what nobody needs.

        A reader is known from its first call on, across restarts, until it is forgotten: nothing that it has
        not sealed is deleted. The newest segment stays.

        Args:
            reader: its name.
            sealed: the last seq that it has made durable by itself; 0 at the beginning.
        """
        with self._keeping:
            unneeded = self._readers.told(reader, sealed)
            try:
                self._tidy(unneeded)
            except OSError as error:
                log.warning("nothing is deleted in %s for now: %s", self.folder, error)

    def _tidy(self, unneeded: int) -> None:
        """Moves the tokens of finished segments out of memory, then deletes what nobody needs."""
        for segment, span in self._stock.unretired():
            self._receipts.retire(span, segment.keys)
            segment.retired, segment.keys = True, []
        self._receipts.expire(self._clock.now_ns())
        self._stock.delete(unneeded)

    def forget(self, reader: str) -> None:
        """Waits no longer for a reader that is gone for good."""
        with self._keeping:
            self._readers.forget(reader)

    def advance(self, seq: int) -> None:
        """Makes sure that no later entry gets a seq up to `seq`: a reader has sealed it, so it was given before."""
        with self._turn:
            last = self.last()
            if self._stock.advance(seq):
                log.error("the journal ends at %d but %d was given before; it goes on behind that", last, seq)

    def damage(self) -> list[Damage]:
        """Every place met, at the start and since, where stored bytes are not what was written."""
        return self._stock.damage()

    def status(self) -> JournalStatus:
        """How the journal is doing right now."""
        free, (segments, size), damage = self._disk.free(self.folder), self._stock.size(), self._stock.damage()
        full = self._full and time.monotonic() < self._shut_until + _RETRY_AFTER_S
        with self._lock:
            counts = self._counts
            return JournalStatus(
                first=self.first(),
                last=self.last(),
                bytes=size,
                segments=segments,
                busy=full or free < self._reserve_bytes,
                free_bytes=free,
                waiting=len(self._queue),
                entries=counts["entries"],
                groups=counts["groups"],
                fsyncs=counts["fsyncs"],
                refused=counts["refused"],
                repeated=counts["repeated"],
                damaged=len(damage),
                lost=sum(each.lost for each in damage),
                tokens=len(self._receipts),
            )

    def close(self) -> None:
        """Writes what waits, refuses what comes and lets go of the folder."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._arrived.notify_all()
        self._thread.join()
        self._stock.close()
        with self._turn:
            if self._pen:
                self._put_down(self._pen)
        self._hold.close()


_FREE: Final = "Make room on the disk, or shorten the retention; it goes on by itself."


def _refusal(error: BaseException, folder: Path) -> Error:
    """What the sender is told when a group could not be written."""
    if isinstance(error, Error):
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        return Busy(f"the disk of {folder} is full", hint=_FREE, retry_after_s=_RETRY_AFTER_S)
    log.error("the journal in %s could not write", folder, exc_info=error)
    return Unreachable(f"the journal in {folder} could not write: {error}", hint="Check the disk, then send it again.")


def _echo(first: Future[Receipt]) -> Future[Receipt]:
    """The answer to the same token that arrives a second time before the first is on disk."""
    echo: Future[Receipt] = Future()
    echo.set_running_or_notify_cancel()

    def tell(done: Future[Receipt]) -> None:
        error = done.exception()
        if error is None:
            echo.set_result(Receipt(done.result().seq, repeated=True))
        else:
            echo.set_exception(error)

    first.add_done_callback(tell)
    return echo
