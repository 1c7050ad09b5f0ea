"""The row engine's files: where they lie, how rows are cut into them, how they are written.

A file lies at `kind/model=<percent-encoded>/dt=<day>/<first seq>-<last seq>-<serial>.parquet`; kinds that are not kept
per model have no such level. Rows are ordered by `at`. A file holds whole days: one day, or several when they are
small, so that a back-fill of a year does not make a year of tiny files; then the level is `dt=<first>_<last>`, which no
reader mistakes for one day. Pruning does not need the path: the manifest has each file's first and last `at`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelkeep.core.clock import DAY
from modelkeep.store.disk import Disk
from modelkeep.store.rows.columns import FIXED, Stream, whole
from modelkeep.store.rows.manifest import Sealed

DAY_ROWS: Final = 50_000
"""Days are joined in one file until it has this many rows."""
MOST_ROWS: Final = 1_000_000
"""A day with more rows than this is cut into several files."""
_GROUP_ROWS: Final = 65_536
_CHUNK: Final = 1 << 20


def cut(table: pa.Table) -> Iterator[pa.Table]:
    """Gives the rows ordered by (at, seq, row), in pieces of whole days.

    A piece has at least `DAY_ROWS` rows, except the last, and no day is in two pieces, unless it alone has more
    than `MOST_ROWS` rows.

    >>> at = [2 * DAY, 1, DAY]
    >>> [len(piece) for piece in cut(pa.table({"at": at, "seq": [1, 1, 1], "row": [0, 1, 2]}))]
    [3]
    """
    at = whole(table["at"])
    if np.any(np.diff(at) < 0):
        order = np.lexsort((whole(table["row"]), whole(table["seq"]), at))
        table, at = table.take(order), at[order]
    days = at // DAY
    ends = [*(np.flatnonzero(np.diff(days)) + 1).tolist(), table.num_rows]
    start = 0
    for end in ends:
        if end - start >= DAY_ROWS or end == table.num_rows:
            yield from _slices(table, start, end)
            start = end


def _slices(table: pa.Table, start: int, end: int) -> Iterator[pa.Table]:
    count = -(-(end - start) // MOST_ROWS)
    bounds = np.linspace(start, end, count + 1).astype(int).tolist()
    for low, high in pairwise(bounds):
        yield table.slice(low, high - low)


def place(stream: Stream, first_day: int, last_day: int, stem: str) -> str:
    """Gives the path of a file below the engine's folder.

    >>> place(Stream("prediction", "a/b"), 0, 1, "1-2-3")
    'prediction/model=a%2Fb/dt=1970-01-01_1970-01-02/1-2-3.parquet'
    >>> place(Stream("event", ""), 0, 0, "1-2-3")
    'event/dt=1970-01-01/1-2-3.parquet'
    """
    first, last = (str(np.datetime64(day, "D")) for day in (first_day, last_day))
    day = first if first == last else f"{first}_{last}"
    model = [f"model={_encoded(stream.model)}"] if stream.model else []
    levels = [stream.kind, *model, f"dt={day}", f"{stem}.parquet"]
    return "/".join(levels)


def _encoded(model: str) -> str:
    text = quote(model, safe="")
    return (
        text if len(text) <= 200 else f"{text[:180].rpartition('%')[0] or text[:180]}~{zlib.crc32(model.encode()):08x}"
    )


def write(folder: Path, stream: Stream, table: pa.Table, serial: int, disk: Disk, *, received_ns: int) -> Sealed:
    """Writes one ordered piece as a file that survives a power loss, and gives its description.

    Args:
        folder: the engine's.
        stream: whose rows these are.
        table: ordered by `at`, at least one row.
        serial: not used before.
        disk: makes it durable.
        received_ns: no row arrived later.
    """
    (from_ns, to_ns), (from_seq, to_seq) = _range(table, "at"), _range(table, "seq")
    path = folder / place(stream, from_ns // DAY, to_ns // DAY, f"{from_seq}-{to_seq}-{serial}")
    fresh = _made(path.parent, folder)
    try:
        pq.write_table(
            table,
            path,
            row_group_size=_GROUP_ROWS,
            compression="zstd",
            compression_level=1,
            use_dictionary=_texts(table.schema),  # type: ignore[arg-type]
            column_encoding=dict.fromkeys(("at", "time", "seq", "row"), "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )
        size, crc = _synced(path, disk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    for made in {path.parent, *fresh}:
        disk.sync_folder(made)
    fixed = {column for column, _ in FIXED[stream.kind]}
    return Sealed(
        name=path.relative_to(folder).as_posix(),
        kind=stream.kind,
        model=stream.model,
        rows=table.num_rows,
        size_bytes=size,
        crc=crc,
        from_ns=from_ns,
        to_ns=to_ns,
        from_seq=from_seq,
        to_seq=to_seq,
        columns=tuple(column for column in table.column_names if column not in fixed),
        received_ns=received_ns,
    )


def _range(table: pa.Table, column: str) -> tuple[int, int]:
    values = whole(table[column])
    return int(values.min()), int(values.max())


def _texts(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name != "id" and schema.field(name).type == pa.string()]


def _made(folder: Path, root: Path) -> list[Path]:
    """Makes a folder and gives the folders that got a new name in them."""
    changed, missing = [], folder
    while missing != root and not missing.exists():
        missing = missing.parent
        changed.append(missing)
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def _synced(path: Path, disk: Disk) -> tuple[int, int]:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)
    return checksum(path)


def checksum(path: Path) -> tuple[int, int]:
    """Gives the size in bytes and the CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            size += len(data)
            crc = zlib.crc32(data, crc)
    return size, crc
