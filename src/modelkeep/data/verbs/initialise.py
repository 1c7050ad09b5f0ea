"""A folder made a repository, as DVC makes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Conflict, Missing
from modelkeep.data.repository import disk_errors

if TYPE_CHECKING:
    from modelkeep.code.repository import Git

_NO_GIT: Final = "[core]\n    no_scm = True\n"
_GIT_IGNORE: Final = "/config.local\n/tmp\n/cache\n"
_DVC_IGNORE: Final = """\
# Add patterns of files dvc should ignore, which could improve
# the performance. Learn more at
# https://dvc.org/doc/user-guide/dvcignore
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What was made.

    Args:
        root: the repository's root.
        created: False when it was a repository already.
        git: whether it lies in a git work tree.
        hooks: the git hooks that were installed.
    """

    root: str
    created: bool
    git: bool
    hooks: tuple[str, ...] = ()


def initialise(folder: Path | str, *, git: bool | None = None, hooks: bool = False) -> Initialised:
    """Makes a folder a repository; one that is there already is taken as it is.

    Args:
        folder: the root.
        git: None takes git where there is one; True insists on it; False does without.
        hooks: install git hooks that bring data back on checkout and push them on push.

    Raises:
        Missing: git was asked for and there is none.
        Conflict: git ignores `.dvc`, so nobody else would get the settings.
        Denied: nothing can be written there.
    """
    root = Path(folder).absolute()
    tree = _git(root) if git is not False else None
    if tree is None and (git or hooks):
        raise Missing(f"{root}: not in a git work tree", hint="git init, or leave out --hooks")
    marked = git is not False and any((one / ".git").exists() for one in (root, *root.parents))
    created = not (root / ".dvc").is_dir()
    if created:
        if tree is not None and tree.ignored([(root / ".dvc" / "config").relative_to(tree.root).as_posix()]):
            raise Conflict(f"{root / '.dvc'}: git ignores it", hint="Add the line !.dvc to .gitignore.")
        files = _write(root, with_git=marked)
        if tree is not None:
            tree.stage(files)
    installed: tuple[str, ...] = ()
    if hooks and tree is not None:
        from modelkeep.data.hooks import install

        installed = install(tree, root)
    return Initialised(root=str(root), created=created, git=tree is not None, hooks=installed)


def _git(root: Path) -> Git | None:
    """Gives the git repository around a folder; one that git itself does not take for one counts as none."""
    from modelkeep.code.repository import Git

    try:
        return Git.find(root)
    except Missing:
        return None


def _write(root: Path, *, with_git: bool) -> list[Path]:
    files = {".dvc/config": "" if with_git else _NO_GIT}
    if with_git:
        files[".dvc/.gitignore"] = _GIT_IGNORE
    if not (root / ".dvcignore").exists():
        files[".dvcignore"] = _DVC_IGNORE
    with disk_errors(str(root)):
        (root / ".dvc" / "tmp").mkdir(parents=True)
        for name, text in files.items():
            (root / name).write_text(text, encoding="utf-8")
    return [root / name for name in (*files, ".dvcignore")]
