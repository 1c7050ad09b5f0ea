"""Errors without the frames in which configuration was read: what reports a traceback may show their variables."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=Exception)


def bare(error: E) -> E:
    """Gives an error without its traceback and without the errors that led to it; both hold values that may be secret.

    >>> try:
    ...     raise ValueError("no") from KeyError("hunter2")
    ... except ValueError as error:
    ...     bare(error).__cause__ is None, error.__traceback__ is None
    (True, True)
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
