"""Paths from files or strangers: what may become a path of the workspace, and which cannot live side by side."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from modelkeep.core.errors import BadInput

_UNSAFE: Final = re.compile(
    r"\0"
    r"|(?:\A|(?<=[/\\]))(?:\.{0,2}|(?:\.git|\.dvc|git~1)[ .]*)(?=[/\\]|\Z)"
    r"|\A[A-Za-z]:(?=[/\\]|\Z)",
    re.IGNORECASE,
)
_UNSEEN: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"""Characters that some file systems leave out when they compare names."""
_SUSPECT: Final = ("\0", "\n.", "/.", "\n/", "//", "/\n", "\n\n", "\\", ":", "~1")
"""Over many paths joined by newlines, with one at either end: in every unsafe one, and in a few harmless ones."""
_WINDOWS: Final = sys.platform == "win32"


def safe_relpath(text: str, where: str) -> str:
    r"""Gives a path that stays below its folder, as it was.

    Args:
        text: a path with POSIX separators.
        where: what named it, for the message.

    Raises:
        BadInput: it is absolute or empty, climbs with `..`, reaches into `.git` or `.dvc`, or holds a zero byte.

    >>> safe_relpath("2024/prices.csv", "m.dir")
    '2024/prices.csv'
    >>> safe_relpath("../../etc/passwd", "m.dir")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: m.dir: '../../etc/passwd' is no safe path below its folder
    """
    seen = text if text.isascii() else _UNSEEN.sub("", text)
    if _UNSAFE.search(seen) is not None or (_WINDOWS and ("\\" in text or ":" in text)):
        raise BadInput(
            f"{where}: {_quoted(text)} is no safe path below its folder",
            hint="Do not use data from this source: such a path writes where it should not.",
        )
    return text


def safe_relpaths(texts: Sequence[str], where: str) -> None:
    """Makes sure that many paths are safe, at the cost of one search.

    Raises:
        BadInput: as `safe_relpath`, naming the first one.
    """
    joined = "\n".join(["", *texts, ""])
    hidden = not joined.isascii() and _UNSEEN.search(joined) is not None
    if _WINDOWS or hidden or any(part in joined for part in _SUSPECT):
        for text in texts:
            safe_relpath(text, where)


def twins(paths: Iterable[str]) -> list[tuple[str, str]]:
    r"""Gives pairs of paths that many file systems take for one: equal but for case or for Unicode composition.

    A folder counts too: `A/x` and `a/y` are twins by their folders.

    >>> twins(["data/a.csv", "data/A.csv", "b"])
    [('data/a.csv', 'data/A.csv')]
    >>> len(twins(["caf\u00e9", "cafe\u0301"]))
    1
    """
    seen: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    folders: set[str] = set()
    for path in paths:
        for name in (*_parents(path, folders), path):
            other = seen.setdefault(_folded(name), name)
            if other != name:
                found.append((other, name))
    return found


def _parents(path: str, known: set[str]) -> list[str]:
    """The folders of a path that were not met yet."""
    new = []
    folder = path.rpartition("/")[0]
    while folder and folder not in known:
        known.add(folder)
        new.append(folder)
        folder = folder.rpartition("/")[0]
    return new[::-1]


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _quoted(text: str) -> str:
    """A stranger's text, short and without anything that could steer a terminal."""
    shown = ascii(text)
    return shown if len(shown) <= 200 else f"{shown[:190]}…'"
