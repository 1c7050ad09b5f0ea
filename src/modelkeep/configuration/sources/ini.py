"""INI files as the standard library's ConfigParser reads them, every key with its line.

Values are texts. ConfigParser's interpolation is done here: `basic` (`%(name)s`, the default), `extended`
(`${section:name}`) or `none`, chosen as `app.ini?interpolation=extended`.

Source: https://docs.python.org/3/library/configparser.html
"""

from __future__ import annotations

import configparser
import re
from typing import ClassVar, Final

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, join
from modelkeep.core.errors import BadInput

_SECTION: Final = re.compile(r"\s*\[(.+)\]")
_OPTION: Final = re.compile(r"([^\s#;=:\[][^=:]*?)\s*(?:[=:]|$)")
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
        parser = configparser.ConfigParser(allow_no_value=True, interpolation=_KINDS[kind]())
        try:
            parser.read_string(text, source=self.name)
            sections = {
                section: {name: parser.get(section, name) for name in parser[section]} for section in parser.sections()
            }
            defaults = {name: parser.get(parser.default_section, name) for name in parser.defaults()}
        except configparser.Error as error:
            raise self._told(error, text) from None
        tree: Tree = {name: _escaped(value) for name, value in defaults.items()} if not sections else {}
        tree |= {
            section: {name: _escaped(value) for name, value in pairs.items()} for section, pairs in sections.items()
        }
        return Reading(tree, self._marks(text, parser, list(sections)))

    def _told(self, error: configparser.Error, text: str) -> BadInput:
        line = getattr(error, "lineno", 0)
        if not line and getattr(error, "errors", None):
            line = error.errors[0][0]  # type: ignore[attr-defined]
        section, option = getattr(error, "section", ""), getattr(error, "option", "")
        if not line and option:
            lines = _lines(text)
            line = lines.get((section, option), lines.get((configparser.DEFAULTSECT, option), 0))
        where = f"{self.name}:{line}" if line else self.name
        what = " ".join(str(error.message).split())
        return BadInput(f"{where}: {what}", hint="Mend the INI there.")

    def _marks(self, text: str, parser: configparser.ConfigParser, sections: list[str]) -> dict[str, Mark]:
        lines = _lines(text)
        marks: dict[str, Mark] = {}
        for section in sections or [configparser.DEFAULTSECT]:
            folder = section if sections else ""
            if folder:
                marks[folder] = Mark(self.name, lines.get((section, ""), 0))
            for name in parser[section]:
                line = lines.get((section, name)) or lines.get((configparser.DEFAULTSECT, name), 0)
                marks[join(folder, name)] = Mark(self.name, line)
        return marks


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Gives the line of every section and option."""
    found: dict[tuple[str, str], int] = {}
    section, indent = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.lstrip()
        if not stripped or stripped[0] in "#;":
            continue
        depth = len(line) - len(stripped)
        if section and depth > indent:
            continue  # the value above goes on
        head = _SECTION.match(line)
        if head:
            section, indent = head[1], depth
            found.setdefault((section, ""), number)
        elif section and (option := _OPTION.match(stripped)):
            indent = depth
            found[section, option[1].strip().lower()] = number
    return found


def _escaped(value: str | None) -> Node:
    """Keeps OmegaConf from taking what ConfigParser left as it is for an interpolation of its own."""
    return value.replace("${", "\\${") if value else value


plugin: type[Source] = Ini
