"""What data verbs do not see (`.dvcignore`), and what git is told not to see (`.gitignore` beside tracked data).

`.dvcignore` follows DVC to the letter, also where git would read a pattern otherwise: lines are stripped, a nested
file's patterns are moved to the root, and a pattern ending in `/` is passed over for files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple, Self

from modelkeep.core.errors import BadInput
from modelkeep.data.formats.rewrite import content, rewrite, shown

FILE: Final = ".dvcignore"
_BUILT_IN: Final = frozenset({".git", ".hg", ".dvc"})
_SPECIAL: Final = re.compile(r"([\\\[\]!*#?])")


class _Pattern(NamedTuple):
    text: str
    """As it applies from the root."""
    match: re.Pattern[str]
    keeps_out: bool
    folders_only: bool


_Patterns = tuple[_Pattern, ...]


class Ignore:
    """The `.dvcignore` files of a repository; each is read when a path below its folder is first asked about.

    Args:
        root: the repository's root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, _Patterns] = {}
        self._found: dict[tuple[str, bool], bool] = {}

    @classmethod
    def load(cls, root: Path) -> Self:
        """Gives what a repository ignores."""
        return cls(root)

    @property
    def plain(self) -> bool:
        """Whether the root's own `.dvcignore` has no pattern; folders below may have one, see `plain_below`."""
        return self.plain_below("")

    def plain_below(self, folder: str) -> bool:
        """Whether no pattern applies in a folder: neither its own nor one from above.

        Args:
            folder: a folder's path from the root; "" is the root.

        Raises:
            BadInput: a pattern has no meaning.
        """
        return not self._patterns(folder)

    def rules_below(self, folder: str) -> tuple[str, ...]:
        """The patterns that apply in a folder, as they read from the root.

        Args:
            folder: a folder's path from the root; "" is the root.

        Raises:
            BadInput: a pattern has no meaning.
        """
        return tuple(pattern.text for pattern in self._patterns(folder))

    def ignores(self, relpath: str, is_dir: bool) -> bool:
        """Whether data verbs do not see a path: it, or a folder above it, is kept out.

        Args:
            relpath: a path from the root.
            is_dir: whether it is a folder.

        Raises:
            BadInput: a pattern has no meaning.
        """
        if not relpath:
            return False
        parts = relpath.split("/")
        for name in parts[:-1]:
            if name in _BUILT_IN:
                return True
        if parts[-1] in _BUILT_IN and (is_dir or parts[-1] == ".git"):
            return True
        folder = relpath.rpartition("/")[0]
        patterns = self._patterns(folder)
        return bool(patterns) and self._kept_out(relpath, is_dir, patterns, folder)

    def _kept_out(self, relpath: str, is_dir: bool, patterns: _Patterns, folder: str) -> bool:
        """One path after its folders; a folder's answer is kept for all that lies directly in it."""
        above = self._found.get((folder, True))
        if above is None:
            at, above = relpath.find("/"), False
            while at > 0 and not above:
                above = _last_word(relpath[:at], True, patterns)
                at = relpath.find("/", at + 1)
            self._found[folder, True] = above
        return above or _last_word(relpath, is_dir, patterns)

    def _patterns(self, folder: str) -> _Patterns:
        known = self._folders.get(folder)
        if known is not None:
            return known
        above: _Patterns = ()
        if folder:
            above = self._patterns(folder.rpartition("/")[0])
        own: _Patterns = ()
        path = self._root / folder / FILE if folder else self._root / FILE
        name = f"{folder}/{FILE}" if folder else FILE
        if not (above and _seen(name, above)):
            data = content(path)
            if data:
                own = _read(data, path, folder)
        self._folders[folder] = above + own
        return self._folders[folder]


def _seen(relpath: str, patterns: _Patterns) -> bool:
    """Whether patterns keep a file out, by itself or with a folder above it."""
    at = relpath.find("/")
    while at > 0:
        if _last_word(relpath[:at], True, patterns):
            return True
        at = relpath.find("/", at + 1)
    return _last_word(relpath, False, patterns)


def _last_word(relpath: str, is_dir: bool, patterns: _Patterns) -> bool:
    """The last pattern that speaks of a path decides."""
    for pattern in reversed(patterns):
        if pattern.folders_only and not is_dir:
            continue
        if pattern.match.match(relpath) or (is_dir and pattern.match.match(f"{relpath}/")):
            return pattern.keeps_out
    return False


