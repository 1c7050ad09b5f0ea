"""The server's registry of models: one git repository on its machine, read again when its tags have changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Missing

if TYPE_CHECKING:
    from modelkeep.models.registry import Registry

_HINT: Final = "Set models.repository in modelkeep.yaml to the folder of a git repository, then start the server again."


class Repository:
    """Gives the registry to one question at a time.

    Args:
        folder: of the git repository; empty for none.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._registry: Registry | None = None
        self._seen = b""

    @contextmanager
    def held(self) -> Iterator[Registry]:
        """Gives the registry as its tags are now; nobody else has it until the end of the block.

        Raises:
            Missing: the server was given no repository, or it is gone.
            Denied: git does not trust its owner.
        """
        with self._lock:
            registry = self._open()
            seen = _names(registry)
            if seen != self._seen:
                registry.refresh()
                self._seen = seen
            yield registry

    def close(self) -> None:
        """Lets go of git's processes."""
        with self._lock:
            if self._registry is not None:
                self._registry.git.close()
                self._registry = None

    def _open(self) -> Registry:
        if not self._folder:
            raise Missing("this server has no registry of models", hint=_HINT)
        if self._registry is None:
            from modelkeep.code.repository import Git
            from modelkeep.models.registry import Registry

            try:
                self._registry = Registry(Git(Path(self._folder)))
            except Missing as error:
                raise Missing(f"models.repository {self._folder}: {error.message}", hint=_HINT) from None
        return self._registry


def _names(registry: Registry) -> bytes:
    """Gives a digest of all tags and what they name."""
    told = registry.git.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    return blake2b(told, digest_size=16).digest()
