"""Objects of the program as a source: mappings, dataclasses, Pydantic and OmegaConf objects."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import ClassVar, Final, cast

from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree
from modelkeep.core.errors import BadInput


class Objects:
    """An object that holds configuration.

    Args:
        given: a mapping, a dataclass (the class or an instance), a Pydantic object or an OmegaConf object.

    Raises:
        BadInput: it is none of these.

    >>> Objects({"a": {"b": 1}}).read().tree
    {'a': {'b': 1}}
    """

    live: ClassVar[bool] = False

    def __init__(self, given: object) -> None:
        self._native: object = None
        self.name: Final = "an object" if isinstance(given, Mapping) else _named(given)
        omegaconf = sys.modules.get("omegaconf")
        if omegaconf is not None and omegaconf.OmegaConf.is_config(given):
            self.name = "an OmegaConf object"  # type: ignore[misc]
            self._native = given
            tree = omegaconf.OmegaConf.to_container(given, resolve=False)
        elif isinstance(given, Mapping):
            tree = _plain(given)
        elif dataclasses.is_dataclass(given):
            from omegaconf import OmegaConf

            self._native = OmegaConf.structured(given)
            tree = OmegaConf.to_container(self._native, resolve=False)
        elif hasattr(given, "model_dump"):
            tree = given.model_dump(exclude_unset=True)
        else:
            raise BadInput(
                f"{type(given).__name__} cannot be read as configuration",
                hint="Give a path, an address, a mapping, a dataclass, a Pydantic or an OmegaConf object.",
            )
        if not isinstance(tree, dict):
            raise BadInput(f"{self.name} holds a list", hint="The top of a configuration is a mapping.")
        self._tree = cast("Tree", tree)

    def read(self) -> Reading:
        return Reading(self._tree, version="fixed", origin=Mark(self.name), native=self._native)

    def watch(self, seen: str, wait_s: float) -> bool:
        return False

    def close(self) -> None:
        """Holds nothing."""


def _named(given: object) -> str:
    kind = given if isinstance(given, type) else type(given)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__


def _plain(node: object) -> object:
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


plugin: type[Source] = Objects
