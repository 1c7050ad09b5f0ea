"""A repository that others get data from: two versions, tracked folders, plain git files, a remote, all of it small."""

from __future__ import annotations

from pathlib import Path

from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.push import push
from tests.data.workspaces import grow, repository, run_git

FIRST = {
    "data/a": b"a\n",
    "data/sub/b": b"b\n",
    "data/deep/x/c": b"c\n",
    "data/run.sh": b"#!/bin/sh\n",
    "f.csv": b"x,y\n1,2\n",
    "in/z": b"z\n",
}
PLAIN = {"code/m.py": b"print()\n", "code/deep/n.py": b"", "README": b"read\n"}


def registry(folder: Path, *, remote: str = "../../remote") -> Repository:
    """A source with the tags v1 and v2; its remote lies beside it."""
    repo = repository(folder, git=True, config=f"[core]\n    remote = r\n['remote \"r\"']\n    url = {remote}\n")
    grow(folder, {**FIRST, **PLAIN})
    (folder / "code/m.py").chmod(0o755)
    (folder / "data/run.sh").chmod(0o755)
    (folder / "link").symlink_to("code/m.py")
    add(repo, [folder / "data", folder / "f.csv", folder / "in/z"])
    save(folder, "v1")
    push(repo)
    grow(folder, {"data/a": b"a2\n", "data/new": b"n\n", "f.csv": b"x,y,w\n1,2,3\n4,5,6\n"})
    (folder / "data/sub/b").unlink()
    (folder / "data/deep/x/c").rename(folder / "data/deep/x/c2")
    add(repo, [folder / "data", folder / "f.csv"])
    save(folder, "v2")
    push(repo)
    return Repository(folder)


def save(folder: Path, tag: str = "") -> str:
    """Commits everything; gives the commit."""
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-qm", tag or "more")
    if tag:
        run_git(folder, "tag", tag)
    return run_git(folder, "rev-parse", "HEAD").strip()


def forget(repo: Repository) -> None:
    """Takes the cache and the tracked data away, as in a fresh clone."""
    import shutil

    shutil.rmtree(repo.root / ".dvc/cache", ignore_errors=True)
    for name in ("data", "f.csv", "in/z"):
        path = repo.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
