"""What is asked of every source that tells of changes: each is seen, the last one always, whatever happens between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelkeep.configuration.config import Config
from modelkeep.configuration.live import Counts, Watch
from modelkeep.configuration.make import config
from modelkeep.configuration.snapshot import View
from tests.configuration.servers import Server, until

Put = Callable[[int], object]


@contextmanager
def followed(where: str, *, least_s: float = 0.005) -> Iterator[tuple[Config[View], Watch, list[tuple[int, float]]]]:
    """A configuration with a watch, and each number that it had with the time of the callback."""
    seen: list[tuple[int, float]] = []
    with config(where) as cfg:
        cfg.on_change(lambda _: seen.append((cfg["n"], time.perf_counter())))
        watch = Watch(cfg, least_s=least_s)
        try:
            yield cfg, watch, seen
        finally:
            cfg.close()
            watch.stop()


def each_is_seen(where: str, put: Put, *, times: int = 50, pause_s: float = 0.0, least_s: float = 0.005) -> list[float]:
    """Writes numbers, each after the one before was seen; gives the seconds from write to callback."""
    put(0)
    began: list[float] = []
    with followed(where, least_s=least_s) as (_, watch, seen):
        time.sleep(0.1)
        for number in range(1, times + 1):
            began.append(time.perf_counter())
            put(number)
            until(lambda number=number: seen and seen[-1][0] == number)  # type: ignore[misc]
            time.sleep(pause_s)
        assert [number for number, _ in seen] == list(range(1, times + 1))
        assert watch.counts().applied == times
        assert watch.counts().refused == watch.counts().failures == 0
    return [at - start for (_, at), start in zip(seen, began, strict=True)]


def flood_is_coalesced(where: str, put: Put, *, times: int = 100) -> Counts:
    """Writes without a pause; the last number arrives, and those between are counted."""
    put(0)
    with followed(where, least_s=0.3) as (cfg, watch, seen):
        for number in range(1, times + 1):
            put(number)
            time.sleep(0.005)
        until(lambda: cfg["n"] == times)
        counts = watch.counts()
        numbers = [number for number, _ in seen]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == counts.applied < times
        assert counts.coalesced > 0
        assert counts.read >= counts.applied + counts.coalesced
    return counts


def restart_is_survived(where: str, put: Put, server: Server) -> None:
    """Stops the server and starts it again: what held goes on holding, and what is written afterwards is seen."""
    put(0)
    with followed(where) as (cfg, watch, seen):
        put(1)
        until(lambda: cfg["n"] == 1)
        server.stop()
        try:
            until(lambda: any(change.state == "unreachable" for change in cfg.history()))
            assert cfg["n"] == 1
            assert any(source.error for source in watch.sources())
        finally:
            server.start()
        put(2)
        until(lambda: cfg["n"] == 2)
        until(lambda: any(change.state == "recovered" for change in cfg.history()))
        put(3)
        until(lambda: cfg["n"] == 3)
        until(lambda: {number for number, _ in seen} >= {1, 2, 3})
        assert watch.counts().failures > 0


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Does something beside what the test does."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
