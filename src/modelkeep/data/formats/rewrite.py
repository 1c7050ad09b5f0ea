"""Small text files that people and git see: written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from modelkeep.core.errors import BadInput, Denied


def rewrite(path: Path, data: bytes, *, private: bool = False) -> bool:
    """Makes a file hold these bytes, in one step for whoever reads it; its mode and a link to it stay.

    Args:
        path: the file; its folders are made.
        data: all that it will hold.
        private: nobody else may read it.

    Returns:
        False: it held them already, and was not touched.

    Raises:
        Denied: its folder may not be written.
        Busy: the disk is full.
        BadInput: it is a folder.
    """
    if content(path) == data:
        return False
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    aside = target.with_name(f".{target.name[:200]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(
            aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600 if private else 0o666
        )
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
                file.flush()
                with suppress(FileNotFoundError):
                    aside.chmod(target.stat().st_mode & (0o700 if private else 0o7777))
                os.fsync(file.fileno())
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        from modelkeep.data.repository import disk_errors

        error.filename = shown(path)
        with disk_errors():
            raise
    return True


def content(path: Path) -> bytes | None:
    """Gives a file's bytes; None when there is no such file.

    Raises:
        Denied: it may not be read.
        BadInput: it is a folder.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - half the time of Path.open, and read a thousand times
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise Denied(f"{shown(path)}: cannot be read", hint="Check who owns the file.") from None
    except IsADirectoryError:
        raise BadInput(f"{shown(path)}: is a folder, not a file") from None


def shown(path: Path) -> str:
    """Gives a path as a message names it: from the current folder where it lies below, whole elsewhere.

    >>> shown(Path.cwd() / "prices.csv.dvc")
    'prices.csv.dvc'
    """
    if not path.is_absolute():
        return str(path)
    with suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
