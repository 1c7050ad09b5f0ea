"""The journal on a disk that fills up, fails, or loses power."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import Busy, Error, Unreachable
from modelkeep.core.shapes import Part
from modelkeep.store.disk import Disk
from modelkeep.store.journal.journal import Journal, Receipt

SECTOR = 512


class FaultyDisk(Disk):
    """A disk that fails on demand and remembers what was never made durable.

    `trouble` is asked before each change with the verb and a running number; it may raise. A write that it makes
    fail has put a part of its bytes down before.
    """

    def __init__(self, trouble: Callable[[str, int], None] | None = None, seed: int = 0) -> None:
        self.trouble, self.changes, self.dead = trouble, 0, False
        self.rng = random.Random(seed)
        self.verbs: list[str] = []
        self._paths: dict[int, Path] = {}
        self._durable: dict[Path, bytes] = {}
        self._names: dict[Path, Path] = {}
        self._pending: dict[Path, list[tuple[int, bytes | None]]] = {}
        self._guard = threading.RLock()
        self.room = 1 << 40

    def _change(self, verb: str) -> None:
        if self.dead:
            raise OSError(errno.EIO, "no power")
        self.changes += 1
        self.verbs.append(verb)
        if self.trouble:
            self.trouble(verb, self.changes)

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        with self._guard:
            if create:
                self._change("create")
            fd = super().open(path, write=write, create=create)
            self._paths[fd] = path
            if create:
                self._durable[path], self._pending[path] = b"", []
            return fd

    def write(self, fd: int, offset: int, pieces: Sequence[bytes]) -> None:
        with self._guard:
            data = b"".join(bytes(memoryview(piece)) for piece in pieces)
            path = self._paths[fd]
            try:
                self._change("write")
            except OSError:
                part = data[: self.rng.randrange(len(data) + 1)]
                super().write(fd, offset, [part])
                self._pending.setdefault(path, []).append((offset, part))
                raise
            super().write(fd, offset, pieces)
            self._pending.setdefault(path, []).append((offset, data))

    def truncate(self, fd: int, size: int) -> None:
        with self._guard:
            self._change("truncate")
            super().truncate(fd, size)
            self._pending.setdefault(self._paths[fd], []).append((size, None))

    def sync(self, fd: int) -> None:
        with self._guard:
            self._change("sync")
            self._durable[self._paths[fd]] = os.pread(fd, self.size(fd), 0)
            self._pending[self._paths[fd]] = []

    def sync_folder(self, folder: Path) -> None:
        with self._guard:
            self._change("sync_folder")
            self._names = {path: path for path in folder.iterdir() if path.is_file()} | {
                path: was for path, was in self._names.items() if path.parent != folder
            }

    def rename(self, path: Path, to: Path) -> None:
        with self._guard:
            self._change("rename")
            super().rename(path, to)
            self._durable[to] = self._durable.pop(path, b"")
            self._pending[to] = self._pending.pop(path, [])

    def remove(self, path: Path) -> None:
        with self._guard:
            self._change("remove")
            super().remove(path)
            self._durable.pop(path, None)
            self._names.pop(path, None)

    def free(self, folder: Path) -> int:
        return self.room

    def after_power_loss(self, folder: Path, to: Path) -> None:
        """Writes what the folder may look like then: every sector written since the last sync is there or not."""
        for path in [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]:
            if path in self._durable and path not in self._names and self.rng.random() < 0.5:
                continue
            content = bytearray(self._durable.get(path, path.read_bytes()))
            for offset, data in self._pending.get(path, []):
                self._replay(content, offset, data)
            place = to / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def _replay(self, content: bytearray, offset: int, data: bytes | None) -> None:
        if data is None:
            if self.rng.random() < 0.5:
                content[offset:] = bytes(max(offset - len(content), 0))
            return
        start = offset
        while start < offset + len(data):
            end = min((start // SECTOR + 1) * SECTOR, offset + len(data))
            if self.rng.random() < 0.6:
                content.extend(bytes(max(end - len(content), 0)))
                content[start:end] = data[start - offset : end - offset]
            start = end


def parts(number: int, size: int = 50) -> list[Part]:
    filler = random.Random(number).randbytes(size).hex()
    return [Part("event", pa.record_batch({"number": [number], "filler": [filler]}))]


def number_of(entry) -> int:
    return entry.parts[0].batch.column("number")[0].as_py()


def everything(journal: Journal, limit_bytes: int = 1 << 16) -> dict[int, int]:
    found: dict[int, int] = {}
    after = 0
    while entries := journal.read(after, limit_bytes=limit_bytes):
        for entry in entries:
            assert entry.seq > after
            after = entry.seq
            number = number_of(entry)
            assert entry.parts[0].batch.equals(
                parts(number, len(entry.parts[0].batch["filler"][0].as_py()) // 2)[0].batch
            )
            found[after] = number
    return found


def die_at(change: int) -> Callable[[str, int], None]:
    def trouble(verb: str, number: int) -> None:
        if number >= change:
            disk = trouble.disk  # type: ignore[attr-defined]
            disk.dead = True
            raise OSError(errno.EIO, "no power")

    return trouble


def lives(folder: Path, seed: int, change: int, sizes: Sequence[int]) -> None:
    """Appends until the power goes at some change, opens what is left, and goes on; checks every promise."""
    trouble = die_at(change)
    disk = FaultyDisk(trouble, seed)
    trouble.disk = disk  # type: ignore[attr-defined]
    acknowledged: dict[str, int] = {}
    attempted: list[str] = []
    try:
        journal = Journal(folder / "a", disk=disk, segment_bytes=6_000, reserve_bytes=0, tail_bytes=2_000)
        try:
            for number, size in enumerate(sizes):
                attempted.append(f"t{number}")
                acknowledged[f"t{number}"] = journal.append(parts(number, size), token=f"t{number}").seq
                if number % 5 == 4:
                    journal.release("rows", acknowledged[f"t{number - 4}"])
        except (Error, OSError):
            assert disk.dead
        first = journal.first()
        journal.close()
    except OSError:
        assert disk.dead
        return
    (folder / "b").mkdir()
    disk.after_power_loss(folder / "a", folder / "b")
    again = Journal(folder / "b", segment_bytes=6_000, reserve_bytes=0)
    try:
        found = everything(again)
        for token, seq in acknowledged.items():
            if seq >= first:
                assert found[seq] == int(token[1:]), f"{token} was acknowledged as {seq}"
            assert again.append(parts(int(token[1:])), token=token) == Receipt(seq, repeated=True)
        kept = list(found.values())
        assert kept == sorted(set(kept))
        assert set(kept) <= set(range(len(attempted)))
        assert len([number for number in kept if f"t{number}" not in acknowledged]) <= 1
        assert again.recovered.damaged == ()
        assert again.append(parts(999), token="t999").seq == (max(found, default=again.last() - 1) + 1)
    finally:
        again.close()


@given(
    seed=st.integers(0, 2**32),
    change=st.integers(1, 120),
    sizes=st.lists(st.integers(1, 4_000), min_size=1, max_size=25),
)
@settings(max_examples=80)
def test_what_was_acknowledged_survives_a_power_loss_at_any_moment(tmp_path_factory, seed, change, sizes):
    lives(tmp_path_factory.mktemp("lives"), seed, change, sizes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_power_losses(tmp_path):
    for seed in range(10_000):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        lives(folder, seed, rng.randrange(1, 150), [rng.randrange(1, 4_000) for _ in range(rng.randrange(1, 25))])
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_every_write_site_is_busy_and_over_when_there_is_room(tmp_path, number):
    def run(folder: Path, failing: int) -> int:
        """Lets the disk be full from one change on; gives how many changes there are without that."""
        full = threading.Event()

        def trouble(verb: str, change: int) -> None:
            if change == failing:
                full.set()
            if full.is_set() and verb in {"create", "write", "sync", "sync_folder", "rename"}:
                raise OSError(number, os.strerror(number))

        disk = FaultyDisk(trouble)
        journal = Journal(folder, disk=disk, segment_bytes=5_000, reserve_bytes=0)
        acknowledged: dict[int, int] = {}
        refused, told = 0, []
        for each in range(12):
            try:
                acknowledged[journal.append(parts(each, 500), token=f"t{each}").seq] = each
            except Busy as error:
                refused += 1
                told.append(error.retry_after_s)
                assert journal.status().busy
                assert journal.status().refused == refused
                assert everything(journal) == acknowledged
                full.clear()
                journal._shut_until = 0.0
                acknowledged[journal.append(parts(each, 500), token=f"t{each}").seq] = each
                assert not journal.status().busy
        assert refused == (1 if failing else 0)
        assert all(told)
        assert list(acknowledged) == list(range(1, 13))
        assert everything(journal) == acknowledged
        changes = disk.changes
        journal.close()
        again = Journal(folder, reserve_bytes=0)
        assert everything(again) == acknowledged
        assert again.recovered.cut_bytes == 0
        again.close()
        return changes

    verbs_seen = FaultyDisk()
    journal = Journal(tmp_path / "probe", disk=verbs_seen, segment_bytes=5_000, reserve_bytes=0)
    for each in range(12):
        journal.append(parts(each, 500), token=f"t{each}")
    sites = [at for at, verb in enumerate(verbs_seen.verbs, 1) if verb in {"create", "write", "sync", "sync_folder"}]
    journal.close()
    run(tmp_path / "well", 0)
    for site in sites:
        run(tmp_path / str(site), site)


def test_the_floor_of_free_bytes_closes_ingest_before_the_disk_is_full(tmp_path):
    disk = FaultyDisk()
    journal = Journal(tmp_path / "j", disk=disk, reserve_bytes=1_000_000)
    journal.append(parts(1))
    disk.room = 1_000_100
    with pytest.raises(Busy, match="1,000,000 are reserved") as refused:
        journal.append(parts(2))
    assert refused.value.retry_after_s > 0
    disk.room = 900_000
    assert journal.status().busy
    assert len(journal.read(0)) == 1
    disk.room = 2_000_000
    assert not journal.status().busy
    assert journal.append(parts(2)).seq == 2
    journal.close()


def test_a_file_whose_sync_failed_is_never_trusted_again(tmp_path, caplog):
    failing = threading.Event()

    def trouble(verb: str, change: int) -> None:
        if verb == "sync" and failing.is_set():
            failing.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = Journal(tmp_path / "j", disk=FaultyDisk(trouble), reserve_bytes=0)
    assert journal.append(parts(0), token="a").seq == 1
    failing.set()
    with pytest.raises(Unreachable, match="could not write"):
        journal.append(parts(1), token="b")
    assert journal.status().segments == 1
    assert journal.append(parts(1), token="b") == Receipt(2)
    assert journal.status().segments == 2
    assert everything(journal) == {1: 0, 2: 1}
    journal.close()
    again = Journal(tmp_path / "j", reserve_bytes=0)
    assert everything(again) == {1: 0, 2: 1}
    assert again.recovered.damaged == ()
    again.close()


def test_frames_left_behind_by_a_failed_sync_do_not_come_back(tmp_path):
    """The cut fails too, so the refused frame stays in the old file: the next segment's name rules it out."""
    failing = threading.Event()

    def trouble(verb: str, change: int) -> None:
        if verb in {"sync", "truncate"} and failing.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = Journal(tmp_path / "j", disk=FaultyDisk(trouble), reserve_bytes=0)
    journal.append(parts(0))
    failing.set()
    with pytest.raises(Unreachable):
        journal.append(parts(1))
    failing.clear()
    journal.append(parts(2))
    journal.close()
    again = Journal(tmp_path / "j", reserve_bytes=0)
    assert everything(again) == {1: 0, 2: 2}
    assert again.recovered.damaged == ()
    assert again.damage() == []
    again.close()


