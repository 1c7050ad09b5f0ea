"""Snapshots: the same object ids as a plain walk and as DVC, whatever happened since the last look."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.formats import manifest
from modelkeep.data.progress import SILENT
from modelkeep.data.repository import Repository
from modelkeep.data.snapshots import hashing, index, looking
from modelkeep.data.snapshots.scan import stamp_of
from modelkeep.data.snapshots.snapshot import Snapshot, peek, remember, snapshot
from tests.peers import program

FILES = ["a", "b.txt", "sub/a", "sub/deep/é", "sub-a", "other/x", "sub/b"]
CONTENTS = [b"", b"one", b"two", b"3" * 300, b"a\r\nb\r\n", b"\0\r\n"]


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return repository(tmp_path)


def repository(root: Path) -> Repository:
    (root / ".dvc").mkdir()
    (root / "data").mkdir()
    return Repository(root)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def expected(folder: Path) -> str:
    """The id by the slowest and plainest way."""
    entries = [
        ((Path(top) / name).relative_to(folder).as_posix(), md5((Path(top) / name).read_bytes()).hexdigest())
        for top, _, names in os.walk(folder)
        for name in names
    ]
    return manifest.oid_of(manifest.encode(entries))


def taken(repo: Repository, path: Path, kind: str = "md5") -> Snapshot:
    found = snapshot(repo, path, hash=kind)
    assert found is not None
    return found


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is hashed from now on."""
    names: list[str] = []
    real, one = hashing.hash_files, hashing.hash_one

    def note(top: str, some: list[str], *args: object, **more: object) -> hashing.Hashes:
        names.extend(some)
        return real(top, some, *args, **more)  # type: ignore[arg-type]

    def note_one(path: Path, *args: object) -> object:
        names.append(path.name)
        return one(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "hash_files", note)
    monkeypatch.setattr(hashing, "hash_one", note_one)
    return names


def settle_down(repo: Repository, path: Path) -> None:
    """Lets the clock tick, so that what is there is no longer young, and takes a snapshot."""
    time.sleep(0.03)
    taken(repo, path)


