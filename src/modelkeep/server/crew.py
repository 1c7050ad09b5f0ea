"""A bounded crew of threads for work that blocks: what does not fit is answered Busy at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from modelkeep.core.errors import Busy

T = TypeVar("T")


class Crew:
    """Runs functions in threads, some at a time and as many again waiting.

    Args:
        name: of the threads.
        size: how many run at a time.
        waiting: how many more may wait.

    >>> crew = Crew("demo", 1)
    >>> asyncio.run(crew.run(lambda: 5))
    5
    >>> crew.close()
    """

    def __init__(self, name: str, size: int, *, waiting: int | None = None) -> None:
        self._most: Final = size + (size if waiting is None else waiting)
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=f"modelkeep-{name}")
        self._lock = threading.Lock()
        self._name = name
        self.busy = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Gives what the function gives.

        Raises:
            Busy: all threads are taken and the queue is full.
        """
        self._enter()
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._leave()
            raise Busy("the server is stopping") from None
        future.add_done_callback(lambda _: self._leave())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Waits for what runs and takes no more."""
        self._pool.shutdown(cancel_futures=True)

    def _enter(self) -> None:
        with self._lock:
            if self.busy >= self._most:
                raise Busy(f"{self.busy} {self._name} requests are in work already", retry_after_s=1)
            self.busy += 1

    def _leave(self) -> None:
        with self._lock:
            self.busy -= 1
