"""Locks on paths that wait, let strangers pass and die with their process.

Three kinds of file carry them, all by `flock`, so the kernel frees them when a process ends, however it ends:

- `.dvc/tmp/lock` is DVC's own: we share it, so ours run side by side, while a running `dvc` and we exclude each other;
- one file for each locked path, held alone;
- one file for each folder above a locked path, shared, so that a folder and what lies in it are never changed at once.

All are taken in the order of their names, so two processes cannot wait for each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path, PurePosixPath
from typing import Final

from modelkeep.core.errors import BadInput, Denied
from modelkeep.data.progress import Progress

PATIENCE_S: Final = 1.0
"""How long a process waits before it says for whom."""
MOST: Final = 64
"""More paths than this lock the whole repository: a process may not open files without end."""
_UNSUPPORTED: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


def wanted(paths: Iterable[str]) -> dict[str, bool]:
    """Gives every name to lock, in order, and whether it is held alone.

    Args:
        paths: relative to the repository's root, POSIX; "" is the root.

    >>> wanted(["data/raw", "models/a.bin"])
    {'': False, 'data': False, 'data/raw': True, 'models': False, 'models/a.bin': True}
    >>> wanted(["data", "data/raw"])
    {'': False, 'data': True, 'data/raw': True}
    """
    alone = {"" if path == "." else path for path in paths}
    if len(alone) > MOST or "" in alone:
        return {"": True}
    above = {"" if str(folder) == "." else str(folder) for path in alone for folder in PurePosixPath(path).parents}
    return {name: name in alone for name in sorted(alone | above)}


@contextmanager
def held(dvc_lock: Path, folder: Path, paths: Iterable[str], progress: Progress) -> Iterator[None]:
    """Holds the locks of paths for as long as the block runs.

    Args:
        dvc_lock: DVC's lock file.
        folder: where the files of our own locks lie; made when missing.
        paths: relative to the repository's root, POSIX.
        progress: hears for whom we wait, after a second.

    Raises:
        Denied: lock files cannot be made here.
        BadInput: the file system has no locks.
    """
    opened: list[tuple[int, Path | None]] = []
    try:
        _make(folder)
        opened.append((_take(dvc_lock, alone=False, progress=progress), None))
        for name, alone in wanted(paths).items():
            own = folder / md5(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
            opened.append((_take(own, alone=alone, progress=progress), own if alone else None))
        yield
    finally:
        for fd, file in reversed(opened):
            if file is not None:  # nobody else holds it: those who wait for it notice that it is gone
                file.unlink(missing_ok=True)
            os.close(fd)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise _denied(Path(error.filename or folder)) from None


def _denied(path: Path) -> Denied:
    return Denied(f"{path}: no right to write here, so nothing can be locked", hint=f"ls -ld {path.parent}")


def _take(file: Path, *, alone: bool, progress: Progress) -> int:
    """Opens and locks a file that is still there once it is locked."""
    while True:
        fd = _open(file)
        try:
            _lock(fd, file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, progress)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        try:
            return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise _denied(file) from None


def _lock(fd: int, file: Path, how: int, progress: Progress) -> None:
    """Locks at once, or within a second by asking again, or else says for whom it waits and sleeps."""
    pause, end = 0.002, time.monotonic() + PATIENCE_S
    try:
        while True:
            try:
                return fcntl.flock(fd, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    break
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        progress.say(f"Waiting for {_holders(fd, file)} …")
        fcntl.flock(fd, how)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise BadInput(
                f"{file}: this file system has no locks ({error.strerror})",
                hint="Mount it with locks, or keep the repository on a local disk.",
            ) from None
        raise


def _holders(fd: int, file: Path) -> str:
    """Names the processes that hold a lock, as far as the machine tells."""
    pids = _pids(fd)
    if not pids:
        written = file.read_bytes().strip() if os.access(file, os.R_OK) else b""  # DVC leaves its process there
        pids = [int(written)] if written.isdigit() else []
    named = [f"process {pid}{_command(pid)}" for pid in pids if pid != os.getpid()]
    return " and ".join(named) or "another process that works on the same files"


def _pids(fd: int) -> list[int]:
    """Who holds a lock on an open file, by Linux' table of locks; elsewhere nobody is known.

    Source: proc_locks(5): number, kind, mode, access, process, major:minor:inode.
    """
    there = os.fstat(fd)
    name = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines if "->" not in line]
    return [int(row[4]) for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == name and int(row[4]) > 0]


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    names = [Path(word).name for word in words if word]
    if names and names[0].startswith("python") and len(names) > 1:
        names = names[1:]
    return f" ({' '.join(names[:2])})" if names else ""
