"""Data as versions: DVC's files and verbs, verified on every step.

Every verb takes the repository first, or where it works without one, the address:

    from modelkeep import data

    repo = data.Repository.find()
    data.add(repo, ["prices.csv"])
    data.push(repo)

Importing this room loads nothing; a verb's module is imported when the verb is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelkeep.data.datasets.stream import Stream as Stream
    from modelkeep.data.repository import Repository as Repository
    from modelkeep.data.verbs.add import add as add
    from modelkeep.data.verbs.checkout import checkout as checkout
    from modelkeep.data.verbs.commit import commit as commit
    from modelkeep.data.verbs.diff import diff as diff
    from modelkeep.data.verbs.fetch import fetch as fetch
    from modelkeep.data.verbs.gc import gc as gc
    from modelkeep.data.verbs.get import get as get
    from modelkeep.data.verbs.import_ import import_ as import_
    from modelkeep.data.verbs.import_url import import_url as import_url
    from modelkeep.data.verbs.initialise import initialise as initialise
    from modelkeep.data.verbs.list_ import list_ as list_
    from modelkeep.data.verbs.move import move as move
    from modelkeep.data.verbs.pull import pull as pull
    from modelkeep.data.verbs.push import push as push
    from modelkeep.data.verbs.remove import remove as remove
    from modelkeep.data.verbs.status import status as status
    from modelkeep.data.verbs.unprotect import unprotect as unprotect
    from modelkeep.data.verbs.verify import verify as verify

_VERBS: Final = (
    "add",
    "checkout",
    "commit",
    "diff",
    "fetch",
    "gc",
    "get",
    "import_",
    "import_url",
    "initialise",
    "list_",
    "move",
    "pull",
    "push",
    "remove",
    "status",
    "unprotect",
    "verify",
)
_PLACES: Final[dict[str, str]] = {
    "Repository": "modelkeep.data.repository",
    "Stream": "modelkeep.data.datasets.stream",
    **{verb: f"modelkeep.data.verbs.{verb}" for verb in _VERBS},
}

__all__ = [
    "Repository",
    "Stream",
    "add",
    "checkout",
    "commit",
    "diff",
    "fetch",
    "gc",
    "get",
    "import_",
    "import_url",
    "initialise",
    "list_",
    "move",
    "pull",
    "push",
    "remove",
    "status",
    "unprotect",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = found
    return found
