"""Arguments of a command line as a source: `db.pool=8 lr=0.1`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final

from modelkeep.configuration.scalars import assign, scalar
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree
from modelkeep.core.errors import BadInput

_KEY: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[-?\w+\])*\Z")


class Dotlist:
    """Arguments of the form `key=value`; values are read as YAML reads them.

    Args:
        items: the arguments.
        loose: leave out what has another form (options and paths of the program itself); otherwise it is refused.

    Raises:
        BadInput: an argument has another form.

    >>> Dotlist(["db.pool=8", "tags=[a, b]"]).read().tree
    {'db': {'pool': 8}, 'tags': ['a', 'b']}
    """

    live: ClassVar[bool] = False
    name: str = "the command line"

    def __init__(self, items: Sequence[str], *, loose: bool = False) -> None:
        self._pairs: Final[list[tuple[str, str]]] = []
        for item in items:
            key, sign, text = item.partition("=")
            if sign and _KEY.match(key):
                self._pairs.append((key, text))
            elif not loose:
                raise BadInput(f"argument {item!r} is not key=value", hint="Write db.pool=8; quote it for the shell.")

    def read(self) -> Reading:
        tree: Tree = {}
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        for key, text in self._pairs:
            mark = Mark(f"cli {key}")
            assign(tree, key, scalar(text, mark), mark)
            marks[key], texts[key] = mark, text
        return Reading(tree, marks, version="fixed", origin=Mark(self.name), texts=texts)

    def watch(self, seen: str, wait_s: float) -> bool:
        return False

    def close(self) -> None:
        """Holds nothing."""


plugin: type[Source] = Dotlist
