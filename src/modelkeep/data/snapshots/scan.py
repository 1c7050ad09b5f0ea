"""What lies in a folder now: one pass of listings and stats, without reading any file.

Hidden files and `.gitignore` belong to a tracked folder. A link to a file counts as the file that it leads to; a link
to a folder is recorded and not entered.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress, starmap
from operator import attrgetter
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.core.errors import BadInput, Busy, Conflict, Denied, Error, Missing

if TYPE_CHECKING:
    from modelkeep.data.formats.ignore import Ignore

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime in ns, ctime in ns: while they stay, so do the bytes (but for what `index` says of the clock)."""
STAMP: Final = Struct("=Q3q")
stamp_of: Final = attrgetter("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")

FILE, EXECUTABLE, FOLDER, LINK, EXECUTABLE_LINK, POINTER, IGNORED, IGNORED_FOLDER, FOREIGN, ODD = b"fxdlLpiIr?"
"""What an entry is.

LINK leads to a file, whose bytes count; POINTER, to a folder or nowhere, is only recorded. FOREIGN is a folder with a
`.dvc` of its own, which is not looked into.
"""
CONTENT: Final = bytes(code in b"fxlL" for code in range(256))
_EXECUTABLE: Final = bytes(code in b"xL" for code in range(256))
_TRIES: Final = 5
_RUNS: Final = modes.S_IXUSR | modes.S_IXGRP | modes.S_IXOTH


class Link(NamedTuple):
    """A symbolic link.

    Args:
        target: its text when it can be made again in another workspace, else "".
        stamp: of the file that it leads to; None when it leads to none.
    """

    target: str
    stamp: Stamp | None


@dataclass(slots=True)
class Listing:
    """Everything below a folder, in the order in which the file system tells it; one flat row an entry.

    Args:
        folders: paths below the top, the top itself ("") first.
        starts: the number of each folder's first entry.
        names: each folder's entries, joined by `/`.
        stamps: four numbers an entry, of the entry itself (not of what a link leads to).
        kinds: one byte an entry.
        links: by entry.
    """

    folders: list[str] = field(default_factory=list)
    starts: array[int] = field(default_factory=lambda: array("q"))
    names: list[bytes] = field(default_factory=list)
    stamps: array[int] = field(default_factory=lambda: array("q"))
    kinds: bytearray = field(default_factory=bytearray)
    links: dict[int, Link] = field(default_factory=dict)

    def span(self, number: int) -> tuple[int, int]:
        """Gives a folder's first entry and the one behind its last."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.kinds)
        return self.starts[number], end

    def content(self) -> list[int]:
        """Gives the entries whose bytes count."""
        return list(compress(range(len(self.kinds)), self.kinds.translate(CONTENT)))

    def paths(self, table: bytes = CONTENT) -> Iterator[str]:
        """Gives the paths of the entries whose kind the table marks, in order; by itself of those whose bytes count."""
        for number, folder in enumerate(self.folders):
            start, end = self.span(number)
            if end > start:
                chosen = compress(self.names[number].decode().split("/"), self.kinds[start:end].translate(table))
                yield from map((folder + "/").__add__, chosen) if folder else chosen

    def located(self, entries: Iterable[int]) -> Iterator[str]:
        """Gives the paths of entries, which come in order."""
        number, end, names, prefix, start = -1, -1, [""], "", 0
        for entry in entries:
            if entry >= end:
                number = bisect_right(self.starts, entry) - 1
                start, end = self.span(number)
                names = self.names[number].decode().split("/")
                prefix = f"{self.folders[number]}/" if self.folders[number] else ""
            yield prefix + names[entry - start]

    def content_stamps(self) -> Iterator[Stamp]:
        """Gives the stamps of the entries whose bytes count, a link's being those of its file."""
        if not self.links:
            return compress(STAMP.iter_unpack(self.stamps.tobytes()), self.kinds.translate(CONTENT))
        return (self.stamp(entry) for entry in self.content())

    def copy(self) -> Listing:
        """Gives a listing whose stamps, kinds and links may be changed."""
        return Listing(self.folders, self.starts, self.names, self.stamps[:], bytearray(self.kinds), dict(self.links))

    def restamp(self, entry: int, stamp: Stamp) -> None:
        """Sets the stamp of an entry itself."""
        STAMP.pack_into(self.stamps, STAMP.size * entry, *stamp)

    def resize(self, entry: int, size: int) -> None:
        """Sets the size of an entry's bytes, when reading found another one than listing."""
        link = self.links.get(entry)
        if link is not None and link.stamp is not None:
            inode, _, mtime, ctime = link.stamp
            self.links[entry] = Link(link.target, (inode, size, mtime, ctime))
        else:
            self.stamps[4 * entry + 1] = size

    def stamp(self, entry: int) -> Stamp:
        """Gives the stamp of an entry's bytes."""
        link = self.links.get(entry)
        return link.stamp if link is not None and link.stamp is not None else self.own_stamp(entry)

    def own_stamp(self, entry: int) -> Stamp:
        """Gives the stamp of an entry itself."""
        inode, size, mtime, ctime = STAMP.unpack_from(self.stamps, STAMP.size * entry)
        return inode, size, mtime, ctime

    def executable(self) -> list[str]:
        """Gives the paths of the files that may be run."""
        if not any(self.kinds.translate(_EXECUTABLE)):
            return []
        return list(self.paths(_EXECUTABLE))

    def empty(self) -> list[str]:
        """Gives the paths of the folders below the top with nothing in them."""
        return [folder for folder, names in zip(self.folders, self.names, strict=True) if folder and not names]

    def symlinks(self) -> dict[str, str]:
        """Gives path and target of the links that can be made again."""
        kept = [(entry, link.target) for entry, link in sorted(self.links.items()) if link.target]
        return dict(zip(self.located(entry for entry, _ in kept), (target for _, target in kept), strict=True))