def test_a_full_disk_does_not_keep_a_journal_from_opening(tmp_path):
    journal = Journal(tmp_path / "j", reserve_bytes=0)
    journal.append(parts(0))
    journal.close()
    (segment,) = tmp_path.glob("j/*.v1")
    with segment.open("ab") as file:
        file.write(b"torn" * 100)

    def trouble(verb: str, change: int) -> None:
        if verb in {"create", "write"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    again = Journal(tmp_path / "j", reserve_bytes=0, disk=FaultyDisk(trouble))
    assert again.recovered.cut_bytes == 400
    assert again.recovered.kept_as == ""
    assert everything(again) == {1: 0}
    with pytest.raises(Busy):
        again.append(parts(1))
    again.close()


def test_concurrent_senders_are_all_told_when_the_disk_is_full(tmp_path):
    full = threading.Event()

    def trouble(verb: str, change: int) -> None:
        if full.is_set() and verb == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path / "j", disk=FaultyDisk(trouble), reserve_bytes=0)
    futures = [journal.submit(parts(each)) for each in range(50)]
    assert len({future.result(10).seq for future in futures}) == 50
    full.set()
    futures = [journal.submit(parts(each)) for each in range(50)]
    assert all(isinstance(future.exception(10), Busy) for future in futures)
    full.clear()
    journal._shut_until = 0.0
    assert journal.append(parts(50)).seq == 51
    journal.close()


def test_a_full_disk_during_release_deletes_nothing_and_is_made_up_for(tmp_path, caplog):
    full = threading.Event()

    def trouble(verb: str, change: int) -> None:
        if full.is_set() and verb in {"create", "write"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path / "j", disk=FaultyDisk(trouble), segment_bytes=3_000, reserve_bytes=0)
    for each in range(30):
        journal.append(parts(each), token=f"t{each}")
    full.set()
    journal.release("rows", 30)
    assert journal.first() == 1
    assert "nothing is deleted" in caplog.text or "not on disk yet" in caplog.text
    full.clear()
    journal.release("rows", 30)
    assert journal.first() > 20
    assert all(journal.append(parts(0), token=f"t{each}").repeated for each in range(30))
    journal.close()
