"""Several large files hashed at once, one thread each; hashing lets go of the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from modelkeep.store.blobs.digest import Digest, Step
from modelkeep.store.forked import cores


class Stopped(Exception):
    """Somebody else's error ended this work."""


class _Told(NamedTuple):
    """What a thread says: so many bytes done; or that a file is done; or what went wrong."""

    moved: int = 0
    number: int = -1
    digest: Digest | None = None
    error: BaseException | None = None


def side_by_side(
    paths: Sequence[str], hashed: Callable[[str, Step, bool], Digest], step: Step
) -> Iterator[tuple[int, Digest]]:
    """Gives (number, hashes) of large files as they are done, as many at once as there are cores.

    No thread outlives the iteration, however it ends; the first error ends it.

    Args:
        paths: of the files.
        hashed: hashes one; its arguments are path, who hears of bytes done, and whether to use a second thread.
        step: hears how many bytes are done, in the caller's thread.
    """
    if len(paths) == 1:
        yield 0, hashed(paths[0], step, True)
        return
    crew = _Crew(paths, hashed)
    threads = [
        threading.Thread(target=crew.run, name="modelkeep-hash", daemon=True) for _ in range(min(cores(), len(paths)))
    ]
    for thread in threads:
        thread.start()
    try:
        missing = len(paths)
        while missing:
            told = crew.told.get()
            if told.error is not None:
                raise told.error
            if told.digest is not None:
                missing -= 1
                yield told.number, told.digest
            else:
                step.add(told.moved)
    finally:
        crew.stopped = True
        for thread in threads:
            thread.join()


class _Crew:
    """Threads that take one file after the other; also the `Step` that each reports to."""

    def __init__(self, paths: Sequence[str], hashed: Callable[[str, Step, bool], Digest]) -> None:
        self.paths: Final = paths
        self.hashed: Final = hashed
        self.numbers: Final = iter(range(len(paths)))
        self.told: Final[SimpleQueue[_Told]] = SimpleQueue()
        self.aside: Final = len(paths) < cores()
        self.stopped = False

    def add(self, amount: int) -> None:
        if self.stopped:
            raise Stopped
        self.told.put(_Told(moved=amount))

    def run(self) -> None:
        try:
            while not self.stopped and (number := next(self.numbers, None)) is not None:
                self.told.put(_Told(number=number, digest=self.hashed(self.paths[number], self, self.aside)))
        except BaseException as error:  # noqa: BLE001
            self.told.put(_Told(error=error))
