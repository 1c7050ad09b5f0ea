"""Plugin kinds: a plugin is a file in its kind's package, or an entry point of the group named like that package."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from modelkeep.core.errors import BadInput, Missing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

P = TypeVar("P")


class Kind(Generic[P]):
    """All plugins of one kind; names are known without importing any of them.

    Args:
        package: the package whose modules are the plugins; the file name is the plugin's name and its last
            line, `plugin: type[Protocol] = Class`, registers it.

    >>> kinds = Kind[object]("modelkeep.alerts.channels")
    >>> "webhook" in kinds.names()
    True
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def names(self) -> list[str]:
        """The names of all plugins, sorted."""
        return sorted({*self._own(), *self._foreign()})

    def load(self, name: str) -> type[P]:
        """Imports one plugin.

        Raises:
            Missing: there is no plugin of this name.
            BadInput: the module has no `plugin`.
        """
        if name in self._own():
            module = import_module(f"{self.package}.{name}")
            found = getattr(module, "plugin", None)
        elif name in self._foreign():
            found = self._foreign()[name].load()
        else:
            kind = self.package.rpartition(".")[2]
            raise Missing(f"no plugin {name!r} in {kind}", hint=f"There are: {', '.join(self.names()) or 'none'}.")
        if not isinstance(found, type):
            raise BadInput(f"{self.package}.{name} registers no class", hint="End the file with `plugin = Class`.")
        return cast("type[P]", found)

    def _own(self) -> set[str]:
        spec = find_spec(self.package)
        paths: Iterable[str] = (spec.submodule_search_locations or ()) if spec else ()
        return {module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_")}

    def _foreign(self) -> dict[str, EntryPoint]:
        return _installed(self.package)


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """Reads what is installed once per group: it takes tens of ms, the import alone 14."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=group)}
