"""Secrets: named in the settings as `secret:NAME`, read from the environment or a file, masked where they are shown."""

from __future__ import annotations

import hmac
import os
import re
from pathlib import Path
from typing import Final

from modelkeep.core.errors import BadInput, Missing

PREFIX: Final = "secret:"
ENVIRONMENT: Final = "MODELKEEP_SECRET_"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")
_LIMIT_BYTES: Final = 65_536


class Secret:
    """A text that shows itself only when asked.

    Args:
        value: the secret itself.

    >>> secret = Secret("hunter2")
    >>> f"{secret} {secret!r}"
    '*** Secret(***)'
    >>> secret.reveal()
    'hunter2'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Gives the text."""
        return self._value

    def __str__(self) -> str:
        return "***" if self._value else ""

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


NONE: Final = Secret("")


def resolve(text: str, *, folder: Path | None = None) -> Secret:
    """Gives the secret that a setting names, or the setting's own text.

    Args:
        text: `secret:NAME`, or the value itself.
        folder: where files named NAME hold secrets; asked after the environment's MODELKEEP_SECRET_NAME.

    Raises:
        BadInput: the name has characters other than letters, digits, `_`, `.` and `-`.
        Missing: there is no such secret.

    >>> os.environ["MODELKEEP_SECRET_HOOK"] = "https://example.org/hook"
    >>> resolve("secret:HOOK").reveal()
    'https://example.org/hook'
    """
    if not text.startswith(PREFIX):
        return Secret(text)
    name = text.removeprefix(PREFIX)
    if not _NAME.match(name) or name.startswith("."):
        raise BadInput(f"{text!r} names no secret", hint="Use letters, digits, _, . and - after secret:")
    variable = ENVIRONMENT + re.sub(r"[.-]", "_", name).upper()
    if (found := os.environ.get(variable)) is not None:
        return Secret(found)
    if folder is not None and (path := folder / name).is_file():
        with path.open("rb") as file:
            return Secret(file.read(_LIMIT_BYTES).decode().strip())
    where = f" or in {folder / name}" if folder else ""
    raise Missing(f"secret {name!r} is not set", hint=f"Put it into {variable}{where}.")


def mask(text: str, *secrets: Secret) -> str:
    """Gives the text with every secret in it replaced by `***`.

    >>> mask("no route to hunter2", Secret("hunter2"), NONE)
    'no route to ***'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal(), "***")
    return text