def overwrite(path: Path, data: bytes) -> None:
    """Writes other bytes and sets the time back to what it was."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(one: Path, two: Path) -> None:
    aside = one.with_name("aside")
    if one.is_file() and two.is_file() and one != two:
        one.rename(aside)
        two.rename(one)
        aside.rename(two)


def link(path: Path, at: Path) -> None:
    if path.is_file() and path != at:
        at.symlink_to(os.path.relpath(path, at.parent))


def change_mode(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        path.chmod(path.stat().st_mode ^ 0o111)


ACTS: dict[str, Callable[[Path, Path, bytes], object]] = {
    "write": lambda path, _, data: write(path, data),
    "same time": lambda path, _, data: overwrite(path, data),
    "remove": lambda path, *_: path.unlink(),
    "remove folder": lambda path, *_: None if path.is_symlink() else shutil.rmtree(path),
    "folder": lambda path, *_: path.mkdir(parents=True),
    "rename": lambda path, other, _: path.rename(other),
    "swap": lambda path, other, _: swap(path, other),
    "second name": lambda path, other, _: os.link(path, other),
    "link": lambda path, other, _: link(path, other),
    "mode": lambda path, *_: change_mode(path),
    "peek": lambda *_: None,
}
FOLDERS = ["sub", "sub/deep", "other", "new", "other/x", "a"]
STEPS = st.tuples(
    st.sampled_from(sorted(ACTS)), st.sampled_from(FILES + FOLDERS), st.sampled_from(FILES), st.sampled_from(CONTENTS)
)
CANNOT = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EPERM, errno.EINVAL}


def do(folder: Path, step: tuple[str, str, str, bytes]) -> None:
    """Does one thing to a tree, or nothing where it cannot be done."""
    what, name, other, data = step
    try:
        ACTS[what](folder / name, folder / other, data)
    except OSError as error:
        if error.errno not in CANNOT:
            raise


def broken(folder: Path) -> list[Path]:
    return [
        Path(top) / name
        for top, folders, names in os.walk(folder)
        for name in [*names, *folders]
        if (Path(top) / name).is_symlink() and not (Path(top) / name).is_file()
    ]


@settings(max_examples=80)
@given(st.lists(STEPS, max_size=5), st.lists(STEPS, min_size=1, max_size=12))
def test_whatever_happens_the_id_is_that_of_the_bytes(before: list[tuple], steps: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as name:
        repo = repository(Path(name))
        folder = repo.root / "data"
        for step in before:
            do(folder, step)
        for step in steps:
            do(folder, step)
            for path in broken(folder):
                path.unlink()
            if step[0] == "peek":
                assert peek(repo, folder) in {"", expected(folder)}
                continue
            found = taken(repo, folder)
            assert found.oid == expected(folder)
            assert manifest.oid_of(found.manifest()) == found.oid
            assert manifest.encode(found.entries()) == found.manifest()
            files = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
            assert found.size == sum(path.stat().st_size for path in files)
            assert found.nfiles == len(files)
            assert sorted(found.side.executable) == sorted(
                path.relative_to(folder).as_posix() for path in files if path.stat().st_mode & 0o111
            )
            assert dict(found.side.symlinks) == {
                path.relative_to(folder).as_posix(): str(path.readlink()) for path in files if path.is_symlink()
            }
            assert {name: stamp[:3] for name, stamp in found.stamps()} == {
                path.relative_to(folder).as_posix(): stamp_of(path.stat())[:3] for path in files
            }


def test_an_unchanged_folder_is_not_read_again(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    for name in FILES:
        write(folder / name, name.encode())
    assert peek(repo, folder) == ""
    oid = taken(repo, folder).oid
    names = hashed(monkeypatch)
    assert peek(repo, folder) == oid
    assert taken(repo, folder).oid == oid
    assert names == []


def test_only_what_changed_is_read_again(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    for name in FILES:
        write(folder / name, name.encode())
    settle_down(repo, folder)
    names = hashed(monkeypatch)
    write(folder / "sub/a", b"another")
    assert taken(repo, folder).oid == expected(folder)
    write(folder / "other/new", b"new")
    assert taken(repo, folder).oid == expected(folder)
    (folder / "b.txt").unlink()
    assert taken(repo, folder).oid == expected(folder)
    (folder / "sub/deep").rename(folder / "moved")
    assert taken(repo, folder).oid == expected(folder)
    assert names == ["sub/a", "other/new", "moved/é"]


def test_the_same_size_and_mtime_hide_nothing(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    settle_down(repo, folder)
    before = (folder / "a").stat()
    write(folder / "a", b"two")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert peek(repo, folder) == ""
    assert taken(repo, folder).oid == expected(folder)


def test_a_second_name_is_no_change(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    write(repo.root / "single", b"two")
    settle_down(repo, folder)
    oid, single = taken(repo, folder).oid, taken(repo, repo.root / "single").oid
    os.link(folder / "a", repo.root / "elsewhere")
    os.link(repo.root / "single", repo.root / "elsewhere2")
    names = hashed(monkeypatch)
    assert peek(repo, folder) == taken(repo, folder).oid == oid
    assert peek(repo, repo.root / "single") == taken(repo, repo.root / "single").oid == single
    assert names == []


def test_a_file_that_may_be_run_from_now_on_is_noticed(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "run", b"#!/bin/sh\n")
    settle_down(repo, folder)
    assert taken(repo, folder).side.executable == ()
    (folder / "run").chmod(0o755)
    assert taken(repo, folder).side.executable == ("run",)
    assert taken(repo, folder).side.executable == ("run",)
    single = repo.root / "single"
    write(single, b"x")
    assert not taken(repo, single).executable
    single.chmod(0o755)
    assert taken(repo, single).executable


def test_young_stamps_are_not_trusted(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose clock stands still: nothing tells a change but the bytes."""
    folder = repo.root / "data"
    write(folder / "a", b"one")
    frozen = (folder / "a").stat().st_ctime_ns
    monkeypatch.setattr(index, "clock_of", lambda *_: index.Clock(frozen, True))
    taken(repo, folder)
    names = hashed(monkeypatch)
    assert peek(repo, folder) == ""
    assert taken(repo, folder).oid == expected(folder)
    assert names == ["a"]


