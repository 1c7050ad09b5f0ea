"""How an object becomes a workspace file: reflink, hardlink, symlink or copy."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Literal

from modelkeep.store.blobs.digest import SILENT, Step

Kind = Literal["reflink", "hardlink", "symlink", "copy"]
KINDS: Final[tuple[Kind, ...]] = ("reflink", "hardlink", "symlink", "copy")
_FICLONE: Final = 0x40049409
_STRIDE: Final = 64 << 20


def reflink(source: str, target: str, *, mode: int = 0o666) -> None:
    """Makes a new file that shares the source's blocks until one of them is written.

    Raises:
        OSError: the file system cannot do it; nothing is left behind.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            fcntl.ioctl(out, _FICLONE, fd)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(out)
    finally:
        os.close(fd)


def copy(source: str, target: str, *, mode: int = 0o666, step: Step = SILENT) -> int:
    """Copies into a new file by the fastest way there is; gives the number of bytes.

    Raises:
        OSError: it cannot be read or there is no room; nothing is left behind.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            return _copy(fd, out, step)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(out)
    finally:
        os.close(fd)


def _copy(fd: int, out: int, step: Step) -> int:
    total = 0
    if sys.platform == "linux":
        try:
            while done := os.copy_file_range(fd, out, _STRIDE):
                total += done
                step.add(done)
        except OSError:
            if total:
                raise
    while data := os.read(fd, 1 << 20):
        view = memoryview(data)
        while view:
            view = view[os.write(out, view) :]
        total += len(data)
        step.add(len(data))
    return total


def make(kind: Kind, source: str, target: str, *, mode: int = 0o666, step: Step = SILENT) -> None:
    """Makes the new file `target` out of an object.

    Raises:
        OSError: this kind does not work here; nothing is left behind.
    """
    if kind == "reflink":
        reflink(source, target, mode=mode)
    elif kind == "hardlink":
        os.link(source, target)
    elif kind == "symlink":
        Path(target).symlink_to(source)
    else:
        copy(source, target, mode=mode, step=step)


def supported(source_folder: Path, target_folder: Path) -> tuple[Kind, ...]:
    """The kinds that work from one folder to another, tried with a small file; both must exist.

    Raises:
        OSError: nothing can be written there.
    """
    mark = f".modelkeep-{os.getpid()}-{os.urandom(4).hex()}"
    source, target = os.fspath(source_folder / mark), os.fspath(target_folder / f"{mark}-to")
    found: list[Kind] = []
    Path(source).write_bytes(b"probe")
    try:
        for kind in KINDS:
            try:
                make(kind, source, target)
            except OSError:
                continue
            os.unlink(target)
            found.append(kind)
    finally:
        os.unlink(source)
    return tuple(found)
