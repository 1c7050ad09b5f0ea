"""Nobody ever sees half an object: not beside other processes, not after kill -9, not with a file that lies."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkeep.core.errors import Missing
from modelkeep.store.blobs.hashed import LARGE, dos2unix_md5
from modelkeep.store.blobs.objects import Blobs, Digest, Placing


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def whole(folder: Path) -> dict[str, bytes]:
    """All objects as DVC would find them; each must be what its name says."""
    found = {}
    for oid, _, _, legacy in Blobs(folder).oids():
        path = Blobs(folder).path(oid, legacy=legacy)
        data = path.read_bytes()
        assert md5(data) == oid[:32], f"{path} is visible and wrong"
        assert path.stat().st_mode & 0o777 == 0o444
        found[oid] = data
    return found


@pytest.mark.parametrize("told", [True, False])
def test_what_is_published_is_an_object(tmp_path: Path, told: bool) -> None:
    blobs = Blobs(tmp_path)
    datas = [b"one", b"two" * LARGE, b""]
    with blobs.incoming() as incoming:
        items = [(md5(data), incoming.path(md5(data))) for data in datas]
        for (_, path), data in zip(items, datas, strict=True):
            path.write_bytes(data)
        digests = {md5(data): Digest(md5(data), b"", len(data)) for data in datas} if told else None
        assert whole(tmp_path) == {}
        assert incoming.publish(items, digests) == []
    assert whole(tmp_path) == {md5(data): data for data in datas}
    assert blobs.verified(whole(tmp_path)) == []
    assert list((tmp_path / "modelkeep" / "incoming").iterdir()) == []


@pytest.mark.parametrize("size", [3, LARGE + 3])
@pytest.mark.parametrize("told", [True, False])
def test_what_lies_is_removed(tmp_path: Path, size: int, told: bool) -> None:
    blobs = Blobs(tmp_path)
    good, bad = b"g" * size, b"b" * size
    with blobs.incoming() as incoming:
        items = [(md5(good), incoming.path(md5(good))), ("a" * 32 + ".dir", incoming.path("a" * 32 + ".dir"))]
        items[0][1].write_bytes(good)
        items[1][1].write_bytes(bad)
        digests = {items[1][0]: Digest(md5(bad), b"", size)} if told else {}
        (one,) = incoming.publish(items, digests)
        assert (one.oid, md5(bad) in one.reason) == ("a" * 32 + ".dir", True)
        assert not items[1][1].exists()
        with pytest.raises(Missing):
            incoming.publish(items[1:])
    assert whole(tmp_path) == {md5(good): good}


def test_the_old_layout(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "cache")
    text = tmp_path / "text"
    text.write_bytes(b"a\r\n")
    oid = dos2unix_md5(text)
    with blobs.incoming() as incoming:
        path = incoming.path(oid, legacy=True)
        path.write_bytes(text.read_bytes())
        assert incoming.publish([(oid, path)], legacy=True) == []
    assert blobs.path(oid, legacy=True).read_bytes() == text.read_bytes()


def test_a_beginning_is_found_again_by_the_next_run(tmp_path: Path) -> None:
    blobs, oids = Blobs(tmp_path), [md5(b"%d" % number) for number in range(3)]
    for length in (4, 9, 6):  # three runs that were cut; the longest beginning is worth most
        incoming = blobs.incoming(resume=False)
        incoming.path(oids[0]).write_bytes(b"x" * length)
        incoming.path(oids[length % 2 + 1], legacy=True).write_bytes(b"y")
        incoming.close()
    with blobs.incoming(resume=False):
        pass
    with blobs.incoming() as incoming:
        assert incoming.path(oids[0]).read_bytes() == b"x" * 9
        assert incoming.path(oids[1], legacy=True).read_bytes() == b"y"
        assert incoming.path(oids[2], legacy=True).read_bytes() == b"y"
        with blobs.incoming() as other:  # what a living run holds is its own
            assert not other.path(oids[0]).exists()
    assert len(list((tmp_path / "modelkeep" / "incoming").iterdir())) == 1


PREPARE = """
import os, sys
from pathlib import Path
from modelkeep.store import forked
from modelkeep.store.blobs.objects import Blobs, Placing
forked.cores, forked.MANY, forked._CHUNK = (lambda: 2), 100, 40
work, who, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
blobs = Blobs(folder / "cache", link_types=("hardlink", "copy"))
files = sorted((folder / "files").iterdir())
"""
WORK = (
    PREPARE
    + """
print("go", flush=True)
if work == "copy": blobs.ingest(files)
elif work == "link": blobs.ingest(files, keep="link")
elif work == "take":
    import hashlib
    blobs.take([(hashlib.md5(file.read_bytes()).hexdigest(), file, None) for file in files])
elif work == "place":
    oids = sorted(oid for oid, *_ in Blobs(folder / "full").oids())
    items = [Placing(oid, folder / f"w{who}" / oid[0] / oid) for oid in oids]
    Blobs(folder / "full").place(items, link_types=["copy"])
