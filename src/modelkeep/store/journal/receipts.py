"""Receipts: which token was acknowledged with which seq, for longer than the journal keeps the entry.

Tokens of recent entries are in memory; the journal's own frames make them durable. When a segment is finished
its tokens go to a run: a file of 24-byte rows (16 bytes of BLAKE2b over the token, 8 bytes seq), sorted, behind a
40-byte head with a checksum. Runs are merged while they are small and removed when their newest token is old.
"""

from __future__ import annotations

import logging
import re
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from isal.isal_zlib import crc32

from modelkeep.core.clock import DAY
from modelkeep.core.errors import Conflict
from modelkeep.store.disk import Disk

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Buffer

    Words = npt.NDArray[np.uint64]

KEEP_NS: Final = 8 * DAY
"""How long a token is remembered at least."""

_HEAD: Final = struct.Struct("<4sIQqqI4x")
_MAGIC: Final = b"mkRc"
_FORMAT: Final = 1
_ROW: Final = 24
_KEY: Final = 16
_PER_BUCKET: Final = 32
_MERGED_ROWS: Final = 2_000_000
_SPAN_NS: Final = DAY
_NAME: Final = re.compile(r"(\d{20})-(\d{20})\.receipts")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The journal's acknowledgement.

    Args:
        seq: the entry's position.
        repeated: the token was kept before; nothing was written, `seq` is that of the first time.
    """

    seq: int
    repeated: bool = False


def key(token: bytes) -> bytes:
    """Gives the 16 bytes under which a token is remembered.

    >>> len(key(b"order 7"))
    16
    """
    return blake2b(token, digest_size=_KEY).digest()


@dataclass(frozen=True, slots=True)
class Span:
    """What one run covers.

    Args:
        first: the first seq.
        last: the last seq.
        oldest_ns: when its first token arrived.
        newest_ns: when its last token arrived.
    """

    first: int
    last: int
    oldest_ns: int
    newest_ns: int


@dataclass(frozen=True, slots=True)
class Run:
    """The tokens of a span, sorted by key.

    Args:
        span: what it covers.
        data: the rows.
        bounds: where each bucket of keys with equal leading bits begins.
        shift: how many bits of the key's first 64 do not count for its bucket.
    """

    span: Span
    data: memoryview = field(repr=False)
    bounds: list[int] = field(repr=False)
    shift: int

    @classmethod
    def of(cls, span: Span, data: Buffer) -> Run:
        """Indexes sorted rows."""
        view = memoryview(data).cast("B")
        bits = max((len(view) // _ROW // _PER_BUCKET).bit_length(), 1)
        edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        bounds = np.searchsorted(_words(view)[:, 0], edges).tolist()
        return cls(span, view, [*bounds, len(view) // _ROW], 64 - bits)

    def __len__(self) -> int:
        return len(self.data) // _ROW

    def find(self, wanted: bytes) -> int | None:
        """Gives the seq of a key."""
        bucket = int.from_bytes(wanted[:8], "big") >> self.shift
        block = bytes(self.data[self.bounds[bucket] * _ROW : self.bounds[bucket + 1] * _ROW])
        at = block.find(wanted)
        while at >= 0 and at % _ROW:
            at = block.find(wanted, at + 1)
        return int.from_bytes(block[at + _KEY : at + _ROW], "little") if at >= 0 else None


class Receipts:
    """Remembers tokens for at least `keep_ns`.

    Args:
        disk: where runs are written.
        folder: made when it is missing.
        keep_ns: how long a token is remembered at least.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> receipts = Receipts(Disk(), folder)
    >>> receipts.note(key(b"a"), 1)
    >>> receipts.retire(Span(1, 1, 0, 0), [key(b"a")])
    >>> Receipts(Disk(), folder).find(key(b"a"))
    1
    """

    def __init__(self, disk: Disk, folder: Path, *, keep_ns: int = KEEP_NS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._disk, self._folder, self._keep_ns = disk, folder, keep_ns
        self._recent: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self.damaged: list[str] = []
        self._runs: list[Run] = self._load()

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run) for run in self._runs)

    def note(self, wanted: bytes, seq: int) -> None:
        """Remembers a key, in memory until its segment is retired."""
        self._recent[wanted] = seq

    def recent(self, wanted: bytes) -> int | None:
        """The seq of a key that is in memory."""
        return self._recent.get(wanted)

    def find(self, wanted: bytes) -> int | None:
        """The seq of a key, or None when it was never kept."""
        seq = self._recent.get(wanted)
        if seq is not None:
            return seq
        for run in reversed(self._runs):
            seq = run.find(wanted)
            if seq is not None:
                return seq
        return None

    def covers(self, first: int, last: int) -> bool:
        """Whether a run holds the tokens of all these seqs."""
        return any(run.span.first <= first and last <= run.span.last for run in self._runs)

    def retire(self, span: Span, keys: Iterable[bytes]) -> None:
        """Moves the keys of a finished segment from memory to disk."""
        with self._lock:
            known = [(wanted, self._recent[wanted]) for wanted in keys if wanted in self._recent]
            rows = b"".join(wanted + seq.to_bytes(8, "little") for wanted, seq in known)
            self._runs = [*self._runs, self._write(span, _sorted(rows))]
            for wanted, _ in known:
                self._recent.pop(wanted, None)
            try:
                while self._mergeable():
                    self._merge()
            except OSError as error:
                log.warning("runs of tokens in %s are not merged for now: %s", self._folder, error)

    def expire(self, now_ns: int) -> int:
        """Forgets runs whose newest token is old enough; gives how many tokens that were."""
        with self._lock:
            old = [run for run in self._runs if run.span.newest_ns + self._keep_ns < now_ns]
            self._runs = [run for run in self._runs if run not in old]
            for run in old:
                self._disk.remove(self._path(run.span))
            return sum(len(run) for run in old)

    def _mergeable(self) -> bool:
        if len(self._runs) < 2:
            return False
        older, newer = self._runs[-2:]
        return (
            len(older) <= 2 * len(newer)
            and len(older) + len(newer) <= _MERGED_ROWS
            and newer.span.newest_ns - older.span.oldest_ns <= _SPAN_NS
        )

    def _merge(self) -> None:
        older, newer = self._runs[-2:]
        one, two = older.span, newer.span
        span = Span(one.first, two.last, min(one.oldest_ns, two.oldest_ns), max(one.newest_ns, two.newest_ns))
        merged = self._write(span, _sorted(bytes(older.data) + bytes(newer.data)))
        self._runs = [*self._runs[:-2], merged]
        for gone in (one, two):
            if self._path(gone) != self._path(span):
                self._disk.remove(self._path(gone))

    def _write(self, span: Span, rows: bytes) -> Run:
        head = _HEAD.pack(_MAGIC, _FORMAT, len(rows) // _ROW, span.oldest_ns, span.newest_ns, _check(span, rows))
        self._disk.keep(self._path(span), head + rows)
        return Run.of(span, memoryview(self._disk.map(self._path(span)))[_HEAD.size :])

    def _path(self, span: Span) -> Path:
        return self._folder / f"{span.first:020d}-{span.last:020d}.receipts"

    def _load(self) -> list[Run]:
        runs: list[Run] = []
        for name in self._disk.names(self._folder):
            if name.endswith(".new"):
                self._disk.remove(self._folder / name)
            elif match := _NAME.fullmatch(name):
                run = self._open(name, int(match[1]), int(match[2]))
                runs += [run] if run else []
        return self._without_parts(runs)

    def _open(self, name: str, first: int, last: int) -> Run | None:
        path = self._folder / name
        try:
            view = memoryview(self._disk.map(path))
            magic, version, count, oldest_ns, newest_ns, crc = _HEAD.unpack_from(view)
        except (ValueError, struct.error) as error:
            self._aside(name, str(error))
            return None
        span, rows = Span(first, last, oldest_ns, newest_ns), view[_HEAD.size :]
        if magic != _MAGIC or len(rows) != count * _ROW or crc != _check(span, rows, version):
            self._aside(name, "its checksum is wrong")
            return None
        if version > _FORMAT:
            raise Conflict(
                f"{path} is of form {version}; this modelkeep reads up to {_FORMAT}",
                hint="Start the newer modelkeep that wrote it.",
            )
        return Run.of(span, rows)

    def _aside(self, name: str, why: str) -> None:
        log.error("tokens in %s are lost: %s; a sender's repetition of one of them would be kept twice", name, why)
        self._disk.rename(self._folder / name, self._folder / f"{name}.damaged")
        self.damaged.append(name)

    def _without_parts(self, runs: list[Run]) -> list[Run]:
        """A merge that was cut short leaves its parts beside the whole: they go."""
        kept: list[Run] = []
        for run in sorted(runs, key=lambda run: (run.span.first, -run.span.last)):
            if kept and run.span.last <= kept[-1].span.last:
                self._disk.remove(self._path(run.span))
            else:
                kept.append(run)
        return kept


def _check(span: Span, rows: Buffer, version: int = _FORMAT) -> int:
    return crc32(rows, crc32(struct.pack("<IQQqq", version, span.first, span.last, span.oldest_ns, span.newest_ns)))


def _words(rows: Buffer) -> Words:
    """Rows as (leading half of the key, other half, seq), shape (n, 3)."""
    words: Words = np.frombuffer(memoryview(rows), ">u8").reshape(-1, 3).astype(np.uint64)
    return words


def _sorted(rows: bytes) -> bytes:
    words = _words(rows)
    return np.frombuffer(rows, f"V{_ROW}")[np.lexsort((words[:, 1], words[:, 0]))].tobytes()
