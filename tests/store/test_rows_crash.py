"""The row engine when the disk says no, and when the process is killed: every row once, none lost."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from modelkeep.core.clock import DAY, Fixed
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.disk import Disk
from modelkeep.store.engines.rows import Rows


def entry(seq: int) -> Entry:
    """The rows of one journal entry: some facts, and predictions over several days."""
    ids = [f"{seq}-{n}" for n in range(5)]
    at = pa.array([(seq + n) % 9 * DAY for n in range(5)], pa.int64())
    facts = pa.record_batch({"id": ids, "kind": ["label"] * 5, "at": at})
    predictions = pa.record_batch({"id": ids, "at": at, f"features.f{seq % 3}": [1.0] * 5})
    meta = {"model": f"m{seq % 2}", "version": "1"}
    return Entry(seq, "", 0, (Part("fact", facts), Part("prediction", predictions.replace_schema_metadata(meta))))


class Failing(Disk):
    """A disk on which the nth change fails, and, when it is `dead`, every later one too."""

    def __init__(self, left: int, *, dead: bool) -> None:
        self.left = left
        self.dead = dead
        self.failed = 0

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.dead):
            self.failed += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)

    def rename(self, path: Path, to: Path) -> None:
        self._step()
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


def exact(rows: Rows, entries: int) -> None:
    kept = Counter(f"{seq}-{n}" for seq in range(1, entries + 1) for n in range(5))
    for kind in ("fact", "prediction"):
        assert Counter(rows.scan(kind, columns=["id"])["id"].to_pylist()) == kept


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight seals in it, ready to be joined."""
    folder = tmp_path_factory.mktemp("eight")
    rows = Rows(folder, clock=Fixed(30 * DAY))
    for seq in range(1, 9):
        rows.apply([entry(seq)])
        rows.seal()
    rows.close()
    return folder


@pytest.mark.parametrize(("dead", "stride"), [(True, 2), (False, 5)], ids=["crash", "error"])
def test_a_failure_at_any_step_loses_and_doubles_nothing(tmp_path: Path, eight: Path, dead: bool, stride: int) -> None:
    for step in range(1, 200, stride):
        folder = tmp_path / str(step)
        shutil.copytree(eight, folder)
        disk = Failing(1 << 30, dead=dead)
        rows = Rows(folder, clock=Fixed(30 * DAY), disk=disk)
        rows.apply([entry(9)])
        disk.left = step
        for action in (rows.seal, rows.compact):
            with contextlib.suppress(OSError):
                action()
        exact(rows, 9)
        if not dead:
            disk.left = 1 << 30
            assert rows.seal() == 9
            rows.compact()
            exact(rows, 9)
        rows.close()
        rows = Rows(folder, clock=Fixed(30 * DAY))
        rows.apply([entry(seq) for seq in range(rows.sealed() + 1, 10)])
        exact(rows, 9)
        assert len(list(folder.rglob("*.parquet"))) == rows.status().files
        rows.close()
        if not disk.failed:
            break
    assert step > 15


WRITER = """
import sys
from pathlib import Path
from modelkeep.core.clock import DAY, Fixed
from modelkeep.store.engines.rows import Rows
sys.path.insert(0, sys.argv[2])
from test_rows_crash import entry
rows = Rows(Path(sys.argv[1]), clock=Fixed(30 * DAY))
seq = rows.sealed()
print("ready", flush=True)
while True:
    seq += 1
    rows.apply([entry(seq)])
    if seq % 2:
        print(rows.seal(), flush=True)
    if seq % 9 == 0:
        rows.compact()
"""


def killed(folder: Path, after_s: float) -> int:
    """Runs a writer, kills it after some time, and gives the last seal that it told of."""
    command = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(after_s)
        os.kill(child.pid, signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return told[-1] if told else 0


def kills(folder: Path, times: int) -> None:
    chance = random.Random(7)
    for _ in range(times):
        told = killed(folder, chance.uniform(0.02, 0.4))
        rows = Rows(folder, clock=Fixed(30 * DAY))
        assert rows.sealed() >= told
        exact(rows, rows.sealed())
        assert rows.status().damaged == ()
        rows.close()


def test_kill_9_while_sealing_and_joining(tmp_path: Path) -> None:
    kills(tmp_path, 3)


@pytest.mark.slow
def test_kill_9_many_times(tmp_path: Path) -> None:
    kills(tmp_path, 60)
