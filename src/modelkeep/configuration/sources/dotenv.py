"""`.env` files: variables in a file, named as those of the environment."""

from __future__ import annotations

import io
import re
from typing import ClassVar, Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from modelkeep.configuration.file import File
from modelkeep.configuration.scalars import assign, is_plain, scalar
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Node, Reading, Tree
from modelkeep.core.errors import BadInput

_SIGN: Final = re.compile(r"(\\*)\$\{")


class Dotenv(File):
    """A `.env` file: `APP_DB__POOL=8` is `db.pool` with the prefix `APP_`, which is that of `env=` unless given.

    Values are what python-dotenv reads: `${NAME}` and `${NAME:-default}` take the value of a line above or of the
    environment, whatever the quotes. What it leaves as it is, such as `$NAME`, is no interpolation of ours either.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".env",)
    options: ClassVar[tuple[str, ...]] = ("prefix",)

    def parse(self, text: str) -> Reading:
        tree: Tree = {}
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        prefix = self.given.get("prefix", "")
        values = dotenv_values(stream=io.StringIO(text))
        for binding in parse_stream(io.StringIO(text)):
            line = binding.original.line
            if binding.error:
                raise BadInput(
                    f"{self.name}:{line}: not NAME=value", hint="Quote values that have quotes or several lines."
                )
            if binding.key is None or not binding.key.startswith(prefix):
                continue
            mark = Mark(self.name, line)
            key = ".".join(part.lower() for part in binding.key[len(prefix) :].split("__") if part)
            value = values.get(binding.key)
            if not key:
                continue
            read = None if value is None else scalar(value, mark)
            assign(tree, key, _literal(read), mark)
            marks[key] = mark
            if value is not None and is_plain(value, read, interpolated=False):
                texts[key] = value
        return Reading(tree, marks, texts=texts)


def _literal(node: Node) -> Node:
    """Gives a value in which nothing is an interpolation."""
    if isinstance(node, dict):
        return {name: _literal(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_literal(value) for value in node]
    return _SIGN.sub(r"\1\1\\${", node) if isinstance(node, str) else node


plugin: type[Source] = Dotenv
