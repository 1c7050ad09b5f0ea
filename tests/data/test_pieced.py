"""Chunked files through the verbs: nothing is kept twice, whoever needs the whole object gets it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data import chunks
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.checkout import checkout
from modelkeep.data.verbs.commit import commit
from modelkeep.data.verbs.fetch import fetch
from modelkeep.data.verbs.gc import gc
from modelkeep.data.verbs.get import get
from modelkeep.data.verbs.initialise import initialise
from modelkeep.data.verbs.push import push
from modelkeep.data.verbs.status import status
from modelkeep.data.verbs.verify import verify
from tests.peers import program

MB = 1 << 20


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "repo"
    root.mkdir()
    initialise(root, git=False)
    made = Repository.find(root)
    made.config.add_remote("store", str(tmp_path / "remote"), default=True)
    (tmp_path / "remote").mkdir()
    return Repository.find(root)


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def usage(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def versions(repo: Repository) -> list[bytes]:
    """Three versions of a file, added and pushed, 1 % changed each time."""
    path = repo.root / "model.bin"
    made = [noise(8 * MB)]
    path.write_bytes(made[0])
    add(repo, [path], chunked=True)
    push(repo)
    for number in (1, 2):
        data = bytearray(made[-1])
        data[number * MB : number * MB + 80_000] = noise(80_000, number)
        path.write_bytes(data)
        (commit if number == 1 else add)(repo, [path])  # type: ignore[operator]
        push(repo)
        made.append(bytes(data))
    return made


def test_cache_and_remote_hold_little_more_than_one_version(repo: Repository, tmp_path: Path) -> None:
    made = versions(repo)
    assert usage(repo.blobs.folder) < 1.1 * len(made[0])
    assert usage(tmp_path / "remote") < 1.1 * len(made[0])
    oid = hashlib.md5(made[2]).hexdigest()
    assert oid in (repo.root / "model.bin.dvc").read_text()
    assert "chunked: true" in (repo.root / "model.bin.dvc.side").read_text()
    assert status(repo).clean


def test_every_version_is_checked_out(repo: Repository) -> None:
    path = repo.root / "model.bin"
    file = repo.root / "model.bin.dvc"
    made = versions(repo)
    now = file.read_text()
    for data in (made[0], made[1], made[2]):
        file.write_text(now.replace(hashlib.md5(made[2]).hexdigest(), hashlib.md5(data).hexdigest()))
        checkout(repo)
        assert path.read_bytes() == data
    path.unlink()
    checkout(repo)
    assert path.read_bytes() == made[2]
    assert status(repo).clean


def test_a_clone_gets_it_from_the_remote(repo: Repository, tmp_path: Path) -> None:
    made = versions(repo)
    (tmp_path / "clone").mkdir()
    initialise(tmp_path / "clone", git=False)
    clone = Repository.find(tmp_path / "clone")
    clone.config.add_remote("store", str(tmp_path / "remote"), default=True)
    for name in ("model.bin.dvc", "model.bin.dvc.side"):
        (clone.root / name).write_bytes((repo.root / name).read_bytes())
    clone = Repository.find(tmp_path / "clone")
    with pytest.raises(Missing):
        checkout(clone)
    fetch(clone)
    checkout(clone)
    assert (clone.root / "model.bin").read_bytes() == made[2]
    assert fetch(clone).objects == 0
    assert not list((clone.blobs.folder / "files").glob("md5/*/*")), "no whole object was made"


def test_whoever_asks_for_the_object_gets_one(repo: Repository) -> None:
    made = versions(repo)
    oid = hashlib.md5(made[2]).hexdigest()
    assert repo.blobs.has(oid)
    path = repo.blobs.path(oid)
    assert path.read_bytes() == made[2]
    assert path.stat().st_mode & 0o777 == 0o444
    assert repo.blobs.verified([oid]) == []


def test_gc_and_verify_look_at_pieces(repo: Repository) -> None:
    made = versions(repo)
    assert not verify(repo).bad
    gc(repo, workspace=True, dry_run=False, grace_s=0)
    old, new = (hashlib.md5(data).hexdigest() for data in (made[0], made[2]))
    assert not chunks.has(repo, old)
    assert chunks.has(repo, new)
    (repo.root / "model.bin").unlink()
    checkout(repo)
    assert (repo.root / "model.bin").read_bytes() == made[2]


def test_without_numpy_adding_says_what_to_install(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo.root / "x").write_bytes(b"x")
    monkeypatch.setattr("modelkeep.data.chunks.storing.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="numpy"):
        add(repo, [repo.root / "x"], chunked=True)
    assert not (repo.root / "x.dvc").exists()


def test_other_revisions_and_other_repositories_find_the_pieces(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *identity, *words], cwd=repo.root, check=True, capture_output=True)

    git("init")
    path = repo.root / "model.bin"
    made = [noise(2 * MB), noise(2 * MB) + b"more"]
    for data in made:
        path.write_bytes(data)
        add(repo, [path], chunked=True)
        git("add", "-A")
        git("commit", "-m", "version")
    repo = Repository.find(repo.root)
    assert push(repo, all_commits=True).objects == 4, "two packs and two recipes"
    shutil.rmtree(repo.blobs.folder)
    fetch(repo, all_commits=True)
    assert len(chunks.locate(repo, [hashlib.md5(data).hexdigest() for data in made])) == 2
    shutil.rmtree(repo.blobs.folder)
    for rev, data in (("HEAD", made[1]), ("HEAD~1", made[0])):
        out = tmp_path / f"got-{rev}"
        get(str(repo.root), "model.bin", rev=rev, out=str(out))
        assert out.read_bytes() == data


@pytest.mark.needs("dvc")
def test_colleagues_with_dvc_get_it_after_a_push_of_the_whole(repo: Repository, tmp_path: Path) -> None:
    made = versions(repo)
    oid = hashlib.md5(made[2]).hexdigest()
    there = tmp_path / "remote" / "files" / "md5" / oid[:2] / oid[2:]
    assert not there.exists()
    assert push(repo, whole=True).objects == 1
    assert there.read_bytes() == made[2]
    shutil.rmtree(repo.blobs.folder)
    (repo.root / "model.bin").unlink()
    environment = {"PATH": "/usr/bin:/bin", "DVC_NO_ANALYTICS": "1", "HOME": str(tmp_path)}
    subprocess.run(
        [program("dvc"), "pull"], cwd=repo.root, check=True, capture_output=True, env=environment, timeout=100
    )
    assert (repo.root / "model.bin").read_bytes() == made[2]
