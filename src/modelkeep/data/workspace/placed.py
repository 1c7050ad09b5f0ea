"""What this repository's commands put into the workspace, so that a checkout can take away what is tracked no more.

A log with one JSON list a line: path, oid, whether a side file stood beside the metafile. The last line of a path
counts; an empty oid forgets it. A torn line is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository

_TIDY_BYTES: Final = 1 << 20


class Note(NamedTuple):
    """One path as it was left.

    Args:
        path: relative to the root, POSIX.
        oid: what lay there; "" when it is nobody's any more.
        side: whether a side file told of executables, empty folders or links.
    """

    path: str
    oid: str
    side: bool = False


_DECODER: Final = msgspec.json.Decoder(Note)
_ENCODER: Final = msgspec.json.Encoder()


def note(repo: Repository, notes: Iterable[Note]) -> None:
    """Writes down how paths were left."""
    lines = b"".join(_ENCODER.encode(one) + b"\n" for one in notes)
    if not lines:
        return
    try:
        repo.private.mkdir(parents=True, exist_ok=True)
        fd = os.open(repo.private / "placed", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, lines)
        finally:
            os.close(fd)
    except OSError:  # a full disk: a later checkout then leaves these paths alone
        return


def placed(repo: Repository) -> dict[str, Note]:
    """Gives how each path was left last."""
    try:
        lines = (repo.private / "placed").read_bytes().split(b"\n")
    except OSError:
        return {}
    found: dict[str, Note] = {}
    for line in lines:
        try:
            one = _DECODER.decode(line)
        except msgspec.MsgspecError:
            continue
        if one.oid:
            found[one.path] = one
        else:
            found.pop(one.path, None)
    return found


def tidy(repo: Repository) -> None:
    """Writes a long log anew without the lines that count no more; the caller holds the whole repository."""
    file = repo.private / "placed"
    try:
        if file.stat().st_size < _TIDY_BYTES:
            return
        aside = file.with_name(f"placed.{os.getpid()}")
        aside.write_bytes(b"".join(_ENCODER.encode(one) + b"\n" for one in placed(repo).values()))
        aside.replace(file)
    except OSError:
        return
