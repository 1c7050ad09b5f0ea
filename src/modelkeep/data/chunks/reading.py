"""Reading a file once: its md5 and blake3, and its chunks in batches, on as many cores as help."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from modelkeep.data.chunks.boundaries import MOST, WINDOW, Gear, cut
from modelkeep.store.blobs.digest import Step

_BLOCK: Final = 4 << 20
_CONTEXT: Final = WINDOW - 1
_AHEAD: Final = 4
"""Blocks under way at once, besides the one whose chunks are taken."""
_THREADS: Final = 4

Candidates = tuple[list[int], list[int]]
Batch = list[tuple[bytes, memoryview]]


class Cutter:
    """Cuts one file.

    Args:
        path: the file; it is read from begin to end once.
        step: hears of the bytes read.
        md5: whether it is wanted.

    `md5` (hex), `blake3` and `size` are right when `batches` has ended.
    """

    def __init__(self, path: Path, step: Step, *, md5: bool = True) -> None:
        self._hash = md5
        self.md5, self.blake3, self.size = "", b"", 0
        self._path, self._step = path, step
        self._gears: SimpleQueue[Gear] = SimpleQueue()

    def batches(self) -> Iterator[Batch]:
        """Gives (blake3, bytes) of every chunk, in batches of a few MB."""
        from blake3 import blake3

        md5, whole = hashlib.md5(usedforsecurity=False), blake3()
        threads = min(_THREADS, os.cpu_count() or 1)
        for _ in range(threads):
            self._gears.put(Gear())
        with ThreadPoolExecutor(threads) as cutting, ThreadPoolExecutor(1) as hashing, FileIO(str(self._path)) as file:
            pieces = _Pieces()
            under_way: deque[tuple[memoryview, Future[Candidates], Future[None]]] = deque()
            context, ended = b"", False
            while not ended or under_way:
                while not ended and len(under_way) < _AHEAD:
                    buffer, ended = _block(file, context)
                    block = buffer[len(context) :]
                    task = cutting.submit(self._candidates, buffer, len(context))
                    under_way.append((block, task, hashing.submit(md5.update, block if self._hash else b"")))
                    context = bytes(buffer[-_CONTEXT:])
                block, task, hashed = under_way.popleft()
                whole.update(block)
                chunks = pieces.take(block, task.result(), last_one=ended and not under_way)
                self.size += len(block)
                self._step.add(len(block))
                yield [(blake3(data).digest(), data) for data in chunks]
                hashed.result()
        self.md5, self.blake3 = md5.hexdigest(), whole.digest()

    def _candidates(self, buffer: memoryview, context: int) -> Candidates:
        import numpy as np

        gear = self._gears.get()
        try:
            rare, common = gear.candidates(np.frombuffer(buffer, np.uint8), context)
        finally:
            self._gears.put(gear)
        return [at - context for at in rare], [at - context for at in common]


class _Pieces:
    """Puts blocks together and takes chunks off; only what lies across two blocks is copied."""

    def __init__(self) -> None:
        self._rest = memoryview(b"")
        self._rare: list[int] = []
        self._common: list[int] = []

    def take(self, block: memoryview, found: Candidates, *, last_one: bool) -> Iterator[memoryview]:
        rest = self._rest
        held = len(rest)
        rare = self._rare + [at + held for at in found[0]]
        common = self._common + [at + held for at in found[1]]
        start, end = 0, held + len(block)
        while end - start >= MOST or (last_one and start < end):
            stop = cut(rare, common, start, end)
            yield _between(rest, block, start, stop)
            start = stop
        self._rest = _between(rest, block, start, end)
        self._rare = [at - start for at in rare if at >= start]
        self._common = [at - start for at in common if at >= start]


def _between(rest: memoryview, block: memoryview, start: int, stop: int) -> memoryview:
    held = len(rest)
    if start >= held:
        return block[start - held : stop - held]
    if stop <= held:
        return rest[start:stop]
    return memoryview(b"".join((rest[start:], block[: stop - held])))


def _block(file: FileIO, context: bytes) -> tuple[memoryview, bool]:
    """(the last bytes of the block before and the next block, whether it is the last)."""
    buffer = memoryview(bytearray(len(context) + _BLOCK))
    buffer[: len(context)] = context
    filled = len(context)
    while filled < len(buffer) and (count := file.readinto(buffer[filled:])):
        filled += count
    return buffer[:filled], filled < len(buffer)
