"""Commands that need an extra say which one, before anything fails half-way."""

from __future__ import annotations

from importlib.util import find_spec

from modelkeep.core.errors import BadInput


def need(extra: str, *modules: str) -> None:
    """Makes sure that an extra's modules are installed, without importing them.

    Args:
        extra: the extra's name.
        modules: top-level modules that it brings.

    Raises:
        BadInput: one is missing; the hint is the command that installs it.

    >>> need("server", "json")
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise BadInput(
            f"this command needs {', '.join(missing)}, which the plain package leaves out",
            hint=f"pip install 'modelkeep[{extra}]'",
        )
