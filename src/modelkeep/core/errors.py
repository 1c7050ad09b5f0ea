"""The errors of modelkeep: seven below `Error`, each named by what the caller can do about it.

- BadInput     400, 413  exit 2  the request or file is wrong: mend it
- Missing      404       exit 3  the thing named does not exist
- Conflict     409       exit 4  it exists already, or somebody else holds it
- Busy         429       exit 5  try again after `retry_after_s`: this is the backpressure
- Unreachable  503       exit 6  something needed does not answer
- Corrupt      500       exit 7  stored bytes are not what was written
- Denied       401, 403  exit 8  who asks may not do this
"""

from __future__ import annotations

from typing import ClassVar, Final


class Error(Exception):
    """An error with a message (what and where) and a hint (what to do next).

    Args:
        message: what is wrong and where (file:line, key or byte offset).
        hint: what to do next, one sentence; may be empty.
        status: an HTTP status more exact than the class's own.

    >>> error = BadInput("orders.csv:12: 3 fields, expected 4", hint="Quote the comma in field 2.")
    >>> error.status, error.exit_code, error.retry
    (400, 2, False)
    >>> print(error)
    orders.csv:12: 3 fields, expected 4
    """

    status: int = 500
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message: Final = message
        self.hint: Final = hint
        if status:
            self.status = status

    @property
    def name(self) -> str:
        """The class's name, as it appears in JSON answers."""
        return type(self).__name__


class BadInput(Error):
    """What was given cannot be used as it is."""

    status = 400
    exit_code = 2


class Missing(Error):
    """What was named does not exist."""

    status = 404
    exit_code = 3


class Conflict(Error):
    """What was asked clashes with what is there."""

    status = 409
    exit_code = 4


class Busy(Error):
    """There is no room right now: try again after `retry_after_s` seconds."""

    status = 429
    exit_code = 5
    retry = True

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s: Final = retry_after_s


class Unreachable(Error):
    """Something that is needed does not answer."""

    status = 503
    exit_code = 6
    retry = True


class Corrupt(Error):
    """Stored bytes are not what was written."""

    status = 500
    exit_code = 7


class Denied(Error):
    """Who asks may not do this: 401 without a valid token, 403 without the scope."""

    status = 403
    exit_code = 8


KINDS: Final[tuple[type[Error], ...]] = (BadInput, Missing, Conflict, Busy, Unreachable, Corrupt, Denied)
