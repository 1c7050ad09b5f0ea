"""`get` brings whole and verified what a path of another repository stands for, and nothing from outside of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing
from modelkeep.data.formats import manifest
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.get import get
from modelkeep.data.verbs.push import push
from tests.data.registries import FIRST, PLAIN, forget, registry, save
from tests.data.workspaces import grow, held, repository, run_dvc, run_git


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def source(tmp_path: Path) -> Repository:
    return registry(tmp_path / "src")


DATA = {name.removeprefix("data/"): data for name, data in FIRST.items() if name.startswith("data/")}


@pytest.mark.parametrize("cache", [True, False], ids=["from the cache", "from the remote"])
def test_tracked_and_plain_files_and_folders(source: Repository, cache: bool) -> None:
    if not cache:
        forget(source)
    url = str(source.root)
    done = get(url, "data", rev="v1")
    assert held(Path("data")) == DATA
    assert (done.files, done.size) == (len(DATA), sum(map(len, DATA.values())))
    assert os.access("data/run.sh", os.X_OK)
    assert Path("data/a").stat().st_mode & 0o200
    get(url, "data/deep", rev="v1", out="other/d")
    assert held(Path("other/d")) == {"x/c": b"c\n"}
    get(url, "data/deep/x/c", rev="v1", out="other/")
    assert Path("other/c").read_bytes() == b"c\n"
    get(url, "f.csv", rev="v1")
    assert Path("f.csv").read_bytes() == FIRST["f.csv"]
    get(url, "code")
    assert held(Path("code")) == {"m.py": PLAIN["code/m.py"], "deep/n.py": b""}
    get(url, "code/m.py", rev="v2", out="m")
    assert os.access("m", os.X_OK)
    get(url, ".", rev="v1", out="all")
    everything = FIRST | PLAIN | {"link": PLAIN["code/m.py"]}
    assert {name: data for name, data in held(Path("all")).items() if not name.endswith(".gitignore")} == everything
    assert not list(Path().glob(".*.part"))


def test_an_address_of_git(source: Repository) -> None:
    forget(source)
    url = f"file://{source.root}"
    assert get(url, "in/z", rev="v1").commit == run_git(source.root, "rev-parse", "v1").strip()
    get(url, "data/a")
    assert Path("a").read_bytes() == b"a2\n"


def test_a_workspace_is_taken_as_it_stands(source: Repository) -> None:
    grow(source.root, {"f.csv": b"changed\n", "data/empty/.keep": b""})
    (source.root / "data/empty/.keep").unlink()
    get(str(source.root), "f.csv")
    assert Path("f.csv").read_bytes() == b"changed\n"
    get(str(source.root), "data")
    told = {"a": b"a2\n", "new": b"n\n", "deep/x/c2": b"c\n", "run.sh": DATA["run.sh"], "sub": None, "empty": None}
    assert held(Path("data")) == told


def test_nothing_is_overwritten_unasked(source: Repository) -> None:
    url = str(source.root)
    grow(Path(), {"f.csv": b"mine", "data/mine": b"mine", "data/a": b"mine"})
    with pytest.raises(Conflict, match="there already"):
        get(url, "f.csv", rev="v1")
    assert Path("f.csv").read_bytes() == b"mine"
    get(url, "f.csv", rev="v1", force=True)
    assert Path("f.csv").read_bytes() == FIRST["f.csv"]
    get(url, "data", rev="v1", out="data/data")
    get(url, "data", rev="v1", out=str(Path("data").parent), force=True)
    assert held(Path("data")) == {**DATA, "mine": b"mine", **{f"data/{name}": data for name, data in DATA.items()}}
    with pytest.raises(BadInput):
        get(url, "f.csv", out="x.dvc")


def test_corrupt_and_missing_objects(source: Repository) -> None:
    forget(source)
    for path in sorted((source.root.parent / "remote").rglob("*")):
        if path.is_file() and path.read_bytes() == b"a\n":
            path.chmod(0o644)
            path.write_bytes(b"!\n")
    with pytest.raises(Corrupt, match="data/a"):
        get(str(source.root), "data", rev="v1")
    assert not Path("data").exists()
    get(str(source.root), "data/deep", rev="v1")
    shutil.rmtree(source.root.parent / "remote")
    with pytest.raises(Missing):
        get(str(source.root), "f.csv", rev="v1")
    with pytest.raises(Missing, match="nope"):
        get(str(source.root), "nope", rev="v1")
    assert not list(Path().glob(".*.part"))


@pytest.mark.parametrize("evil", ["../../evil", "/tmp/evil", ".git/config", "a/../../evil"])
def test_a_manifest_that_climbs_is_refused(tmp_path: Path, evil: str) -> None:
    repo = repository(tmp_path / "evil", git=True)
    oid = repo.blobs.put(b"evil")
    listing = manifest.encode([(evil, oid)])
    name = repo.blobs.put(listing, suffix=".dir")
    grow(repo.root, {"d.dvc": f"outs:\n- md5: {name}\n  size: 4\n  nfiles: 1\n  hash: md5\n  path: d\n".encode()})
    save(repo.root)
    with pytest.raises(BadInput, match="no safe path"):
        get(str(repo.root), "d")
    assert list(Path().iterdir()) == []
    assert not (tmp_path / "evil" / "evil").exists()


def test_links_of_a_git_tree_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    run_git(root, "init", "-q")
    grow(root, {"a/f": b"1", "deep/b/g": b"2"})
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "a/in").symlink_to("../deep")
    (root / "a/dangling").symlink_to("none")
    save(root, "good")
    get(str(root), "a", rev="good")
    assert held(Path("a")) == {"f": b"1", "in/b/g": b"2"}
    get(str(root), "a/in/b/g", rev="good")
    assert Path("g").read_bytes() == b"2"
    (root / "a/out").symlink_to("../../secret")
    save(root, "bad")
    for path in ("a", "a/out"):
        with pytest.raises(BadInput, match="out of"):
            get(str(root), path, rev="bad", out="x")
    (root / "a/out").unlink()
    (root / "a/out").symlink_to("../a")
    save(root, "circle")
    with pytest.raises(BadInput, match="circles"):
        get(str(root), "a", rev="circle", out="x")


def test_a_local_config_with_only_an_option_of_a_remote_breaks_nothing(source: Repository) -> None:
    grow(source.root, {".dvc/config.local": b"['remote \"other\"']\n    password = x\n"})
    for rev in ("", "v1"):
        get(str(source.root), "f.csv", rev=rev, force=True)
    forget(source)
    grow(source.root, {".dvc/config.local": b"['remote \"r\"']\n    jobs = 2\n"})
    get(str(source.root), "f.csv", rev="v1", force=True)
    assert Path("f.csv").read_bytes() == FIRST["f.csv"]


def test_the_remote_is_that_of_the_revision(source: Repository, tmp_path: Path) -> None:
    forget(source)
    grow(source.root, {".dvc/config": b"[core]\n    remote = s\n['remote \"s\"']\n    url = /nowhere/at/all\n"})
    save(source.root, "v3")
    get(str(source.root), "f.csv", rev="v1")
    with pytest.raises(Missing):
        get(str(source.root), "f.csv", rev="v3", out="x")
    (tmp_path / "remote").rename(tmp_path / "moved")
    local = f"['remote \"s\"']\n    url = {tmp_path / 'moved'}\n"
    grow(source.root, {".dvc/config.local": local.encode()})
    get(str(source.root), "data", rev="v3", out="y")
    assert Path("y/a").read_bytes() == b"a2\n"


def test_what_is_kept_as_chunks(source: Repository) -> None:
    big = os.urandom(400_000)
    grow(source.root, {"big.bin": big})
    add(source, [source.root / "big.bin"], chunked=True)
    save(source.root, "v3")
    push(source)
    forget(source)
    (source.root / "big.bin").unlink()
    get(f"file://{source.root}", "big.bin")
    assert Path("big.bin").read_bytes() == big


@pytest.mark.needs("dvc")
def test_dvc_gets_from_ours_and_we_get_from_its(source: Repository, tmp_path: Path) -> None:
    forget(source)
    other = repository(tmp_path / "other", git=True)
    run_dvc(other, "get", str(source.root), "data", "--rev", "v1", "-o", "d")
    assert held(other.root / "d") == DATA
    run_dvc(other, "add", "d")
    save(other.root)
    get(str(other.root), "d")
    assert held(Path("d")) == DATA
