"""Real git with our hooks: a checkout brings back the bytes, a push pushes them, nobody's own hook is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import Conflict
from modelkeep.data import hooks
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from tests.data.registries import save
from tests.data.workspaces import again, grow, repository, run_dvc, run_git

NAMES = ("post-checkout", "pre-commit", "pre-push")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "modelkeep"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modelkeep "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    made = repository(
        tmp_path / "r", git=True, config="[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n"
    )
    for tag in ("v1", "v2"):
        grow(made.root, {"f.bin": tag.encode()})
        add(again(made), [made.root / "f.bin"])
        save(made.root, tag)
    return made


def git(folder: Path, path: str, *words: str) -> subprocess.CompletedProcess[str]:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    own = {**os.environ, "PATH": path}
    return subprocess.run(["git", *who, *words], cwd=folder, env=own, check=False, capture_output=True, text=True)


def test_git_checkout_brings_back_the_bytes(repo: Repository, bin_folder: Path, tmp_path: Path) -> None:
    path = f"{bin_folder}:{os.environ['PATH']}"
    with Git(repo.root) as here:
        assert hooks.install(here) == NAMES
        assert hooks.install(here) == ()
    file = repo.root / "f.bin"
    assert git(repo.root, path, "checkout", "-q", "v1").returncode == 0
    assert file.read_bytes() == b"v1"
    assert git(repo.root, path, "checkout", "-q", "main").returncode == 0
    assert file.read_bytes() == b"v2"
    file.write_bytes(b"mine")
    assert git(repo.root, path, "checkout", "-q", "HEAD", "--", "f.bin.dvc").returncode == 0
    done = git(repo.root, path, "checkout", "-q", "v1")
    assert file.read_bytes() == b"mine"
    assert "f.bin: changed here" in done.stderr
    file.write_bytes(b"v2")
    git(repo.root, path, "checkout", "-q", "main")
    grow(repo.root, {"note": b"1"})
    git(repo.root, path, "add", "note")
    assert "up to date" in git(repo.root, path, "commit", "-m", "note").stderr
    run_git(tmp_path, "init", "-q", "--bare", "origin")
    assert git(repo.root, path, "push", "-q", str(tmp_path / "origin"), "main").returncode == 0
    assert any(one.is_file() for one in (tmp_path / "remote").rglob("*"))
    with Git(repo.root) as here:
        assert hooks.remove(here) == NAMES
        assert hooks.remove(here) == ()


def test_a_push_whose_data_cannot_be_pushed_is_stopped(repo: Repository, bin_folder: Path, tmp_path: Path) -> None:
    path = f"{bin_folder}:{os.environ['PATH']}"
    (tmp_path / "remote").write_bytes(b"in the way")
    run_git(tmp_path, "init", "-q", "--bare", "origin")
    with Git(repo.root) as here:
        hooks.install(here)
    done = git(repo.root, path, "push", "-q", str(tmp_path / "origin"), "main")
    assert done.returncode != 0
    assert "--no-verify" in done.stderr


def test_without_modelkeep_git_goes_on(repo: Repository) -> None:
    with Git(repo.root) as here:
        hooks.install(here)
    done = git(repo.root, "/usr/bin:/bin", "checkout", "-q", "v1")
    assert done.returncode == 0
    assert "modelkeep is not on PATH" in done.stderr
    assert (repo.root / "f.bin").read_bytes() == b"v2"


def test_a_repository_below_the_root_of_git(tmp_path: Path, bin_folder: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    run_git(top, "init", "-q", "-b", "main")
    repo = repository(top / "it's sub")
    for tag in ("v1", "v2"):
        grow(repo.root, {"f.bin": tag.encode()})
        add(again(repo), [repo.root / "f.bin"])
        save(top, tag)
    with Git(top) as here:
        hooks.install(here, repo.root)
    assert git(top, f"{bin_folder}:{os.environ['PATH']}", "checkout", "-q", "v1").returncode == 0
    assert (repo.root / "f.bin").read_bytes() == b"v1"


@pytest.mark.parametrize("name", NAMES)
def test_somebodys_own_hook_stays(repo: Repository, name: str) -> None:
    hook = repo.root / ".git/hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho mine\n", encoding="utf-8")
    with Git(repo.root) as here:
        with pytest.raises(Conflict, match=name) as caught:
            hooks.install(here)
        line = caught.value.hint.partition("again: ")[2]
        assert [one.name for one in hook.parent.iterdir() if one.suffix != ".sample"] == [name]
        hook.write_text(f"#!/bin/sh\necho mine\n{line}\n", encoding="utf-8")
        assert set(hooks.install(here)) == set(NAMES) - {name}
        hooks.remove(here)
    assert "echo mine" in hook.read_text(encoding="utf-8")


def test_a_folder_of_hooks_that_others_share_is_left_alone(repo: Repository, tmp_path: Path) -> None:
    run_git(repo.root, "config", "core.hooksPath", str(tmp_path / "shared"))
    with Git(repo.root) as here, pytest.raises(Conflict, match="hooksPath"):
        hooks.install(here)
    run_git(repo.root, "config", "core.hooksPath", "tools")
    with Git(repo.root) as here:
        assert hooks.install(here) == NAMES
    assert (repo.root / "tools/pre-push").exists()


@pytest.mark.needs("dvc")
def test_hooks_of_dvc_are_replaced_and_come_back(repo: Repository) -> None:
    run_dvc(repo, "install")
    folder = repo.root / ".git/hooks"
    theirs = {name: (folder / name).read_bytes() for name in NAMES}
    with Git(repo.root) as here:
        assert hooks.install(here) == NAMES
        assert b"modelkeep" in (folder / "pre-push").read_bytes()
        hooks.remove(here)
    assert {name: (folder / name).read_bytes() for name in NAMES} == theirs
