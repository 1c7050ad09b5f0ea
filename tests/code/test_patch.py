"""What is in a patch and what is not; names of code without git. Byte for byte: see test_tree.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelkeep.code import patch as patches
from modelkeep.core.errors import Missing
from tests.code.repositories import commit, git, repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = repository(tmp_path / "r")
    commit(folder, {"a.py": b"x = 1\n", ".gitignore": b"ignored\n"})
    return folder


def test_a_clean_tree_has_no_patch(root: Path) -> None:
    (root / "ignored").write_text("x")
    (root / "a.py").write_bytes(b"x = 1\n")
    assert patches.make(root) is None


def test_a_patch_is_one_that_git_applies(root: Path, tmp_path: Path) -> None:
    (root / "a.py").write_bytes(b"x = 2\n")
    (root / "new").write_bytes(b"\0binary\xff")
    (root / "sub").mkdir()
    (root / "sub" / "untracked.py").write_text("y = 1\n")
    git(root, "add", "new")
    made = patches.make(root / "sub")
    assert made is not None
    assert (made.untracked, made.left_out, made.refused) == (1, (), "")
    git(tmp_path, "clone", "-q", "r", "clone")
    git(tmp_path / "clone", "apply", given=patches.inflated(made.deflated, made.digest, made.size))
    for name in ("a.py", "new", "sub/untracked.py"):
        assert (tmp_path / "clone" / name).read_bytes() == (root / name).read_bytes()
    assert git(root, "status", "--porcelain=v1", "-uall") == "M a.py\nA  new\n?? sub/untracked.py"


def test_names_that_git_writes_but_cannot_read_are_quoted(root: Path, tmp_path: Path) -> None:
    (root / " ").mkdir()
    (root / " " / "empty").write_bytes(b"")
    (root / "a.py").write_bytes(b"x = 2\n")
    made = patches.make(root)
    assert made is not None
    text = patches.inflated(made.deflated, made.digest, made.size)
    assert b'diff --git "a/ /empty" "b/ /empty"\n' in text
    git(tmp_path, "clone", "-q", "r", "clone")
    git(tmp_path / "clone", "apply", given=text)
    assert (tmp_path / "clone" / " " / "empty").read_bytes() == b""


def test_what_looks_like_a_secret_and_other_repositories_are_left_out(root: Path) -> None:
    secrets = [
        ".env",
        ".env.local",
        "server.pem",
        "id_rsa",
        "conf/credentials.json",
        "api_key.txt",
        "secrets/a",
        "my-token",
    ]
    code = ["tokenizer.py", "tokens.py", "password_reset.py", "environment.yml", "keys.py"]
    for name in (*secrets, *code, ".modelkeep/entries.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("hunter2\n" if name in secrets else "x\n")
    repository(root / "other")
    commit(root / "other", {"x": b"1"})
    made = patches.make(root)
    assert made is not None
    assert sorted(made.left_out) == sorted([*secrets, ".modelkeep/entries.db", "other/"])
    text = patches.inflated(made.deflated, made.digest, made.size)
    assert b"hunter2" not in text
    assert made.untracked == len(code)
    for name in code:
        assert f"+++ b/{name}".encode() in text


def test_what_is_too_large_is_refused_with_its_figures(root: Path) -> None:
    (root / "noise").write_bytes(os.urandom(300_000))
    made = patches.make(root, most_bytes=100_000)
    assert made is not None
    assert made.digest == ""
    assert "bytes deflated, more than 100000" in made.refused
    with (root / "sparse").open("wb") as file:
        file.truncate(10**10)
    made = patches.make(root)
    assert made is not None
    assert made.refused.startswith("the files that differ from the commit have 10000300000 bytes")


def test_without_git_a_commit_or_time_it_says_so(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(Missing, match="not a git repository"):
        patches.make(tmp_path / "plain")
    with pytest.raises(Missing):
        patches.make(repository(tmp_path / "empty"))
    with pytest.raises(TimeoutError):
        patches.make(root, timeout_s=0.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="git"):
        patches.make(root)


def test_the_settings_of_a_user_do_not_change_a_patch(root: Path) -> None:
    (root / "a.py").write_bytes(b"x = 2\r\n")
    for name in ("ü b", "\r", 'q"', '"', "back\\slash", "new\nline\r"):
        (root / name).write_text("new\n")
    first = patches.make(root)
    for name, value in {
        "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "diff.context": "9", "color.ui": "always",
        "core.autocrlf": "input", "core.quotepath": "true", "diff.algorithm": "patience", "diff.renames": "copies",
        "diff.external": "false", "core.abbrev": "4", "status.showUntrackedFiles": "no", "core.safecrlf": "true",
    }.items():  # fmt: skip
        git(root, "config", name, value)
    assert patches.make(root) == first


def test_code_without_git_has_a_name_that_changes_with_it(tmp_path: Path) -> None:
    one = tmp_path / "one"
    (one / "sub").mkdir(parents=True)
    assert patches.content(one) == ""
    (one / "a.py").write_text("x = 1\n")
    (one / "sub" / "b.py").write_text("y = 1\n")
    name = patches.content(one)
    assert name.startswith("content:")
    (one / "data.csv").write_text("1")
    for place in (".git", ".venv", "__pycache__", "node_modules", "env"):
        (one / place).mkdir()
        (one / place / "c.py").write_text("z")
    (one / "env" / "pyvenv.cfg").write_text("")
    assert patches.content(one) == name
    (one / "sub" / "b.py").write_text("y = 2\n")
    second = patches.content(one)
    assert second not in {name, ""}
    (one / "sub" / "b.py").rename(one / "b.py")
    assert patches.content(one) not in {name, second}


def test_too_much_code_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "b.py").write_text("y" * 50)
    monkeypatch.setattr(patches, "_CONTENT_FILES", 1)
    assert patches.content(tmp_path) == ""
    monkeypatch.setattr(patches, "_CONTENT_FILES", 10)
    monkeypatch.setattr(patches, "_CONTENT_BYTES", 50)
    assert patches.content(tmp_path) == ""
    monkeypatch.setattr(patches, "_CONTENT_BYTES", 51)
    assert patches.content(tmp_path) != ""
    (tmp_path / "sub").mkdir()
    monkeypatch.setattr(patches, "_CONTENT_FOLDERS", 1)
    assert patches.content(tmp_path) == ""
