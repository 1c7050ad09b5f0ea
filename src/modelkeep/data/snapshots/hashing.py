"""The hashes of files: md5, which names them, and blake3 beside it, by which they are checked later.

md5 is the bound: one core does about 0.7 GB/s. So a large file is read and hashed by blake3 on a second thread while
the first one does nothing but md5; many files share the cores, large ones by threads and small ones by forked
processes, since a small file costs as much Python as md5, and Python runs on one thread at a time.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from hashlib import md5
from itertools import accumulate
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.snapshots.scan import STAMP, Stamp, flat, refusal, stamp_of
from modelkeep.store.blobs.digest import SILENT, Digest, Step
from modelkeep.store.blobs.hashed import LARGE, READ, digest_of, dos2unix_md5_of
from modelkeep.store.blobs.hashed import dos2unix_md5 as hashed_as_text

_TRIES: Final = 3
_BATCH_BYTES: Final = 4 << 20
_FILE_COST: Final = 6000
"""What opening a file costs, as bytes of md5."""
_FORK_COST: Final = 8 << 20
"""Below this many bytes of md5, forking costs more than it saves."""
HASHES: Final = ("md5", "md5-dos2unix")


def file_md5(path: Path, step: Step = SILENT) -> Digest:
    """Gives a file's hashes after one pass over it; blake3 of a large one only.

    Args:
        path: of the file.
        step: hears how many bytes are done.

    Raises:
        Conflict: somebody wrote to the file all the while.
        Denied, Missing, BadInput: it cannot be read.
    """
    return _whole(os.fspath(path), step)


def dos2unix_md5(path: Path, step: Step = SILENT) -> str:
    """Gives the md5 by which DVC 2 names a file: of a text, as if its lines ended as on Unix.

    Whether a part of 1 MiB is text is judged by its first 512 bytes, and lines are mended within a part only.

    Raises:
        Conflict: somebody wrote to the file all the while.
        Denied, Missing, BadInput: it cannot be read.
    """
    return _mended(os.fspath(path), step).md5


def hash_one(path: Path, hash: str, step: Step = SILENT) -> Digest:  # noqa: A002
    """Gives a file's hashes of either kind; errors as `file_md5`."""
    if hash not in HASHES:
        raise BadInput(f"there is no hash {hash!r}", hint="md5, or md5-dos2unix as DVC 2 has it")
    return (_whole if hash == "md5" else _mended)(os.fspath(path), step)


def many(
    folder: Path,
    relpaths: Sequence[str],
    stamps: Iterable[Stamp] | None = None,
    *,
    hash: str = "md5",  # noqa: A002
    step: Step = SILENT,
) -> list[Digest]:
    """Gives the hashes of files in a folder, in their order; blake3 of the large ones only.

    Args:
        folder: where the paths start.
        relpaths: POSIX.
        stamps: what the files looked like lately; looked up when not given.
        hash: `md5` or `md5-dos2unix`.
        step: hears how many bytes are done.

    Raises:
        Conflict: somebody wrote to a file all the while.
        Denied, Missing, BadInput: a file cannot be read.
        Busy: a worker process died.
    """
    top = os.path.join(folder, "")  # noqa: PTH118
    seen = stamps if stamps is not None else (_stamp(top + name) for name in relpaths)
    found = hash_files(top, relpaths, flat(seen), hash=hash, step=step)
    return [found.digest(number) for number in range(len(relpaths))]


class Hashes:
    """The hashes of many files, 16 bytes each.

    Args:
        sizes: of the files.
    """

    __slots__ = ("blake3", "md5", "sizes")

    def __init__(self, sizes: array[int]) -> None:
        self.md5: Final = bytearray(16 * len(sizes))
        self.sizes: Final = sizes
        self.blake3: Final[dict[int, bytes]] = {}

    def digest(self, number: int) -> Digest:
        """Gives one file's."""
        return Digest(self.md5[16 * number : 16 * number + 16].hex(), self.blake3.get(number, b""), self.sizes[number])

    def put(self, number: int, digest: Digest) -> None:
        """Sets one file's."""
        self.md5[16 * number : 16 * number + 16] = bytes.fromhex(digest.md5)
        self.sizes[number] = digest.size
        if digest.blake3:
            self.blake3[number] = digest.blake3


def hash_files(
    top: str,
    names: Sequence[str],
    stamps: array[int],
    *,
    hash: str = "md5",  # noqa: A002
    step: Step = SILENT,
) -> Hashes:
    """Gives the hashes of files as `many`; `top` ends with the separator, stamps are flat, four numbers a file."""
    if hash not in HASHES:
        raise BadInput(f"there is no hash {hash!r}", hint="md5, or md5-dos2unix as DVC 2 has it")
    found = Hashes(stamps[1::4])
    large = [number for number, size in enumerate(found.sizes) if size >= LARGE]
    small = [number for number, size in enumerate(found.sizes) if size < LARGE] if large else range(len(names))
    if small:
        _hash_small(_Small(top, names, stamps, hash == "md5"), small, found, step)
    if large:
        from modelkeep.data.snapshots.crew import side_by_side

        paths = [top + names[number] for number in large]
        for number, digest in side_by_side(paths, _whole if hash == "md5" else _mended, step):
            found.put(large[number], digest)
    return found


