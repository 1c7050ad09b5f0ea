"""Datasets that only grow: rows are appended for ever, and every snapshot of them can be had back.

A stream is a tracked folder of immutable part files. Beside its `events.dvc` lies `events.snapshots`, which git tracks:
one JSON object a line, with the moment, the folder's oid, how many rows and parts it had, and which parts were new.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import msgspec

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.core.shapes import Json
from modelkeep.data.datasets.unsealed import Kind, Log, Unsealed
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    import pyarrow as pa

    from modelkeep.data.repository import Repository

    Rows: TypeAlias = "pa.Table | pa.RecordBatch | Iterable[Mapping[str, Json]]"

SUFFIX: Final = ".snapshots"
_PART: Final = re.compile(r"part-\d{8}T\d{6}\.\d{9}Z-[0-9a-f]{8}-(\d+)\.(?:jsonl|parquet)")
_SHORTEST: Final = 4
"""So many digits of an oid name a snapshot."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The stream as it was.

    Args:
        at: when, UTC.
        oid: the folder's object.
        rows: rows of all parts.
        parts: how many parts.
        bytes: their sizes.
        new: names of the parts that the snapshot before had not.
    """

    at: datetime
    oid: str
    rows: int
    parts: int
    bytes: int
    new: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        """The snapshot in plain JSON types."""
        at = self.at.isoformat().replace("+00:00", "Z")
        return {"at": at, "oid": self.oid, "rows": self.rows, "parts": self.parts, "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did.

    Args:
        rows: how many rows are on disk now that were not before.
        sealed: names of the parts that it finished.
        snapshot: the snapshot that became due.
    """

    rows: int
    sealed: tuple[str, ...] = ()
    snapshot: Snapshot | None = None


