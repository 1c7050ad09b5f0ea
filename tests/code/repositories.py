"""Repositories that the tests of this room make with the git program itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WHO = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "protocol.file.allow=always")


def git(folder: Path, *words: str, given: bytes | None = None, **environment: str) -> str:
    return git_bytes(folder, *words, given=given, **environment).decode().strip()


def git_bytes(folder: Path, *words: str, given: bytes | None = None, **environment: str) -> bytes:
    done = subprocess.run(
        ["git", *WHO, *words],
        cwd=folder,
        check=True,
        capture_output=True,
        input=given,
        env={**os.environ, **environment},
    )
    return done.stdout


def repository(folder: Path, *, user: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    if user:
        git(folder, "config", "user.name", "Ann")
        git(folder, "config", "user.email", "ann@example.org")
    return folder


def commit(folder: Path, files: dict[str, bytes], message: str = "c", **environment: str) -> str:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-F", "-", given=message.encode(), **environment)
    return git(folder, "rev-parse", "HEAD")
