"""The cache: content-addressed files in DVC's layout, verified before they are used.

    <cache>/files/md5/ab/cdef…        objects, mode 0444; folders of files have `.dir` behind the name
    <cache>/ab/cdef…                  those of DVC before 3.0
    <cache>/modelkeep/…               what DVC knows nothing of: incoming, known, quarantine, trash

Any number of processes may use a cache at once, DVC among them: an object appears whole or not at all, and whoever
needs one that is not sound takes it out of use before anybody copies it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Corrupt, Denied, Missing
from modelkeep.store.blobs.digest import SILENT, Bad, Digest, Placed, Placing, Stamp, Step, Taking
from modelkeep.store.blobs.known import Known, Sound
from modelkeep.store.blobs.known import Stamp as ObjectStamp
from modelkeep.store.blobs.refusal import told

if TYPE_CHECKING:
    from modelkeep.store.blobs.checking import Checking
    from modelkeep.store.blobs.publish import Incoming
    from modelkeep.store.blobs.taking import Keep

__all__ = ["Bad", "Blobs", "Digest", "Placed", "Placing", "Stamp", "Taking"]

_NAME: Final = re.compile(r"[0-9a-f]{32}(\.dir)?", re.ASCII)
_PREFIX: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_FEW: Final = 4
"""So many objects in one folder are asked for singly."""


class Blobs:
    """One cache folder.

    Args:
        folder: the cache's root, DVC's `cache.dir`; nothing is made there before the first write.
        link_types: kinds of link in order of preference, DVC's `cache.type`.
        shared: folders may be written by the group, DVC's `cache.shared = group`.

    >>> import tempfile
    >>> blobs = Blobs(Path(tempfile.mkdtemp()))
    >>> blobs.put(b"[]", suffix=".dir")
    'd751713988987e9331980363e24189ce.dir'
    >>> blobs.read("d751713988987e9331980363e24189ce.dir")
    b'[]'
    """

    def __init__(self, folder: Path, *, link_types: Sequence[str] = ("reflink", "copy"), shared: bool = False) -> None:
        self.folder: Final = Path(folder)
        self.link_types: Final = tuple(link_types)
        self.shared: Final = shared
        self._new: Final = os.fspath(self.folder / "files" / "md5")
        self._old: Final = os.fspath(self.folder)

    @cached_property
    def known(self) -> Known:
        """What was verified before."""
        return Known(self.folder / "modelkeep" / "known", file_mode=0o664 if self.shared else 0o666)

    def path(self, oid: str, *, legacy: bool = False) -> Path:
        """Where an object is or would be.

        Raises:
            BadInput: this is no object's name.
        """
        self.check_name(oid)
        return Path(self.place_of(oid, legacy=legacy))

    def place_of(self, oid: str, *, legacy: bool = False) -> str:
        """The same for a name that is known to be one."""
        return f"{self._old if legacy else self._new}/{oid[:2]}/{oid[2:]}"

    def check_name(self, oid: str) -> None:
        """Refuses what is no object's name, and so no path either.

        Raises:
            BadInput: it is none.
        """
        if not _NAME.fullmatch(oid):
            raise BadInput(
                f"{oid[:80]!r} is not the md5 of anything", hint="It has 32 hex digits, for a folder `.dir` too."
            )

    def has(self, oid: str, *, legacy: bool = False) -> bool:
        """Whether an object is in the cache; this says nothing of its bytes."""
        return os.path.isfile(self.path(oid, legacy=legacy))

    def missing(self, oids: Collection[str], *, legacy: bool = False) -> set[str]:
        """Those that are not in the cache; where many are asked for, folders are listed.

        Raises:
            BadInput: one is no object's name.
            Denied: the cache may not be read.
        """
        prefixes: dict[str, list[str]] = {}
        for oid in set(oids):
            prefixes.setdefault(oid[:2], []).append(oid)
        absent: set[str] = set()
        root = self._old if legacy else self._new
        with told(root):
            for prefix, names in prefixes.items():
                if len(names) <= _FEW:
                    absent.update(oid for oid in names if not self.has(oid, legacy=legacy))
                    continue
                present = self.names_in(prefix, legacy=legacy)
                absent.update([oid for oid in names if oid[2:] not in present])
        for oid in absent:
            self.check_name(oid)
        return absent

    def names_in(self, prefix: str, *, legacy: bool = False) -> set[str]:
        """What lies in the folder of those that begin like this, without that beginning.

        Raises:
            OSError: it cannot be listed.
        """
        try:
            return set(os.listdir(f"{self._old if legacy else self._new}/{prefix}"))
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def read(self, oid: str, *, legacy: bool = False) -> bytes:
        """The bytes of a manifest or of a small object, verified.

        Raises:
            Missing: it is not in the cache.
            Corrupt: its bytes are not what its name says; it is in quarantine now.
        """
        from modelkeep.store.blobs.checking import judged

        try:
            data = self.path(oid, legacy=legacy).read_bytes()
        except FileNotFoundError:
            raise Missing(f"{oid} is not in the cache {self.folder}", hint="Run `modelkeep fetch`.") from None
        except PermissionError as error:
            raise Denied(f"{error.filename}: {error.strerror}", hint="See who owns it and with which mode.") from error
        if problem := judged(oid, data, legacy=legacy):
            kept = self.quarantine(oid, problem, legacy=legacy)
            raise Corrupt(f"{oid} is corrupt: {problem}; it is at {kept} now", hint="Run `modelkeep fetch`.")
        return data

    def put(self, data: bytes, *, suffix: str = "") -> str:
        """Makes bytes an object and gives its name.

        Args:
            data: all of them.
            suffix: `.dir` for a manifest.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        from modelkeep.store.blobs.hashed import md5_of
        from modelkeep.store.blobs.publish import write_object

        oid = md5_of(data) + suffix
        if self.has(oid) and not self.verified([oid]):
            return oid
        with self.incoming(resume=False) as incoming, told(self.folder):
            fresh = incoming.fresh()
            self.make_folder(fresh / oid[:2])
            stamp = write_object(f"{fresh}/{oid[:2]}/{oid[2:]}", data)
            incoming.publish_whole(fresh, {oid: Sound(stamp)})
        return oid

    def ingest(
        self,
        paths: Sequence[Path | str],
        *,
        keep: Keep = "copy",
        step: Step = SILENT,
        meanwhile: Callable[[list[Digest]], None] | None = None,
    ) -> list[Digest]:
        """Workspace files become objects in one pass: read once, hashed and written; gives their digests in order.

        Args:
            paths: of the files; links are followed.
            keep: as for `take`.
            step: hears of bytes.
            meanwhile: is called with the digests while the disk still writes, when objects do not have their names yet.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
            Conflict: a file changed while it was read.
        """
        from modelkeep.store.blobs.taking import ingest

        return ingest(self, paths, keep, step, meanwhile)

    def take(
        self,
        files: Iterable[Taking | tuple[str, Path, Digest | None]],
        *,
        keep: Keep = "copy",
        step: Step = SILENT,
        legacy: bool = False,
    ) -> int:
        """Workspace files whose names are known become objects; gives how many were new.

        Args:
            files: those whose object is in the cache, and sound, are skipped.
            keep: `copy` leaves the workspace file alone; `link` makes it one with the object where that is safe.
            step: hears of bytes.
            legacy: names and places are those of DVC before 3.0.

        Raises:
            Conflict: a file is not what was hashed any more.
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        from modelkeep.store.blobs.taking import take

        return take(self, files, keep, step, legacy=legacy)

    def incoming(self, *, resume: bool = True) -> Incoming:
        """A folder for files on their way into the cache.

        Args:
            resume: take over what downloads of earlier runs left.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        from modelkeep.store.blobs.publish import Incoming

        return Incoming(self, resume=resume)

    def place(
        self,
        items: Iterable[Placing],
        *,
        step: Step = SILENT,
        link_types: Sequence[str] | None = None,
        aside: Path | None = None,
    ) -> Placed:
        """Objects become workspace files, each verified first and each appearing whole; what is there is replaced.

        Args:
            items: what goes where; folders are made.
            step: hears of bytes.
            link_types: instead of the cache's own.
            aside: a folder to build files in, on the workspace's file system; by default one is found.

        Raises:
            BadInput: none of the kinds of link works here; nothing was touched.
            Busy: the disk is full.
            Denied: the workspace may not be written.
            Conflict: a file is where a folder is needed, or the reverse.
        """
        from modelkeep.store.blobs.placing import place

        return place(self, items, step, link_types or self.link_types, aside)

    def verified(self, oids: Iterable[str], *, legacy: bool = False, step: Step = SILENT) -> list[str]:
        """Makes sure that objects are sound and gives those that are not; these are in quarantine now.

        The first use reads the bytes, later ones compare stamps. Objects that are not in the cache are not named.

        Args:
            oids: which.
            legacy: the layout that they are in.
            step: hears of the bytes that had to be read.
        """
        from modelkeep.store.blobs.checking import Checking

        unsure = []
        for oid in oids:
            path = self.place_of(oid, legacy=legacy)
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                continue
            if not self.known.fits(oid, stat, legacy=legacy):
                unsure.append(Checking(oid, path, legacy))
        return [bad.oid for bad in self._checked(unsure, step)]

    def scrub(self, oids: Iterable[str] | None = None, step: Step = SILENT, *, legacy: bool = False) -> list[Bad]:
        """Reads every byte of these objects, or of all, and gives those that are not sound, now in quarantine.

        Args:
            oids: None for all objects of both layouts.
            step: hears of bytes.
            legacy: the layout of the objects named.
        """
        from modelkeep.store.blobs.checking import Checking

        names = [(oid, old) for oid, _, _, old in self.oids()] if oids is None else [(oid, legacy) for oid in oids]
        items = []
        for oid, old in names:
            sound = self.known.of(oid, legacy=old)
            items.append(Checking(oid, self.place_of(oid, legacy=old), old, sound.blake3 if sound else b""))
        return self._checked(items, step)

    def _checked(self, items: Sequence[Checking], step: Step) -> list[Bad]:
        from modelkeep.store.blobs.checking import check

        bad: list[Bad] = []
        found: dict[bool, dict[str, Sound]] = {False: {}, True: {}}
        with told(self.folder):
            for one in check(items, step) if items else ():
                if one.problem:
                    bad.append(Bad(one.oid, one.problem))
                    self.quarantine(one.oid, one.problem, legacy=one.legacy)
                else:
                    found[one.legacy][one.oid] = Sound(ObjectStamp(*one.stamp), one.blake3)
        for legacy, sound in found.items():
            self.known.remember(sound, legacy=legacy)
        return bad

    def quarantine(self, oid: str, reason: str = "", *, legacy: bool = False) -> Path:
        """Takes an object out of use, keeps its bytes with the reason beside them, and gives where.

        In a read-only cache it stays where it is, and that is what is given.
        """
        path, folder = self.path(oid, legacy=legacy), self.folder / "modelkeep" / "quarantine"
        kept = folder / f"{oid}.{os.urandom(4).hex()}"
        try:
            self.make_folder(folder)
            path.rename(kept)
        except (Denied, PermissionError, FileNotFoundError):
            return path
        kept.with_name(f"{kept.name}.txt").write_text(f"{reason}\n", encoding="utf-8")
        return kept

    def delete(self, oids: Iterable[str], *, legacy: bool = False) -> int:
        """Removes objects for good; gives how many there were.

        Raises:
            Denied: the cache is read-only.
        """
        count = 0
        with told(self.folder):
            for oid in sorted(oids):
                path = self.path(oid, legacy=legacy)
                if path.exists():
                    path.unlink(missing_ok=True)
                    count += 1
        return count

    def move_out(self, oids: Iterable[str], folder: Path, *, legacy: bool = False) -> int:
        """Moves objects into a folder on the cache's file system, by rename; gives how many there were.

        Args:
            oids: those that are not there are passed over.
            folder: made if need be; holds `md5/ab/…` and, for objects of DVC before 3.0, `old/ab/…`.
            legacy: the layout that they are in.

        Raises:
            Denied: the cache is read-only.
        """
        count, made = 0, ""
        with told(folder):
            for oid in sorted(oids):
                self.check_name(oid)
                target = f"{folder}/{'old' if legacy else 'md5'}/{oid[:2]}"
                if target != made:
                    self.make_folder(Path(target))
                    made = target
                try:
                    os.rename(self.place_of(oid, legacy=legacy), f"{target}/{oid[2:]}")
                except FileNotFoundError:
                    continue
                count += 1
        return count

    def move_in(self, folder: Path) -> int:
        """Moves back what `move_out` put into a folder, and removes what it made there; gives how many came back.

        Raises:
            Denied: the cache is read-only.
        """
        count = 0
        with told(folder):
            for layout in ("md5", "old"):
                for prefix in _names(f"{folder}/{layout}"):
                    inner = f"{folder}/{layout}/{prefix}"
                    for name in _names(inner):
                        target = self.path(prefix + name, legacy=layout == "old")
                        self.make_folder(target.parent)
                        os.rename(f"{inner}/{name}", target)
                        count += 1
                    os.rmdir(inner)
                if os.path.isdir(f"{folder}/{layout}"):
                    os.rmdir(f"{folder}/{layout}")
            if os.path.isdir(folder) and not os.listdir(folder):
                os.rmdir(folder)
        return count

    def oids(self) -> Iterator[tuple[str, int, int, bool]]:
        """Every object: its name, size in bytes, mtime_ns, and whether it lies where DVC before 3.0 put it."""
        for root, legacy in ((self._new, False), (self._old, True)):
            for prefix in _names(root):
                if _PREFIX.fullmatch(prefix):
                    yield from _objects(f"{root}/{prefix}", prefix, legacy=legacy)

    def make_folder(self, folder: Path) -> None:
        """Makes a folder in the cache, with its parents, in the cache's mode.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        with told(folder):
            try:
                os.mkdir(folder)
            except FileExistsError:
                return
            except FileNotFoundError:
                self.make_folder(folder.parent)
                folder.mkdir(exist_ok=True)
            if self.shared:
                os.chmod(folder, 0o2775)  # noqa: S103 what DVC's cache.shared = group asks for


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _objects(folder: str, prefix: str, *, legacy: bool) -> Iterator[tuple[str, int, int, bool]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if _NAME.fullmatch(prefix + entry.name):
            try:
                stat = entry.stat()
            except FileNotFoundError:
                continue
            yield prefix + entry.name, stat.st_size, stat.st_mtime_ns, legacy
