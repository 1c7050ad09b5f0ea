"""What the machine refuses, told as one of the errors that callers know."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from modelkeep.core.errors import Busy, Conflict, Corrupt, Denied, Error, Missing

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def told(place: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the system's refusals inside into errors that name the path, or else the place.

    Raises:
        Busy: the disk is full.
        Denied: this may not be read or written.
        Missing: it is gone.
        Corrupt: the disk fails.
        Conflict: any other refusal.
    """
    try:
        yield
    except OSError as error:
        raise refused(error, place) from error


def refused(error: OSError, place: str | os.PathLike[str]) -> Error:
    """The error that tells people of a refusal.

    >>> refused(OSError(errno.ENOSPC, "No space left on device"), "cache/files")
    Busy('cache/files: No space left on device')
    """
    path = error.filename2 or error.filename or os.fspath(place)
    path = os.fsdecode(path) if isinstance(path, (str, bytes)) else os.fspath(place)
    text = f"{path}: {error.strerror or error}"
    if error.errno in _FULL:
        return Busy(text, hint="Make room on this disk (`modelkeep gc` shows what may go), then run it again.")
    if error.errno in _CLOSED:
        return Denied(
            text, hint="See who owns it and with which mode; a read-only cache can be read from all the same."
        )
    if error.errno == errno.ENOENT:
        return Missing(text, hint="Somebody removed it meanwhile; run it again.")
    if error.errno == errno.EIO:
        return Corrupt(text, hint="The disk fails; copy what can be read elsewhere.")
    return Conflict(text, hint="The file system refuses this; see the reason, then run it again.")
