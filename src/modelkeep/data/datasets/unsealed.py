"""Rows that were acknowledged but are no part of a dataset yet: logs that many processes write and anybody seals.

A log is a file of frames: `length u32 · rows u32 · crc32 u32 · payload`. An append is one frame, so it is there whole
or not at all. A log is locked while it is written or sealed and between that belongs to nobody: a process that dies
leaves nothing that the next one could not go on with.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

Kind = Literal["jsonl", "parquet"]

_FRAME: Final = struct.Struct("<III")
_LARGEST: Final = 1 << 30
_NAME: Final = re.compile(r"(\d{8}T\d{6}\.\d{9}Z-[0-9a-f]{8})\.([0-9a-f]{8})\.(jsonl|parquet)\.(log|sealing)")


class Log:
    """One log, locked by us.

    Args:
        path: where it lies.
        handle: its open file, locked; closed by whoever gave it to us.
        known: (rows, bytes) of whole frames at its beginning, as far as we saw it before.
    """

    def __init__(self, path: Path, handle: int, known: tuple[int, int] = (0, 0)) -> None:
        found = _NAME.fullmatch(path.name)
        if found is None:
            raise BadInput(f"{path}: is no log of rows", hint=f"Move it elsewhere: mv {path} …")
        self.path, self._handle = path, handle
        self.name, self.kind = found[1], cast("Kind", found[3])
        self.rows, self.end = known
        for offset, rows, payload in self.frames(self.end):
            self.rows += rows
            self.end = offset + _FRAME.size + len(payload)

    @property
    def began_ns(self) -> int:
        """When its first row was appended."""
        moment, fraction = self.name[:15], self.name[16:25]
        return int(datetime.strptime(moment, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()) * SECOND + int(fraction)

    def frames(self, offset: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Gives (offset, rows, payload) of every whole frame; what a crash cut off is not there."""
        while len(head := os.pread(self._handle, _FRAME.size, offset)) == _FRAME.size:
            length, rows, checksum = _FRAME.unpack(head)
            payload = os.pread(self._handle, length, offset + _FRAME.size) if 0 < length <= _LARGEST else b""
            if not length or len(payload) < length or zlib.crc32(payload) != checksum:
                return
            yield offset, rows, payload
            offset += _FRAME.size + length

    def append(self, payload: bytes, rows: int) -> None:
        """Adds a frame durably; when that fails, the log is as before."""
        if not 0 < len(payload) <= _LARGEST:
            raise BadInput(f"{len(payload):,} bytes at once are too many", hint="Append fewer rows at a time.")
        try:
            data = memoryview(_FRAME.pack(len(payload), rows, zlib.crc32(payload)) + payload)
            os.ftruncate(self._handle, self.end)
            done = 0
            while done < len(data):
                done += os.pwrite(self._handle, data[done:], self.end + done)
            os.fdatasync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self.end)
            raise
        self.rows += rows
        self.end += len(data)

    def seal(self, folder: Path) -> str:
        """Turns the log into a part of the dataset and gives the part's name; empty when it had no row.

        The part appears by one rename. A log that was sealed half-way before gives the same part again.
        """
        sealing = self.path.with_suffix(".sealing")
        if self.path != sealing:
            self.path.replace(sealing)
            self.path = sealing
        name = ""
        if self.rows:
            name = f"part-{self.name}-{self.rows}.{self.kind}"
            grown = self.path.with_suffix(".part")
            write = _write_parquet if self.kind == "parquet" else _write_lines
            write(grown, (payload for _, _, payload in self.frames()))
            _sync(grown)
            _make(folder)
            grown.replace(folder / name)
            _sync(folder)
        self.path.unlink()
        return name


class Unsealed:
    """All logs of one dataset.

    Args:
        folder: where they lie; made with the first row.
        now_ns: the clock.
    """

    def __init__(self, folder: Path, now_ns: Callable[[], int]) -> None:
        self._folder, self._now_ns = folder, now_ns
        self._seen: dict[str, tuple[int, int]] = {}

    @contextmanager
    def writable(self, kind: Kind, form: bytes) -> Iterator[Log]:
        """Gives a log for rows of one form, locked: one that nobody holds, else a new one.

        Args:
            kind: what it becomes.
            form: distinguishes rows that cannot share a part, such as the schema of a table.
        """
        mark = f"{zlib.crc32(form):08x}"
        for path in self._paths("log"):
            found = _NAME.fullmatch(path.name)
            if found is not None and found[2] == mark and found[3] == kind and (handle := _lock(path, wait=False)) >= 0:
                try:
                    log = Log(path, handle, self._seen.get(path.name, (0, 0)))
                    yield log
                    self._seen = {path.name: (log.rows, log.end)}
                finally:
                    os.close(handle)
                return
        with self._fresh(kind, mark) as log:
            yield log

    @contextmanager
    def _fresh(self, kind: Kind, mark: str) -> Iterator[Log]:
        _make(self._folder)
        at = self._now_ns()
        moment = datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y%m%dT%H%M%S")
        stem = f"{moment}.{at % SECOND:09d}Z-{os.urandom(4).hex()}.{mark}.{kind}"
        grown = self._folder / f"{stem}.new"
        path = self._folder / f"{stem}.log"
        handle = os.open(grown, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            grown.replace(path)  # nobody sees it before we hold it
            _sync(self._folder)
            yield Log(path, handle)
        finally:
            os.close(handle)

    def all(self, *, wait: bool = True) -> Iterator[Log]:
        """Gives every log that has a row or was being sealed, one after the other, locked meanwhile.

        Args:
            wait: for those that somebody writes at this moment; otherwise they are left out.
        """
        for path in (*self._paths("sealing"), *self._paths("log")):
            handle = _lock(path, wait=wait)
            if handle < 0:
                continue
            try:
                yield Log(path, handle)
            finally:
                os.close(handle)

    def abandoned(self) -> bool:
        """Tells whether a log was left while it was being sealed."""
        return bool(self._paths("sealing"))

    def _paths(self, suffix: str) -> list[Path]:
        return sorted(self._folder.glob(f"*.{suffix}")) if self._folder.is_dir() else []


def _lock(path: Path, *, wait: bool) -> int:
    """An open and locked file, or -1 when somebody holds it or has sealed it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(handle)):
            return handle
    except BlockingIOError:
        pass
    except FileNotFoundError:  # sealed between the two looks
        pass
    os.close(handle)
    return -1


def _make(folder: Path) -> None:
    """Makes a folder and those above it, durably."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _write_lines(path: Path, payloads: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for payload in payloads:
            file.write(payload)


def _write_parquet(path: Path, payloads: Iterator[bytes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer: ParquetWriter | None = None
    try:
        for payload in payloads:
            table: pa.Table = pa.ipc.open_stream(payload).read_all()
            writer = writer or parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