class Stream:
    """An append-only dataset.

    Args:
        repo: the repository.
        path: its folder, tracked or not there yet.
        every_rows: a part is sealed and a snapshot taken when so many rows wait.
        every_s: or when the first waiting row is so old; looked at whenever something is appended.
        part_bytes: a part is sealed, without a snapshot, when it is so large.
        now_ns: the clock.
    """

    def __init__(
        self,
        repo: Repository,
        path: str | Path,
        *,
        every_rows: int = 100_000,
        every_s: float = 600.0,
        part_bytes: int = 64 << 20,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if every_rows < 1 or every_s <= 0 or part_bytes < 1:
            raise BadInput("a stream's limits are above zero", hint="Leave them out for 100,000 rows or 10 minutes.")
        # A relative name is one of the repository, wherever the process stands.
        self.folder: Final = repo.absolute(repo.root / path)
        self._repo, self._now_ns = repo, now_ns
        self._every_rows, self._every_s, self._part_bytes = every_rows, every_s, part_bytes
        name = repo.relpath(self.folder)
        if not name or self.folder.is_file():
            raise BadInput(
                f"{path}: a stream is a folder inside the repository", hint="modelkeep dataset append events …"
            )
        self._unsealed = Unsealed(repo.private / "streams" / name.replace("%", "%25").replace("/", "%2F"), now_ns)

    @property
    def record(self) -> Path:
        """The file that lists the snapshots."""
        return self.folder.with_name(self.folder.name + SUFFIX)

    def append(self, rows: Rows, *, progress: Progress = SILENT) -> Appended:
        """Adds rows; when this returns they are on disk, all of them or, after an error, none.

        Args:
            rows: a pyarrow table or batch (becomes Parquet), or mappings (become JSON lines).
            progress: hears of a snapshot that becomes due.

        Raises:
            BadInput: a row cannot be written as JSON.
            Busy: the disk is full.
        """
        kind, form, payload, count = _encoded(rows)
        return self._append(kind, form, payload, count, progress)

    def append_lines(self, lines: bytes, *, where: str = "rows", progress: Progress = SILENT) -> Appended:
        """Adds rows that are JSON lines already; each must be an object.

        Args:
            lines: one object a line; blank lines are left out.
            where: what to call them in an error.
            progress: hears of a snapshot that becomes due.

        Raises:
            BadInput: a line is no JSON object; its number is named and nothing was added.
        """
        decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        kept: list[bytes] = []
        for number, line in enumerate(lines.split(b"\n"), 1):
            if not (text := line.strip()):
                continue
            try:
                decoder.decode(text.decode())
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise BadInput(f"{where}:{number}: {error}", hint="Write one JSON object a line.") from None
            kept.append(text)
        payload = b"".join(line + b"\n" for line in kept)
        return self._append("jsonl", b"", payload, len(kept), progress)

    def snapshot(self, *, progress: Progress = SILENT) -> Snapshot | None:
        """Seals what waits, tracks the folder as it is and records that; only new parts are hashed and stored.

        Gives the last snapshot again when nothing was added since, None when there never was a row.
        """
        self.seal()
        if not self.folder.is_dir():
            return None
        from modelkeep.data.verbs.add import add
        from modelkeep.data.workspace.staging import stage

        with self._repo.writing(self.folder, progress=progress):
            item = add(self._repo, [self.folder], progress=progress).items[0]
            before = self.snapshots()
            if before and before[-1].oid == item.oid:
                return before[-1]
            names = [name for name, _ in self._entries(item.oid)]
            known = {name for one in before for name in one.new}
            at = self._now_ns() // 1000
            found = Snapshot(
                at=datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000),
                oid=item.oid,
                rows=sum(int(part[1]) for name in names if (part := _PART.fullmatch(name))),
                parts=len(names),
                bytes=item.size or 0,
                new=tuple(name for name in names if name not in known),
            )
            self._write([*before, found])
            stage(self._repo, [self.record])
        return found

    def snapshots(self) -> list[Snapshot]:
        """Gives all snapshots, oldest first.

        Raises:
            BadInput: a line is none; the message names it.
        """
        try:
            lines = self.record.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found: list[Snapshot] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found.append(msgspec.json.decode(line, type=Snapshot))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                conflict = line.startswith((b"<<<<<<<", b"=======", b">>>>>>>"))
                hint = (
                    "Resolve the merge: keep the lines of both sides."
                    if conflict
                    else f"git checkout -- {self.record.name}"
                )
                raise BadInput(f"{self._repo.shown(self.record)}:{number}: {error}", hint=hint) from None
        return found

    def find(self, which: str) -> Snapshot:
        """Gives one snapshot.

        Args:
            which: the beginning of its oid (four digits or more) or time, its number from 1, `last`, or a time (the
                newest not after it).

        Raises:
            Missing: there is none, or no single one.
        """
        everything = self.snapshots()
        if not everything:
            raise Missing(f"{self._repo.shown(self.folder)} has no snapshot", hint="modelkeep dataset snapshot")
        if which == "last":
            return everything[-1]
        if which.isdigit() and 0 < int(which) <= len(everything):
            return everything[int(which) - 1]
        begun = which if len(which) >= _SHORTEST else "?"  # a number that is too high names nothing
        named = [one for one in everything if one.oid.startswith(begun) or str(one.json()["at"]).startswith(which)]
        if not named and (at := _moment(which)) is not None:
            named = [one for one in everything if one.at <= at][-1:]
        if len(named) != 1:
            what = f"{len(named)} snapshots are" if named else "no snapshot is"
            raise Missing(f"{what} named {which!r}", hint="modelkeep dataset list shows all.")
        return named[0]

    def restore(self, snapshot: Snapshot, target: Path, *, progress: Progress = SILENT) -> int:
        """Puts the stream as it was into a new folder; gives how many files.

        What the cache lacks is fetched. The folder appears whole or not at all.

        Raises:
            Conflict: the folder is there and not empty.
            Missing: a part is neither in the cache nor on a remote.
            Corrupt: a part's bytes are not what was recorded.
        """
        from modelkeep.data.formats.names import safe_relpath
        from modelkeep.store.blobs.objects import Placing

        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise Conflict(f"{target}: is there already", hint="Name a folder that does not exist.")
        entries = self._fetched(snapshot, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
        blobs = self._repo.blobs
        items = [Placing(oid, aside / safe_relpath(name, snapshot.oid)) for name, oid in entries]
        try:
            with progress.begin(f"Restoring {self.folder.name}", total=snapshot.bytes, unit="bytes") as step:
                aside.mkdir()
                placed = blobs.place(items, step=step)
            if placed.missing or placed.bad:
                lost = [*placed.missing, *(one.oid for one in placed.bad)]
                raise Missing(f"{len(lost)} parts are not in the cache, the first is {lost[0]}", hint="modelkeep pull")
            if target.exists():
                target.rmdir()
            aside.rename(target)
        finally:
            if aside.exists():
                import shutil

                shutil.rmtree(aside)
        return len(entries)

    def seal(self) -> list[str]:
        """Turns all waiting rows into parts of the folder; gives the parts' names."""
        from modelkeep.data.repository import disk_errors

        with disk_errors(str(self.folder)):
            return [name for log in self._unsealed.all() if (name := log.seal(self.folder))]

    def waiting(self) -> int:
        """Tells how many rows are on disk but in no part yet."""
        return sum(log.rows for log in self._unsealed.all())

    def _append(self, kind: Kind, form: bytes, payload: bytes, rows: int, progress: Progress) -> Appended:
        from modelkeep.data.repository import disk_errors

        if not rows:
            return Appended(0)
        sealed: list[str] = []
        with disk_errors(str(self.folder)):
            with self._unsealed.writable(kind, form) as log:
                log.append(payload, rows)
                due = self._due(log)
                if not due and log.end >= self._part_bytes:
                    sealed.append(log.seal(self.folder))
            if self._unsealed.abandoned():
                sealed += [
                    name
                    for log in self._unsealed.all(wait=False)
                    if log.path.suffix == ".sealing" and (name := log.seal(self.folder))
                ]
        taken = self.snapshot(progress=progress) if due else None
        if taken is not None:
            sealed += [name for name in taken.new if name not in sealed]
        return Appended(rows, tuple(sealed), taken)

    def _due(self, log: Log) -> bool:
        return log.rows >= self._every_rows or self._now_ns() - log.began_ns >= self._every_s * SECOND

    def _write(self, snapshots: Sequence[Snapshot]) -> None:
        """Replaces the record in one rename."""
        from modelkeep.data.repository import disk_errors

        aside = self._repo.private / f"snapshots-{os.urandom(4).hex()}"
        data = b"".join(msgspec.json.encode(one) + b"\n" for one in snapshots)
        with disk_errors(str(self.record)):
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.record)

    def _entries(self, oid: str) -> list[tuple[str, str]]:
        from modelkeep.data.formats import manifest

        return manifest.decode(self._repo.blobs.read(oid), oid)

    def _fetched(self, snapshot: Snapshot, progress: Progress) -> list[tuple[str, str]]:
        """The files of a snapshot, all of them in the cache."""
        self._rebuild(snapshot)
        from modelkeep.data.formats.metafile import Out
        from modelkeep.data.workspace.present import absent

        if absent(self._repo, [Out(path=self.folder.name, oid=snapshot.oid)]):
            from modelkeep.data.moving.receiving import receive
            from modelkeep.data.moving.transfer import run
            from modelkeep.data.moving.wanted import Wanted

            wanted = Wanted(name=f"{self.folder.name} of {snapshot.json()['at']}", oid=snapshot.oid)
            run(self._repo, [wanted], receive, progress=progress).settle("fetch")
        return self._entries(snapshot.oid)

    def _rebuild(self, snapshot: Snapshot) -> None:
        """Makes an old snapshot's list of files from a newer one: parts never change, so it is a selection."""
        from modelkeep.data.formats import manifest

        everything = self.snapshots()
        if self._repo.blobs.has(snapshot.oid) or snapshot not in everything:
            return
        names = {name for one in everything[: everything.index(snapshot) + 1] for name in one.new}
        newer = next((one for one in everything[::-1] if self._repo.blobs.has(one.oid)), None)
        if newer is None:
            return
        data = manifest.encode(entry for entry in self._entries(newer.oid) if entry[0] in names)
        if manifest.oid_of(data) == snapshot.oid:
            self._repo.blobs.put(data, suffix=".dir")


def _encoded(rows: Rows) -> tuple[Kind, bytes, bytes, int]:
    """(what it becomes, what tells its form from others, bytes, rows)."""
    if hasattr(rows, "schema"):
        return _table(cast("pa.Table | pa.RecordBatch", rows))
    mappings = list(rows)
    try:
        lines = [msgspec.json.encode(row) for row in mappings]
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise BadInput(
            f"a row cannot be written as JSON: {error}", hint="Use texts, numbers, bools, lists and mappings."
        ) from None
    if wrong := next((at for at, line in enumerate(lines, 1) if not line.startswith(b"{")), 0):
        raise BadInput(f"row {wrong} is no mapping", hint='Append mappings such as {"user": 1, "amount": 2.5}.')
    return "jsonl", b"", b"".join(line + b"\n" for line in lines), len(lines)


def _table(rows: pa.Table | pa.RecordBatch) -> tuple[Kind, bytes, bytes, int]:
    if find_spec("pyarrow") is None:
        raise BadInput("appending tables needs pyarrow", hint="pip install 'modelkeep[server]'")
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return "parquet", rows.schema.serialize().to_pybytes(), sink.getvalue().to_pybytes(), rows.num_rows


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
