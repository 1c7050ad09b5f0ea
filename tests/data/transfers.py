"""A repository with a remote, as the tests of transfers use it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.initialise import initialise


def git(folder: Path, *words: str) -> str:
    """Runs git with an author of its own."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass
class Ground:
    """A work tree, its remote folder and its cache."""

    root: Path
    remote: Path

    @property
    def repo(self) -> Repository:
        """The repository, as a new command would find it."""
        return Repository.find(self.root)

    @property
    def cache(self) -> Path:
        return self.root / ".dvc" / "cache"

    def write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def add(self, *names: str) -> None:
        """Tracks files, and forgets what only this process knows."""
        add(self.repo, [self.root / name for name in names])

    def folder(self, name: str, count: int, *, seed: int = 0, size: int = 100) -> None:
        """Writes a folder of random files, some below `sub`, and tracks it."""
        source = random.Random(seed)
        for number in range(count):
            self.write(f"{name}/{'sub/' if number % 3 == 0 else ''}f{number}", source.randbytes(size))
        self.add(name)

    def commit(self, message: str) -> str:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.root, "rev-parse", "HEAD")

    def lose_cache(self) -> None:
        shutil.rmtree(self.cache, ignore_errors=True)

    def lose(self, *names: str) -> None:
        """Takes tracked data out of the workspace."""
        for name in names:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def objects(self, where: Path | None = None) -> dict[str, Path]:
        """Every object that is visible under a cache or remote, by its oid."""
        top = self.cache if where is None else where
        return {
            path.parent.name + path.name: path
            for layout in (top / "files" / "md5", top)
            for path in layout.glob("[0-9a-f][0-9a-f]/*")
            if path.is_file()
        }


def spoil(path: Path, *, at: int = 0, bit: int = 0) -> None:
    """Flips one bit of a file and leaves its size, time and mode as they were."""
    stat = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes((byte[0] ^ (1 << bit),)))
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def age(path: Path, seconds: float) -> None:
    """Makes a file look as if it was last changed some time ago, as far as that can be."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


def ground(folder: Path) -> Ground:
    """Makes a repository with git and one local remote that is the default."""
    root, remote = folder / "work", folder / "remote"
    root.mkdir(parents=True)
    remote.mkdir()
    git(root, "init", "-q")
    initialise(root)
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = origin\n['remote \"origin\"']\n    url = {remote}\n")
    return Ground(root, remote)
