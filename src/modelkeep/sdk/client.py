"""The sending half of this process: made on the first call, again in every forked child, ended at exit."""

from __future__ import annotations

import atexit
import encodings.ascii
import encodings.idna
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Final

from modelkeep.core.ids import Ids, token
from modelkeep.sdk import probe
from modelkeep.sdk.applied import applied
from modelkeep.sdk.buffer import SAMPLE, Buffer
from modelkeep.sdk.complaints import complain
from modelkeep.sdk.connection import Connection
from modelkeep.sdk.context import Replay
from modelkeep.sdk.envelopes import Envelopes
from modelkeep.sdk.meters import Meters
from modelkeep.sdk.privacy import privacy
from modelkeep.sdk.releases import Releases
from modelkeep.sdk.sender import Sender
from modelkeep.sdk.settings import Settings, host, read
from modelkeep.sdk.spool import DiskSpool, server_folder

PRELOADED: Final = (encodings.ascii, encodings.idna, subprocess)
"""What the thread would import by itself: a fork in the middle of an import leaves the module broken in the child."""
_PROBE_S: Final = 10.0
_REPLAY_S: Final = 1.0
_RECHECK_S: Final = 1.0
_PATIENCE_S: Final = 1.0
"""How long the end of a process that was short waits for what was not committed."""


class Client:
    """Buffer, thread, connection and spool of one process; without a server, only its ids.

    Args:
        settings: where to send, and how.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self.on: Final = settings.on
        self.ids: Final = Ids()
        self.table_ids: Final = Ids()
        self.meters: Final = Meters()
        self.buffer: Final = Buffer(settings.buffer_rows)
        self.put: Final = self.buffer.put
        self.pid: Final = os.getpid()
        self.checked_at = time.monotonic()
        self._probe_at = 0.0
        self._envelopes: Envelopes | None = None
        self._releases: Releases | None = None
        machine = host()
        self.process: Final = f"{machine}:{self.pid}:{token()[:8]}"
        self._labels: Final = {"instance": f"{machine}:{self.pid}", "service": settings.service}
        self.sender: Sender | None = self._sender(machine) if self.on else None
        if self.sender is not None:
            self.buffer.nudge = self.sender.nudge
            self.buffer.items.extend(applied.latest())
            self.sender.start()

    @property
    def dropped(self) -> Counter[str]:
        """Rows that will never arrive, by reason."""
        return self.buffer.dropped

    def failed(self, call: str, error: BaseException) -> None:
        """Counts what went wrong inside a call, and says so once a minute: the model never hears of it."""
        if self.on:
            self.buffer.drop("internal")
        complain(call, f"modelkeep: {call}: {type(error).__name__}: {error} (the model is not affected)")

    def close(self, timeout_s: float | None = None) -> None:
        """Sends what waits, or leaves it on disk."""
        if self.sender is not None:
            limit_s = self.settings.exit_s if timeout_s is None else timeout_s
            if self._releases is not None:
                self._releases.closing(min(_PATIENCE_S, limit_s / 2))
            self._measure(force=True)
            self.sender.close(limit_s)

    def _sender(self, machine: str) -> Sender:
        settings = self.settings
        self._releases = releases = Releases(settings, self.process)
        self._envelopes = envelopes = Envelopes(
            releases, privacy, service=settings.service, host=machine, lost=self._lost
        )
        spool = DiskSpool(
            server_folder(settings.spool, settings.url),
            self.process,
            quota_bytes=settings.spool_bytes,
            dropped=self.buffer.drop,
        )
        return Sender(
            self.buffer,
            envelopes,
            releases,
            Connection(settings.url, settings.token),
            spool,
            process=self.process,
            chores=self._measure,
        )

    def _newest_ns(self) -> int:
        """The newest prediction sent: what a replay may be dated without running ahead of the clock of events."""
        return self._envelopes.newest_ns if self._envelopes else 0

    def _lost(self, reason: str, rows: int, error: Exception) -> None:
        self.buffer.drop(reason, rows)
        complain(reason, f"modelkeep: {rows} records could not be sent: {type(error).__name__}: {error}")

    def _measure(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if now < self._probe_at and not force:
            return
        self._probe_at = now + (_REPLAY_S if Replay.latest_ns else _PROBE_S)
        at_ns = self._newest_ns() if Replay.latest_ns else time.time_ns()
        if not at_ns:
            return
        samples = [({"__name__": name}, value) for name, value in probe.read()]
        for labels, value in (*samples, *self.meters.read(), *applied.read()):
            self.buffer.put((SAMPLE, {**labels, **self._labels}, at_ns, value))


class Process:
    """Holds the client of this process, None before the first call; a lock makes sure there is one."""

    client: Client | None = None
    lock = threading.Lock()
    hooked = False


def here() -> Client:
    """Gives the client of this process; while there is no server it looks at the environment again every second."""
    client = Process.client
    if client is None or (not client.on and time.monotonic() - client.checked_at > _RECHECK_S):
        return _make()
    return client


def reset() -> None:
    """Ends the client; the next call reads the environment again."""
    client, Process.client = Process.client, None
    if client is not None:
        client.close()
    Replay.latest_ns = 0


def _make() -> Client:
    with Process.lock:
        client = Process.client
        settings = read()
        if client is not None and (client.on or not settings.on):
            client.checked_at = time.monotonic()
            return client
        given = os.environ.get("MODELKEEP_URL", "")
        if given and not settings.on and not os.environ.get("MODELKEEP_DISABLED"):
            complain("url", f"modelkeep: MODELKEEP_URL is not an http address: {given!r}; nothing is sent")
        _hook()
        client = Process.client = Client(settings)
        return client


def _hook() -> None:
    if not Process.hooked:
        Process.hooked = True
        atexit.register(_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_child)
    work = sys.modules.get("multiprocessing.util")
    if work is not None:
        work.Finalize(None, _exit, exitpriority=0)


def _exit() -> None:
    client = Process.client
    if client is not None and client.pid == os.getpid():
        client.close()


def _child() -> None:
    client, Process.client = Process.client, None
    Process.lock = threading.Lock()
    if client is not None and client.sender is not None:
        client.sender.abandon()
