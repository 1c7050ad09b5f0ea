"""From what differs to what must be read again, and from hashes to a folder's manifest."""

from __future__ import annotations

import os
import re
import time
from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from modelkeep.data.formats import manifest as manifests
from modelkeep.data.snapshots.glance import Changes
from modelkeep.data.snapshots.hashing import Hashes
from modelkeep.data.snapshots.index import GONE, Back, Clock, Found, young
from modelkeep.data.snapshots.scan import (
    CONTENT,
    EXECUTABLE,
    EXECUTABLE_LINK,
    FILE,
    FOLDER,
    FOREIGN,
    IGNORED,
    IGNORED_FOLDER,
    LINK,
    POINTER,
    Listing,
    Stamp,
    Vanished,
    follow,
    kind_of,
    stamp_of,
)

_HEX: Final = 32
_PART: Final = 5000
_BETWEEN: Final = b", "
_PLACE: Final = re.compile(rb'"md5": "')
"""Cannot occur within a path: there the quote before the colon has a backslash."""


class Settled(NamedTuple):
    """What differences come to.

    Args:
        listing: brought up to date; the stamps of `again` are from before they are read.
        again: entries whose bytes may have changed.
        noted: whether the listing has news worth keeping.
    """

    listing: Listing
    again: list[int]
    noted: bool


class _Other(Exception):
    """An entry is something else than it was."""


def settle(top: str, listing: Listing, changes: Changes, prefix: str) -> Settled | None:
    """Gives what differences come to; None when another listing is needed.

    A file's ctime alone may differ when it has several names: making or removing a link to a cached object changes
    that, and no byte.

    Args:
        top: the folder.
        listing: what the index has.
        changes: what differs.
        prefix: the folder's path below the repository's root, for messages.
    """
    if changes.folders:
        return None
    news = listing.copy()
    again, noted = [], 0
    soon = Clock(time.time_ns(), False)
    try:
        for entry, path in zip(changes.entries, listing.located(changes.entries), strict=True):
            there = os.lstat(f"{top}/{path}")
            same = _update(news, entry, there, (f"{top}/{path}", path, f"{prefix}/{path}" if prefix else path))
            noted += news.kinds[entry] != listing.kinds[entry] or news.links.get(entry) != listing.links.get(entry)
            if not same:
                again.append(entry)
            elif young(stamp_of(there), soon):
                news.restamp(entry, listing.own_stamp(entry))
            else:
                noted += 1
    except (OSError, Vanished, _Other):
        return None
    return Settled(news, again, noted > 0)


def _update(news: Listing, entry: int, there: os.stat_result, names: tuple[str, str, str]) -> bool:
    """Takes one entry's news in; gives whether its bytes are surely the same."""
    old, now = news.kinds[entry], kind_of(there.st_mode)
    before = news.own_stamp(entry)
    news.restamp(entry, stamp_of(there))
    if old == FOREIGN:
        raise _Other  # it may be foreign no longer
    if old in {FOLDER, IGNORED_FOLDER, IGNORED}:
        if (now == FOLDER) != (old != IGNORED):
            raise _Other
        return True
    if old in {FILE, EXECUTABLE}:
        if now not in {FILE, EXECUTABLE}:
            raise _Other
        news.kinds[entry] = now
        return same_bytes(before, there)
    if now != LINK:
        raise _Other
    kind, link = follow(*names)
    if (kind == POINTER) != (old == POINTER):
        raise _Other
    was = news.links[entry].stamp
    news.kinds[entry], news.links[entry] = kind, link
    return was is None or (before != GONE and same_bytes(was, os.stat(names[0])))  # noqa: PTH116


def same_bytes(before: Stamp, there: os.stat_result) -> bool:
    """Whether a file's bytes are those of an earlier stamp."""
    now = stamp_of(there)
    return now == before or (there.st_nlink > 1 and now[:3] == before[:3])


class Oids:
    """The md5 of each entry of a listing, 32 hex digits; blanks where there is none."""

    def __init__(self, listing: Listing) -> None:
        self.text: Final = bytearray(b" ") * (_HEX * len(listing.kinds))
        self.blake3: Final[dict[int, bytes]] = {}

    def put(self, entries: Sequence[int], hashes: Hashes) -> None:
        """Sets those of entries that were read."""
        self.spread(entries, hashes.md5.hex().encode("ascii"))
        for number, value in hashes.blake3.items():
            self.blake3[entries[number]] = value

    def spread(self, entries: Sequence[int], texts: bytes) -> None:
        """Sets the md5 of entries, given one behind the other."""
        own, size = self.text, _HEX
        for number, entry in enumerate(entries):
            own[size * entry : size * entry + size] = texts[size * number : size * number + size]

    def take(self, entry: int, manifest: bytes, places: Iterable[int]) -> None:
        """Sets the md5 of neighbours from a manifest."""
        self.put_md5(entry, b"".join([manifest[place : place + _HEX] for place in places]))

    def second(self, back: Back, old: int, entry: int, count: int) -> None:
        """Sets the blake3 of neighbours."""
        for place in range(count) if back.blake3 else ():
            if old + place in back.blake3:
                self.blake3[entry + place] = back.blake3[old + place]

    def put_md5(self, entry: int, oid: bytes) -> None:
        """Sets one entry's md5, or those of neighbours."""
        self.text[_HEX * entry : _HEX * entry + len(oid)] = oid


