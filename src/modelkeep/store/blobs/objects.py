"""The cache: content-addressed files in DVC's layout, verified before they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt, Denied, Missing
from modelkeep.store.blobs.digest import SILENT, Bad, Digest, Step
from modelkeep.store.blobs.hashed import copy_hashed, dos2unix_md5, file_digest
from modelkeep.store.blobs.known import Known, Sound, stamp_of
from modelkeep.store.blobs.links import KINDS, Kind, make
from modelkeep.store.blobs.publish import Incoming

__all__ = ["Bad", "Blobs", "Digest", "Placed", "Placing", "Stamp", "Taking"]

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime_ns, ctime_ns of a workspace file as its bytes were hashed."""
_HEX: Final = frozenset("0123456789abcdef")
_FEW: Final = 64


class Taking(NamedTuple):
    """A workspace file that becomes an object.

    Args:
        oid: its name.
        path: where it is.
        digest: what hashing it found.
        stamp: inode, size, mtime_ns and ctime_ns as it was hashed; then a file that is linked is not read again.
    """

    oid: str
    path: Path
    digest: Digest | None = None
    stamp: Stamp | None = None


class Placing(NamedTuple):
    """An object that becomes a workspace file."""

    oid: str
    path: Path
    executable: bool = False
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of objects that were to be placed.

    Args:
        files: how many workspace files were made.
        size: their bytes.
        bad: objects that were not sound; they are in quarantine and were not placed.
        missing: objects that are not in the cache.
        kind: how files were made; copies are also made where another kind cannot be (executables).
    """

    files: int
    size: int
    bad: tuple[Bad, ...] = ()
    missing: tuple[str, ...] = ()
    kind: Kind = "copy"


class Blobs:
    """One cache folder.

    Args:
        folder: the cache's root, DVC's `cache.dir`; nothing is made there before the first write.
        link_types: kinds of link in order of preference, DVC's `cache.type`.
        shared: folders and files may be written by the group, DVC's `cache.shared = group`.
    """

    def __init__(self, folder: Path, *, link_types: Sequence[str] = ("reflink", "copy"), shared: bool = False) -> None:
        self.folder: Final = folder
        self.link_types: Final = tuple(link_types)
        self.shared: Final = shared
        self.object_mode: Final = 0o444
        self._new = os.fspath(folder / "files" / "md5")
        self._old = os.fspath(folder)

    @cached_property
    def known(self) -> Known:
        """What was verified before."""
        return Known(self.folder / "modelkeep" / "known")

    def path(self, oid: str, *, legacy: bool = False) -> Path:
        """Where an object is or would be.

        Raises:
            BadInput: this is no object's name.
        """
        if len(oid) < 32 or not _HEX.issuperset(oid[:32]) or oid[32:] not in {"", ".dir"}:
            raise BadInput(
                f"{oid!r} is no md5", hint="An object's name is 32 hex digits, `.dir` behind them for folders."
            )
        return Path(f"{self._old if legacy else self._new}/{oid[:2]}/{oid[2:]}")

    def has(self, oid: str, *, legacy: bool = False) -> bool:
        """Whether an object is in the cache; this says nothing of its bytes."""
        return self.path(oid, legacy=legacy).is_file()

    def missing(self, oids: Collection[str], *, legacy: bool = False) -> set[str]:
        """Those that are not in the cache; many are asked by listing folders."""
        prefixes: dict[str, list[str]] = {}
        for oid in set(oids):
            prefixes.setdefault(oid[:2], []).append(oid)
        absent: set[str] = set()
        root = self._old if legacy else self._new
        for prefix, names in prefixes.items():
            try:
                present = set(os.listdir(f"{root}/{prefix}"))
            except FileNotFoundError:
                present = set()
            absent.update(oid for oid in names if oid[2:] not in present)
        return absent

    def read(self, oid: str, *, legacy: bool = False) -> bytes:
        """The bytes of a manifest or of a small object, verified.

        Raises:
            Missing: it is not in the cache.
            Corrupt: its bytes are not what its name says; it is in quarantine now.
        """
        try:
            data = self.path(oid, legacy=legacy).read_bytes()
        except FileNotFoundError:
            raise Missing(f"{oid} is not in the cache {self.folder}", hint="Run `modelkeep fetch`.") from None
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != oid[:32]:
            kept = self.quarantine(oid, "its bytes have another md5", legacy=legacy)
            raise Corrupt(f"{oid} in the cache is not what it was; moved to {kept}", hint="Run `modelkeep fetch`.")
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
        oid = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
        if not self.has(oid):
            with self.incoming() as incoming:
                path = incoming.path(oid)
                path.write_bytes(data)
                incoming.publish([(oid, path)])
        return oid

    def ingest(
        self, paths: Sequence[Path], *, keep: Literal["copy", "link"] = "copy", step: Step = SILENT
    ) -> list[Digest]:
        """Workspace files become objects in one pass: read once, hashed and written; gives their digests in order.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
            Conflict: a file changed while it was read.
        """
        digests = []
        for path in paths:
            digest = file_digest(path)
            self.take([(digest.md5, path, digest)], keep=keep, step=step)
            digests.append(digest)
        return digests

    def take(
        self,
        files: Iterable[Taking | tuple[str, Path, Digest | None]],
        *,
        keep: Literal["copy", "link"] = "copy",
        step: Step = SILENT,
    ) -> int:
        """Workspace files whose names are known become objects; gives how many were new.

        Args:
            files: those that are in the cache already are skipped.
            keep: `copy` leaves the workspace file alone; `link` makes it one with the object.
            step: hears of bytes.

        Raises:
            Conflict: a file is not what was hashed any more.
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        taken = 0
        with self.incoming() as incoming:
            for oid, path, *_ in files:
                if self.has(oid):
                    continue
                aside = incoming.path(oid)
                aside.unlink(missing_ok=True)
                digest = copy_hashed(path, aside, step)
                if digest.md5 != oid:
                    aside.unlink()
                    raise Conflict(f"{path} changed while it was being added", hint="Add it again when nobody writes.")
                incoming.publish([(oid, aside)], {oid: digest})
                taken += 1
                if keep == "link":
                    self.place([Placing(oid, path)], link_types=("hardlink", "copy"))
        return taken

    def incoming(self) -> Incoming:
        """A folder for files on their way into the cache."""
        return Incoming(self)

    def place(
        self, items: Iterable[Placing], *, step: Step = SILENT, link_types: Sequence[str] | None = None
    ) -> Placed:
        """Objects become workspace files, each verified first and each appearing whole; what is there is replaced.

        Args:
            items: what goes where; folders are made.
            step: hears of bytes.
            link_types: instead of the cache's own.

        Raises:
            BadInput: none of the kinds of link works here; nothing was touched.
            Busy: the disk is full.
        """
        wanted: list[Kind] = [kind for kind in KINDS if kind in (link_types or self.link_types)]
        files = size = 0
        bad: list[Bad] = []
        missing: list[str] = []
        for item in items:
            source = self.path(item.oid, legacy=item.legacy)
            if not source.is_file():
                missing.append(item.oid)
                continue
            if self.verified([item.oid], legacy=item.legacy):
                bad.append(Bad(item.oid, "its bytes have another md5"))
                continue
            item.path.parent.mkdir(parents=True, exist_ok=True)
            aside = item.path.with_name(f".{item.path.name[:100]}.{os.urandom(4).hex()}")
            for kind in ["copy"] if item.executable else wanted:
                try:
                    make(kind, os.fspath(source), os.fspath(aside), mode=0o777 if item.executable else 0o666)  # type: ignore[arg-type]
                except OSError:
                    continue
                break
            else:
                raise BadInput(f"{item.path}: none of {', '.join(wanted)} works between the cache and the workspace")
            size += source.stat().st_size
            aside.replace(item.path)
            files += 1
            step.add(source.stat().st_size)
        return Placed(files=files, size=size, bad=tuple(bad), missing=tuple(missing), kind=wanted[-1])

    def verified(self, oids: Iterable[str], *, legacy: bool = False) -> list[str]:
        """Makes sure that objects are sound and gives those that are not; these are in quarantine now.

        The first use reads the bytes, later ones compare stamps. Objects that are not in the cache are not named.
        """
        bad = []
        found = {}
        for oid in oids:
            path = self.path(oid, legacy=legacy)
            try:
                stamp = stamp_of(path.stat())
            except FileNotFoundError:
                continue
            sound = self.known.of(oid, legacy=legacy)
            if sound is not None and sound.stamp == stamp:
                continue
            digest = file_digest(path)
            if digest.md5 != oid[:32] and not (legacy and dos2unix_md5(path) == oid[:32]):
                self.quarantine(oid, f"its bytes have the md5 {digest.md5}", legacy=legacy)
                bad.append(oid)
            else:
                found[oid] = Sound(stamp, digest.blake3)
        if found:
            self.known.remember(found, legacy=legacy)
        return bad

    def scrub(self, oids: Iterable[str] | None = None, step: Step = SILENT, *, legacy: bool = False) -> list[Bad]:
        """Reads every byte of these objects, or of all, and gives those that are not sound, now in quarantine.

        Args:
            oids: None for all objects of both layouts.
            step: hears of bytes.
            legacy: the layout of the objects named.
        """
        bad = []
        names = [(oid, old) for oid, _, _, old in self.oids()] if oids is None else [(oid, legacy) for oid in oids]
        for oid, old in names:
            path = self.path(oid, legacy=old)
            digest = file_digest(path, step)
            if digest.md5 != oid[:32] and not (old and dos2unix_md5(path) == oid[:32]):
                reason = f"its bytes have the md5 {digest.md5}"
                self.quarantine(oid, reason, legacy=old)
                bad.append(Bad(oid, reason))
        return bad

    def quarantine(self, oid: str, reason: str = "", *, legacy: bool = False) -> Path:
        """Takes an object out of use, keeps its bytes with the reason beside them, and gives where."""
        folder = self.folder / "modelkeep" / "quarantine"
        self.make_folder(folder)
        kept = folder / f"{oid}.{os.urandom(4).hex()}"
        self.path(oid, legacy=legacy).rename(kept)
        kept.with_name(kept.name + ".txt").write_text(f"{reason}\n", encoding="utf-8")
        return kept

    def delete(self, oids: Iterable[str], *, legacy: bool = False) -> int:
        """Removes objects for good; gives how many there were."""
        count = 0
        for oid in oids:
            try:
                self.path(oid, legacy=legacy).unlink()
            except FileNotFoundError:
                continue
            count += 1
        return count

    def move_out(self, oids: Iterable[str], folder: Path, *, legacy: bool = False) -> int:
        """Moves objects into a folder on the cache's file system, by rename; gives how many there were.

        Args:
            oids: those that are not there are passed over.
            legacy: the layout that they are in.
            folder: made if need be; holds `md5/ab/…` and, for objects of DVC before 3.0, `old/ab/…`.
        """
        count = 0
        for oid in sorted(oids):
            target = folder / ("old" if legacy else "md5") / oid[:2] / oid[2:]
            self.make_folder(target.parent)
            try:
                self.path(oid, legacy=legacy).rename(target)
            except FileNotFoundError:
                continue
            count += 1
        return count

    def move_in(self, folder: Path) -> int:
        """Moves back what `move_out` put into a folder, and removes the folder; gives how many objects came back."""
        count = 0
        for layout in ("md5", "old"):
            for path in sorted((folder / layout).glob("??/*")):
                target = self.path(path.parent.name + path.name, legacy=layout == "old")
                self.make_folder(target.parent)
                path.rename(target)
                count += 1
        return count

    def oids(self) -> Iterator[tuple[str, int, int, bool]]:
        """Every object: its name, size in bytes, mtime_ns, and whether it lies where DVC before 3.0 put it."""
        for root, legacy in ((self._new, False), (self._old, True)):
            for prefix in _names(root):
                if len(prefix) == 2 and _HEX.issuperset(prefix):
                    yield from _objects(f"{root}/{prefix}", prefix, legacy)

    def make_folder(self, folder: Path) -> None:
        """Makes a folder in the cache, with its parents, in the cache's mode.

        Raises:
            Busy: the disk is full.
            Denied: the cache is read-only.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise Denied(f"{folder}: {error.strerror}", hint="The cache is read-only for you.") from error
        except OSError as error:
            raise Busy(f"{folder}: {error.strerror}", hint="Make room on this disk.") from error


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _objects(folder: str, prefix: str, legacy: bool) -> Iterator[tuple[str, int, int, bool]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            if len(name) >= 32 and _HEX.issuperset(name[:32]) and name[32:] in {"", ".dir"}:
                stat = entry.stat()
                yield name, stat.st_size, stat.st_mtime_ns, legacy
