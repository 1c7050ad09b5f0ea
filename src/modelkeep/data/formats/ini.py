"""DVC's settings files: sections, keys, quoted values and lists, read as configobj reads them and edited line by line.

An edit changes the lines that it is about; comments and everything else stay as they are. Values stand as they are
written: nothing in them is replaced by other values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

from modelkeep.core.errors import BadInput

Value = str | list[str]
_TITLE: Final = re.compile(r"\s*(\[[\s\[]*)(\"[^\"]*\"|'[^']*'|[^'\"\s\]][^\]]*?)\s*(\][\s\]]*)(#.*)?\Z")
_ENTRY: Final = re.compile(r"(\s*)(\"[^\"]*\"|'[^']*'|[^'\"=\s][^=]*?)\s*=\s*(.*)\Z", re.DOTALL)
_NAMED: Final = re.compile(r'\s*(remote|machine|db)\s*"(.*)"\s*\Z')
_EDGES: Final = " \r\n\v\t'\""
_INDENT: Final = "    "


@dataclass(slots=True)
class Entry:
    """One `key = value`, with its first line and the one behind its last."""

    key: str
    value: Value
    first: int
    end: int
    indent: str
    comment: str


@dataclass(slots=True)
class Section:
    """One section: its title as DVC means it, its lines and its entries by lower-case key."""

    title: str
    first: int
    end: int
    depth: int = 1
    entries: dict[str, Entry] = field(default_factory=dict)


class Ini:
    r"""A settings file in memory.

    Args:
        text: the file's text.
        where: what to call it in a message.

    Raises:
        BadInput: a line is neither a section nor a setting; the message names it.

    >>> ini = Ini("[core]\n    remote = s3  # ours\n", "config")
    >>> ini.sections["core"].entries["remote"].value
    's3'
    >>> ini.set("core", "remote", "disk, 2"); print(ini.text(), end="")
    [core]
        remote = "disk, 2"  # ours
    """

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self.sections: dict[str, Section] = {}
        self._parse()

    def text(self) -> str:
        """The file's text now."""
        lines = self._lines
        return "".join(f"{line}{self._newline}" for line in lines) if any(map(str.strip, lines)) else self._newline

    def set(self, title: str, key: str, value: Value) -> None:
        """Gives a setting a value, in the place it has or behind its section's last.

        Raises:
            BadInput: the value cannot be written.
        """
        section = self.sections.get(title) or self._begin(title)
        entry = section.entries.get(key)
        written = _quoted(value)
        if entry is not None:
            if entry.value != value:
                tail = f"  {entry.comment}" if entry.comment else ""
                name = self._lines[entry.first].split("=", 1)[0].rstrip()
                self._replace(entry.first, entry.end, f"{name} = {written}{tail}")
            return
        last = max((one.end for one in section.entries.values()), default=section.first + 1)
        indent = next((one.indent for one in section.entries.values()), _INDENT)
        self._replace(last, last, f"{indent}{_quoted(key)} = {written}")

    def unset(self, title: str, key: str) -> bool:
        """Takes a setting away, and its section if nothing is left of it; False: there is none."""
        section = self.sections.get(title)
        entry = section.entries.get(key) if section is not None else None
        if section is None or entry is None:
            return False
        self._replace(entry.first, entry.end)
        section = self.sections[title]
        if not any(line.strip() for line in self._lines[section.first + 1 : section.end]):
            self.drop(title)
        return True

    def drop(self, title: str) -> bool:
        """Takes a section away with all that it holds; False: there is none."""
        section = self.sections.get(title)
        if section is None:
            return False
        self._replace(section.first, section.end)
        return True

    def rename(self, title: str, new: str) -> None:
        """Gives a section another title, in DVC's order: a renamed remote is the last one."""
        section = self.sections[title]
        moved = self._lines[section.first + 1 : section.end]
        self._replace(section.first, section.end)
        at = self._begin(new).first + 1
        self._replace(at, at, *moved)

    def _begin(self, title: str) -> Section:
        """A new section, where DVC writes it: plain ones first, then remotes, machines, databases."""
        rank = _rank(title)
        at = 0
        for section in self.sections.values():
            if _rank(section.title) <= rank:
                at = max(at, section.end)
        if at == 0 and not self.sections:
            at = len(self._lines)
            if not any(map(str.strip, self._lines)):
                self._lines, at = [], 0
        elif at == 0:
            at = self.sections[next(iter(self.sections))].first
        written = _quoted(title)
        self._replace(at, at, f"[{written}]")
        return self.sections[title]

    def _replace(self, first: int, end: int, *lines: str) -> None:
        self._lines[first:end] = [one for line in lines for one in line.split("\n")]
        self._parse()

    def _parse(self) -> None:
        self.sections = {}
        section = Section("", -1, 0, 0)  # settings before any section mean nothing to DVC
        number = 0
        while number < len(self._lines):
            line = self._lines[number]
            bare = line.strip()
            if not bare or bare.startswith("#"):
                number += 1
                continue
            title = _TITLE.match(line)
            if title is not None:
                section = self._section(title, number, section)
                number += 1
            else:
                number = self._entry(line, number, section)
            section.end = number
        self._close()

    def _section(self, found: re.Match[str], number: int, above: Section) -> Section:
        depth = found[1].count("[")
        if depth != found[3].count("]") or depth > above.depth + 1:
            self._refuse(number, "brackets that do not match")
        title = meant(_bare(found[2]))
        if depth > 1:
            title = f"{above.title}\0{title}"  # DVC knows no such section; it is kept
        if title in self.sections:
            self._refuse(number, f"the section {title!a} is there twice")
        section = self.sections[title] = Section(title, number, number + 1, depth)
        return section

    def _entry(self, line: str, number: int, section: Section) -> int:
        found = _ENTRY.match(line)
        if found is None:
            if line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
                self._refuse(number, "merge conflict markers")
            self._refuse(number, "neither a section nor a setting")
        indent, key, raw = found[1], _bare(found[2]).lower(), found[3]
        value: Value
        if raw[:3] in {'"""', "'''"}:
            value, comment, end = self._long(raw, number)
        else:
            value, comment = self._value(raw, number)
            end = number + 1
        if key in section.entries:
            self._refuse(number, f"{key!a} is there twice")
        section.entries[key] = Entry(key, value, number, end, indent, comment)
        return end

    def _long(self, raw: str, number: int) -> tuple[str, str, int]:
        """A value in three quotes, over one or more lines."""
        quote, text, end = raw[:3], raw[3:], number + 1
        while quote not in text:
            if end >= len(self._lines):
                self._refuse(number, "a quoted value without its end")
            text += "\n" + self._lines[end]
            end += 1
        value, _, rest = text.partition(quote)
        rest = rest.strip()
        if rest and not rest.startswith("#"):
            self._refuse(end - 1, "text behind a quoted value")
        return value, rest, end

    def _value(self, raw: str, number: int) -> tuple[Value, str]:
        """A value or a list of them, and the comment behind."""
        values: list[str] = []
        listed, at, text = False, 0, raw.rstrip()
        while True:
            while at < len(text) and text[at].isspace():
                at += 1
            if at >= len(text) or text[at] == "#":
                break
            if text[at] == ",":
                if values or listed:
                    self._refuse(number, "a list with a gap")
                listed, at = True, at + 1
                continue
            one, at = self._one(text, at, number)
            values.append(one)
            while at < len(text) and text[at].isspace():
                at += 1
            if at >= len(text) or text[at] == "#":
                break
            if text[at] != ",":
                self._refuse(number, "text behind a quoted value")
            listed, at = True, at + 1
        comment = text[at:]
        if listed:
            return values, comment
        return (values[0] if values else ""), comment

    def _one(self, text: str, at: int, number: int) -> tuple[str, int]:
        if text[at] in "\"'":
            end = text.find(text[at], at + 1)
            if end < 0:
                self._refuse(number, "a quoted value without its end")
            return text[at + 1 : end], end + 1
        found = re.compile(r"[^,#]*").match(text, at)
        end = found.end() if found is not None else at
        return text[at:end].rstrip(), end

    def _close(self) -> None:
        """Blank lines and comments between two sections belong to the second."""
        ordered = list(self.sections.values())
        for section in ordered:
            section.end = max([section.first + 1, *(entry.end for entry in section.entries.values())])
        if ordered and all(not line.strip() for line in self._lines[ordered[-1].end :]):
            ordered[-1].end = len(self._lines)

    def _refuse(self, number: int, what: str) -> NoReturn:
        raise BadInput(f"{self._where}:{number + 1}: {what}", hint="Mend the line, or take it out.")


def meant(title: str) -> str:
    """A section's title in one form: lower case, `remote "name"` for named ones.

    >>> meant('Remote  "S3"')
    'remote "s3"'
    """
    found = _NAMED.match(title.lower())
    return f'{found[1]} "{found[2]}"' if found is not None else title.lower()


def _rank(title: str) -> int:
    found = _NAMED.match(title)
    return 0 if found is None else ("remote", "machine", "db").index(found[1]) + 1


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _quoted(value: Value) -> str:
    """A value as configobj writes it."""
    if isinstance(value, list):
        if len(value) < 2:
            return f"{_quoted(value[0])}," if value else ","
        return ", ".join(_quoted(one) for one in value)
    if not value:
        return '""'
    if "\n" in value or ("'" in value and '"' in value):
        quote = '"""' if "'''" in value else "'''"
        if quote in value or "\r" in value:
            raise BadInput("a value with both ''' and \"\"\" in it cannot be written to a settings file")
        return f"{quote}{value}{quote}"
    if value[0] in _EDGES or value[-1] in _EDGES or "," in value or "#" in value:
        return f"'{value}'" if '"' in value else f'"{value}"'
    return value
