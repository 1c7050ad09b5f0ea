"""The commands of the data guides run, in order, in a repository that the real DVC made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.dvc import Repo, repository

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ("start/from-dvc.md", "guides/safe-gc.md", "guides/large-files.md")

pytestmark = [pytest.mark.needs("dvc"), pytest.mark.timeout(200)]


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = repository(tmp_path, "dvc")
    (made.root / "prices.csv").write_text("day,price\n2026-11-20,17.1\n")
    (made.root / "data").mkdir()
    (made.root / "data" / "one").write_text("1\n")
    made.run("add", "prices.csv", "data")
    made.run("push")
    made.commit("data")
    (made.root / "prices.csv").write_text("day,price\n2026-11-20,17.1\n2026-11-21,17.3\n")
    made.run("add", "prices.csv")
    made.run("push")
    made.commit("another day")
    (made.root / "weights.bin").write_bytes(os.urandom(1_000_000))
    return made


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_run(repo: Repo, guide: str) -> None:
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert "modelkeep" in script
    who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    own = {**os.environ, **who, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-exo", "pipefail", "-c", script], cwd=repo.root, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert repo.run("status", code=None).code == 0  # and DVC goes on working there
