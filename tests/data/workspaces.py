"""Small repositories for tests: made in a moment, with the real `dvc` at hand where a test asks for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from modelkeep.data.repository import Repository
from modelkeep.data.verbs.initialise import initialise
from tests.peers import program

Files = Mapping[str, bytes]


def repository(folder: Path, *, git: bool = False, config: str = "") -> Repository:
    """A fresh repository."""
    folder.mkdir(parents=True, exist_ok=True)
    if git:
        run_git(folder, "init", "-q", "-b", "main")
    initialise(folder, git=git)
    if config:
        with (folder / ".dvc/config").open("a", encoding="utf-8") as file:
            file.write(config)
    return Repository(folder)


def again(repo: Repository) -> Repository:
    """The same repository as another process would see it."""
    return Repository(repo.root)


def grow(folder: Path, files: Files) -> Path:
    """Writes files; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def held(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: bytes of files, targets of links, None for empty folders."""
    found: dict[str, bytes | str | None] = {}
    for top, folders, files in os.walk(folder):
        here = Path(top)
        for name in (*files, *(name for name in folders if (here / name).is_symlink())):
            path = here / name
            found[str(path.relative_to(folder))] = str(path.readlink()) if path.is_symlink() else path.read_bytes()
        if not files and not folders and here != folder:
            found[str(here.relative_to(folder))] = None
    return found


def run_git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def run_dvc(repo: Repository, *words: str, code: int | None = 0) -> str:
    """Runs the real `dvc`; gives what it said."""
    site = repo.root.parent / f"{repo.root.name}-site"
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(site),
        "DVC_GLOBAL_CONFIG_DIR": str(site / "global"),
    }
    done = subprocess.run(
        [str(program("dvc")), *words],
        cwd=repo.root,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def objects(repo: Repository) -> set[str]:
    """The names of all objects in the cache."""
    return {oid for oid, *_ in repo.blobs.oids()}
