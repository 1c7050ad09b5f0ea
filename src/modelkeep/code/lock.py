"""A file that one process at a time holds; the kernel lets go of it when the process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelkeep.core.errors import Denied


@contextmanager
def held(lock: Path, *, hint: str = "Look at who may write there.") -> Iterator[None]:
    """Holds a file for this process and waits while another has it; the file is made and stays.

    Args:
        lock: the file; its folder must be there.
        hint: what to do when it cannot be written.

    Raises:
        Denied: the file cannot be written.
    """
    import fcntl  # not on Windows, where nothing that needs it runs

    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Denied(f"{lock}: {error.strerror}", hint=hint) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
