"""INI files as the standard library's ConfigParser reads them, every key with its line.

Values are texts. ConfigParser's interpolation is done here: `basic` (`%(name)s`, the default), `extended`
(`${section:name}`) or `none`, chosen as `app.ini?interpolation=extended`.

Source: https://docs.python.org/3/library/configparser.html
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from typing import ClassVar, Final, cast

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, join
from modelkeep.core.errors import BadInput

_BRACE: Final = re.compile(r"(\\*)\$\{")
_UNSET: Final = re.compile(r"\\*\?\?\?")
_KINDS: Final = {
    "basic": configparser.BasicInterpolation,
    "extended": configparser.ExtendedInterpolation,
    "none": configparser.Interpolation,
}


class Ini(File):
    """An INI file; sections are mappings, `[DEFAULT]` stands in all of them, keys without a value are null."""

    suffixes: ClassVar[tuple[str, ...]] = (".ini", ".cfg", ".conf")
    options: ClassVar[tuple[str, ...]] = ("interpolation",)

    def parse(self, text: str) -> Reading:
        kind = self.given.get("interpolation", "basic")
        if kind not in _KINDS:
            raise BadInput(f"{self.name}: no interpolation {kind!r}", hint=f"There are {', '.join(_KINDS)}.")
        notes = _Notes(text)
        made = cast("type[dict[str, str]]", notes.dictionary)
        parser = configparser.ConfigParser(allow_no_value=True, interpolation=_KINDS[kind](), dict_type=made)
        try:
            parser.read_file(notes, source=self.name)
            sections = {
                section: {name: parser.get(section, name) for name in parser[section]} for section in parser.sections()
            }
            defaults = {name: parser.get(parser.default_section, name) for name in parser.defaults()}
        except configparser.Error as error:
            raise self._told(error, notes.lines()) from None
        except AttributeError:  # of ConfigParser itself, over a line that continues a key without a value
            what = f"{self.name}:{notes.line}: it continues a key that has no value"
            raise BadInput(what, hint="Write name = before the first line of the value.") from None
        tree: Tree = {name: _escaped(value) for name, value in defaults.items()} if not sections else {}
        tree |= {
            section: {name: _escaped(value) for name, value in pairs.items()} for section, pairs in sections.items()
        }
        return Reading(tree, self._marks(notes.lines(), parser, list(sections)))

    def _told(self, error: configparser.Error, lines: dict[tuple[str, str], int]) -> BadInput:
        """Gives the parser's error without the line's text, which may be a secret."""
        section, option = str(getattr(error, "section", "")), str(getattr(error, "option", ""))
        line = int(getattr(error, "lineno", 0) or 0)
        if isinstance(error, configparser.MissingSectionHeaderError):
            what = "a value before the first [section]"
        elif isinstance(error, configparser.ParsingError):
            line, what = error.errors[0][0], "not a line of name = value"
        elif isinstance(error, configparser.DuplicateSectionError):
            what = f"section {section!r} stands twice"
        elif isinstance(error, configparser.DuplicateOptionError):
            what = f"{section}.{option} stands twice"
        else:
            line = lines.get((section, option), lines.get((configparser.DEFAULTSECT, option), 0))
            what = f"{section}.{option}{_why(error)}"
        where = f"{self.name}:{line}" if line else self.name
        return BadInput(f"{where}: {what}", hint="Mend the INI there.")

    def _marks(
        self, lines: dict[tuple[str, str], int], parser: configparser.ConfigParser, sections: list[str]
    ) -> dict[str, Mark]:
        marks: dict[str, Mark] = {}
        for section in sections or [configparser.DEFAULTSECT]:
            folder = section if sections else ""
            if folder:
                marks[folder] = Mark(self.name, lines.get((section, ""), 0))
            for name in parser[section]:
                line = lines.get((section, name)) or lines.get((configparser.DEFAULTSECT, name), 0)
                marks[join(folder, name)] = Mark(self.name, line)
        return marks


class _Dictionary(dict[str, object]):
    """Remembers at which line of the text each name came in."""

    def __init__(self, notes: _Notes) -> None:
        super().__init__()
        self._notes = notes
        self.came: dict[str, int] = {}

    def __setitem__(self, name: str, value: object) -> None:
        self.came.setdefault(name, self._notes.line)
        super().__setitem__(name, value)


class _Notes:
    """Hands ConfigParser the lines of a text and the dictionaries that it fills, and so knows where everything is."""

    def __init__(self, text: str) -> None:
        self.line = 0
        self._text = text
        self._made: list[_Dictionary] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._text.splitlines(keepends=True):
            self.line += 1
            yield line

    def dictionary(self) -> _Dictionary:
        """Makes one of the parser's dictionaries."""
        self._made.append(_Dictionary(self))
        return self._made[-1]

    def lines(self) -> dict[tuple[str, str], int]:
        """Gives the line of every section, as `(section, "")`, and of every option."""
        found: dict[tuple[str, str], int] = {}
        inner: set[int] = set()
        for one in self._made:
            for section, options in one.items():
                if isinstance(options, _Dictionary):
                    inner.add(id(options))
                    found[section, ""] = one.came[section]
                    found |= {(section, name): line for name, line in options.came.items()}
        for one in self._made:
            if id(one) not in inner:
                found |= {
                    (configparser.DEFAULTSECT, name): line for name, line in one.came.items() if (name, "") not in found
                }
        return found


def _why(error: configparser.Error) -> str:
    if isinstance(error, configparser.InterpolationMissingOptionError):
        return f" refers to {error.reference!r}, which is not there"
    if isinstance(error, configparser.InterpolationDepthError):
        return ": its references turn in a circle"
    return " is not a valid reference"


def _escaped(value: str | None) -> Node:
    """Keeps OmegaConf from taking what ConfigParser left as it is for something of its own."""
    if value is None:
        return None
    if _UNSET.fullmatch(value):
        return f"\\{value}"
    return _BRACE.sub(lambda found: f"{found[1] * 2}\\${{", value)


plugin: type[Source] = Ini
