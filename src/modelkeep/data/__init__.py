"""Data as versions: DVC's files and verbs, verified on every step.

Every verb takes the repository first:

    from modelkeep import data

    repo = data.Repository.find()
    data.add(repo, ["prices.csv"])
    data.push(repo)

Importing this room loads nothing; a verb's module is imported when the verb is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

_PLACES: Final[dict[str, str]] = {}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = found
    return found