def _hash_small(files: _Small, numbers: Sequence[int], found: Hashes, step: Step) -> None:
    """Hashes small files, in batches of like cost, by several processes when that pays."""
    from modelkeep.store.forked import MOST, cores, forked, may_fork

    costs = list(accumulate(found.sizes[number] + _FILE_COST for number in numbers))
    bounds = _batches(costs, max(_BATCH_BYTES, costs[-1] // MOST * 2))

    def work(batch: int) -> bytes:
        return files.rows(numbers[bounds[batch] : bounds[batch + 1]])

    processes = cores()
    if costs[-1] >= _FORK_COST and processes > 1 and may_fork():
        answers = forked(len(bounds) - 1, work, processes)
    else:
        answers = ((batch, work(batch)) for batch in range(len(bounds) - 1))
    for batch, rows in answers:
        _store(numbers[bounds[batch] : bounds[batch + 1]], rows, found, step)


class _Small(NamedTuple):
    """Small files to hash."""

    top: str
    names: Sequence[str]
    stamps: array[int]
    plain: bool

    def rows(self, numbers: Sequence[int]) -> bytes:
        """Gives the md5 of files, 16 bytes each; behind them (place, size) of those whose size is another by now."""
        rows = []
        resized: list[int] = []
        for place, number in enumerate(numbers):
            size = self.stamps[4 * number + 1]
            row = self._row(number, size)
            if not row:
                digest = (_whole if self.plain else _mended)(self.top + self.names[number])
                row = bytes.fromhex(digest.md5)
                resized += (place, digest.size)
            rows.append(row)
        return b"".join(rows) + array("q", resized).tobytes()

    def _row(self, number: int, size: int) -> bytes:
        """Gives a file's md5; nothing when the file is no longer as it was listed."""
        name = self.top + self.names[number]
        try:
            file = os.open(name, READ)
            try:
                data = os.read(file, size + 1)
                after = os.fstat(file)
            finally:
                os.close(file)
        except OSError as error:
            raise refusal(error, name) from error
        if len(data) != size or stamp_of(after) != STAMP.unpack_from(self.stamps, 32 * number):
            return b""
        return md5(data, usedforsecurity=False).digest() if self.plain else bytes.fromhex(dos2unix_md5_of(data))


def _store(numbers: Sequence[int], rows: bytes, found: Hashes, step: Step) -> None:
    end = 16 * len(numbers)
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        found.md5[16 * numbers[0] : 16 * numbers[0] + end] = rows[:end]
    else:
        for place, number in enumerate(numbers):
            found.md5[16 * number : 16 * number + 16] = rows[16 * place : 16 * place + 16]
    for place, size in zip(*[iter(array("q", rows[end:]))] * 2, strict=True):
        found.sizes[numbers[place]] = size
    step.add(sum(map(found.sizes.__getitem__, numbers)))


def _batches(costs: list[int], most: int) -> list[int]:
    """Gives where batches of about that cost begin, and the end.

    >>> _batches([10, 20, 30, 40, 50], 20)
    [0, 2, 4, 5]
    """
    from bisect import bisect_right

    bounds = [0]
    while bounds[-1] < len(costs):
        begun = costs[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(max(bisect_right(costs, begun + most), bounds[-1] + 1))
    return bounds


def _whole(name: str, step: Step = SILENT, alone: bool = True) -> Digest:
    return _steady(name, lambda file: digest_of(file, step, alone=alone))


def _mended(name: str, step: Step = SILENT, alone: bool = True) -> Digest:
    def hashed(file: int) -> Digest:
        size = os.fstat(file).st_size
        found = Digest(hashed_as_text(name), b"", size)
        step.add(size)
        return found

    return _steady(name, hashed)


def _steady(name: str, hashed: Callable[[int], Digest]) -> Digest:
    """Hashes an open file until it stays the same from beginning to end."""
    for _ in range(_TRIES):
        try:
            file = os.open(name, READ)
            try:
                before = os.fstat(file)
                if not S_ISREG(before.st_mode):
                    raise BadInput(f"{name}: no regular file")
                digest = hashed(file)
                after = os.fstat(file)
            finally:
                os.close(file)
        except OSError as error:
            raise refusal(error, name) from error
        if stamp_of(before) == stamp_of(after) and digest.size == after.st_size:
            return digest
    raise Conflict(f"{name}: changed while it was read", hint="Run it again when nothing writes to the file.")


def _stamp(name: str) -> Stamp:
    try:
        inode, size, mtime, ctime = stamp_of(os.stat(name))  # noqa: PTH116
    except OSError as error:
        raise refusal(error, name) from error
    return inode, size, mtime, ctime
