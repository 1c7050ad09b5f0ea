"""In which role a model answers here: to users, beside the one that does, or to some of them."""

from __future__ import annotations

import threading
from typing import Final, Literal

from modelkeep.sdk.complaints import complain

Role = Literal["live", "shadow", "canary"]

ROLES: Final = ("live", "shadow", "canary")


def role(name: Role, *, model: str | None = None, version: str | None = None) -> None:
    """Says in which role this process answers from now on, or one model of it.

    Predictions that follow belong to another release, so that one process may serve a live and a shadow version. It
    wins over MODELKEEP_ROLE; what is said of a version wins over what is said of its model, and that over all. It
    takes hold within a second.

    Args:
        name: `live`: users get the answers; `canary`: some do; `shadow`: nobody does. Anything else changes nothing.
        model: None: every model of this process.
        version: None: every version of the model.
    """
    roles.take(name, model, version)


class Roles:
    """What was said of roles in this process; safe from many threads.

    >>> roles = Roles()
    >>> roles.take("shadow", "fraud", "7")
    >>> roles.of("fraud", "7", "live"), roles.of("fraud", "6", "canary")
    ('shadow', 'canary')
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[tuple[str | None, str | None], str] = {}

    def take(self, name: str, model: str | None, version: str | None) -> None:
        """Keeps a role; a word that is none is told to people and changes nothing."""
        if name not in ROLES:
            complain("role", f"modelkeep: {name!r} is no role: use {', '.join(ROLES)} (the model is not affected)")
            return
        with self._lock:
            self._said[None if model is None else str(model), None if version is None else str(version)] = name

    def of(self, model: str, version: str, otherwise: str) -> str:
        """Gives the role of a version of a model."""
        if not self._said:
            return otherwise
        for key in ((model, version), (model, None), (None, None)):
            if (found := self._said.get(key)) is not None:
                return found
        return otherwise

    def forget(self) -> None:
        """Forgets everything, for tests."""
        with self._lock:
            self._said.clear()


roles: Final = Roles()
