"""Lines on stderr, each kind at most once a minute: a model's process is never flooded by its monitoring."""

from __future__ import annotations

import sys
import time
from typing import Final

_EVERY_S: Final = 60.0
_last: Final[dict[str, float]] = {}


def complain(kind: str, text: str) -> bool:
    """Writes one line unless one of this kind was written less than a minute ago.

    Returns:
        Whether the line was written.

    >>> complain("doctest", "modelkeep: first"), complain("doctest", "modelkeep: second")
    (True, False)
    """
    now = time.monotonic()
    if now - _last.get(kind, -_EVERY_S) < _EVERY_S:
        return False
    _last[kind] = now
    try:
        sys.stderr.write(f"{text}\n")
    except (OSError, ValueError, AttributeError):
        return False
    return True
