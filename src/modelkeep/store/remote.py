"""What keeps blobs elsewhere: the shape of a remote, and the one that belongs to an address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

from modelkeep.core.errors import BadInput, Error
from modelkeep.store.blobs.digest import Digest

PACKAGE: Final = "modelkeep.store.remotes"
SCHEMES: Final[Mapping[str, str]] = {
    "": "local",
    "file": "local",
    "s3": "s3",
    "azure": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "gs": "gcs",
    "http": "http",
    "https": "http",
    "ssh": "ssh",
    "sftp": "ssh",
    "webdav": "webdav",
    "webdavs": "webdav",
}
"""The plugin of every scheme that comes along; a scheme that is not here is the name of an installed plugin."""


class Stat(NamedTuple):
    """What a remote tells of one blob without giving it.

    Args:
        key: where it lies, below the remote's address.
        size: in bytes.
        etag: changes when the bytes do; "" when the remote has no such thing.
    """

    key: str
    size: int
    etag: str


class Upload(NamedTuple):
    """One blob on its way there.

    Args:
        key: where it shall lie.
        source: a file, as text where there are many, or the bytes themselves.
        size: in bytes.
    """

    key: str
    source: Path | str | bytes
    size: int


class Download(NamedTuple):
    """One blob on its way here.

    Args:
        key: where it lies.
        path: the file that receives it, as text where there are many; bytes that it holds already are the blob's
            first ones and are not asked for again.
        size: in bytes; None when nobody knows.
    """

    key: str
    path: Path | str
    size: int | None


class Outcome(NamedTuple):
    """How a transfer of one blob ended.

    Args:
        key: the blob.
        error: why it failed; None when it is there, whole.
        digest: of the bytes that came, where they were hashed on their way.
    """

    key: str
    error: Error | None
    digest: Digest | None = None


Moved = Callable[[int], None]
"""Hears of bytes as they move; may be called by any thread, never by two at once."""


class Remote(Protocol):
    """Keeps blobs under keys, `files/md5/0c/c175…`. A blob is visible whole or not at all.

    Args:
        url: where; never holds a secret that is shown.
        options: DVC's options of this kind of remote by their names; `jobs` limits how much happens at once.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None: ...

    def stat(self, key: str) -> Stat | None:
        """Tells of one blob; None when it is not there."""
        ...

    def has(self, keys: Collection[str]) -> set[str]:
        """Gives those of the keys that are there, by whatever is cheaper: listing or asking for each."""
        ...

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Gives every blob below a folder, in no order.

        Raises:
            BadInput: this kind of remote cannot be listed.
        """
        ...

    def read(self, key: str) -> bytes:
        """Gives a small blob whole.

        Raises:
            Missing: it is not there.
        """
        ...

    def download(self, items: Iterable[Download], moved: Moved) -> Iterator[Outcome]:
        """Fetches many at once and tells how each ended, in the order in which they end.

        Args:
            items: what.
            moved: hears of bytes as they arrive.
        """
        ...

    def upload(self, items: Iterable[Upload], moved: Moved) -> Iterator[Outcome]:
        """Sends many at once and tells how each ended, in the order in which they end.

        Args:
            items: what; a key that is there already is replaced.
            moved: hears of bytes as they leave.
        """
        ...

    def delete(self, keys: Collection[str]) -> None:
        """Removes blobs; one that is not there is no error."""
        ...

    def close(self) -> None:
        """Ends connections; nothing may be asked afterwards."""
        ...


def scheme_of(url: str) -> str:
    """Gives the scheme of an address, "" for a plain path.

    >>> scheme_of("S3://bucket/data"), scheme_of("/mnt/share"), scheme_of("C:/data")
    ('s3', '', '')
    """
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def connect(url: str, options: Mapping[str, str]) -> Remote:
    """Gives the remote at an address; most kinds talk to nobody before they are first asked.

    Args:
        url: a folder, or an address whose scheme names the kind.
        options: as in DVC's configuration of the remote.

    Raises:
        BadInput: no remote has this scheme, or an option cannot be used.
        Denied: no credentials, or they were refused.

    >>> connect("gopher://example.org", {})
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: no remote for gopher://
    """
    scheme = scheme_of(url)
    name = SCHEMES.get(scheme)
    if name is not None:
        return cast("type[Remote]", import_module(f"{PACKAGE}.{name}").plugin)(url, options)
    from modelkeep.core.kinds import Kind

    kinds = Kind[Remote](PACKAGE)
    if scheme not in kinds.names() or scheme in SCHEMES.values():
        known = sorted({*(one for one in SCHEMES if one), *(set(kinds.names()) - set(SCHEMES.values()))})
        raise BadInput(f"no remote for {scheme}://", hint=f"There are: a folder, {', '.join(known)}.")
    return kinds.load(scheme)(url, options)
