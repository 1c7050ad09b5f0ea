"""Seven faults of DVC 3.67 that are shown with the real DVC, and do not happen here."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.interop.dvc import Repo, grow, held, objects, remote, repository

pytestmark = [pytest.mark.needs("dvc"), pytest.mark.timeout(300)]

TREE = {"a": b"first file\n", "b": b"second file\n", "sub/c": b"third file\n"}


def tracked(folder: Path, tool: str) -> Repo:
    """A repository whose data are added, pushed and committed."""
    repo = repository(folder, tool)
    grow(repo.root / "data", TREE)
    repo.run("add", "data")
    repo.run("push")
    repo.commit("data")
    return repo


def place(store: Path, data: bytes) -> Path:
    (found,) = [store / name for name, (held_bytes, _) in objects(store).items() if held_bytes == data]
    return found


def spoil(path: Path) -> bytes:
    """Flips one bit of an object and leaves its mode and time as they were."""
    before, mode = path.stat(), path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    return bytes(data)


def test_1_a_corrupt_cache_object_never_reaches_the_workspace(tmp_path: Path) -> None:
    for tool in ("dvc", "modelkeep"):
        repo = tracked(tmp_path, tool)
        bad = spoil(place(repo.root / ".dvc/cache", TREE["a"]))
        shutil.rmtree(repo.root / "data")
        if tool == "dvc":
            repo.run("checkout")
            assert (repo.root / "data/a").read_bytes() == bad  # the fault
            continue
        told = repo.run("checkout", code=None)
        if told.code == 0:  # healed from the remote
            assert held(repo.root / "data") == TREE
        else:
            assert told.code == 7
            assert "data/a" in told.err
            assert held(repo.root / "data") == {name: data for name, data in TREE.items() if name != "a"}
        repo.run("pull")
        assert held(repo.root / "data") == TREE


def test_1b_without_a_remote_the_rest_is_there_and_the_bad_one_is_named(tmp_path: Path) -> None:
    repo = tracked(tmp_path, "modelkeep")
    shutil.rmtree(remote(repo))
    spoil(place(repo.root / ".dvc/cache", TREE["a"]))
    shutil.rmtree(repo.root / "data")
    told = repo.run("checkout", code=7)
    assert "data/a" in told.err
    assert held(repo.root / "data") == {name: data for name, data in TREE.items() if name != "a"}


def test_2_a_corrupt_object_on_the_remote_is_named_and_the_rest_delivered(tmp_path: Path) -> None:
    for tool in ("dvc", "modelkeep"):
        repo = tracked(tmp_path, tool)
        bad = spoil(place(remote(repo), TREE["a"]))
        shutil.rmtree(repo.root / "data")
        shutil.rmtree(repo.root / ".dvc/cache")
        if tool == "dvc":
            repo.run("pull")
            assert (repo.root / "data/a").read_bytes() == bad  # the fault
            continue
        told = repo.run("pull", code=7)
        assert "data/a" in told.err
        assert held(repo.root / "data") == {name: data for name, data in TREE.items() if name != "a"}


def test_3_modes_empty_folders_and_folder_links_come_back(tmp_path: Path) -> None:
    for tool in ("dvc", "modelkeep"):
        repo = repository(tmp_path, tool)
        data = repo.root / "data"
        grow(data, TREE)
        (data / "a").chmod(0o755)
        (data / "empty/inside").mkdir(parents=True)
        (data / "latest").symlink_to("sub", target_is_directory=True)
        repo.run("add", "data")
        shutil.rmtree(data)
        repo.run("checkout")
        executable = bool((data / "a").stat().st_mode & 0o100)
        if tool == "dvc":
            assert not executable  # the fault
            assert not (data / "empty").exists()
            assert not (data / "latest").exists()
            continue
        assert executable
        assert (data / "empty/inside").is_dir()
        assert (data / "latest").is_symlink()
        assert (data / "latest/c").read_bytes() == TREE["sub/c"]
        repo.run("status", tool="dvc")  # and DVC is not in the least disturbed
        shutil.rmtree(data)
        repo.run("checkout", tool="dvc")
        assert held(data) == TREE


def test_4_a_link_type_that_the_disk_lacks_never_empties_the_workspace(tmp_path: Path) -> None:
    repo = tracked(tmp_path, "modelkeep")
    (repo.root / ".dvc/config").write_text((repo.root / ".dvc/config").read_text() + "[cache]\n    type = reflink\n")
    told = repo.run("checkout", "--relink", code=None)
    assert held(repo.root / "data") == TREE
    if told.code:
        assert told.code == 2
        assert "reflink" in told.err


def test_5_a_manifest_that_is_missing_on_both_sides_is_seen(tmp_path: Path) -> None:
    for tool in ("dvc", "modelkeep"):
        repo = tracked(tmp_path, tool)
        for store in (repo.root / ".dvc/cache", remote(repo)):
            for path in store.rglob("*.dir"):
                path.unlink()
        told = repo.run("status", "-c", code=None)
        text = (told.out + told.err).lower()
        if tool == "dvc":
            assert "in sync" in text  # the fault
        else:
            assert "missing" in text
            assert "data" in text


def test_6_an_option_of_a_remote_in_the_local_settings_breaks_nothing(tmp_path: Path) -> None:
    source = tracked(tmp_path / "source", "modelkeep")
    (source.root / ".dvc/config.local").write_text("['remote \"store\"']\n    jobs = 2\n")
    here = tmp_path / "here"
    here.mkdir()
    source.run("get", str(source.root), "data", cwd=here)
    assert held(here / "data") == TREE
    listed = json.loads(source.run("list", str(source.root), "data", "--json", cwd=here).out)
    assert json.dumps(listed).count('"path"') >= 3


def test_7_one_changed_file_of_many_sends_one_object_and_one_manifest(tmp_path: Path) -> None:
    """The manifest is rewritten by construction, here as there; nothing else is."""
    repo = repository(tmp_path, "modelkeep")
    grow(repo.root / "data", {f"{number:03d}": str(number).encode() for number in range(300)})
    repo.run("add", "data")
    repo.run("push")
    before = set(objects(remote(repo)))
    (repo.root / "data/007").write_bytes(b"changed")
    repo.run("add", "data")
    told = json.loads(repo.run("push", "--json").out)
    assert len(set(objects(remote(repo))) - before) == 2
    assert told["objects"] == 2