def test_stamps_from_the_future_are_not_trusted(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    ahead = time.time_ns() + 3_600_000_000_000
    os.utime(folder / "a", ns=(ahead, ahead))
    settle_down(repo, folder)
    assert peek(repo, folder) == ""


def test_a_clock_set_back_hides_nothing(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    settle_down(repo, folder)
    assert peek(repo, folder)
    earlier = time.time_ns() - 3_600_000_000_000
    monkeypatch.setattr(index.time, "time_ns", lambda: earlier)
    names = hashed(monkeypatch)
    assert peek(repo, folder) == ""
    assert taken(repo, folder).oid == expected(folder)
    assert names == ["a"]


def test_a_file_by_itself(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repo.root / "prices.csv"
    assert snapshot(repo, path) is None
    assert peek(repo, path) == ""
    write(path, b"a,b\n")
    found = taken(repo, path)
    assert (found.oid, found.size, found.nfiles, found.is_dir) == (md5(b"a,b\n").hexdigest(), 4, None, False)
    assert found.entries() == []
    assert found.manifest() == b""
    [(name, digest)] = found.digests()
    assert (name, digest.md5, digest.blake3, digest.size) == ("", found.oid, b"", 4)
    assert found.stamps() == [("", stamp_of(path.stat()))]
    names = hashed(monkeypatch)
    assert peek(repo, path) == taken(repo, path).oid == found.oid
    assert [digest for _, digest in taken(repo, path).digests()] == [digest]
    assert names == []
    write(path, b"x" * (1 << 20))
    assert taken(repo, path).digests()[0][1].blake3 == blake3(b"x" * (1 << 20)).digest()
    assert taken(repo, path).digests()[0][1].blake3 == blake3(b"x" * (1 << 20)).digest()
    write(path, b"a,c\n")
    assert peek(repo, path) == ""
    assert taken(repo, path).oid == md5(b"a,c\n").hexdigest()


def test_a_link_to_a_file_is_that_file(repo: Repository) -> None:
    write(repo.root / "elsewhere/far", b"far")
    (repo.root / "data/near").symlink_to(repo.root / "elsewhere/far")
    (repo.root / "one").symlink_to("elsewhere/far")
    settle_down(repo, repo.root / "data")
    found = taken(repo, repo.root / "data")
    assert found.entries() == [("near", md5(b"far").hexdigest())]
    assert found.side.symlinks == {}
    assert taken(repo, repo.root / "one").oid == md5(b"far").hexdigest()
    write(repo.root / "elsewhere/far", b"and away")
    assert peek(repo, repo.root / "data") == ""
    assert taken(repo, repo.root / "data").entries() == [("near", md5(b"and away").hexdigest())]
    assert taken(repo, repo.root / "one").oid == md5(b"and away").hexdigest()


def test_folder_links_and_broken_links_are_recorded_when_they_stay_inside(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "2024/x", b"x")
    (folder / "latest").symlink_to("2024")
    (folder / "2024/gone").symlink_to("../2025")
    (folder / "empty").mkdir()
    found = taken(repo, folder)
    assert [name for name, _ in found.entries()] == ["2024/x"]
    assert dict(found.side.symlinks) == {"latest": "2024", "2024/gone": "../2025"}
    assert found.side.empty == ("empty",)
    assert taken(repo, folder).side == found.side
    (folder / "2025").write_bytes(b"a file now")
    assert [name for name, _ in taken(repo, folder).entries()] == ["2024/gone", "2024/x", "2025"]


@pytest.mark.parametrize("target", ["/nowhere", "../../nowhere", "../elsewhere"])
def test_a_link_that_leads_nowhere_or_out_is_named(repo: Repository, target: str) -> None:
    (repo.root / "elsewhere").mkdir()
    (repo.root / "data/sub").mkdir()
    (repo.root / "data/sub/link").symlink_to(target if target != "../elsewhere" else "../../elsewhere")
    with pytest.raises(BadInput, match="data/sub/link") as caught:
        snapshot(repo, repo.root / "data")
    assert caught.value.hint


def test_what_cannot_be_tracked_is_named(repo: Repository) -> None:
    folder = repo.root / "data"
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInput, match="data/pipe"):
        snapshot(repo, folder)
    with pytest.raises(BadInput, match="data/pipe"):
        snapshot(repo, folder / "pipe")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("data/socket")
        with pytest.raises(BadInput, match="data/socket"):
            snapshot(repo, folder)
    (folder / "socket").unlink()
    (folder / "sub").mkdir()
    (folder / "sub/.dvcignore").write_text("*.tmp\n")
    with pytest.raises(BadInput, match=r"data/sub/\.dvcignore"):
        snapshot(repo, folder)
    (folder / "sub/.dvcignore").unlink()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes Unicode only")
    with pytest.raises(BadInput, match="udcff"):
        snapshot(repo, folder)
    (repo.root / "broken").symlink_to("nowhere")
    with pytest.raises(BadInput, match="nowhere"):
        snapshot(repo, repo.root / "broken")


def test_remembered_files_are_not_read(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    for name in FILES:
        write(folder / name, name.encode())
    entries = [(name, md5(name.encode()).hexdigest()) for name in FILES]
    oid = manifest.oid_of(manifest.encode(entries))
    names = hashed(monkeypatch)
    remember(repo, folder, oid, entries)
    assert peek(repo, folder) == oid
    assert taken(repo, folder).entries() == sorted(entries)
    write(repo.root / "one", b"1")
    remember(repo, repo.root / "one", md5(b"1").hexdigest())
    assert peek(repo, repo.root / "one") == md5(b"1").hexdigest()
    assert names == []


def test_what_is_not_remembered_is_read(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    for name in FILES:
        write(folder / name, name.encode())
    entries = [(name, md5(name.encode()).hexdigest()) for name in FILES[2:]]
    stamps = {name: stamp_of((folder / name).stat()) for name in FILES}
    write(folder / "sub-a", b"changed since it was placed")
    names = hashed(monkeypatch)
    remember(repo, folder, "0" * 32 + ".dir", entries, seen=stamps)
    assert peek(repo, folder) == ""
    assert taken(repo, folder).oid == expected(folder)
    assert sorted(names) == ["a", "b.txt", "sub-a"]


def test_legacy_ids_have_an_index_of_their_own(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"a\r\nb\r\n")
    assert taken(repo, folder, "md5-dos2unix").entries() == [("a", md5(b"a\nb\n").hexdigest())]
    assert taken(repo, folder).entries() == [("a", md5(b"a\r\nb\r\n").hexdigest())]
    assert peek(repo, folder, hash="md5-dos2unix") != peek(repo, folder) != ""
    with pytest.raises(BadInput, match="sha1"):
        snapshot(repo, folder, hash="sha1")


def test_ignored_files_do_not_count(repo: Repository) -> None:
    folder = repo.root / "data"
    for name in ("a", "a.tmp", "sub/b.tmp", "sub/c", ".hidden", ".gitignore", "cache/x", ".git/config", "nested/f"):
        write(folder / name, b"1")
    (folder / "nested/.dvc").mkdir()
    plain = [name for name, _ in taken(repo, folder).entries()]
    assert plain == [".gitignore", ".hidden", "a", "a.tmp", "cache/x", "sub/b.tmp", "sub/c"]
    (repo.root / ".dvcignore").write_text("*.tmp\ncache/\n")
    repo = Repository(repo.root)
    assert peek(repo, folder) == ""
    settle_down(repo, folder)
    found = taken(repo, folder)
    assert [name for name, _ in found.entries()] == [".gitignore", ".hidden", "a", "sub/c"]
    write(folder / "a.tmp", b"another")
    write(folder / "cache/y", b"new")
    assert peek(repo, folder) == found.oid
    write(folder / "new.tmp", b"new")
    assert taken(repo, folder).oid == found.oid
    (folder / "nested/.dvc").rmdir()
    assert [name for name, _ in taken(repo, folder).entries()] == [".gitignore", ".hidden", "a", "nested/f", "sub/c"]


def test_a_file_that_becomes_a_folder_and_back(repo: Repository) -> None:
    path = repo.root / "data"
    settle_down(repo, path)
    path.rmdir()
    path.write_bytes(b"x")
    assert peek(repo, path) == ""
    assert taken(repo, path).oid == md5(b"x").hexdigest()
    path.unlink()
    path.mkdir()
    assert taken(repo, path).oid == "d751713988987e9331980363e24189ce.dir"


def test_another_writer_of_the_index_is_noticed(repo: Repository) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    settle_down(repo, folder)
    first = taken(repo, folder)
    write(folder / "b", b"two")
    settle_down(Repository(repo.root), folder)
    with pytest.raises(Conflict, match="data"):
        first.entries()
    third = taken(repo, folder)
    for path in (repo.private / "index").iterdir():
        path.unlink()
    assert [name for name, _ in third.entries()] == ["a", "b"]


def test_a_repository_that_may_not_be_written_is_read(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    (repo.root / ".dvc/tmp").write_bytes(b"no folder")
    assert taken(repo, folder).oid == expected(folder)
    assert taken(repo, folder).oid == expected(folder)
    assert peek(repo, folder) == ""


def test_a_file_that_grows_while_it_is_hashed_is_read_again_next_time(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repo.root / "data"
    write(folder / "a", b"one")
    real = hashing.hash_files

    def late(*args: object, **more: object) -> hashing.Hashes:
        write(folder / "a", b"longer than it was")
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "hash_files", late)
    found = taken(repo, folder)
    assert (found.oid, found.size) == (expected(folder), 18)
    monkeypatch.setattr(hashing, "hash_files", real)
    assert peek(repo, folder) == ""
    assert taken(repo, folder).oid == expected(folder)


def test_progress_counts_the_bytes_that_are_read(repo: Repository) -> None:
    told: list[tuple[str, int | None, str]] = []
    moved: list[int] = []

    class Step:
        def add(self, amount: int) -> None:
            moved.append(amount)

        def __enter__(self) -> Step:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    class Told:
        def begin(self, task: str, *, total: int | None = None, unit: str = "files") -> Step:
            told.append((task, total, unit))
            return Step()

        def say(self, message: str) -> None:
            pass

    write(repo.root / "data/a", b"123")
    write(repo.root / "data/large", b"4" * (1 << 21))
    snapshot(repo, repo.root / "data", progress=Told())
    assert told == [("Hashing data", 3 + (1 << 21), "bytes")]
    assert sum(moved) == 3 + (1 << 21)
    snapshot(repo, repo.root / "data", progress=Told())
    assert len(told) == 1


def dvc(folder: Path, *words: str) -> None:
    done = subprocess.run([program("dvc"), *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("dvc")
@pytest.mark.parametrize("seed", range(2))
def test_ids_are_those_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Several random trees of odd names in one repository, added by DVC in one go."""
    import random

    from modelkeep.data.formats import metafile

    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    chance = random.Random(seed)
    root = tmp_path / "repo"
    root.mkdir()
    dvc(root, "init", "--no-scm", "-q")
    (root / ".dvcignore").write_text("*.tmp\n/t1/sub/\n!keep.tmp\n")
    parts = [
        "a",
        "sub",
        "sub-a",
        "é",
        "e\u0301",
        "日本",
        'q"uote',
        "back\\slash",
        ".hidden",
        "x.tmp",
        "keep.tmp",
        " s ",
    ]
    for number in range(4):
        for _ in range(chance.randrange(1, 12)):
            path = root.joinpath(f"t{number}", *chance.choices(parts, k=chance.randrange(1, 4)))
            if not path.exists() and not any(above.is_file() for above in path.parents):
                write(path, chance.choice([*CONTENTS, chance.randbytes(2000)]))
        write(root / f"t{number}/always", b"1")
        (root / f"t{number}/link").symlink_to("always")
        (root / f"t{number}/empty").mkdir(exist_ok=True)
        (root / f"t{number}/folder-link").symlink_to("empty")
    for name in (
        "inner/.dvc/x",
        "inner/f",
        ".hg/x",
        "s/.git/c",
        "s/ok",
        "file/.git",
        "file/k",
        "deep/in/.dvc/y",
        "deep/k",
    ):
        write(root / "t0/odd" / name, b"1")
    dvc(root, "add", "-q", *(f"t{number}" for number in range(4)))
    repo = Repository(root)
    for number in range(4):
        [out] = metafile.read(root / f"t{number}.dvc").outs
        found = taken(repo, root / f"t{number}")
        assert (found.oid, found.size, found.nfiles) == (out.oid, out.size, out.nfiles)
        kept = root / ".dvc/cache/files/md5" / out.oid[:2] / out.oid[2:]
        assert found.manifest() == kept.read_bytes()


def test_the_work_is_silent_by_default(repo: Repository, capfd: pytest.CaptureFixture[str]) -> None:
    write(repo.root / "data/a", b"1")
    snapshot(repo, repo.root / "data", progress=SILENT)
    assert capfd.readouterr() == ("", "")
    assert looking.Job(repo, repo.root / "data", "md5", True).key.path == "data"
