"""Holds a folder for one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from modelkeep.core.errors import Conflict


class Hold:
    """Keeps every other process, and every other holder in this one, out of a folder.

    The kernel lets go of it when the process ends, however it ends.

    Args:
        folder: exists.

    Raises:
        Conflict: somebody else holds the folder; the message names the process.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> first = Hold(folder)
    >>> Hold(folder)
    Traceback (most recent call last):
    modelkeep.core.errors.Conflict: ... is in use by process ...
    >>> first.close()
    >>> Hold(folder).close()
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(
                f"{folder} is in use by process {holder}", hint=f"Stop process {holder}, or give another folder."
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Lets the next one in."""
        os.close(self._fd)
