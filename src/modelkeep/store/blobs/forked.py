"""The same work over many small files in several processes.

Threads do not help there: a small file costs a dozen short system calls, and the interpreter's lock is what they would
wait for. Measured on two cores, 20,000 files of 4 KB: read, hashed and written in 0.89 s by one process, 0.49 s by two.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn, TypeVar

import msgspec

from modelkeep.core.errors import KINDS, Error

T = TypeVar("T")
R = TypeVar("R")

MANY: Final = 2000
"""Fewer items than this are not worth a process."""
_CHUNK: Final = 1000
_MOST: Final = 4


def parted(work: Callable[[Sequence[T]], R], items: Sequence[T], kind: type[R]) -> Iterator[R]:
    """Gives what the work makes of pieces of the items, in any order; in several processes when that is safe and pays.

    Args:
        work: called with pieces of the items, here and in copies of this process: it may write files, but what it does
            to memory is seen by nobody.
        items: all of them.
        kind: the type of the work's results, something that msgpack can carry.

    Raises:
        Error, OSError: what the work raised, wherever it ran; all processes are gone by then.

    >>> sorted(parted(len, range(2500), int))
    [500, 1000, 1000]
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    count = min(_MOST, _cores(), len(chunks)) if len(items) >= MANY and _may_fork() else 1
    if count < 2:
        for chunk in chunks:
            yield work(chunk)
        return
    pipes: dict[int, int] = {}
    try:
        for index in range(1, count):
            read, write = os.pipe()
            child = os.fork()
            if not child:
                _child(work, chunks[index::count], write, [read, *pipes])
            os.close(write)
            pipes[read] = child
        for chunk in chunks[::count]:
            yield work(chunk)
            yield from _heard(pipes, kind, wait=False)
        while pipes:
            yield from _heard(pipes, kind, wait=True)
    finally:
        for pipe, child in pipes.items():
            os.close(pipe)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _may_fork() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _child(
    work: Callable[[Sequence[T]], R], chunks: Sequence[Sequence[T]], pipe: int, others: Sequence[int]
) -> NoReturn:
    code = 1
    try:
        for other in others:
            os.close(other)
        for chunk in chunks:
            _send(pipe, b"+" + msgspec.msgpack.encode(work(chunk)))
        code = 0
    except BrokenPipeError:
        code = 1
    except Error as error:
        _send(pipe, b"!" + msgspec.msgpack.encode((error.name, error.message, error.hint)))
    except OSError as error:
        names = [
            os.fsencode(name) if isinstance(name, (str, bytes)) else b"" for name in (error.filename, error.filename2)
        ]
        _send(pipe, b"o" + msgspec.msgpack.encode((error.errno or 0, error.strerror or str(error), *names)))
    except BaseException:  # noqa: BLE001 whatever it is, the parent must hear of it and this copy must end here
        _send(pipe, b"?" + traceback.format_exc().encode())
    finally:
        os._exit(code)


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(pipe, view) :]


def _heard(pipes: dict[int, int], kind: type[R], *, wait: bool) -> Iterator[R]:
    ready, _, _ = select.select(list(pipes), [], [], None if wait else 0)
    for pipe in ready:
        head = _read(pipe, 4)
        if len(head) < 4:
            child = pipes.pop(pipe)
            os.close(pipe)
            _, status = os.waitpid(child, 0)
            if status:
                raise Error(f"a process that worked beside this one ended with {os.waitstatus_to_exitcode(status)}")
            continue
        data = _read(pipe, int.from_bytes(head, "big"))
        if data[:1] != b"+":
            _raise(data)
        yield msgspec.msgpack.decode(data[1:], type=kind)


def _read(pipe: int, size: int) -> bytes:
    pieces = []
    while size and (data := os.read(pipe, size)):
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def _raise(data: bytes) -> NoReturn:
    if data[:1] == b"o":
        number, text, first, second = msgspec.msgpack.decode(data[1:], type=tuple[int, str, bytes, bytes])
        raise OSError(number, text, os.fsdecode(first) or None, None, os.fsdecode(second) or None)
    if data[:1] == b"?":
        raise RuntimeError(data[1:].decode(errors="replace"))
    name, message, hint = msgspec.msgpack.decode(data[1:], type=tuple[str, str, str])
    for kind in KINDS:
        if kind.__name__ == name:
            raise kind(message, hint=hint)
    raise Error(message, hint=hint)
