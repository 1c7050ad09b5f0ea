"""The one thread of a process that talks to the server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from modelkeep.sdk.buffer import FLUSH, Buffer, Item
from modelkeep.sdk.complaints import complain
from modelkeep.sdk.connection import Answer, Connection
from modelkeep.sdk.context import Replay
from modelkeep.sdk.envelopes import SLICE_ROWS, Envelopes
from modelkeep.sdk.packages import Package, halves, pack, thinner
from modelkeep.sdk.releases import Releases
from modelkeep.sdk.spool import MemorySpool, Waiting
from modelkeep.sdk.wishes import wishes

_SHORTEST_S: Final = 0.02
_SOON_S: Final = 0.2
_LATEST_S: Final = 1.0
_HOLD_S: Final = 1.0
_HELD_AFTER_S: Final = 0.5
_BACKOFF_S: Final = 0.5
_LONGEST_S: Final = 15.0
_ADOPT_S: Final = 30.0
_MEMORY_BYTES: Final = 32_000_000
_WRONG: Final = 400
_SIFTS: Final = 100
_SIFT_S: Final = 60.0
_CRASH: Final = 500
_STUBBORN: Final = 20
"""So many answers 500 in a row send a package behind the others: it may be what the server cannot take."""
_TOO_LARGE: Final = 413


class Enough(BaseException):
    """The process ends and may wait no longer."""


class Sender:
    """Drains the buffer, sends it, and keeps it on disk while the server is away.

    Order: what is on disk is older than what is in the buffer; while anything is on disk, everything new goes there.

    Args:
        buffer: what the calls filled.
        envelopes: makes columns of it.
        releases: announced again after the server was away.
        connection: to the server.
        spool: for what cannot be sent now.
        process: name of this process, in every envelope.
        chores: called about every 0.2 to 1 s, for what is measured rather than called.
    """

    def __init__(
        self,
        buffer: Buffer,
        envelopes: Envelopes,
        releases: Releases,
        connection: Connection,
        spool: Waiting,
        *,
        process: str,
        chores: Callable[[], None],
    ) -> None:
        self._buffer = buffer
        self._envelopes = envelopes
        self._releases = releases
        self._connection = connection
        self._spool = self._disk = spool
        self._process = process
        self._chores = chores
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._markers: list[threading.Event] = []
        self._urgent = 0
        self._failures = 0
        self._crashes = 0
        self._sifts = 0
        self._sift_again_at = 0.0
        self._retry_at = 0.0
        self._adopt_at = 0.0
        self._held_since = 0.0
        self._deadline = float("inf")
        self._stopping = False
        self._flying: Package | None = None

    @property
    def ident(self) -> int | None:
        """The thread's identity."""
        return self._thread.ident if self._thread else None

    def start(self) -> None:
        """Starts the thread unless it runs."""
        with self._starting:
            if self._stopping or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="modelkeep", daemon=True)
            self._thread.start()

    def nudge(self) -> None:
        """Has the thread look at the buffer now, and starts it again should it have died."""
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self.start()

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything put before is on the server's disk.

        Returns:
            Whether it is.
        """
        marker = threading.Event()
        self._urgent += 1
        self._buffer.items.append((FLUSH, marker))
        self._retry_at = 0.0
        self._wake.set()
        self.start()
        try:
            return marker.wait(timeout_s)
        finally:
            self._urgent -= 1

    def close(self, timeout_s: float) -> None:
        """Sends what it can in that time and leaves the rest on disk."""
        thread = self._thread
        self._deadline = time.monotonic() + timeout_s
        self._stopping = True
        self._retry_at = 0.0
        self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout_s + 1.0)
            if thread.is_alive():
                self._rescue()
                return
        elif self._buffer.items:
            self._last_turns()
        self._connection.close()

    def abandon(self) -> None:
        """Closes in a forked child what belongs to the parent."""
        self._spool.abandon()

    def _run(self) -> None:
        pause_s = _SOON_S
        while not self._stopping:
            busy = False
            try:
                busy = self._turn()
            except Enough:
                break
            except Exception as error:  # noqa: BLE001
                self._failed(error)
            pause_s = _SOON_S if busy else min(_LATEST_S, pause_s * 1.5)
            self._wake.wait(min(pause_s, self._due_s()))
            self._wake.clear()
        self._last_turns()

    def _due_s(self) -> float:
        """How long until what waits may be tried again."""
        if self._failures == 0:
            return _LATEST_S
        return max(_SHORTEST_S, self._retry_at - time.monotonic())

    def _last_turns(self) -> None:
        try:
            self._retry_at = 0.0 if time.monotonic() < self._deadline else float("inf")
            self._turn()
            while self._spool.head() is not None and not self._failures and time.monotonic() < self._deadline:
                self._unspool()
        except Enough:
            self._deadline = 0.0
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        finally:
            self._rescue()

    def _rescue(self) -> None:
        flying = self._flying
        try:
            if flying is not None:
                self._keep(flying)
            self._absorb()
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        self._spool.close()
        if lost := self._buffer.dropped.get("exit"):
            complain("exit", f"modelkeep: {lost} records were lost at exit: the server is away and no disk takes them")

    def _failed(self, error: Exception) -> None:
        self._buffer.drop("internal")
        complain("internal", f"modelkeep: {type(error).__name__}: {error} (the model is not affected)")

    def _turn(self) -> bool:
        self._chores()
        now = time.monotonic()
        if now >= self._adopt_at:
            self._adopt_at = now + _ADOPT_S
            self._spool.adopt()
        busy = False
        while items := self._take():
            busy = True
            self._ship_all(self._packages(items))
            if self._spool.head() is not None:
                self._unspool()
        self._unspool()
        self._delivered()
        return busy

    def _take(self) -> list[Item]:
        """Takes what may go now; in a replay nothing dated after the last prediction goes before the next one."""
        now = time.monotonic()
        hold = Replay.latest_ns > 0 and not self._urgent and not self._stopping and now - self._held_since < _HOLD_S
        items = self._buffer.take(SLICE_ROWS, hold=hold)
        if items or not self._buffer.items:
            self._held_since = now
        for item in items:
            if item[0] == FLUSH and isinstance(item[1], threading.Event):
                self._markers.append(item[1])
        return items

    def _packages(self, items: Sequence[Item]) -> Iterator[Package]:
        wanted = [item for item in items if item[0] != FLUSH]
        for envelope in self._envelopes.build(wanted) if wanted else ():
            envelope.process = self._process
            envelope.sent_at = time.time_ns()
            envelope.dropped = dict(self._buffer.dropped)
            yield from pack(envelope, compress=not self._connection.local)

    def _ship_all(self, packages: Iterator[Package]) -> None:
        try:
            for package in packages:
                self._ship(package)
        except Enough:
            for package in packages:
                self._keep(package)
            raise

    def _ship(self, package: Package) -> None:
        if self._spool.head() is not None or time.monotonic() < self._retry_at:
            self._keep(package)
            return
        self._flying, started, held = package, time.monotonic(), False

        def idle() -> None:
            nonlocal held
            if not held and time.monotonic() - started > _HELD_AFTER_S:
                self._keep(package)
                self._flying, held = None, True
            if held:
                self._absorb()
            self._check_deadline()

        try:
            delivered = self._deliver(package, idle)
        except Enough:
            if not held:
                self._keep(package)
            raise
        finally:
            self._flying = None
        if not delivered and not held:
            self._keep(package)
        elif delivered and held and self._is_head(package):
            self._spool.advance()

    def _is_head(self, package: Package) -> bool:
        head = self._spool.head()
        return head is not None and head.body == package.smaller().body

    def _unspool(self) -> None:
        while time.monotonic() >= self._retry_at and (package := self._spool.head()) is not None:
            if not self._deliver(package, self._listen):
                if self._crashes >= _STUBBORN:
                    self._crashes = 0
                    self._keep(package)
                    self._spool.advance()
                return
            self._spool.advance()
            self._absorb()
            self._check_deadline()

    def _listen(self) -> None:
        self._absorb()
        self._check_deadline()

    def _absorb(self) -> None:
        """Moves the buffer to disk, so that it cannot run full while the server is slow."""
        while items := self._take():
            for package in self._packages(items):
                self._keep(package)

    def _keep(self, package: Package) -> None:
        try:
            self._spool.append(package)
        except OSError as error:
            complain("spool", f"modelkeep: the spool cannot be written ({error}); keeping records in memory instead")
            if isinstance(self._spool, MemorySpool):
                return
            self._move_to_memory(package)

    def _move_to_memory(self, package: Package) -> None:
        memory = MemorySpool(_MEMORY_BYTES, self._buffer.drop)
        while (waiting := self._spool.head()) is not None:
            memory.append(waiting)
            self._spool.advance()
        self._spool.close()
        memory.append(package)
        self._spool = memory

    def _check_deadline(self) -> None:
        if self._stopping and time.monotonic() > self._deadline:
            raise Enough

    def _deliver(self, package: Package, idle: Callable[[], None]) -> bool:
        """Posts until the package is kept or refused for good; False: try again later."""
        answer = self._connection.post(package, idle)
        if answer.kept:
            wishes.take(answer.wishes)
            if self._failures:
                self._releases.again_all()
            self._failures = self._crashes = 0
            return True
        if answer.status == _TOO_LARGE:
            return self._part(package, answer, idle)
        if answer.again:
            self._back_off(answer)
            return False
        return self._sift(package, answer, idle)

    def _sift(self, package: Package, answer: Answer, idle: Callable[[], None]) -> bool:
        """Sends the halves of what was refused, so that one wrong record costs no other; so often a minute."""
        now = time.monotonic()
        if now >= self._sift_again_at:
            self._sift_again_at, self._sifts = now + _SIFT_S, _SIFTS
        parts = None
        if answer.status == _WRONG and package.rows > 1 and self._sifts > 0:
            try:
                parts = halves(package.open())
            except ValueError:
                parts = None
        if parts is None:
            self._refused(package, answer)
            return True
        self._sifts -= 1
        compress = package.coding != "identity"
        return all(self._deliver(small, idle) for part in parts for small in pack(part, compress=compress))

    def _part(self, package: Package, answer: Answer, idle: Callable[[], None]) -> bool:
        try:
            envelope = package.open()
        except ValueError:
            self._refused(package, answer)
            return True
        thin = thinner(envelope)
        parts = (thin,) if thin else halves(envelope)
        if parts is None:
            self._refused(package, answer, "too_large")
            return True
        compress = package.coding != "identity"
        return all(self._deliver(small, idle) for part in parts for small in pack(part, compress=compress))

    def _back_off(self, answer: Answer) -> None:
        wait_s = min(_LONGEST_S, _BACKOFF_S * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._failures += 1
        self._crashes += answer.status == _CRASH
        self._retry_at = time.monotonic() + max(wait_s, answer.retry_after_s)
        status = f"{answer.status} " if answer.status else ""
        complain("away", f"modelkeep: the server does not take records now ({status}{answer.message}); keeping them")

    def _refused(self, package: Package, answer: Answer, reason: str = "refused") -> None:
        self._buffer.drop(reason, package.rows)
        self._releases.again_all()
        text = f"modelkeep: the server refused {package.rows} records: {answer.status} {answer.message}"
        complain("refused", text)

    def _delivered(self) -> None:
        if self._spool.head() is not None:
            return
        self._spool = self._disk
        for marker in self._markers:
            marker.set()
        self._markers.clear()