def _read(data: bytes, path: Path, folder: str) -> _Patterns:
    found: list[_Pattern] = []
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{shown(path)}:{line}: not UTF-8 at byte {error.start}") from None
    for number, written in enumerate(lines, 1):
        text = written.strip()
        if not text or text.startswith("#"):
            continue
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

        rule = _moved(text, folder) if folder else text
        try:
            regex, keeps_out = GitIgnoreSpecPattern.pattern_to_regex(rule)
        except ValueError:
            raise BadInput(f"{shown(path)}:{number}: {text!a} is no pattern", hint="Mend or remove the line.") from None
        if regex is not None and keeps_out is not None:
            found.append(_Pattern(rule, re.compile(regex), keeps_out, rule.endswith("/")))
    return tuple(found)


def _moved(rule: str, folder: str) -> str:
    """A nested file's pattern as one of the root."""
    sign, rule = ("!", rule[1:]) if rule.startswith("!") else ("", rule)
    if "/" in rule[:-1] and not rule.startswith("**/"):
        middle, rule = "/", rule.removeprefix("/")
    else:
        middle, rule = "/**/", rule.removeprefix("**/")
    rule = f"{folder}{middle}{rule.removeprefix(chr(92))}"
    return f"!/{rule}" if sign else rule


def git_ignore(out: Path) -> Path | None:
    """Tells git not to see tracked data, by a line in the `.gitignore` beside it, as DVC does.

    Returns:
        The `.gitignore` that was changed; None: git does not see it already, or there is no git repository.

    Raises:
        Denied: the file may not be written.
    """
    root = _git_root(out.parent)
    if root is None:
        return None
    path = out.parent / ".gitignore"
    line = _line(out.name)
    now = content(path) or b""
    lines = now.decode("utf-8", "surrogateescape").split("\n")
    if line in lines and not any(one.startswith("!") for one in lines):
        return None  # the usual case, which needs no patterns
    if _git_ignored(out, root) or line in lines:
        return None  # a line that a later one takes back: somebody wants git to see it
    gap = b"" if not now or now.endswith(b"\n") else b"\n"
    rewrite(path, now + gap + os.fsencode(line) + b"\n")
    return path


def git_unignore(out: Path) -> Path | None:
    """Takes back what `git_ignore` told git; a `.gitignore` that has nothing left goes away.

    Returns:
        The `.gitignore` that was changed or removed; None: it said nothing about this data.
    """
    path = out.parent / ".gitignore"
    now = content(path)
    if now is None:
        return None
    ours = {os.fsencode(_line(out.name)).strip(), os.fsencode(f"/{out.name}").strip()}
    lines = now.splitlines(keepends=True)
    kept = [line for line in lines if line.strip() not in ours]
    if len(kept) == len(lines):
        return None
    if kept:
        rewrite(path, b"".join(kept))
    else:
        path.unlink(missing_ok=True)
    return path


def _line(name: str) -> str:
    r"""A `.gitignore` line for exactly one name.

    >>> _line("prices [2024].csv")
    '/prices \\[2024\\].csv'
    """
    if "\n" in name or "\r" in name:
        raise BadInput(f"{name!a}: git cannot ignore a name with a line break", hint="Rename it.")
    line = "/" + _SPECIAL.sub(r"\\\1", name)
    bare = line.rstrip(" ")
    return bare + "\\ " * (len(line) - len(bare))


def _git_root(folder: Path) -> Path | None:
    for one in (folder, *folder.parents):
        if os.path.lexists(one / ".git"):
            return one
    return None


def _git_ignored(out: Path, root: Path) -> bool:
    """Whether git does not see a path, by the ignore files that count for it."""
    relative = out.relative_to(root).as_posix()
    folders = [
        root,
        *(root.joinpath(*out.relative_to(root).parts[:count]) for count in range(1, relative.count("/") + 1)),
    ]
    files = [(root, path) for path in _everywhere(root)] + [(folder, folder / ".gitignore") for folder in folders]
    rules = [(folder, data.decode("utf-8", "surrogateescape")) for folder, path in files if (data := content(path))]
    if not rules:
        return False
    from pathspec import GitIgnoreSpec

    specs = [(folder, GitIgnoreSpec.from_lines(text.splitlines())) for folder, text in rules]
    places = [root.joinpath(*relative.split("/")[: count + 1]) for count in range(relative.count("/") + 1)]
    for place in places:
        is_dir = place != out or place.is_dir()
        verdict: bool | None = None
        for folder, spec in specs:
            if folder == place or folder not in place.parents:
                continue
            name = place.relative_to(folder).as_posix() + ("/" if is_dir else "")
            said = spec.check_file(name).include
            verdict = said if said is not None else verdict
        if verdict:
            return True
    return False


def _everywhere(root: Path) -> list[Path]:
    """Ignore files that count for a whole repository."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    return [Path(home, "git", "ignore"), root / ".git" / "info" / "exclude"]
