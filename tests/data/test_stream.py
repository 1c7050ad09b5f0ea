"""Streams: what was acknowledged is kept, no half part is seen, every snapshot comes back."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelkeep.core.clock import SECOND, Fixed
from modelkeep.core.errors import BadInput, Busy, Conflict, Missing
from modelkeep.data.datasets.stream import Stream
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.initialise import initialise


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "repo"
    root.mkdir()
    initialise(root, git=False)
    return Repository.find(root)


def rows_in(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            found += parquet.read_table(path).to_pylist()
        else:
            found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def numbers(start: int, end: int) -> list[dict[str, int]]:
    return [{"n": number} for number in range(start, end)]


def usage(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "files").rglob("*") if path.is_file())


def test_every_snapshot_comes_back(repo: Repository, tmp_path: Path) -> None:
    stream = Stream(repo, "events")
    assert stream.snapshot() is None
    for day in range(4):
        assert stream.append(numbers(day * 10, day * 10 + 7)).rows == 7
        assert stream.append(numbers(day * 10 + 7, day * 10 + 10)).sealed == ()
        taken = stream.snapshot()
        assert taken is not None
        assert (taken.rows, taken.parts, len(taken.new)) == (10 * (day + 1), day + 1, 1)
    assert stream.snapshot() == stream.snapshots()[-1], "nothing new: the same one again"
    assert len(stream.snapshots()) == 4
    for number, one in enumerate(stream.snapshots(), 1):
        target = tmp_path / f"as{number}"
        assert stream.restore(one, target) == number
        assert rows_in(target) == numbers(0, 10 * number)
    assert (repo.root / "events.dvc").read_text().count(stream.snapshots()[-1].oid) == 1


def test_storage_grows_with_new_rows_only(repo: Repository) -> None:
    stream = Stream(repo, "events")
    stream.append([{"text": "x" * 1000}] * 1000)
    stream.snapshot()
    before = usage(repo.blobs.folder)
    stamps = {path: path.stat().st_mtime_ns for path in (repo.blobs.folder / "files").rglob("*") if path.is_file()}
    stream.append(numbers(0, 10))
    stream.snapshot()
    assert usage(repo.blobs.folder) - before < 1000
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_snapshot_is_due_by_rows_and_by_age(repo: Repository) -> None:
    clock = Fixed(1_800_000_000 * SECOND + 123)
    stream = Stream(repo, "events", every_rows=10, every_s=60, now_ns=clock.now_ns)
    assert stream.append(numbers(0, 9)).snapshot is None
    due = stream.append(numbers(9, 12))
    assert due.snapshot is not None
    assert (due.snapshot.rows, due.sealed) == (12, due.snapshot.new)
    assert stream.append(numbers(12, 13)).snapshot is None
    clock.at_ns += 59 * SECOND
    assert stream.append(numbers(13, 14)).snapshot is None
    clock.at_ns += SECOND
    late = stream.append(numbers(14, 15)).snapshot
    assert late is not None
    assert late.rows == 15
    assert str(late.json()["at"]).startswith("2027-01-15T08:01:00")
    assert sorted(row["n"] for row in rows_in(stream.folder)) == list(range(15))  # type: ignore[type-var]


def test_a_large_part_is_sealed_without_a_snapshot(repo: Repository) -> None:
    stream = Stream(repo, "events", part_bytes=1000)
    found = stream.append([{"text": "x" * 2000}])
    assert len(found.sealed) == 1
    assert found.snapshot is None
    assert stream.waiting() == 0
    assert [path.name for path in stream.folder.iterdir()] == list(found.sealed)


def test_tables_become_parquet_and_another_schema_another_part(repo: Repository) -> None:
    stream = Stream(repo, "deep/events")
    stream.append(pa.table({"a": [1, 2], "b": ["x", None]}))
    stream.append(pa.record_batch({"a": [3], "b": ["z"]}))
    stream.append(pa.table({"a": [4], "b": ["y"], "c": [0.5]}))
    stream.append([{"a": 5}])
    taken = stream.snapshot()
    assert taken is not None
    assert (taken.rows, taken.parts) == (5, 3)
    kinds = sorted(path.suffix for path in stream.folder.iterdir())
    assert kinds == [".jsonl", ".parquet", ".parquet"]
    assert sorted(row["a"] for row in rows_in(stream.folder)) == [1, 2, 3, 4, 5]  # type: ignore[type-var]


def test_rows_that_cannot_be_written_are_named_and_nothing_is_added(repo: Repository) -> None:
    stream = Stream(repo, "events")
    wrong: list[Iterable[object]] = [[{"a": 1}, {"a": object()}], [{"a": 1}, [2]], [{"a": 1}, 3]]
    for rows in wrong:
        with pytest.raises(BadInput) as caught:
            stream.append(rows)  # type: ignore[arg-type]
        assert caught.value.hint
    with pytest.raises(BadInput, match=r"input:3: "):
        stream.append_lines(b'{"a":1}\n\n{"a":\n{"a":2}\n', where="input")
    with pytest.raises(BadInput, match=r"rows:1: "):
        stream.append_lines(b'{"a":"\xff"}\n')
    assert stream.append([]).rows == 0
    assert stream.append_lines(b"\n \n").rows == 0
    assert stream.waiting() == 0


def test_a_stream_is_a_folder_inside(repo: Repository) -> None:
    (repo.root / "file").write_text("x")
    for name in ("file", ".", "../outside"):
        with pytest.raises(BadInput):
            Stream(repo, name)
    with pytest.raises(BadInput):
        Stream(repo, "events", every_rows=0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.integers(1, 5), min_size=1, max_size=5), share=st.floats(0, 1), junk=st.binary(max_size=20))
def test_a_log_cut_anywhere_keeps_all_whole_appends(
    batches: list[int], share: float, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("repo")
    initialise(root, git=False)
    repo = Repository.find(root)
    stream = Stream(repo, "events")
    ends, total = [0], 0
    (log,) = [None]
    for count in batches:
        stream.append(numbers(total, total + count))
        total += count
        (log,) = (repo.private / "streams" / "events").iterdir()
        ends.append(log.stat().st_size)
    assert log is not None
    cut = int(share * ends[-1])
    data = log.read_bytes()[:cut] + (junk if cut < ends[-1] else b"")
    log.write_bytes(data)
    whole = sum(batches[: sum(end <= cut for end in ends[1:])])
    again = Stream(repo, "events")
    assert again.waiting() == whole
    again.append([{"n": -1}])
    again.seal()
    assert rows_in(again.folder) == [*numbers(0, whole), {"n": -1}]


def test_a_seal_that_was_interrupted_gives_the_same_part_once(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(repo, "events")
    stream.append(numbers(0, 5))

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            stream.seal()
    (part,) = stream.folder.iterdir()
    again = Stream(repo, "events")
    assert again.append(numbers(5, 6)).sealed == (part.name,), "finished by whoever comes next"
    again.seal()
    assert rows_in(again.folder) == numbers(0, 6)


def test_a_full_disk_leaves_the_log_as_it_was(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(repo, "events")
    stream.append(numbers(0, 3))
    real = os.pwrite

    def full(handle: int, data: memoryview, offset: int) -> int:
        if len(data) <= 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:20], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(Busy, match="full"):
            stream.append(numbers(3, 4))
    assert stream.append(numbers(3, 5)).rows == 2
    stream.seal()
    assert rows_in(stream.folder) == numbers(0, 5)


def _append_many(root: Path, writer: int) -> None:
    stream = Stream(Repository(root), "events", every_rows=40)
    for number in range(20):
        stream.append([{"writer": writer, "n": number}])


def test_many_appenders_at_once_lose_and_repeat_nothing(repo: Repository) -> None:
    context = multiprocessing.get_context("spawn")
    work = [context.Process(target=_append_many, args=(repo.root, writer)) for writer in range(4)]
    for one in work:
        one.start()
    for one in work:
        one.join(90)
    assert [one.exitcode for one in work] == [0] * 4
    stream = Stream(repo, "events")
    taken = stream.snapshot()
    assert taken is not None
    assert taken.rows == 80
    found = sorted((row["writer"], row["n"]) for row in rows_in(stream.folder))  # type: ignore[type-var]
    assert found == [(writer, number) for writer in range(4) for number in range(20)]
    assert [one.rows for one in stream.snapshots()] == sorted({one.rows for one in stream.snapshots()})


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_appender_loses_nothing_acknowledged(repo: Repository, seed: int) -> None:
    script = f"""
        import sys
        from pathlib import Path
        from modelkeep.data.repository import Repository
        from modelkeep.data.datasets.stream import Stream
        stream = Stream(Repository(Path({str(repo.root)!r})), "events", every_rows=25)
        for batch in range(100_000):
            stream.append([{{"n": 2 * batch}}, {{"n": 2 * batch + 1}}])
            print(batch, flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
        acknowledged = 1 + len(child.stdout.read().split())
    stream = Stream(repo, "events")
    taken = stream.snapshot()
    assert taken is not None
    found = [row["n"] for row in rows_in(stream.folder)]
    assert found == list(range(len(found))), "in order, nothing missing, nothing twice"
    assert len(found) in {2 * acknowledged, 2 * acknowledged + 2}
    assert taken.rows == len(found)
    assert all(path.name.startswith("part-") for path in stream.folder.iterdir())


def test_finding_a_snapshot(repo: Repository) -> None:
    clock = Fixed(1_800_000_000 * SECOND)
    stream = Stream(repo, "events", now_ns=clock.now_ns)
    with pytest.raises(Missing, match="no snapshot"):
        stream.find("last")
    for number in range(3):
        stream.append(numbers(number, number + 1))
        stream.snapshot()
        clock.at_ns += 3600 * SECOND
    first, second, third = stream.snapshots()
    assert [stream.find(which) for which in ("1", "last", second.oid[:9], "2027-01-15T08", third.oid)] == [
        first,
        third,
        second,
        first,
        third,
    ]
    assert stream.find("2027-01-15T09:30:00Z") == second
    assert stream.find("2030-01-01") == third
    for which in ("4", "2027", "nonsense", "2001-01-01"):
        with pytest.raises(Missing) as caught:
            stream.find(which)
        assert "dataset list" in caught.value.hint


def test_what_restore_refuses(repo: Repository, tmp_path: Path) -> None:
    stream = Stream(repo, "events")
    stream.append(numbers(0, 1))
    taken = stream.snapshot()
    assert taken is not None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(Conflict):
        stream.restore(taken, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert stream.restore(taken, tmp_path / "empty") == 1


def test_an_old_list_of_files_that_is_gone_is_made_again(repo: Repository, tmp_path: Path) -> None:
    stream = Stream(repo, "events")
    for number in range(3):
        stream.append(numbers(number, number + 1))
        stream.snapshot()
    first = stream.snapshots()[0]
    repo.blobs.path(first.oid).unlink()
    assert stream.restore(first, tmp_path / "first") == 1
    assert rows_in(tmp_path / "first") == numbers(0, 1)


def test_a_part_that_is_nowhere_is_missing_and_no_half_folder_appears(repo: Repository, tmp_path: Path) -> None:
    stream = Stream(repo, "events")
    stream.append(numbers(0, 1))
    stream.append(pa.table({"a": [1]}))
    taken = stream.snapshot()
    assert taken is not None
    oid = stream._entries(taken.oid)[0][1]
    path = repo.blobs.path(oid)
    path.chmod(0o644)
    path.unlink()
    with pytest.raises((Missing, BadInput)):
        stream.restore(taken, tmp_path / "out")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["repo"]


def test_a_damaged_record_names_its_line(repo: Repository) -> None:
    stream = Stream(repo, "events")
    stream.append(numbers(0, 1))
    stream.snapshot()
    good = stream.record.read_bytes()
    for bad, hint in ((b"<<<<<<< HEAD\n", "merge"), (b'{"at": 3}\n', "git checkout"), (b"\xff\n", "git checkout")):
        stream.record.write_bytes(good + b"\n" + bad)
        with pytest.raises(BadInput, match=r"events\.snapshots:3: ") as caught:
            stream.snapshots()
        assert hint in caught.value.hint
