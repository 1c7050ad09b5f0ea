"""What every remote needs while bytes move: safe keys, partial files, many at once, patience with bounds."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple, Protocol, TypeVar

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.store.remote import Outcome

T = TypeVar("T")
R = TypeVar("R")

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def checked(key: str) -> str:
    """Gives a key that names a place below the remote's address, and nothing else.

    Raises:
        BadInput: it is empty or absolute, or leads elsewhere.

    >>> checked("files/md5/0c/c175b9c0f1b6a831c399e269772661")
    'files/md5/0c/c175b9c0f1b6a831c399e269772661'
    >>> checked("files/../../etc/passwd")
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: 'files/../../etc/passwd' is no key of a remote
    """
    bad = not {"", ".", ".."}.isdisjoint(key.split("/")) or not key.isprintable() or "\\" in key
    if bad:
        raise BadInput(f"{key!r} is no key of a remote", hint="Keys are relative paths without `..` and control signs.")
    return key


def disk_error(error: OSError, what: str) -> Error:
    """Gives what the machine's refusal means to the caller.

    Args:
        error: what it said.
        what: the file or folder, for people.

    >>> disk_error(OSError(errno.ENOSPC, "No space left on device"), "/mnt/share")
    Busy('/mnt/share: No space left on device')
    """
    reason = f"{what}: {error.strerror or error}"
    if error.errno in FULL:
        return Busy(reason, hint="Make room on that disk, then run the command again.", retry_after_s=60)
    if error.errno in _REFUSED:
        return Denied(reason, hint="Check the owner and mode of the folder, and how the disk is mounted.")
    if isinstance(error, FileNotFoundError):
        return Missing(reason, hint="Check the path, and that the disk is mounted.")
    return Unreachable(reason, hint="Check the disk, then run the command again.")


class Partial:
    """A file that receives a blob; what it holds already is the blob's beginning.

    Args:
        path: the file; its folder exists.
        size: of the whole blob; a file that is longer begins again.
    """

    def __init__(self, path: Path | str, size: int | None) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.held = os.fstat(self.fd).st_size
        if size is not None and self.held > size:
            self.restart()

    def restart(self) -> None:
        """Throws away what is there."""
        os.ftruncate(self.fd, 0)
        self.held = 0

    def write(self, data: bytes | memoryview) -> None:
        """Adds bytes at the end.

        Raises:
            OSError: there is no room.
        """
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, self.held)
            self.held += done
            view = view[done:]

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.fd)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Patience:
    """How often and how long a refused request is repeated: pauses double, with jitter, up to a bound.

    Args:
        tries: how often a thing is done in all.
        first_s: the first pause at most.
        longest_s: every later pause at most.
    """

    def __init__(self, tries: int = 5, first_s: float = 0.2, longest_s: float = 8.0) -> None:
        self.tries, self.first_s, self.longest_s = tries, first_s, longest_s

    def pause_s(self, failed: int, asked_s: float = 0.0) -> float:
        """Gives how long to wait after so many failures; at least what the server asked for, within the bound.

        >>> 0.1 <= Patience().pause_s(1) <= 0.2, Patience().pause_s(1, asked_s=3600)
        (True, 8.0)
        """
        bound = min(self.longest_s, self.first_s * float(2 ** (failed - 1)))
        drawn = bound * (0.5 + int.from_bytes(os.urandom(2), "big") / 131_070)
        return min(self.longest_s, max(drawn, asked_s))

    def insist(self, work: Callable[[], R], kinds: tuple[type[Error], ...] = (Busy, Unreachable)) -> R:
        """Does something again and again while it is refused in one of these ways.

        Raises:
            Error: the last refusal, or one that no patience mends.
        """
        for failed in range(1, self.tries):
            try:
                return work()
            except kinds as error:
                time.sleep(self.pause_s(failed, error.retry_after_s if isinstance(error, Busy) else 0.0))
        return work()


PATIENCE: Final = Patience()
_ENOUGH: Final = 8


class Keyed(Protocol):
    """Something that belongs to one key."""

    @property
    def key(self) -> str:
        """The key."""
        ...


K = TypeVar("K", bound=Keyed)


def each(work: Callable[[K], None], items: Iterable[K], *, at_once: int) -> Iterator[Outcome]:
    """Transfers many by some threads, and tells how each ended.

    When credentials are refused, or nobody answers any more, the rest is not even tried.

    Args:
        work: transfers one; it raises `Error` or `OSError`.
        items: what.
        at_once: how many threads.
    """
    hopeless: list[Error] = []
    in_a_row: list[Error] = []

    def one(item: K) -> Outcome:
        if hopeless:
            return Outcome(item.key, hopeless[0])
        try:
            work(item)
        except Error as error:
            if isinstance(error, (Denied, Unreachable, Busy)):
                in_a_row.append(error)
                if len(in_a_row) >= _ENOUGH:
                    hopeless.append(error)
            return Outcome(item.key, error)
        except OSError as error:
            return Outcome(item.key, disk_error(error, str(error.filename or item.key)))
        in_a_row.clear()
        return Outcome(item.key, None)

    return many(one, items, at_once=at_once)


def many(work: Callable[[T], R], items: Iterable[T], *, at_once: int) -> Iterator[R]:
    """Does something with many items by some threads; gives results as they come, and stops early when asked to.

    Args:
        work: catches its own errors; whatever it raises ends the iteration.
        items: taken by one thread at a time.
        at_once: how many threads.

    >>> sorted(many(lambda number: number * 2, range(5), at_once=3))
    [0, 2, 4, 6, 8]
    """
    waiting = deque(items)
    if len(waiting) <= 1 or at_once <= 1:
        yield from map(work, waiting)
        return
    done: SimpleQueue[R | _Ended] = SimpleQueue()
    run = partial(_work_off, work, waiting, done)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(at_once, len(waiting)))]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            while not isinstance(result := done.get(), _Ended):
                yield result
            if result.error is not None:
                raise result.error
    finally:
        waiting.clear()
        for thread in threads:
            thread.join()


class _Ended(NamedTuple):
    error: BaseException | None


def _work_off(work: Callable[[T], R], waiting: deque[T], done: SimpleQueue[R | _Ended]) -> None:
    error: BaseException | None = None
    try:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                break
            done.put(work(item))
    except BaseException as raised:  # noqa: BLE001  handed to the thread that asked
        error = raised
    done.put(_Ended(error))


class Mark:
    """How far one blob has come; what is sent or fetched a second time is not told twice.

    >>> heard: list[int] = []
    >>> mark = Mark(heard.append)
    >>> [mark.reach(done) for done in (10, 5, 12)]
    [None, None, None]
    >>> heard
    [10, 2]
    """

    __slots__ = ("_hear", "_told")

    def __init__(self, hear: Callable[[int], None]) -> None:
        self._hear, self._told = hear, 0

    def reach(self, done: int) -> None:
        """Tells of what is new in the first `done` bytes."""
        if done > self._told:
            self._hear(done - self._told)
            self._told = done


def counted(moved: Callable[[int], None]) -> Callable[[int], None]:
    """Gives a listener that several threads may call at once.

    >>> heard: list[int] = []
    >>> counted(heard.append)(5)
    >>> heard
    [5]
    """
    lock = threading.Lock()

    def hear(amount: int) -> None:
        with lock:
            moved(amount)

    return hear
