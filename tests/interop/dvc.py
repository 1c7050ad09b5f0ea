"""Two repositories side by side, one worked by modelkeep and one by the real DVC, and what of them must be equal."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.peers import program

Tree = dict[str, bytes]


@dataclass
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


@dataclass
class Repo:
    """A git repository with a DVC folder, worked by one tool."""

    tool: str
    root: Path
    site: Path

    def run(self, *words: str, code: int | None = 0, tool: str = "", cwd: Path | None = None) -> Told:
        """Runs a verb; by default it must succeed."""
        name = tool or self.tool
        argv = [str(program("dvc"))] if name == "dvc" else [sys.executable, "-m", "modelkeep"]
        own = {
            **os.environ,
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.site),
            "DVC_GLOBAL_CONFIG_DIR": str(self.site / "global"),
            "XDG_CACHE_HOME": str(self.site / "xdg"),
        }
        done = subprocess.run(
            [*argv, *words], cwd=cwd or self.root, env=own, capture_output=True, text=True, check=False, timeout=100
        )
        told = Told(done.returncode, done.stdout, done.stderr)
        assert code is None or done.returncode == code, f"{name} {' '.join(words)}: {told}"
        return told

    def git(self, *words: str) -> str:
        """Runs git as a nameless author."""
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()


def repository(folder: Path, tool: str) -> Repo:
    """A fresh repository made by the tool's own `init`, with a default remote in a folder beside it."""
    root = folder / tool
    root.mkdir(parents=True)
    made = Repo(tool, root, folder / f"{tool}-site")
    made.git("init", "-q")
    made.run("init")
    made.run("remote", "add", "-d", "store", str(folder / f"{tool}-remote"))
    return made


def remote(repo: Repo) -> Path:
    return repo.root.parent / f"{repo.tool}-remote"


def grow(folder: Path, tree: Tree) -> None:
    """Writes a tree of files."""
    for name, data in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def held(folder: Path) -> Tree:
    """All files below a folder with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def objects(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The objects of a cache or remote with their modes, both layouts; nothing of either tool's own notes."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in {"modelkeep", "runs"}
    }
