"""What was never committed, from a process of its own to the server and back into an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.code import patch as patches
from modelkeep.code.repository import Git
from modelkeep.code.tree import materialise
from tests.code.repositories import commit, git, repository
from tests.server.conftest import Running, running

PROGRAM = """
import modelkeep as mk
mk.log_prediction("churn", {"income": 1.0}, True, version="v1")
"""


def run(server: Running, folder: Path, **more: str) -> None:
    own = {"MODELKEEP_URL": str(server.client.base_url).rstrip("/"), "MODELKEEP_SPOOL": str(folder.parent / "spool")}
    done = subprocess.run(
        [sys.executable, "serve.py"],
        cwd=folder,
        env={**os.environ, **own, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def only(server: Running, path: str, name: str) -> dict[str, object]:
    found = server.get(path)[name]
    assert isinstance(found, list)
    [row] = found
    return dict(row)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "data") as found:
        yield found


def test_a_program_that_lives_a_moment_tells_what_it_was(server: Running, tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    head = commit(root, {"serve.py": b"# as committed\n", "gone.py": b"x\n"})
    git(root, "remote", "add", "origin", "https://me:hunter2@git.example.org/team/model.git")
    (root / "serve.py").write_text(PROGRAM)
    (root / "gone.py").unlink()
    (root / "new \u00fc.bin").write_bytes(b"\0\xff")
    (root / ".env").write_text("PASSWORD=hunter2\n")
    run(server, root, MODELKEEP_ROLE="shadow")
    release = only(server, "/api/v1/releases", "releases")
    extra = release["extra"]
    assert isinstance(extra, dict)
    assert (release["code"], release["dirty"]) == (head, True)
    assert {name: extra[name] for name in ("role", "branch", "remote", "untracked", "patch_left_out")} == {
        "role": "shadow",
        "branch": "main",
        "remote": "https://git.example.org/team/model.git",
        "untracked": 1,
        "patch_left_out": [".env"],
    }
    told = server.get(f"/api/v1/patches/{extra['patch']}")
    text = patches.inflated(b64decode(str(told["deflated"])), extra["patch"], extra["patch_size"])
    assert b"hunter2" not in text
    with Git(root) as repo:
        materialise(repo, head, tmp_path / "out")
        patches.apply(repo, head, text, tmp_path / "out")
    for name in ("serve.py", "new \u00fc.bin"):
        assert (tmp_path / "out" / name).read_bytes() == (root / name).read_bytes()
    assert not (tmp_path / "out" / "gone.py").exists()
    stretch = only(server, "/api/v1/models/timeline", "timeline")
    assert (stretch["role"], stretch["patch"]) == ("shadow", extra["patch"])


def test_without_git_the_code_has_a_name(server: Running, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "serve.py").write_text(PROGRAM)
    run(server, tmp_path / "app")
    release = only(server, "/api/v1/releases", "releases")
    assert release["code"] == ""
    assert release["extra"] == {"content": patches.content(tmp_path / "app")}


def test_a_patch_that_never_came_is_missing(server: Running) -> None:
    answer = server.client.get(f"/api/v1/patches/{'0' * 32}")
    assert answer.status_code == 404
    assert "extra.patch" in answer.json()["error"]["hint"]
