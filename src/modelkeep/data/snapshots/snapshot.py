"""The hashed state of what is tracked: computed once, kept in the index, compared at the speed of a listing."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.snapshots.index import Back, Found
from modelkeep.data.snapshots.looking import Job
from modelkeep.data.snapshots.scan import EXECUTABLE, FOLDER, Stamp, kind_of, refusal
from modelkeep.store.blobs.digest import Digest

if TYPE_CHECKING:
    from modelkeep.data.formats.side import Side
    from modelkeep.data.repository import Repository

_HEX: Final = 32


class Snapshot:
    """The hashed state of a file or folder, as `snapshot` gives it.

    Args:
        path: the file or folder.
        found: its state but for manifest, offsets and blake3 when `back` has them.
        back: reads the rest when it is first asked for.
    """

    def __init__(self, path: Path, found: Found, back: Callable[[], Back] | None = None) -> None:
        self.path: Final = path
        self.oid: Final = found.oid
        self.size: Final = found.size
        self.is_dir: Final = found.is_dir
        self.nfiles: Final = found.nfiles if found.is_dir else None
        self.executable: Final = not found.is_dir and found.listing.kinds[0] == EXECUTABLE
        self._listing: Final = found.listing
        self._found: Final = found
        self._read: Final = back

    def __repr__(self) -> str:
        return f"Snapshot({str(self.path)!r}, {self.oid!r})"

    @cached_property
    def side(self) -> Side:
        """What DVC's format has no room for: executable files, empty folders, links."""
        from modelkeep.data.formats.side import Side

        if not self.is_dir:
            return Side()
        listing = self._listing
        return Side(
            executable=tuple(sorted(listing.executable())),
            empty=tuple(sorted(listing.empty())),
            symlinks=dict(sorted(listing.symlinks().items())),
        )

    def entries(self) -> list[tuple[str, str]]:
        """Gives (path, object id) of a folder's files, sorted by path; nothing for a file."""
        text = self.manifest().decode("ascii")
        return [(path, text[place : place + _HEX]) for place, path, _ in self._ordered] if self.is_dir else []

    def digests(self) -> list[tuple[str, Digest]]:
        """Gives (path, hashes) of the files, sorted by path; a file by itself has the path ""."""
        blake3, stamp = self._back.blake3, self._listing.stamp
        if not self.is_dir:
            return [("", Digest(self.oid, blake3.get(0, b""), self.size))]
        text = self.manifest().decode("ascii")
        return [
            (path, Digest(text[place : place + _HEX], blake3.get(entry, b""), stamp(entry)[1]))
            for place, path, entry in self._ordered
        ]

    def stamps(self) -> list[tuple[str, Stamp]]:
        """Gives (path, stamp) of the files, sorted by path; a file by itself has the path ""."""
        stamp = self._listing.stamp
        return [(path, stamp(entry)) for _, path, entry in self._ordered] if self.is_dir else [("", stamp(0))]

    def manifest(self) -> bytes:
        """Gives a folder's manifest; nothing for a file."""
        return self._back.manifest

    @cached_property
    def _back(self) -> Back:
        if self._read is not None:
            return self._read()
        return Back(0, self._found.manifest, self._found.offsets.tobytes(), self._found.blake3)

    @cached_property
    def _ordered(self) -> list[tuple[int, str, int]]:
        """Place of the md5 in the manifest, path, and entry; sorted."""
        places = array("q", self._back.offsets)
        content = self._listing.content()
        rows = list(zip(map(places.__getitem__, content), self._listing.paths(), content, strict=True))
        rows.sort()
        return rows


def snapshot(repo: Repository, path: Path, *, hash: str = "md5", progress: Progress = SILENT) -> Snapshot | None:  # noqa: A002
    """Gives the hashed state of a file or folder now; None when nothing is there.

    Reads only what changed since the index was written, and writes the index.

    Args:
        repo: whose index.
        path: the file or folder.
        hash: `md5`, or `md5-dos2unix` as DVC 2 names files.
        progress: hears of hashing.

    Raises:
        BadInput: names what cannot be tracked: a link that leads nowhere, a socket, a name that is no Unicode.
        Conflict: somebody wrote there all the while.
        Denied: something may not be read.
        Busy: a worker process died.
    """
    there = _there(path)
    if there is None:
        return None
    job = Job(repo, path, hash, kind_of(there.st_mode) == FOLDER)
    seen = job.seen()
    if seen is None:
        return Snapshot(path, job.whole(None, progress))
    changes = job.changes(seen, there)
    if not changes:
        return Snapshot(path, job.known(seen), lambda: job.back(seen))
    return Snapshot(path, job.mended(seen, changes, progress) or job.whole(seen, progress, changes))


def peek(repo: Repository, path: Path, *, hash: str = "md5") -> str:  # noqa: A002
    """Gives the object id when the index knows that no byte changed, else "".

    What a side file holds may have changed; `snapshot` costs no more when nothing did, and tells that too.
    """
    there = _there(path)
    if there is None:
        return ""
    job = Job(repo, path, hash, kind_of(there.st_mode) == FOLDER)
    seen = job.seen()
    if seen is None:
        return ""
    changes = job.changes(seen, there)
    return seen.front.oid if not changes or job.only_noted(seen, changes) else ""


def remember(
    repo: Repository,
    path: Path,
    oid: str,
    entries: Sequence[tuple[str, str]] | None = None,
    *,
    hash: str = "md5",  # noqa: A002
    seen: Mapping[str, Stamp] | None = None,
) -> None:
    """Notes that what is there now is this object, without hashing it: after files were placed or stored.

    Args:
        repo: whose index.
        path: the file or folder.
        oid: what a file is; that of a folder comes from its entries.
        entries: of a folder: path and object id of its files; others that are there will be hashed when asked for.
        hash: the kind of the ids.
        seen: stamps of files right after they were placed; a file that has another one by now will be hashed too.
    """
    there = _there(path)
    if there is not None:
        Job(repo, path, hash, kind_of(there.st_mode) == FOLDER).note(oid, dict(entries or ()), seen)


def _there(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):  # noqa: PTH114
            raise BadInput(
                f"{path}: this link leads to {os.readlink(path)!a}, where nothing is",  # noqa: PTH115
                hint="Mend the link or remove it.",
            ) from error
        return None
    except OSError as error:
        raise refusal(error, str(path)) from error