@dataclass(slots=True)
class Tree:
    """What a scan found, sorted by path.

    Args:
        paths: of the files, below the folder, POSIX, sorted as strings.
        stamps: of the files, in the same order.
        executable: files that may be run.
        empty: folders with nothing in them.
        symlinks: path and target of the links that can be made again.
        folders: all folders, the top itself ("") first.
    """

    paths: list[str]
    stamps: list[Stamp]
    executable: list[str]
    empty: list[str]
    symlinks: dict[str, str]
    folders: list[str]


def scan(folder: Path, ignore: Ignore, prefix: str = "") -> Tree:
    """Gives what lies in a folder.

    Args:
        folder: where to look.
        ignore: what `.dvcignore` keeps out.
        prefix: the folder's path below the repository's root, POSIX.

    Raises:
        BadInput: names what cannot be tracked: a socket, a link that leads nowhere, a name that is no Unicode.
        Conflict: somebody changed the folder all the while.
        Denied: a folder may not be read.
    """
    listing = walk(folder, ignore, prefix)
    paths = list(listing.paths())
    stamps = list(listing.content_stamps())
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return Tree(
        paths=[paths[number] for number in order],
        stamps=[stamps[number] for number in order],
        executable=sorted(listing.executable()),
        empty=sorted(listing.empty()),
        symlinks=listing.symlinks(),
        folders=listing.folders,
    )


class Before(NamedTuple):
    """An earlier listing and where it no longer holds.

    Args:
        listing: with the same patterns to ignore.
        changed: the numbers of folders where anything differs.
    """

    listing: Listing
    changed: set[int]


def walk(folder: Path, ignore: Ignore, prefix: str = "", before: Before | None = None) -> Listing:
    """Gives what lies in a folder in the file system's order; errors as `scan`.

    Args:
        folder: where to look.
        ignore: what `.dvcignore` keeps out.
        prefix: the folder's path below the repository's root, POSIX.
        before: spares looking again at the folders where nothing differs.
    """
    return _Walk(os.fspath(folder), ignore, prefix, before).run()


class Vanished(Exception):
    """Something went away between two looks."""


class _Kinds(dict[int, int]):
    """The kind that a mode means."""

    def __missing__(self, mode: int) -> int:
        kind = ODD
        if modes.S_ISREG(mode):
            kind = EXECUTABLE if mode & _RUNS else FILE
        elif modes.S_ISDIR(mode):
            kind = FOLDER
        elif modes.S_ISLNK(mode):
            kind = LINK
        self[mode] = kind
        return kind


