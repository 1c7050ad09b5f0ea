"""The row engine's sealed files: what counts, writing, joining, expiring, checking and copying them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from modelkeep.core.times import iso
from modelkeep.store.disk import Disk
from modelkeep.store.hold import Hold
from modelkeep.store.rows import compaction, parquet
from modelkeep.store.rows.columns import FIXED, Stream, Types, whole
from modelkeep.store.rows.manifest import Ledger, Manifest, Sealed, encoded
from modelkeep.store.rows.recent import joined
from modelkeep.store.rows.shelf import Shelf

log: Final = logging.getLogger(__name__)


class Vault:
    """The sealed files of one folder, behind one manifest.

    Every change writes new files, then the manifest that lists them, then drops the old ones: a crash at any point
    leaves the state before or after, and files that no manifest lists are removed at the next opening.

    Args:
        folder: absolute; made when missing; held against a second process.
        disk: makes things durable.

    Raises:
        Conflict: another process has the folder, or a newer modelkeep wrote it.
        Corrupt: the manifest and its copy are damaged.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        self.lock: Final = threading.Lock()
        """Held while `manifest` changes."""
        self._disk = disk
        self._writing = threading.Lock()
        self._shelf = Shelf(disk)
        self._hold = Hold(folder)
        try:
            self._ledger = Ledger(folder, disk)
            self.manifest = self._ledger.load()
            self._serial = self.manifest.serial
            self._sound: set[str] = set()
            self.damaged = {file.name for file in self.manifest.files if not _there(folder / file.name, file)}
            self._clean()
        except BaseException:
            self._hold.close()
            raise
        for name in sorted(self.damaged):
            log.error("%s is missing or cut; its rows are left out", folder / name)

    def close(self) -> None:
        """Lets go of the folder."""
        self._hold.close()

    def readable(self) -> list[Sealed]:
        """Gives the live files that are not damaged."""
        return [file for file in self.manifest.files if file.name not in self.damaged]

    def sound(self, file: Sealed) -> bool:
        """Tells whether a file is as it was written; its bytes are compared before its first use in this process.

        The database does not check the checksums of pages: without this a flipped bit would be a wrong answer.
        """
        if file.name not in self._sound and file.name not in self.damaged:
            self._check(file)
        return file.name not in self.damaged

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keeps every file that is there now until the end of the block."""
        with self._shelf.reading():
            yield

    def seal(
        self,
        tables: Mapping[Stream, pa.Table],
        seq: int,
        *,
        received_ns: int,
        types: Mapping[str, Types],
        misfits: Mapping[str, Mapping[str, int]],
        then: Callable[[], None],
    ) -> None:
        """Adds rows and moves the journal position; both count at the same moment.

        Args:
            tables: rows by stream.
            seq: the journal is sealed up to here.
            received_ns: when the newest row arrived.
            types: of the loose columns.
            misfits: counts.
            then: called under `lock` when the new state counts.
        """
        with self._writing:
            fresh = self._written(tables.items(), received_ns)
            noted = {"types": dict(types), "misfits": {key: dict(found) for key, found in misfits.items()}}
            after = msgspec.structs.replace(self.manifest, files=(*self.manifest.files, *fresh), seq=seq, **noted)
            self._replace(after, then)

    def compact(self, today: int) -> int:
        """Joins small files; gives how many files fewer there are.

        Args:
            today: days since 1970.
        """
        before = len(self.manifest.files)
        while plan := compaction.plan(self.readable(), today):
            for files in plan:
                with self._writing:
                    self._join(files)
        return before - len(self.manifest.files)

    def expire(self, kind: str, cutoff_ns: int, *, confirmed: bool) -> int | None:
        """Deletes rows before a time; gives how many, or None when that needs a confirmation.

        Args:
            kind: of the rows.
            cutoff_ns: the first time that stays.
            confirmed: delete however much it is.
        """
        with self._writing:
            files = [file for file in self.manifest.files if file.kind == kind]
            found = compaction.expiry(files, cutoff_ns)
            if not found.whole and not found.partly:
                return 0
            if not found.allowed and not confirmed:
                log.error("retention would delete about %d rows of kind %s; it waits for a yes", found.rows, kind)
                return None
            return self._expire(found, cutoff_ns)

    def verify(self) -> tuple[str, ...]:
        """Reads every live file and gives the names of those that are not as they were written."""
        with self.reading():
            for file in self.readable():
                self._check(file)
        return tuple(sorted(self.damaged))

    @contextmanager
    def snapshot(self) -> Iterator[list[tuple[str, Path]]]:
        """Gives name and path of every file of one sealed state, kept as they are until the end of the block."""
        with ExitStack() as until:
            with self._writing:
                until.enter_context(self.reading())
                manifest, gone = self.manifest, self.damaged
                path = self.folder / f"snapshot-{self._next()}.json"
            self._disk.keep(path, encoded(manifest))
            until.callback(self._disk.remove, path)
            files = [(file.name, self.folder / file.name) for file in manifest.files if file.name not in gone]
            yield [("manifest.json", path), *files]

    def _check(self, file: Sealed) -> None:
        path = self.folder / file.name
        if _there(path, file) and parquet.checksum(path) == (file.size_bytes, file.crc):
            self._sound.add(file.name)
        else:
            self._lose(file)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _written(self, tables: Iterable[tuple[Stream, pa.Table]], received_ns: int) -> list[Sealed]:
        fresh: list[Sealed] = []
        try:
            for stream, table in tables:
                for piece in parquet.cut(table):
                    written = parquet.write(
                        self.folder, stream, piece, self._next(), self._disk, received_ns=received_ns
                    )
                    fresh.append(written)
        except BaseException:
            self._shelf.drop([self.folder / file.name for file in fresh])
            raise
        self._sound.update(file.name for file in fresh)
        return fresh

    def _replace(self, manifest: Manifest, then: Callable[[], None] | None = None) -> None:
        """Makes a manifest count.

        When it could not be stored it may stand on the disk all the same, so the files that it lists stay; the next
        one that is stored decides, and what it does not list goes at the next opening.
        """
        manifest = msgspec.structs.replace(manifest, serial=self._next())
        self._ledger.store(manifest)
        with self.lock:
            live = {file.name for file in manifest.files}
            gone = [self.folder / file.name for file in self.manifest.files if file.name not in live]
            self.manifest = manifest
            self._sound &= live
            if then is not None:
                then()
        self._shelf.drop(gone)

    def _join(self, files: Sequence[Sealed]) -> None:
        live = {file.name for file in self.manifest.files}
        tables = [self._read(file) for file in files if file.name in live]
        read = [table for table in tables if table is not None]
        if len(read) == len(files):
            fresh = self._written(
                [(Stream(files[0].kind, files[0].model), joined(read))], max(file.received_ns for file in files)
            )
            self._swap(files, fresh)

    def _expire(self, found: compaction.Expiry, cutoff_ns: int) -> int:
        taken = sum(file.rows for file in found.whole)
        old, fresh = list(found.whole), list[Sealed]()
        for file in found.partly:
            table = None if file.name in self.damaged else self._read(file)
            if table is not None:
                left = table.filter(pa.array(whole(table["at"]) >= cutoff_ns))
                taken += file.rows - left.num_rows
                old.append(file)
                kept = [(Stream(file.kind, file.model), left)] if left.num_rows else []
                fresh += self._written(kept, file.received_ns)
        self._swap(old, fresh)
        log.info("retention deleted %d rows of kind %s before %s", taken, old[0].kind if old else "", iso(cutoff_ns))
        return taken

    def _swap(self, old: Sequence[Sealed], fresh: Sequence[Sealed]) -> None:
        names = {file.name for file in old}
        kept = [file for file in self.manifest.files if file.name not in names]
        self._replace(msgspec.structs.replace(self.manifest, files=(*kept, *fresh)))
        with self.lock:
            self.damaged = self.damaged - names

    def _read(self, file: Sealed) -> pa.Table | None:
        try:
            with pq.ParquetFile(self.folder / file.name, page_checksum_verification=True) as source:
                return source.read()
        except (OSError, pa.ArrowException) as error:
            self._lose(file, str(error))
            return None

    def _lose(self, file: Sealed, why: str = "its checksum differs") -> None:
        log.error("%s cannot be read (%s); its %d rows are left out", self.folder / file.name, why, file.rows)
        with self.lock:
            self.damaged = {*self.damaged, file.name}

    def _clean(self) -> None:
        """Removes what a crash left behind; after a damaged manifest nothing, for its copy may be a step behind."""
        for path in self.folder.glob("snapshot-*.json*"):
            self._disk.remove(path)
        if self._ledger.restored:
            return
        live = {self.folder / file.name for file in self.manifest.files}
        for kind in FIXED:
            for path in (self.folder / kind).rglob("*.parquet"):
                if path not in live:
                    self._disk.remove(path)
            for path in sorted((self.folder / kind).rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()


def _there(path: Path, file: Sealed) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes
