"""What `describe` says about real repositories, broken ones and none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.code import git
from modelkeep.code.git import Code, describe, without_secrets

SECRET = "tok3n"


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "CI_", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def run(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q")
    (folder / "model.py").write_text("1\n")
    run(folder, "add", "model.py")
    run(folder, "commit", "-q", "-m", "one")
    run(folder, "remote", "add", "origin", f"https://me:{SECRET}@git.example.org/team/model.git")
    return folder


def without_git(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.needs("git")
def test_a_repository_is_described(repository):
    found = describe(repository)
    commit = run(repository, "rev-parse", "HEAD")
    assert found == Code(commit, False, "Ada <ada@example.org>", "main", "https://git.example.org/team/model.git")
    (repository / "new.py").write_text("untracked files do not make it dirty")
    assert not describe(repository).dirty
    (repository / "model.py").write_text("2\n")
    deep = repository / "a" / "b"
    deep.mkdir(parents=True)
    assert describe(deep) == Code(commit, True, found.author, "main", found.remote)


@pytest.mark.needs("git")
def test_without_git_the_files_are_read(repository, monkeypatch):
    asked = describe(repository)
    run(repository, "pack-refs", "--all")
    without_git(monkeypatch)
    found = describe(repository)
    assert found == Code(asked.commit, False, "", "main", asked.remote)


@pytest.mark.needs("git")
def test_a_worktree_and_a_detached_head(repository, tmp_path, monkeypatch):
    commit = run(repository, "rev-parse", "HEAD")
    run(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    run(repository, "checkout", "-q", "--detach")
    for _ in ("asked", "read"):
        assert (describe(tmp_path / "side").commit, describe(tmp_path / "side").branch) == (commit, "side")
        assert (describe(repository).commit, describe(repository).branch) == (commit, "")
        assert describe(tmp_path / "side").remote == "https://git.example.org/team/model.git"
        without_git(monkeypatch)


@pytest.mark.needs("git")
def test_a_shallow_clone(repository, tmp_path):
    run(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), "shallow")
    assert describe(tmp_path / "shallow").commit == run(repository, "rev-parse", "HEAD")


@pytest.mark.needs("git")
def test_a_detached_checkout_of_ci_knows_its_branch(repository, monkeypatch):
    monkeypatch.setenv("GITHUB_SHA", run(repository, "rev-parse", "HEAD"))
    monkeypatch.setenv("GITHUB_REF_NAME", "feature")
    run(repository, "checkout", "-q", "--detach")
    assert describe(repository).branch == "feature"


@pytest.mark.needs("git")
def test_a_repository_without_commits(tmp_path):
    run(tmp_path, "init", "-q")
    assert describe(tmp_path) == Code(branch="main")


@pytest.mark.needs("git")
def test_settings_of_a_surrounding_git_do_not_mislead(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert describe(repository).branch == "main"


@pytest.mark.needs("git")
def test_a_slow_git_is_given_up(repository, tmp_path, monkeypatch):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    slow.chmod(0o755)
    commit = run(repository, "rev-parse", "HEAD")
    monkeypatch.setattr(git, "_TIMEOUT_S", 0.2)
    monkeypatch.setenv("PATH", f"{slow.parent}:/bin:/usr/bin")
    assert describe(repository) == Code(commit, branch="main", remote="https://git.example.org/team/model.git")


def test_where_there_is_no_repository(tmp_path, monkeypatch):
    assert describe(tmp_path) == Code()
    monkeypatch.setenv("CI_COMMIT_SHA", "b" * 40)
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "main")
    monkeypatch.setenv("CI_COMMIT_AUTHOR", "Ada <ada@example.org>")
    monkeypatch.setenv("CI_PROJECT_URL", f"https://ci:{SECRET}@git.example.org/t/m")
    assert describe(tmp_path) == Code("b" * 40, False, "Ada <ada@example.org>", "main", "https://git.example.org/t/m")
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "t/m")
    assert describe(tmp_path) == Code("a" * 40, remote="https://git.example.com/t/m")


@pytest.mark.parametrize("head", [b"", b"\xff\xfe", b"ref: ../../secret", b"ref: refs/heads/none", b"f" * 40])
def test_a_broken_repository_raises_nothing(tmp_path, monkeypatch, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(head)
    (tmp_path / "secret").write_text("a" * 40)
    without_git(monkeypatch)
    assert describe(tmp_path).commit in {"", "f" * 40}
    (tmp_path / ".git" / "HEAD").unlink()
    assert describe(tmp_path) == Code()


def test_a_path_that_is_none(tmp_path):
    assert describe(Path("a\0b")) == Code()
    (tmp_path / ".git").write_text("not a pointer")
    assert describe(tmp_path) == Code()


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        (f"https://{SECRET}@h.example/t/m", "https://h.example/t/m"),
        (f"https://me:p@{SECRET}@h.example:8443/t/m#x", "https://h.example:8443/t/m"),
        (f"https://me:{SECRET}/with/slash@h.example/t/m", ""),
        ("ssh://git@h.example:22/t/m", "ssh://h.example:22/t/m"),
        ("https://[::1]:80/t/@scope/m", "https://[::1]:80/t/@scope/m"),
        (f"me:{SECRET}@h.example:t/m", "h.example:t/m"),
        ("../other", "../other"),
        ("/srv/git/m.git", "/srv/git/m.git"),
        ("C:/git/m", "C:/git/m"),
        ("", ""),
    ],
)
def test_no_secret_stays_in_an_address(address, clean):
    assert without_secrets(address) == clean


@given(st.text(alphabet="abAB:/@?#[]. 1", min_size=0, max_size=30), st.sampled_from(["https", "ssh", "git+x"]))
def test_user_and_query_are_never_kept(text, scheme):
    user = "".join(one for one in text if one not in "/@")
    assert SECRET not in without_secrets(f"{scheme}://{user}{SECRET}@h.example/t?{SECRET}{text}")


def test_it_loads_nothing_heavy():
    code = "import sys, modelkeep.code.git; print([m for m in ('subprocess', 'numpy', 'asyncio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