def carried(top: str, listing: Listing, old: Listing, back: Back) -> tuple[Oids, list[int]]:
    """Takes over the hashes of files that did not change; gives them and the entries that must be read.

    Args:
        top: the folder.
        listing: what is there now.
        old: what the index has.
        back: its second part.
    """
    oids = Oids(listing)
    offsets = array("q", back.offsets)
    numbers = {folder: number for number, folder in enumerate(old.folders)}
    doubts: list[tuple[int, int]] = []
    for number, folder in enumerate(listing.folders):
        start, end = listing.span(number)
        before = numbers.get(folder)
        if before is None:
            doubts += ((entry, -1) for entry in range(start, end))
            continue
        was = _counterparts(listing.names[number], old, before)
        if _identical(listing, start, end, old, was):
            first = was[0] if was else 0
            oids.take(start, back.manifest, offsets[first : first + end - start])
            oids.second(back, first, start, end - start)
        else:
            doubts += zip(range(start, end), was, strict=True)
    content = set(listing.content()) if doubts else set()
    doubts = [(entry, match) for entry, match in doubts if entry in content]
    again = []
    for (entry, match), path in zip(doubts, listing.located(entry for entry, _ in doubts), strict=True):
        if match < 0 or not offsets[match] or not _still(f"{top}/{path}", listing, entry, old, match):
            again.append(entry)
        else:
            oids.take(entry, back.manifest, offsets[match : match + 1])
            oids.second(back, match, entry, 1)
    return oids, again


def _identical(listing: Listing, start: int, end: int, old: Listing, was: Sequence[int]) -> bool:
    """Whether a folder's entries are all as they were; never where there are links."""
    if not isinstance(was, range) or LINK in listing.kinds[start:end] or EXECUTABLE_LINK in listing.kinds[start:end]:
        return False
    kinds, stamps = slice(was.start, was.stop), slice(4 * was.start, 4 * was.stop)
    return listing.stamps[4 * start : 4 * end] == old.stamps[stamps] and listing.kinds[start:end].translate(
        CONTENT
    ) == old.kinds[kinds].translate(CONTENT)


def _counterparts(names: bytes, old: Listing, number: int) -> Sequence[int]:
    """Gives for each name the old entry of the same folder, or -1."""
    start, end = old.span(number)
    if names == old.names[number]:
        return range(start, end)
    if not names:
        return []
    known = dict(zip(old.names[number].split(b"/"), range(start, end), strict=False)) if end > start else {}
    return [known.get(name, -1) for name in names.split(b"/")]


def _still(path: str, listing: Listing, entry: int, old: Listing, match: int) -> bool:
    """Whether an entry has the same bytes as before."""
    own, was = listing.own_stamp(entry), old.own_stamp(match)
    if was == GONE or (entry in listing.links) != (match in old.links):
        return False
    if own == was and listing.stamp(entry) == old.stamp(match):
        return True
    try:
        there = os.stat(path)  # noqa: PTH116
    except OSError:
        return False
    return stamp_of(there) == listing.stamp(entry) and same_bytes(old.stamp(match), there)


def folder_state(listing: Listing, oids: Oids) -> Found:
    """Gives a folder's state once all hashes are known."""
    content = listing.content()
    paths = list(listing.paths())
    order = sorted(range(len(paths)), key=paths.__getitem__)
    offsets = array("q", bytes(8 * len(listing.kinds)))
    parts, at = [], 0
    for start in range(0, len(order), _PART):  # in parts, which need less memory
        numbers = order[start : start + _PART]
        part = manifests.encode(
            (paths[number], oids.text[_HEX * content[number] : _HEX * (content[number] + 1)].decode("ascii"))
            for number in numbers
        )
        for number, place in zip(numbers, _PLACE.finditer(part), strict=True):
            offsets[content[number]] = at + place.end()
        parts.append(part[1:-1])
        at += len(parts[-1]) + len(_BETWEEN)
    return _state(listing, b"[" + _BETWEEN.join(parts) + b"]", offsets, oids.blake3, content)


def patched(listing: Listing, back: Back, entries: Sequence[int], hashes: Hashes) -> Found:
    """Gives a folder's state when only bytes changed: the manifest with some hashes replaced.

    Args:
        listing: with the stamps of now.
        back: the index's second part.
        entries: those that were read.
        hashes: what reading them found.
    """
    data = bytearray(back.manifest)
    offsets = array("q", back.offsets)
    blake3 = dict(back.blake3)
    for number, entry in enumerate(entries):
        digest = hashes.digest(number)
        data[offsets[entry] : offsets[entry] + _HEX] = digest.md5.encode("ascii")
        blake3.pop(entry, None)
        if digest.blake3:
            blake3[entry] = digest.blake3
    return _state(listing, bytes(data), offsets, blake3, listing.content())


def _state(listing: Listing, data: bytes, offsets: array[int], blake3: dict[int, bytes], content: list[int]) -> Found:
    return Found(
        listing=listing,
        is_dir=True,
        oid=manifests.oid_of(data),
        size=sum(stamp[1] for stamp in listing.content_stamps()),
        nfiles=len(content),
        manifest=data,
        offsets=offsets,
        blake3=blake3,
    )
