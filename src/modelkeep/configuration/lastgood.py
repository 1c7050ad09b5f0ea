"""The last good copy of a source, on disk and encrypted: what a process starts with while the source is away."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from modelkeep.configuration.secrecy import KEY, SHORTEST_KEY
from modelkeep.configuration.tree import Mark, Reading
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class _Kept(msgspec.Struct):
    tree: dict[Any, Any]
    marks: dict[str, tuple[str, int]]
    texts: dict[str, str]
    origin: tuple[str, int]
    version: str
    read_ns: int
    secrets: list[str] = []


class LastGood:
    """Encrypted copies in a folder, one file per source.

    Args:
        folder: made when the first copy is kept.
        key: at least 16 characters; what was encrypted with another key is as good as absent.

    Raises:
        BadInput: the key is too short, or the library that encrypts is not installed.

    >>> import tempfile
    >>> kept = LastGood(Path(tempfile.mkdtemp()), "a key of some length")
    >>> kept.save("consul://h/app", Reading({"a": 1}, read_ns=5))
    >>> kept.load("consul://h/app").tree
    {'a': 1}
    """

    def __init__(self, folder: Path, key: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise BadInput(f"{KEY} has fewer than {SHORTEST_KEY} characters", hint="Make one: openssl rand -base64 32")
        self._folder = folder
        self._box = _box(key)

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """Gives the copies in a folder; None without a key, which is said on stderr."""
        key = os.environ.get(KEY, "")
        if not key:
            print(f"modelkeep: no last good copies are kept: {KEY} is not set", file=sys.stderr)  # noqa: T201
            return None
        return cls(folder, key)

    def save(self, source: str, reading: Reading) -> None:
        """Keeps what a source said; a disk that refuses is said on stderr and changes nothing."""
        kept = _Kept(
            tree=reading.tree,
            marks={key: (mark.source, mark.line) for key, mark in reading.marks.items()},
            texts=dict(reading.texts),
            origin=(reading.origin.source, reading.origin.line),
            version=reading.version,
            read_ns=reading.read_ns or time.time_ns(),
            secrets=sorted(reading.secrets),
        )
        path = self._path(source)
        fresh = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(fresh, "wb", opener=_private) as file:
                file.write(self._box.encrypt(msgspec.msgpack.encode(kept)))
            fresh.replace(path)
        except (OSError, TypeError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "it has values of an unknown kind"
            print(f"modelkeep: no last good copy of {source} was kept: {why}", file=sys.stderr)  # noqa: T201

    def load(self, source: str) -> Reading | None:
        """Gives what was kept of a source; None when there is nothing that this key opens."""
        from cryptography.fernet import InvalidToken

        try:
            kept = msgspec.msgpack.decode(self._box.decrypt(self._path(source).read_bytes()), type=_Kept)
        except (OSError, InvalidToken, msgspec.DecodeError):
            return None
        return Reading(
            kept.tree,
            {key: Mark(*mark) for key, mark in kept.marks.items()},
            version=kept.version,
            read_ns=kept.read_ns,
            origin=Mark(*kept.origin),
            texts=kept.texts,
            secrets=frozenset(kept.secrets),
        )

    def _path(self, source: str) -> Path:
        return self._folder / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.kept"


def age(reading: Reading) -> str:
    """Gives how long ago a source was read, in words.

    >>> age(Reading({}, read_ns=time.time_ns() - 7_200_000_000_000))
    '2 h'
    """
    seconds = max(0, (time.time_ns() - reading.read_ns) // 1_000_000_000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _box(key: str) -> Fernet:
    try:
        from cryptography.fernet import Fernet
    except ModuleNotFoundError:
        raise BadInput("keeping last good copies needs cryptography", hint="pip install 'modelkeep[sources]'") from None
    derived = hashlib.scrypt(key.encode(), salt=b"modelkeep last good", n=2**14, r=8, p=1, dklen=32)
    return Fernet(base64.urlsafe_b64encode(derived))