elif work == "download":
    import hashlib
    with blobs.incoming() as incoming:
        done = []
        for file in files:
            data = file.read_bytes()
            oid = hashlib.md5(data).hexdigest()
            if blobs.has(oid): continue
            path = incoming.path(oid)
            with path.open("ab") as out:
                for start in range(path.stat().st_size, len(data), 5000):
                    out.write(data[start:start + 5000]); out.flush()
            done.append((oid, path))
            if len(done) == 50:
                assert incoming.publish(done) == []
                done = []
        assert incoming.publish(done) == []
elif work == "put":
    for file in files: blobs.put(file.read_bytes())
"""
)


def started(work: str, who: int, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORK, work, str(who), str(folder)], stdout=subprocess.PIPE, start_new_session=True
    )


def files_in(folder: Path, count: int, sizes: Callable[[int], int]) -> dict[str, bytes]:
    (folder / "files").mkdir()
    datas = {}
    for number in range(count):
        data = random.Random(number).randbytes(sizes(number))
        (folder / "files" / f"{number:05}").write_bytes(data)
        datas[md5(data)] = data
    return datas


def test_eight_processes_add_the_same_files_at_once(tmp_path: Path) -> None:
    datas = files_in(tmp_path, 400, lambda number: 20_000 if number % 100 == 0 else 40)
    ways = ["copy", "take", "download", "copy", "link", "download", "take", "link"]
    runs = [started(work, who, tmp_path) for who, work in enumerate(ways)]
    assert [run.wait(100) for run in runs] == [0] * 8
    for run in runs:
        run.communicate()
    assert whole(tmp_path / "cache") == datas
    assert [path.read_bytes() for path in sorted((tmp_path / "files").iterdir())] == list(datas.values())
    assert list((tmp_path / "cache" / "modelkeep" / "incoming").iterdir()) == []
    assert Blobs(tmp_path / "cache").scrub() == []


def killed(work: str, folder: Path, after_s: float) -> bool:
    """Runs something and kills it and its helpers; whether it was still at work."""
    run = started(work, 0, folder)
    assert run.stdout is not None
    assert run.stdout.readline() == b"go\n"
    time.sleep(after_s)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    return run.returncode == -signal.SIGKILL


@pytest.mark.parametrize("work", ["copy", "link", "take", "download", "put", "place"])
def test_kill_at_any_moment_shows_nothing_half_and_the_next_run_completes(tmp_path: Path, work: str) -> None:
    kills(tmp_path, work, rounds=2, count=60 if work == "put" else 300)


@pytest.mark.slow
@pytest.mark.parametrize("work", ["copy", "link", "take", "download", "put", "place"])
def test_twenty_kills(tmp_path: Path, work: str) -> None:
    kills(tmp_path, work, rounds=20, count=4000)


def kills(folder: Path, work: str, *, rounds: int, count: int) -> None:
    datas = files_in(folder, count, lambda number: LARGE if number % 200 == 7 else 300)
    before = {path.name: path.read_bytes() for path in (folder / "files").iterdir()}
    if work == "place":
        Blobs(folder / "full").ingest(sorted((folder / "files").iterdir()))
    chance = random.Random(work)
    for _ in range(rounds):
        killed(work, folder, chance.random() * 0.4)
        assert whole(folder / "cache").items() <= datas.items()
        assert {path.name: path.read_bytes() for path in (folder / "files").iterdir()} == before
        for path in folder.glob("w0/**/*"):
            assert path.is_dir() or path.read_bytes() == datas[path.name]
    time.sleep(0.5)  # until the last worker of a killed run is gone, and its locks with it
    run = started(work, 0, folder)
    assert run.wait(100) == 0
    run.communicate()
    if work == "place":
        placed = {path.name: path.read_bytes() for path in folder.glob("w0/**/*") if path.is_file()}
        assert placed == datas
        assert list((folder / "full" / "modelkeep" / "incoming").iterdir()) == []
    else:
        assert whole(folder / "cache") == datas
        Blobs(folder / "cache").put(b"who stores something sweeps first")  # the last run may have had nothing to store
        assert list((folder / "cache" / "modelkeep" / "incoming").iterdir()) == []
    assert Blobs(folder / "cache").scrub() == []


def test_dvc_s_own_folders_are_used_as_they_are(tmp_path: Path) -> None:
    files_in(tmp_path, 300, lambda number: 10)
    cache = tmp_path / "cache"
    for byte in range(0, 256, 2):
        (cache / "files" / "md5" / f"{byte:02x}").mkdir(parents=True)
    (cache / "files" / "md5" / "00" / "notes").write_bytes(b"mine")
    blobs = Blobs(cache)
    oids = [one.md5 for one in blobs.ingest(sorted((tmp_path / "files").iterdir()))]
    assert set(whole(cache)) == set(oids)
    assert (cache / "files" / "md5" / "00" / "notes").read_bytes() == b"mine"
    assert blobs.place([Placing(oid, tmp_path / "w" / oid) for oid in oids]).files == 300