_KINDS: Final = _Kinds()
_ROW: Final = Struct("=qQ3q")
_row: Final = attrgetter("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


def flat(stamps: Iterable[Stamp]) -> array[int]:
    """Gives stamps as four numbers each, an inode beyond 63 bits as a negative one."""
    return array("q", b"".join(starmap(STAMP.pack, stamps)))


def kind_of(mode: int) -> int:
    """Gives the kind that a mode means; ODD for what cannot be tracked."""
    return _KINDS[mode]


class _Walk:
    def __init__(self, top: str, ignore: Ignore, prefix: str, before: Before | None) -> None:
        self.top: Final = top.rstrip("/") or "/"
        self.prefix: Final = prefix.strip("/")
        self.ignore: Final = ignore
        self.plain: Final = ignore.plain_below(self.prefix)
        self.found: Final = Listing()
        self.before: Final = before
        self.same: Final[dict[str, int]] = {}
        """The folders of the earlier listing where nothing differs."""
        if before is not None:
            self.same.update((name, number) for number, name in enumerate(before.listing.folders))
            for number in before.changed:
                del self.same[before.listing.folders[number]]

    def run(self) -> Listing:
        waiting = [("", -1)]
        while waiting:
            folder, entry = waiting.pop()
            below = self._settled(folder, entry)
            below.reverse()
            waiting += below
        return self.found

    def _settled(self, folder: str, entry: int) -> list[tuple[str, int]]:
        """Takes a folder in, again when it changes under our eyes."""
        number = self.same.get(folder)
        if number is not None and self.before is not None:
            return self._copy(number, self.before.listing)
        for _ in range(_TRIES):
            try:
                return self._take(folder, entry)
            except Vanished:
                continue
        raise Conflict(
            f"{self._shown(folder)}: keeps changing while it is listed",
            hint="Run it again when nothing writes there.",
        )

    def _take(self, folder: str, entry: int) -> list[tuple[str, int]]:
        """Takes a folder in; gives the folders in it and their entries."""
        path = os.fsencode(f"{self.top}/{folder}" if folder else self.top)
        try:
            names = os.listdir(path)  # noqa: PTH208
        except OSError as error:
            if folder and isinstance(error, FileNotFoundError | NotADirectoryError):
                raise Conflict(
                    f"{self._shown(folder)}: was removed while its parent was listed", hint="Run it again."
                ) from error
            raise refusal(error, self._shown(folder)) from error
        joined = b"/".join(names)
        self._check_names(joined, names, folder)
        rows = self._rows(path + b"/", names, folder)
        kinds = bytearray(map(_KINDS.__getitem__, rows[0::5]))
        if not self.plain or b".dvc" in joined or b".git" in joined or b".hg" in joined:
            if folder and entry >= 0 and b".dvc" in names:  # a repository of its own is nobody's data
                self.found.kinds[entry] = FOREIGN
                return []
            self._leave_out(names, kinds, folder)
        found = self.found
        first = len(found.kinds)
        for number, link in self._links(names, kinds, folder).items():
            found.links[first + number] = link
        found.folders.append(folder)
        found.starts.append(first)
        found.names.append(joined)
        found.stamps.frombytes(_without_modes(rows))
        found.kinds += kinds
        return _inside(folder, names, kinds, first)

    def _copy(self, number: int, old: Listing) -> list[tuple[str, int]]:
        """Takes a folder over from the earlier listing."""
        found = self.found
        first = len(found.kinds)
        start, end = old.span(number)
        for entry in range(start, end) if old.links else ():
            if entry in old.links:
                found.links[first + entry - start] = old.links[entry]
        found.folders.append(old.folders[number])
        found.starts.append(first)
        found.names.append(old.names[number])
        found.stamps += old.stamps[4 * start : 4 * end]
        kinds = old.kinds[start:end]
        found.kinds += kinds
        names = old.names[number].split(b"/") if FOLDER in kinds else []
        return _inside(old.folders[number], names, kinds, first)

    def _check_names(self, joined: bytes, names: list[bytes], folder: str) -> None:
        try:
            joined.decode()
        except UnicodeDecodeError:
            for name in names:
                if not _is_unicode(name):
                    raise BadInput(
                        f"{self._shown(folder)}: the file name {os.fsdecode(name)!a} is no UTF-8",
                        hint="Rename the file: DVC's files cannot hold such a name.",
                    ) from None

    def _rows(self, prefix: bytes, names: list[bytes], folder: str) -> array[int]:
        try:
            rows = map(_row, map(os.lstat, map(prefix.__add__, names)))
            return array("q", b"".join(starmap(_ROW.pack, rows)))
        except FileNotFoundError as error:
            raise Vanished from error
        except OSError as error:
            raise refusal(error, self._shown(folder)) from error

    def _leave_out(self, names: list[bytes], kinds: bytearray, folder: str) -> None:
        """Marks what is ignored."""
        prefix = "/".join(part for part in (self.prefix, folder) if part)
        prefix += "/" if prefix else ""
        for number, name in enumerate(names):
            is_folder = kinds[number] == FOLDER
            built_in = name == b".git" or (is_folder and name in {b".hg", b".dvc"})
            if built_in or (not self.plain and self.ignore.ignores(prefix + name.decode(), is_folder)):
                kinds[number] = IGNORED_FOLDER if is_folder else IGNORED
            elif name == b".dvcignore":
                raise BadInput(
                    f"{self._shown(folder)}/.dvcignore: not allowed inside of a tracked folder",
                    hint="Move its patterns to a .dvcignore above the folder.",
                )

    def _links(self, names: list[bytes], kinds: bytearray, folder: str) -> dict[int, Link]:
        links = {}
        if LINK in kinds:
            for number in positions(kinds, LINK):
                name = names[number].decode()
                kinds[number], links[number] = self._follow(f"{folder}/{name}" if folder else name)
        if ODD in kinds:
            name = names[kinds.index(ODD)].decode()
            raise _odd(self._shown(f"{folder}/{name}" if folder else name))
        return links

    def _follow(self, relpath: str) -> tuple[int, Link]:
        return follow(f"{self.top}/{relpath}", relpath, self._shown(relpath))

    def _shown(self, relpath: str) -> str:
        top = self.prefix or self.top
        return f"{top}/{relpath}" if relpath else top


def _inside(folder: str, names: list[bytes], kinds: bytearray, first: int) -> list[tuple[str, int]]:
    """Gives the folders in a folder and their entries."""
    prefix = f"{folder}/" if folder else ""
    return [(prefix + names[number].decode(), first + number) for number in positions(kinds, FOLDER)]


def follow(path: str, relpath: str, shown: str) -> tuple[int, Link]:
    """Gives what a link is to a tracked folder.

    Args:
        path: of the link.
        relpath: the same below the tracked folder.
        shown: the path for messages.

    Raises:
        BadInput: it leads nowhere, to a folder outside, or to what is neither file nor folder.
    """
    try:
        target = os.readlink(path)  # noqa: PTH115
    except OSError as error:
        raise Vanished from error
    inside = _stays(relpath, target)
    try:
        there = os.stat(path)  # noqa: PTH116
    except PermissionError as error:
        raise refusal(error, shown) from error
    except OSError as error:
        if inside:
            return POINTER, Link(target, None)
        raise BadInput(
            f"{shown}: this link leads to {target!a}, where nothing is", hint="Mend the link or remove it."
        ) from error
    kind = _KINDS[there.st_mode]
    if kind in {FILE, EXECUTABLE}:
        return (EXECUTABLE_LINK if kind == EXECUTABLE else LINK), Link(target if inside else "", stamp_of(there))
    if kind != FOLDER:
        raise _odd(shown)
    if not inside:
        raise BadInput(
            f"{shown}: this link leads to {target!a}, a folder outside of the tracked one",
            hint="Put the folder's files in its place, or a relative link that stays in the tracked folder.",
        )
    return POINTER, Link(target, None)


def _stays(relpath: str, target: str) -> bool:
    """Whether a link can be made again in another workspace."""
    if target.startswith("/") or not _is_unicode(os.fsencode(target)):
        return False
    from modelkeep.data.formats.side import stays_inside

    return stays_inside(relpath, target)


def positions(kinds: bytes | bytearray, kind: int) -> list[int]:
    """Gives where a kind occurs.

    >>> positions(b"fdfd", FOLDER)
    [1, 3]
    """
    found = []
    at = kinds.find(kind)
    while at >= 0:
        found.append(at)
        at = kinds.find(kind, at + 1)
    return found


def refusal(error: OSError, shown: str) -> Error:
    """Gives what to raise when the system refuses a file or folder."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Busy(f"{shown}: the disk is full", hint="Make room, then run it again.")
    if isinstance(error, PermissionError):
        return Denied(f"{shown}: may not be read", hint=f"ls -ld {shown}")
    if isinstance(error, FileNotFoundError):
        return Missing(f"{shown}: not found")
    return BadInput(f"{shown}: {error.strerror or error}")


def _odd(shown: str) -> BadInput:
    return BadInput(
        f"{shown}: neither a file nor a folder (a pipe, socket or device)",
        hint="Remove it, or keep it out by a line in .dvcignore.",
    )


def _without_modes(rows: array[int]) -> bytes:
    stamps = array("q", bytes(8 * (len(rows) // 5 * 4)))
    for column in range(4):
        stamps[column::4] = rows[column + 1 :: 5]
    return stamps.tobytes()


def _is_unicode(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
