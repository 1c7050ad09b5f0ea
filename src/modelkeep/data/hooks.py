"""Git hooks: checkout brings back the data, push pushes them, commit shows what changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Final

from modelkeep.code.repository import Git
from modelkeep.core.errors import Conflict, Denied

NAMES: Final = ("post-checkout", "pre-commit", "pre-push")
_MARK: Final = "# A hook of modelkeep."
_KEPT: Final = ".dvc"
"""Behind the name of a hook that DVC installed, which ours replaces."""

# What each hook does, once it is known that modelkeep is here; `$root` is the folder of `.dvc`.
# post-checkout: its third argument is 1 when a branch or commit was checked out, 0 when files were.
_BODIES: Final[Mapping[str, str]] = {
    "post-checkout": """\
[ "$3" = 0 ] && exit 0
[ -d "$(git rev-parse --git-path rebase-merge)" ] && exit 0
exec modelkeep checkout
""",
    "pre-commit": """\
modelkeep status >&2
exit 0
""",
    "pre-push": """\
modelkeep push </dev/null && exit 0
echo 'The data was not pushed, so nothing was. To push without it: git push --no-verify' >&2
exit 1
""",
}
_LINES: Final[Mapping[str, str]] = {
    "post-checkout": '[ "$3" = 0 ] || modelkeep checkout',
    "pre-commit": "modelkeep status >&2 || true",
    "pre-push": "modelkeep push </dev/null || exit 1",
}
_CALLS: Final[Mapping[str, str]] = {
    "post-checkout": "modelkeep checkout",
    "pre-commit": "modelkeep status",
    "pre-push": "modelkeep push",
}


def install(git: Git, folder: Path | None = None) -> tuple[str, ...]:
    """Installs the hooks and gives the names of those that are new; all of them or none.

    Hooks that DVC installed are replaced and kept beside ours; any other hook stays as it is.

    Args:
        git: the repository.
        folder: the folder of `.dvc`; None is git's own.

    Raises:
        Conflict: another hook is there; the hint is the line that it needs.
        Denied: hooks may not be written.
    """
    place = _place(git)
    root = folder.resolve().relative_to(git.root.resolve()).as_posix() if folder is not None else "."
    fresh = {name: _script(name, root) for name in NAMES if not _calls(place / name, name)}
    for name in fresh:
        if os.path.lexists(place / name) and not (_is_ours(place / name) or _is_of_dvc(place / name, name)):
            raise Conflict(
                f"{place / name}: another hook is there; nothing was changed",
                hint=f"Add this line to it, then run the command again: {_LINES[name]}",
            )
    changed = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, script in fresh.items():
            if _write(place / name, name, script):
                changed.append(name)
    except OSError as error:
        raise Denied(f"{error.filename or place}: {error.strerror}", hint=f"ls -ld {place}") from None
    return tuple(changed)


def remove(git: Git) -> tuple[str, ...]:
    """Removes our hooks, brings back those of DVC that they replaced, and gives the names of those removed.

    Raises:
        Denied: hooks may not be removed.
    """
    place = git.hooks_folder()
    removed = []
    try:
        for name in NAMES:
            hook = place / name
            if not _is_ours(hook):
                continue
            hook.unlink()
            kept = hook.with_name(name + _KEPT)
            if kept.is_file():
                kept.rename(hook)
            removed.append(name)
    except OSError as error:
        raise Denied(f"{error.filename or place}: {error.strerror}", hint=f"ls -ld {place}") from None
    return tuple(removed)


def _place(git: Git) -> Path:
    """The folder of hooks, if it belongs to this repository alone.

    Raises:
        Conflict: it belongs to others, too.
    """
    place = git.hooks_folder().resolve()
    own = (git.root.resolve(), git.folder.resolve())
    if not any(place.is_relative_to(folder) for folder in own):
        lines = "; ".join(f"{name}: {line}" for name, line in _LINES.items())
        raise Conflict(
            f"core.hooksPath is {place}, outside of {git.root}: hooks there may serve other repositories",
            hint=f"Add these lines to its hooks yourself, or unset core.hooksPath here. {lines}",
        )
    return place


def _script(name: str, root: str) -> str:
    enter = "" if root == "." else f"cd {quote(root)} || exit 0\n"
    return (
        "#!/bin/sh\n"
        f"{_MARK} Remove this file to be rid of it.\n"
        f"{enter}"
        "[ -d .dvc ] || exit 0\n"
        "if ! command -v modelkeep >/dev/null 2>&1; then\n"
        f"  echo '{name}: modelkeep is not on PATH, so the data was left alone' >&2\n"
        "  exit 0\n"
        "fi\n"
        f"{_BODIES[name]}"
    )


def _write(hook: Path, name: str, script: str) -> bool:
    if _is_ours(hook) and hook.read_text(encoding="utf-8") == script and os.access(hook, os.X_OK):
        return False
    if _is_of_dvc(hook, name):
        hook.replace(hook.with_name(name + _KEPT))
    aside = hook.with_name(f"{name}.{os.urandom(4).hex()}")
    aside.write_text(script, encoding="utf-8")
    aside.chmod(0o755)
    aside.replace(hook)
    return True


def _text(hook: Path) -> str:
    if hook.is_symlink() or not hook.is_file():
        return ""
    return hook.read_bytes().decode("utf-8", "replace")


def _is_ours(hook: Path) -> bool:
    return f"\n{_MARK}" in _text(hook)


def _is_of_dvc(hook: Path, name: str) -> bool:
    """Whether a hook is what `dvc install` writes, and nothing else."""
    lines = [line for line in _text(hook).splitlines() if line.strip()]
    return len(lines) == 2 and lines[0].startswith("#!") and lines[1].startswith(f"exec dvc git-hook {name}")


def _calls(hook: Path, name: str) -> bool:
    """Whether somebody's own hook does the work already."""
    text = _text(hook)
    return _CALLS[name] in text and f"\n{_MARK}" not in text
