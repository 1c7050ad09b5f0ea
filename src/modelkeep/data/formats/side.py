"""Side files: what DVC's format has no room for, in a text file beside the `.dvc` file that DVC does not look at.

`prices.dvc.side` holds, for the folder `prices`, which files may be run, which folders are empty and which links there
were. It is YAML, one item a line, so that git merges it well:

    executable:
    - bin/run.sh
    symlinks:
      latest: "2024"
    chunked: true
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.data.formats.names import safe_relpath
from modelkeep.data.formats.rewrite import content, rewrite, shown

SUFFIX: Final = ".side"
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*\Z")
_KEY: Final = re.compile(r"([A-Za-z_][\w-]*):(?: (.*))?\Z")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_LISTS: Final = ("executable", "empty")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\(?:["\\]|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*)"')
_CODE: Final = re.compile(r'\\(?:(["\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))')


@dataclass(frozen=True, slots=True)
class Side:
    """What a side file holds about one tracked path.

    Args:
        executable: files of the folder that may be run, as paths below it.
        empty: folders without any file.
        symlinks: where links lead, by their path.
        chunked: whether the data is kept as chunks too.
        other: lines of keys that this version does not know, as they stand.
    """

    executable: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    symlinks: Mapping[str, str] = field(default_factory=lambda: _NONE)
    chunked: bool = False
    other: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.executable or self.empty or self.symlinks or self.chunked or self.other)


def path_of(metafile: Path) -> Path:
    """Gives where a `.dvc` file's side file lies.

    >>> path_of(Path("data/prices.dvc")).name
    'prices.dvc.side'
    """
    return metafile.with_name(metafile.name + SUFFIX)


def read(metafile: Path) -> Side:
    """Gives what the side file of a `.dvc` file holds; nothing when there is none.

    Raises:
        BadInput: it is no side file, or leads out of the folder; the message names file and line.
    """
    path = path_of(metafile)
    data = content(path)
    return Side() if data is None else parse(data, shown(path))


def write(metafile: Path, side: Side) -> bool:
    """Writes the side file of a `.dvc` file; one that would hold nothing goes away.

    Returns:
        Whether anything changed.

    Raises:
        BadInput: a path or a link leads out of the folder.
        Denied: it may not be written.
    """
    path = path_of(metafile)
    if side:
        return rewrite(path, render(side, shown(path)))
    if content(path) is None:
        return False
    path.unlink(missing_ok=True)
    return True


def render(side: Side, where: str = "side file") -> bytes:
    """Gives a side file's bytes: sections in one order, items sorted.

    Raises:
        BadInput: a path or a link leads out of the folder.
    """
    lines: list[str] = []
    for key, paths in zip(_LISTS, (side.executable, side.empty), strict=True):
        if paths:
            lines.append(f"{key}:")
            lines += [f"- {_quoted(safe_relpath(path, where))}" for path in sorted(set(paths))]
    if side.symlinks:
        _check_links(side.symlinks, where)
        lines.append("symlinks:")
        lines += [f"  {_quoted(path)}: {_quoted(target)}" for path, target in sorted(side.symlinks.items())]
    if side.chunked:
        lines.append("chunked: true")
    return "".join(f"{line}\n" for line in (*lines, *side.other)).encode()


def parse(data: bytes, where: str) -> Side:
    """Gives what a side file's bytes say.

    Args:
        data: as they lie on disk or in a git revision.
        where: what to call the file in a message.

    Raises:
        BadInput: they are no side file, or lead out of the folder; the message names the line.
    """
    return _Parser(where).parse(data)


class _Parser:
    def __init__(self, where: str) -> None:
        self._where = where
        self._lists: dict[str, list[str]] = {key: [] for key in _LISTS}
        self._links: dict[str, str] = {}
        self._chunked = False
        self._other: list[str] = []

    def parse(self, data: bytes) -> Side:
        try:
            lines = data.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise BadInput(f"{self._where}: not UTF-8 at byte {error.start}") from None
        section, seen = "", set[str]()
        for number, raw in enumerate(lines, 1):
            line = raw.rstrip("\r")
            at = f"{self._where}:{number}"
            if line.startswith(("<<<<<<<", ">>>>>>>", "=======", "|||||||")):
                raise BadInput(f"{at}: merge conflict markers", hint="Keep the lines of both sides, each once.")
            found = _KEY.match(line)
            if found is not None:
                section = found[1]
                if section in seen:
                    raise BadInput(f"{at}: {section} is there twice")
                seen.add(section)
                self._begin(section, found[2], line, at)
            elif line.strip():
                self._item(section, line, at)
        _check_links(self._links, self._where)
        return Side(
            tuple(self._lists["executable"]),
            tuple(self._lists["empty"]),
            MappingProxyType(self._links) if self._links else _NONE,
            self._chunked,
            tuple(self._other),
        )

    def _begin(self, section: str, value: str | None, line: str, at: str) -> None:
        if section == "chunked":
            if value not in {"true", "false"}:
                raise BadInput(f"{at}: chunked: expected true or false")
            self._chunked = value == "true"
        elif section in _LISTS or section == "symlinks":
            if value:
                raise BadInput(f"{at}: {section}: expected its items on the lines below")
        else:
            self._other.append(line)

    def _item(self, section: str, line: str, at: str) -> None:
        if section in _LISTS and line.startswith("- "):
            path, rest = _unquoted(line[2:], at)
            if rest:
                raise BadInput(f"{at}: expected one path")
            self._lists[section].append(safe_relpath(path, at))
        elif section == "symlinks" and line.startswith("  "):
            link, rest = _unquoted(line[2:], at)
            if not rest.startswith(": "):
                raise BadInput(f"{at}: expected a link and where it leads")
            target, rest = _unquoted(rest[2:], at)
            if rest or link in self._links:
                raise BadInput(f"{at}: expected one target for {link!a}")
            self._links[link] = target
        elif line.startswith("#") or section not in {"", "chunked", "symlinks", *_LISTS}:
            self._other.append(line)
        else:
            raise BadInput(f"{at}: not a line of a side file")


def _check_links(links: Mapping[str, str], where: str) -> None:
    """Refuses links that lead out of the folder, whatever other links they pass."""
    for link, target in links.items():
        safe_relpath(link, where)
        if not stays_inside(link, target):
            raise BadInput(f"{where}: the link {link!a} leads to {target!a}, out of its folder")
        folder = link.rpartition("/")[0]
        while folder:
            if folder in links:
                raise BadInput(f"{where}: the link {link!a} lies behind the link {folder!a}")
            folder = folder.rpartition("/")[0]


def stays_inside(link: str, target: str) -> bool:
    """Whether a link leads to a place in its own tracked folder.

    Args:
        link: the link's path below the tracked folder.
        target: what it holds.

    >>> stays_inside("a/latest", "../2024"), stays_inside("latest", "../../etc"), stays_inside("x", "/etc")
    (True, False, False)
    """
    parts = target.split("/")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    rest = parts[ups:]
    if ups > link.count("/") or not target or "\0" in target:
        return False
    if ups == 0 and rest == ["."]:
        return True
    try:
        return not rest or safe_relpath("/".join(rest[rest[0] == "." and len(rest) > 1 :]), "") != ""
    except BadInput:
        return False


def _quoted(text: str) -> str:
    if _PLAIN.match(text) is not None and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_written, text)) + '"'


def _written(char: str) -> str:
    """A character between double quotes, as YAML and we read it."""
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _unquoted(text: str, at: str) -> tuple[str, str]:
    """A text, quoted or bare, and what follows it."""
    if not text.startswith('"'):
        found = re.match(r"[^\s:#'\"\[\]{}&*!|>%@`,][^:#]*?(?=: |\s*\Z)", text)
        if found is None:
            raise BadInput(f"{at}: expected a path, in double quotes if it holds special characters")
        return found[0], text[found.end() :].rstrip() if not text[found.end() :].startswith(": ") else text[
            found.end() :
        ]
    quoted = _QUOTED.match(text)
    if quoted is None:
        raise BadInput(f"{at}: a quoted text without its end")
    try:
        return _CODE.sub(_meant, quoted[1]), text[quoted.end() :]
    except (ValueError, OverflowError):
        raise BadInput(f"{at}: a character that does not exist") from None


def _meant(found: re.Match[str]) -> str:
    return found[1] or chr(int(found[2] or found[3], 16))
