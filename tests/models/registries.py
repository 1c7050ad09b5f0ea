"""Registries for tests: real git repositories with a few commits, and tags made by hand where a test says so."""

from __future__ import annotations

from pathlib import Path

from modelkeep.code.repository import Git
from modelkeep.code.tags import Tag
from modelkeep.models.registry import Registry
from tests.code.repositories import commit, git, repository

START = 1_700_000_000


def registry(folder: Path, commits: int = 4) -> Registry:
    """A repository with some commits, the oldest first; nothing is registered. Who reads files of it closes it."""
    repository(folder)
    for number in range(commits):
        commit(folder, {"train.py": f"step = {number}\n".encode()}, f"step {number}")
    return Registry(Git(folder))


def commits(registry: Registry) -> list[str]:
    """The commits of a registry's repository, the oldest first."""
    return git(registry.git.root, "rev-list", "--reverse", "HEAD").split()


def tag(name: str, commit: str, *, at_s: int = 0, message: str = "m", annotated: bool = True) -> Tag:
    """A tag as `code.tags` reads it."""
    if not annotated:
        return Tag(name, "", commit, "", 0, "")
    return Tag(name, f"object of {name}", commit, "Ann <ann@example.org>", (START + at_s) * 10**9, message)


def make(registry: Registry, name: str, commit: str, message: str, *, at_s: int = 0) -> None:
    """Makes a tag with git itself, on a date."""
    git(
        registry.git.root, "tag", "-a", name, commit, "-m", message, GIT_COMMITTER_DATE=f"@{START + at_s} +0000"
    )  # fmt: skip
    registry.refresh()
