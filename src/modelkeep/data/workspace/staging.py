"""What git is told of our files: what it must not take, and what it should."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Busy, Error
from modelkeep.data.formats.ignore import git_ignore, git_unignore

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

_TRIES: Final = 50
_PAUSE_S: Final = 0.1


def ignore(repo: Repository, out: Path) -> list[Path]:
    """Keeps git away from an output; gives the `.gitignore` if it changed."""
    return _ignoring(repo, out, add=True)


def unignore(repo: Repository, out: Path) -> list[Path]:
    """Takes an output's line out of `.gitignore`; gives the file if it changed."""
    return _ignoring(repo, out, add=False)


def stage(repo: Repository, files: Iterable[Path], *, asked: bool = False) -> bool:
    """Stages files with git when that was asked for or `core.autostage` is set; says whether it did.

    Raises:
        Conflict: git ignores one of them.
        Busy: another git holds the index, and went on holding it.
    """
    names = list(dict.fromkeys(files))
    if not names or repo.git is None or not (asked or repo.config.autostage):
        return False
    from modelkeep.code.repository import Git

    with Git(repo.git) as git:
        for left in range(_TRIES, -1, -1):
            try:
                git.stage(names)
                break
            except Busy:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
    return True


def refuse_tracked(repo: Repository, paths: Sequence[Path]) -> None:
    """Makes sure that git does not track what is about to be tracked here.

    Raises:
        BadInput: it does; the hint is what takes it out of git.
    """
    if repo.git is None or not paths:
        return
    from modelkeep.code.command import attempt

    try:
        code, out, _ = attempt(("ls-files", "-z", "--", *map(str, paths)), repo.git)
    except Error:  # a machine without git: nothing of ours is in it
        return
    if code or not out:
        return
    first = repo.git / out.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    path = next((path for path in paths if path == first or path in first.parents), first)
    name = repo.shown(path)
    raise BadInput(
        f"{name}: git tracks it already",
        hint=f"git rm -r --cached '{name}' && git commit -m 'Stop tracking {name}', then add it again.",
    )


def _ignoring(repo: Repository, out: Path, *, add: bool) -> list[Path]:
    if repo.git is None or repo.git not in out.parents:
        return []
    if add and _said(out):
        return []
    with _alone(repo, out.parent):
        changed = git_ignore(out) if add else git_unignore(out)
    return [changed] if changed is not None else []


def _said(out: Path) -> bool:
    """Says whether the line is there already, and nothing in that file could take it back."""
    try:
        text = out.with_name(".gitignore").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return f"\n/{out.name}\n" in f"\n{text}\n" and "!" not in text


@contextmanager
def _alone(repo: Repository, folder: Path) -> Iterator[None]:
    """Holds a folder's `.gitignore` for a moment; nothing else is locked meanwhile, so nobody waits in a circle."""
    import fcntl
    import os
    from hashlib import md5

    locks = repo.private / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    name = md5(str(folder).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    fd = os.open(locks / f"ignore-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
