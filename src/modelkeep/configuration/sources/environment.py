"""Environment variables as a source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, Final

from modelkeep.configuration.scalars import assign, is_plain, scalar
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree


class Environment:
    """The variables that begin with a prefix: `APP_DB__POOL` is `db.pool`.

    Two underscores stand between the parts of a key; names are compared in lower case. A value is read as YAML reads a
    value, so that `8`, `true` and `[a, b]` are what they look like; a field that wants text gets the text.

    Args:
        prefix: how the names begin (`APP_`), or `env:APP_`.
        variables: instead of those of the process.

    >>> Environment("APP_", {"APP_DB__POOL": "8", "HOME": "/root"}).read().tree
    {'db': {'pool': 8}}
    """

    live: ClassVar[bool] = False

    def __init__(self, prefix: str, variables: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix.removeprefix("env:")
        self._variables = variables
        self.name: Final = f"environment {self._prefix}*"

    def read(self) -> Reading:
        tree: Tree = {}
        marks: dict[str, Mark] = {}
        texts: dict[str, str] = {}
        variables = os.environ if self._variables is None else self._variables
        for name in sorted(variables):
            if not name.startswith(self._prefix) or name == self._prefix:
                continue
            text, mark = variables[name], Mark(f"env {name}")
            key = ".".join(part.lower() for part in name[len(self._prefix) :].split("__") if part)
            value = scalar(text, mark)
            assign(tree, key, value, mark)
            marks[key] = mark
            if is_plain(text, value):
                texts[key] = text
        return Reading(tree, marks, version="fixed", origin=Mark(self.name), texts=texts)

    def watch(self, seen: str, wait_s: float) -> bool:
        return False

    def close(self) -> None:
        """Holds nothing."""


plugin: type[Source] = Environment
