"""Durable appends of record batches: the journal beside DuckDB and SQLite, in one run.

    python -m venv peers && peers/bin/pip install -r bench/peers/journal.txt -e '.[server]'
    peers/bin/python bench/journal.py [--folder ON_THE_DISK_TO_MEASURE] [--seconds 1.0]

Every contender appends the same batches and returns when they are on disk. They take turns, so that whatever else
the machine does meets all of them; what one has left to the disk is written out before the next begins. SQLite gets
its rows ready made (turning Arrow into rows is not counted). The floor is one bare write and fdatasync of the same
bytes over a file that is laid out already.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from modelkeep.core.shapes import Part
from modelkeep.store.journal.frames import body
from modelkeep.store.journal.journal import Journal

FLOATS = 8
ROUNDS = 4


def batch(rows: int) -> pa.RecordBatch:
    """Twelve columns, as a model's predictions have them."""
    rng = np.random.default_rng(rows)
    columns: dict[str, object] = {
        "id": [f"{number:032x}" for number in range(rows)],
        "at": np.arange(rows) + 1_700_000_000_000_000_000,
        "version": ["2024-05-01"] * rows,
        "score": rng.random(rows),
    }
    return pa.RecordBatch.from_pydict(columns | {f"features.f{n}": rng.random(rows) for n in range(FLOATS)})


class Floor:
    name = "bare fdatasync"

    def __init__(self, folder: Path) -> None:
        self.fd = os.open(folder / "floor", os.O_RDWR | os.O_CREAT)
        self.room, self.at = 64 << 20, 0
        os.write(self.fd, bytes(self.room))
        os.fsync(self.fd)

    def take(self, given: pa.RecordBatch) -> None:
        self.data = b"".join(bytes(memoryview(piece)) for piece in body([Part("prediction", given)]))

    def append(self) -> None:
        self.at = 0 if self.at + len(self.data) > self.room else self.at
        os.pwrite(self.fd, self.data, self.at)
        os.fdatasync(self.fd)
        self.at += len(self.data)

    def close(self) -> None:
        os.close(self.fd)


class OurJournal:
    name = "journal"

    def __init__(self, folder: Path) -> None:
        self.journal, self.tokens = Journal(folder / "journal"), count()

    def take(self, given: pa.RecordBatch) -> None:
        self.parts = [Part("prediction", given)]

    def append(self) -> None:
        self.journal.append(self.parts, token=f"{next(self.tokens):032x}")

    def close(self) -> None:
        self.journal.close()


class DuckDB:
    name = f"DuckDB {duckdb.__version__}"

    def __init__(self, folder: Path) -> None:
        self.connection = duckdb.connect(str(folder / "duck.db"))
        given = batch(1)
        self.connection.register("given", pa.table([*given.columns], names=given.schema.names))
        self.connection.execute("create table kept as select * from given limit 0").fetchall()
        self.connection.unregister("given")

    def take(self, given: pa.RecordBatch) -> None:
        self.table = pa.Table.from_batches([given])

    def append(self) -> None:
        self.insert(self.connection)

    def insert(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("given", self.table)
        connection.execute("insert into kept select * from given").fetchall()
        connection.unregister("given")

    def close(self) -> None:
        self.connection.close()


class SQLite:
    name = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, folder: Path) -> None:
        self.connection = sqlite3.connect(folder / "sqlite.db", isolation_level=None)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = full")
        names = [f'"{name}"' for name in batch(1).schema.names]
        self.connection.execute(f"create table kept ({', '.join(names)})")
        self.sql = f"insert into kept values ({', '.join('?' * len(names))})"

    def take(self, given: pa.RecordBatch) -> None:
        self.rows = list(zip(*(column.to_pylist() for column in given.columns), strict=True))

    def append(self) -> None:
        self.connection.execute("begin immediate")
        self.connection.executemany(self.sql, self.rows)
        self.connection.execute("commit")

    def close(self) -> None:
        self.connection.close()


def timed(append: Callable[[], None], seconds: float, most: int) -> list[float]:
    """Milliseconds of each append."""
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end and len(spent) < most:
        append()
        spent.append((time.perf_counter() - began) * 1e3)
    return spent


