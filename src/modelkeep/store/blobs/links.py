"""How an object becomes a workspace file, or a workspace file an object: reflink, hardlink, symlink or copy."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from modelkeep.store.blobs.digest import SILENT, Step
from modelkeep.store.blobs.hashed import beginning, write_all

Kind = Literal["reflink", "hardlink", "symlink", "copy"]
KINDS: Final[tuple[Kind, ...]] = ("reflink", "hardlink", "symlink", "copy")
UNABLE: Final = frozenset(
    {
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EPERM,
        errno.EMLINK,
        errno.EACCES,
    }
)
"""The error numbers that mean: this kind does not work here, another may."""
_FICLONE: Final = 0x40049409
_STRIDE: Final = 64 << 20
_PIECE: Final = 1 << 20


def reflink(source: str, target: str, *, mode: int = 0o666) -> None:
    """Makes a new file that shares the source's blocks until one of them is written.

    Raises:
        OSError: the file system cannot do it; nothing is left behind.
    """
    if sys.platform == "darwin":
        _clonefile(source, target, mode)
        return
    import fcntl

    with beginning(source, target, mode) as (fd, out):
        fcntl.ioctl(out, _FICLONE, fd)


def _clonefile(source: str, target: str, mode: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clonefile(os.fsencode(source), os.fsencode(target), 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(target, mode & ~umask)


def copy(source: str, target: str, *, mode: int = 0o666, step: Step = SILENT) -> int:
    """Copies into a new file by the fastest way there is; gives the number of bytes.

    Raises:
        OSError: it cannot be read or there is no room; nothing is left behind.
    """
    with beginning(source, target, mode) as (fd, out):
        return _copy(fd, out, step)


def _copy(fd: int, out: int, step: Step) -> int:
    total = _copy_in_kernel(fd, out, step)
    while data := os.read(fd, _PIECE):  # the rest, or all of it where the kernel cannot
        write_all(out, data)
        total += len(data)
        step.add(len(data))
    return total


def _copy_in_kernel(fd: int, out: int, step: Step) -> int:
    if sys.platform != "linux":
        return 0
    total = 0
    try:
        while done := os.copy_file_range(fd, out, _STRIDE):
            total += done
            step.add(done)
    except OSError as error:
        if total or error.errno not in UNABLE:
            raise
    return total


def make(kind: Kind, source: str, target: str, *, mode: int = 0o666, step: Step = SILENT) -> None:
    """Makes the new file `target` out of an object.

    Args:
        kind: of the link.
        source: the object.
        target: must not exist yet.
        mode: of a copy or reflink, less the umask.
        step: hears of the bytes of a copy.

    Raises:
        OSError: this kind does not work here; nothing is left behind.
    """
    if kind == "reflink":
        reflink(source, target, mode=mode)
    elif kind == "hardlink":
        os.link(source, target)
    elif kind == "symlink":
        os.symlink(os.path.abspath(source), target)
    else:
        copy(source, target, mode=mode, step=step)


def works(kind: Kind, source: str, folder: str) -> bool:
    """Whether a file can be linked into a folder like this; tried, and nothing is left behind.

    Raises:
        OSError: nothing can be written there, or there is no room.
    """
    target = f"{folder}/.modelkeep-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        make(kind, source, target)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return False
    os.unlink(target)
    return True


def supported(source_folder: Path, target_folder: Path) -> tuple[Kind, ...]:
    """The kinds that work from one folder to another, tried with a small file; both must exist.

    Raises:
        OSError: nothing can be written there.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> "copy" in supported(folder, folder)
    True
    """
    source = source_folder / f".modelkeep-{os.getpid()}-{os.urandom(4).hex()}"
    source.write_bytes(b"probe")
    try:
        return tuple(kind for kind in KINDS if works(kind, os.fspath(source), os.fspath(target_folder)))
    finally:
        source.unlink()


def kinds(names: Iterable[str]) -> list[Kind]:
    """The kinds of link among these names, in their order.

    >>> kinds(["hardlink", "copy"])
    ['hardlink', 'copy']
    """
    return [kind for name in names for kind in KINDS if kind == name]


def has_writer(fd: int) -> bool | None:
    """Whether somebody has a file open for writing or mapped so, at this moment; None when the system does not tell.

    A read lease is granted only when nobody has. It is given back at once; until then a writer who comes is made to
    wait and we get SIGURG, which is ignored by default, instead of SIGIO, which ends a process that does not expect it.

    Args:
        fd: of a regular file, opened for reading only.

    Source: fcntl(2), "Leases".
    """
    if sys.platform != "linux":
        return None
    import fcntl
    from signal import SIGURG

    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
