"""Feeds: one thread per reader brings it what the journal has."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from modelkeep.core.errors import Busy, Unreachable
from modelkeep.core.shapes import Entry, Reader
from modelkeep.store.disk import Disk
from modelkeep.store.journal.journal import Journal

_POLL_S: Final = 0.1
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 10.0
_BATCH_BYTES: Final = 8 << 20
_PATIENCE: Final = 8
_UNSEALED: Final = 4
_SURROUNDINGS: Final = (OSError, MemoryError, Busy, Unreachable, duckdb.IOException, duckdb.OutOfMemoryException)
_SQLITE: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How far a reader is.

    Args:
        reader: its name.
        applied: the last seq it has taken.
        sealed: the last seq it has made durable.
        behind: how many entries it has still to take.
        failures: how often it raised since the start.
        quarantined: entries set aside since the start because it could not take them.
        missed: entries that were gone from the journal before it could take them.
        failure: what it raised last, while that is not overcome; else empty.
    """

    reader: str
    applied: int
    sealed: int
    behind: int
    failures: int
    quarantined: int
    missed: int
    failure: str


class Feed:
    """Brings a reader every entry in order, seals it from time to time and releases the journal.

    An `apply` that raises must have taken nothing. It is tried again, more and more slowly and then entry by entry.
    An entry that by itself fails `patience` times with the same type of error is written to the quarantine, one Arrow
    IPC stream per part, and left out; errors of the surroundings (a full disk, no memory) are waited out instead.

    Args:
        journal: what is read; the reader is known to it from now on.
        reader: is given entries by one thread at a time.
        seal_every_s: the longest that something applied stays unsealed.
        seal_bytes: unsealed bytes after which the reader is sealed at once.
        quarantine: folder for entries that cannot be applied; by default in the journal's folder.
        patience: how often an entry may fail with the same type of error.
        disk: writes the quarantine.
    """

    def __init__(
        self,
        journal: Journal,
        reader: Reader,
        *,
        seal_every_s: float = 30.0,
        seal_bytes: int = 64 << 20,
        quarantine: Path | None = None,
        patience: int = _PATIENCE,
        disk: Disk | None = None,
    ) -> None:
        self._failing: dict[str, Exception] = {}
        self._journal, self._reader, self._disk = journal, reader, disk or Disk()
        self._seal_every_s, self._seal_bytes, self._patience = seal_every_s, seal_bytes, patience
        self._quarantine = (quarantine or journal.folder / "quarantine") / reader.name
        self._applied = self._sealed = reader.sealed()
        self._failures = self._quarantined = self._missed = 0
        self._unsealed_bytes, self._unsealed_since, self._seal_not_before = 0, 0.0, 0.0
        self._singly_until, self._same, self._tries = 0, "", 0
        self._progress = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed-{reader.name}", daemon=True)
        journal.advance(self._sealed)
        journal.release(reader.name, self._sealed)
        if journal.first() > self._sealed + 1:
            log.warning("%s has sealed %d, and the journal begins at %d", reader.name, self._sealed, journal.first())

    @property
    def failure(self) -> Exception | None:
        """What the reader raised last, until it goes on."""
        return next(iter(tuple(self._failing.values())), None)

    def start(self) -> None:
        """Begins, from behind what the reader has sealed."""
        self._thread.start()

    def stop(self, *, seal: bool = True) -> None:
        """Ends after the batch in hand; seals what was applied unless told otherwise."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        if seal and self._applied > self._sealed:
            self._tried(self._seal, "sealing")

    def applied(self) -> int:
        """The last seq that the reader has taken."""
        return self._applied

    def wait(self, seq: int, timeout_s: float) -> bool:
        """Waits until the reader has taken `seq`; tells whether it has."""
        with self._progress:
            return self._progress.wait_for(lambda: self._applied >= seq, timeout_s)

    def status(self) -> FeedStatus:
        """How far the reader is."""
        failure = self.failure
        return FeedStatus(
            reader=self._reader.name,
            applied=self._applied,
            sealed=self._sealed,
            behind=max(self._journal.last() - self._applied, 0),
            failures=self._failures,
            quarantined=self._quarantined,
            missed=self._missed,
            failure=f"{type(failure).__name__}: {failure}" if failure else "",
        )

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            if self._tried(self._step, "applying"):
                pause_s = _FIRST_PAUSE_S
            else:
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _step(self) -> None:
        """Seals if it is time, and applies a batch if there is one and not too much is unsealed."""
        if self._seal_due() and not self._tried(self._seal, "sealing"):
            self._seal_not_before = time.monotonic() + min(self._seal_every_s, _LONGEST_PAUSE_S)
        if self._unsealed_bytes > _UNSEALED * self._seal_bytes:
            self._stopping.wait(_POLL_S)
        else:
            self._apply_next()

    def _apply_next(self) -> None:
        if not self._journal.wait(self._applied, self._idle_s()):
            return
        last = self._journal.last()
        entries = self._journal.read(self._applied, limit_bytes=_BATCH_BYTES)
        if not entries:
            self._missed += last - self._applied
            self._reached(last)
            return
        if self._applied < self._singly_until:
            entries = entries[:1]
        try:
            self._reader.apply(entries)
        except Exception as error:
            if not self._set_aside(entries, error):
                raise
        self._took(entries)

    def _took(self, entries: list[Entry]) -> None:
        if self._applied == self._sealed:
            self._unsealed_since = time.monotonic()
        self._missed += entries[-1].seq - self._applied - len(entries)
        self._unsealed_bytes += sum(part.batch.get_total_buffer_size() for each in entries for part in each.parts)
        self._reached(entries[-1].seq)

    def _reached(self, seq: int) -> None:
        with self._progress:
            self._applied = seq
            self._progress.notify_all()

    def _set_aside(self, entries: list[Entry], error: Exception) -> bool:
        """Whether the entry is in quarantine now, because it failed in the same way often enough."""
        if of_surroundings(error):
            return False
        if len(entries) > 1:
            self._singly_until, self._same, self._tries = entries[-1].seq, "", 0
            return False
        entry, way = entries[0], f"{entries[0].seq} {type(error).__name__}"
        self._tries = self._tries + 1 if way == self._same else 1
        self._same = way
        if self._tries < self._patience:
            return False
        self._keep(entry)
        self._quarantined += 1
        self._failures += 1
        log.error("%s cannot take entry %d, which is in %s now", self._reader.name, entry.seq, self._quarantine)
        return True

    def _keep(self, entry: Entry) -> None:
        self._quarantine.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(entry.parts):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, part.batch.schema) as stream:
                stream.write_batch(part.batch)
            name = f"{entry.seq:020d}-{number}-{''.join(c for c in part.kind if c.isalnum())}.arrows"
            self._disk.keep(self._quarantine / name, sink.getvalue())

    def _seal_due(self) -> bool:
        now = time.monotonic()
        if self._applied <= self._sealed or now < self._seal_not_before:
            return False
        return self._unsealed_bytes >= self._seal_bytes or now - self._unsealed_since >= self._seal_every_s

    def _seal(self) -> None:
        self._sealed = self._reader.seal()
        self._unsealed_bytes, self._unsealed_since = 0, time.monotonic()
        self._journal.release(self._reader.name, self._sealed)

    def _idle_s(self) -> float:
        """How long to wait for entries: until it is time to seal, or to look whether to stop."""
        if self._applied <= self._sealed:
            return _POLL_S
        due = max(self._unsealed_since + self._seal_every_s, self._seal_not_before)
        return min(max(due - time.monotonic(), 0.0), _POLL_S)

    def _tried(self, work: Callable[[], None], doing: str) -> bool:
        """Whether the work went well; otherwise it is kept as the failure, counted and logged."""
        try:
            work()
        except Exception as error:
            self._failing[doing] = error
            self._failures += 1
            log.exception("%s: %s failed behind entry %d", self._reader.name, doing, self._applied)
            return False
        self._failing.pop(doing, None)
        return True


def of_surroundings(error: BaseException | None) -> bool:
    """Whether an error says nothing about the entry (a full disk, no memory, a lock), so that it is waited out.

    >>> of_surroundings(OSError(28, "No space left on device")), of_surroundings(KeyError("at"))
    (True, False)
    """
    while error is not None:
        if isinstance(error, _SURROUNDINGS):
            return True
        if isinstance(error, sqlite3.OperationalError):
            return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE
        error = error.__cause__
    return False