def one_sender(folder: Path, seconds: float) -> None:
    print(
        f"{'one sender':>22}  {'rows/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}   journal ahead by: rows/s, p50"
    )
    for rows in (100, 2_000, 20_000):
        place = folder / str(rows)
        place.mkdir()
        given, spent = batch(rows), {}
        contenders = [Floor(place), OurJournal(place), DuckDB(place), SQLite(place)]
        for each in contenders:
            each.take(given)
            each.append()
            spent[each.name] = []
        for _ in range(ROUNDS):
            for each in contenders:
                os.sync()
                spent[each.name] += timed(each.append, seconds / ROUNDS, 2_000 // ROUNDS)
        ours = np.array(spent[OurJournal.name])
        for each in contenders:
            each.close()
            times = np.array(spent[each.name])
            print(
                f"{rows:>6} {each.name:>15}  {rows / times.mean() * 1e3:>10,.0f} {np.median(times):>8.3f}"
                f" {np.quantile(times, 0.99):>8.3f} {times.max():>8.2f}   {times.mean() / ours.mean():.2f} x,"
                f" {np.median(times) / np.median(ours):.2f} x"
            )


def many_senders(folder: Path, seconds: float, senders: int = 8) -> None:
    print(f"\n{f'{senders} senders, 100 rows':>22}  {'rows/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    place = folder / "many"
    place.mkdir()
    given = batch(100)
    ours, duck = OurJournal(place), DuckDB(place)
    ours.take(given)
    duck.take(given)
    local = threading.local()

    def insert() -> None:
        if not hasattr(local, "cursor"):
            local.cursor = duck.connection.cursor()
        duck.insert(local.cursor)

    rates: list[float] = []
    os.sync()
    for name, append in ((ours.name, ours.append), (duck.name, insert)):
        began = time.perf_counter()
        with ThreadPoolExecutor(senders) as pool:
            spent = list(pool.map(lambda _, append=append: timed(append, seconds, 5_000), range(senders)))
        times = np.concatenate(spent)
        rates.append(100 * len(times) / (time.perf_counter() - began))
        print(
            f"{name:>22}  {rates[-1]:>10,.0f} {np.median(times):>8.3f} {np.quantile(times, 0.99):>8.3f}"
            f" {times.max():>8.2f}   {rates[0] / rates[-1]:.2f} x"
        )
    status = ours.journal.status()
    print(f"{'':>22}  the journal wrote {status.entries:,} batches with {status.fsyncs:,} fsyncs")
    ours.close()
    duck.close()


def asked_not_to_wait(folder: Path, seconds: float) -> None:
    """What a server does: submit from one thread, the answer comes from the journal's own."""
    journal = Journal(folder / "submitted")
    given = [Part("prediction", batch(100))]
    times = np.array(timed(lambda: journal.submit(given).result() and None, seconds, 2_000))
    print(f"{'submit, then result':>22}  {100 / times.mean() * 1e3:>10,.0f} {np.median(times):>8.3f}", end="")
    print(f" {np.quantile(times, 0.99):>8.3f} {times.max():>8.2f}")
    journal.close()


def afterwards(folder: Path) -> None:
    began = time.perf_counter()
    journal = Journal(folder / "20000" / "journal")
    opened = time.perf_counter() - began
    size, after, began, entries = journal.status().bytes / 1e6, 0, time.perf_counter(), 0
    while found := journal.read(after):
        after, entries = found[-1].seq, entries + len(found)
    took = time.perf_counter() - began
    print(f"\n{size:,.0f} MB journal: opened in {opened:.3f} s; {entries:,} entries read in {took:.2f} s", end="")
    print(f" ({size / took:,.0f} MB/s, every checksum verified)")
    journal.close()


def bandwidth(folder: Path) -> float:
    """MB/s of a long write with one sync at its end."""
    data, fd = os.urandom(16 << 20), os.open(folder / "long", os.O_RDWR | os.O_CREAT)
    began = time.perf_counter()
    for part in range(8):
        os.pwrite(fd, data, part * len(data))
    os.fdatasync(fd)
    took = time.perf_counter() - began
    os.close(fd)
    return 8 * len(data) / took / 1e6


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--folder", type=Path, default=None, help="a folder on the disk to measure")
    options.add_argument("--seconds", type=float, default=2.0, help="for each contender and size of batch")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        folder = Path(made)
        print(f"{os.cpu_count()} cores; the disk writes {bandwidth(folder):,.0f} MB/s; a row is {FLOATS + 4} columns")
        one_sender(folder, asked.seconds)
        many_senders(folder, asked.seconds)
        asked_not_to_wait(folder, asked.seconds / 2)
        afterwards(folder)


if __name__ == "__main__":
    main()
