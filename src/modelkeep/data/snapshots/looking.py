"""Looking at one tracked path: what the index knows of it, what changed, what must be hashed."""

from __future__ import annotations

import os
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import compress
from operator import ne
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.snapshots import index
from modelkeep.data.snapshots.glance import Changes, glance
from modelkeep.data.snapshots.index import Back, Clock, Found, Key, Seen
from modelkeep.data.snapshots.scan import (
    EXECUTABLE,
    FILE,
    Before,
    Listing,
    Stamp,
    flat,
    kind_of,
    refusal,
    stamp_of,
    walk,
)

if TYPE_CHECKING:
    from modelkeep.data.repository import Repository
    from modelkeep.data.snapshots.hashing import Hashes
    from modelkeep.data.snapshots.settle import Settled

_BLANK: Final = "0" * 32


class Job:
    """One path under one kind of hash."""

    def __init__(self, repo: Repository, path: Path, kind: str, is_dir: bool) -> None:
        self.repo: Final = repo
        self.path: Final = path
        self.top: Final = os.fspath(path).rstrip("/")
        self.is_dir: Final = is_dir
        relpath = repo.relpath(path)
        rules = repo.ignore.rules_below(relpath) if is_dir else ()
        self.key: Final = Key(relpath, kind, rules)

    def seen(self) -> Seen | None:
        """Gives the index, if there is one of this kind of thing."""
        found = index.read(self._place(), self.key)
        if found is None or found.front.is_dir != self.is_dir:
            return None
        return index.after_setback(found)

    def changes(self, seen: Seen, there: os.stat_result) -> Changes:
        """Gives what differs from the index."""
        if self.is_dir:
            return glance(self.top, seen.listing)
        same = seen.listing.own_stamp(0) == stamp_of(there) and seen.listing.kinds[0] == kind_of(there.st_mode)
        return Changes([] if same else [0], [])

    def known(self, seen: Seen) -> Found:
        """Gives the state as the index has it, but for what its second part holds."""
        front = seen.front
        return Found(
            listing=seen.listing,
            is_dir=front.is_dir,
            oid=front.oid,
            size=front.size,
            nfiles=front.nfiles,
            manifest=b"",
            offsets=array("q"),
            blake3={},
        )

    def back(self, seen: Seen) -> Back:
        """Gives the index's second part, read anew when it is torn or somebody wrote another one meanwhile.

        Raises:
            Conflict: what is there is something else by now.
        """
        back = seen.back()
        if back is not None:
            return back
        found = self.whole(None, SILENT)
        if found.oid != seen.front.oid:
            raise Conflict(f"{self.path}: changed while it was looked at", hint="Run it again.")
        return Back(0, found.manifest, found.offsets.tobytes(), found.blake3)

    def only_noted(self, seen: Seen, changes: Changes) -> bool:
        """Whether no byte changed; what did is noted."""
        clock = self._clock()
        settled = self._settled(seen, changes)
        if settled is None or settled.again:
            return False
        back = seen.back() if settled.noted else None
        if back is not None:
            self._write(self._joined(seen, settled.listing, back), clock)
        return True

    def mended(self, seen: Seen, changes: Changes, progress: Progress) -> Found | None:
        """Gives the state now when files changed but none came or went; else None."""
        from modelkeep.data.snapshots.settle import patched

        clock = self._clock()
        settled = self._settled(seen, changes)
        back = seen.back() if settled is not None else None
        if settled is None or back is None or (settled.again and not self.is_dir):
            return None
        listing = settled.listing
        if not settled.again:
            found = self._joined(seen, listing, back)
            if settled.noted:
                self._write(found, clock)
            return found
        clock, _ = index.ripe(self._home, listing, settled.again, clock, self._clock)
        hashes, doubts = self._hash(listing, settled.again, progress)
        found = patched(listing, back, settled.again, hashes)
        self._write(found, clock, doubts)
        return found

    def whole(self, seen: Seen | None, progress: Progress, changes: Changes | None = None) -> Found:
        """Gives the state now after a listing of what changed, or of all; hashes that the index has are taken over."""
        from modelkeep.data.snapshots.settle import Oids, carried, folder_state

        clock = self._clock()
        if not self.is_dir:
            return self._file(clock, progress)
        before = self._before(seen, changes) if seen is not None and changes is not None else None
        listing = walk(self.path, self.repo.ignore, self.key.path, before)
        back = seen.back() if seen is not None else None
        if seen is not None and back is not None:
            oids, again = carried(self.top, listing, seen.listing, back)
        else:
            oids, again = Oids(listing), listing.content()
        clock, _ = index.ripe(self._home, listing, again, clock, self._clock)
        del seen, back, before
        hashes, doubts = self._hash(listing, again, progress)
        oids.put(again, hashes)
        found = folder_state(listing, oids)
        self._write(found, clock, doubts)
        return found

    def _before(self, seen: Seen, changes: Changes) -> Before:
        starts = seen.listing.starts
        inside = {bisect_right(starts, entry) - 1 for entry in changes.entries}
        return Before(seen.listing, inside.union(changes.folders))

    def note(self, oid: str, oids: Mapping[str, str], seen: Mapping[str, Stamp] | None) -> None:
        """Writes what is there now as being this object; what the ids do not name is left to be hashed."""
        from modelkeep.data.snapshots.settle import Oids, folder_state

        clock = self._clock()
        listing = walk(self.path, self.repo.ignore, self.key.path) if self.is_dir else self._alone()
        content = listing.content()
        clock, moved = index.ripe(self._home, listing, content, clock, self._clock)
        unknown = set(moved)
        paths = list(listing.paths()) if self.is_dir else [""]
        if seen is not None:
            stamps = zip(content, map(seen.get, paths), listing.content_stamps(), strict=True)
            unknown.update(entry for entry, then, now in stamps if then is None or then[:3] != now[:3])
        if self.is_dir:
            known = [oids.get(path, "") for path in paths]
            unknown.update(entry for entry, text in zip(content, known, strict=True) if not text)
            texts = Oids(listing)
            texts.spread(content, "".join(text or _BLANK for text in known).encode("ascii"))
            found = folder_state(listing, texts)
        else:
            found = self._file_state(listing, oid, b"")
        self._write(found, clock, unknown)

    @property
    def _home(self) -> str:
        """Where the listing's paths start."""
        return self.top if self.is_dir else os.path.dirname(self.top)  # noqa: PTH120

    def _place(self) -> Path:
        return index.place_of(self.repo.private, self.key)

    def _clock(self) -> Clock:
        """Gives the time from which on changes may go unseen; to be asked before anything is looked at."""
        try:
            device = os.stat(self.path).st_dev  # noqa: PTH116
        except OSError as error:
            raise refusal(error, str(self.path)) from error
        return index.clock_of(self.repo.private, device)

    def _write(self, found: Found, clock: Clock, unknown: Iterable[int] = ()) -> None:
        index.write(self.repo.private, self.key, found, clock, unknown)

    def _settled(self, seen: Seen, changes: Changes) -> Settled | None:
        from modelkeep.data.snapshots.settle import Settled, same_bytes, settle

        if self.is_dir:
            return settle(self.top, seen.listing, changes, self.key.path)
        there = os.stat(self.path)  # noqa: PTH116
        same = same_bytes(seen.listing.own_stamp(0), there)
        fresh = same and index.young(stamp_of(there), Clock(time.time_ns(), False))
        news = seen.listing.copy()
        news.kinds[0] = kind_of(there.st_mode)
        if not fresh:  # a young stamp could not be kept
            news.restamp(0, stamp_of(there))
        return Settled(news, [] if same else [0], not fresh or news.kinds != seen.listing.kinds)

    def _joined(self, seen: Seen, listing: Listing, back: Back) -> Found:
        front = seen.front
        return Found(
            listing=listing,
            is_dir=front.is_dir,
            oid=front.oid,
            size=front.size,
            nfiles=front.nfiles,
            manifest=back.manifest,
            offsets=array("q", back.offsets),
            blake3=back.blake3,
        )

    def _hash(self, listing: Listing, entries: list[int], progress: Progress) -> tuple[Hashes, list[int]]:
        """Hashes entries; gives also those that were larger or smaller by then than listed."""
        from modelkeep.data.snapshots.hashing import hash_files

        stamps = flat(map(listing.stamp, entries))
        if not entries:
            return hash_files("", [], stamps), []
        names = list(listing.located(entries))
        total = sum(stamps[1::4])
        with progress.begin(f"Hashing {self.key.path or self.path.name}", total=total, unit="bytes") as step:
            found = hash_files(self.top + "/", names, stamps, hash=self.key.hash, step=step)
        resized = list(compress(range(len(entries)), map(ne, found.sizes, stamps[1::4])))
        for number in resized:
            listing.resize(entries[number], found.sizes[number])
        return found, [entries[number] for number in resized]

    def _alone(self) -> Listing:
        """Gives the listing of a file by itself; a link is the file that it leads to."""
        try:
            there = os.stat(self.path)  # noqa: PTH116
        except OSError as error:
            raise refusal(error, str(self.path)) from error
        kind = kind_of(there.st_mode)
        if kind not in {FILE, EXECUTABLE}:
            raise BadInput(
                f"{self.path}: neither a file nor a folder (a pipe, socket or device)",
                hint="Only those can be tracked.",
            )
        name = os.fsencode(self.path.name)
        return Listing([""], array("q", [0]), [name], flat([stamp_of(there)]), bytearray([kind]))

    def _file(self, clock: Clock, progress: Progress) -> Found:
        from modelkeep.data.snapshots.hashing import hash_one

        listing = self._alone()
        clock, _ = index.ripe(self._home, listing, [0], clock, self._clock)
        size = listing.own_stamp(0)[1]
        with progress.begin(f"Hashing {self.key.path}", total=size, unit="bytes") as step:
            digest = hash_one(self.path, self.key.hash, step)
        resized = digest.size != size
        if resized:
            listing.resize(0, digest.size)
        found = self._file_state(listing, digest.md5, digest.blake3)
        self._write(found, clock, [0] if resized else [])
        return found

    def _file_state(self, listing: Listing, oid: str, blake3: bytes) -> Found:
        return Found(
            listing=listing,
            is_dir=False,
            oid=oid,
            size=listing.own_stamp(0)[1],
            nfiles=1,
            manifest=b"",
            offsets=array("q"),
            blake3={0: blake3} if blake3 else {},
        )
