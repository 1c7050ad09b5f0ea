"""A folder of immutable run files behind one manifest: sealed by journal position, merged in tiers, crash-safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Error

FORM: Final = 1
_NAME: Final = "manifest.json"
_FAN_IN: Final = 4
_MOST: Final = 16

Notes = Mapping[str, int]
Merge = Callable[[Sequence[Path], Path, Notes], None]


class Generation(msgspec.Struct, frozen=True):
    """One sealed state: every file it is made of, oldest first.

    Args:
        sealed: the journal position it covers.
        files: names in the folder.
        notes: numbers that belong to the state, such as retention floors.
    """

    sealed: int = 0
    files: tuple[str, ...] = ()
    notes: dict[str, int] = {}


class _Manifest(msgspec.Struct, frozen=True):
    form: int
    kind: str
    serial: int = 0
    current: Generation = Generation()
    previous: Generation | None = None


class Runs:
    """Keeps run files and the manifest that names them.

    A file counts from the moment the manifest names it; files that no manifest names are deleted at opening.
    The state before the last seal stays on disk until the next one, so that stores that are sealed one after
    another can be opened at the same position: seal all others first and the deciding one last, then open the
    others with `at=` the deciding one's position.

    Args:
        folder: made when missing.
        kind: what the runs hold; a folder of another kind is refused.
        merge: writes the sum of some runs (oldest first) to a path and fsyncs it.
        at: open the state sealed at this position instead of the latest.

    Raises:
        Conflict: another kind of store, or one written by a newer version.
        Corrupt: the manifest cannot be read, a file it names is missing, or there is no state at `at`.
    """

    def __init__(self, folder: Path, *, kind: str, merge: Merge, at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        self.failure: Error | OSError | None = None
        self._merge = merge
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._manifest = self._open(kind)
        if at is not None and at != self._manifest.current.sealed:
            self._go_back(at)
        self._check()
        self._collect()

    @property
    def current(self) -> Generation:
        """The sealed state."""
        return self._manifest.current

    def paths(self) -> list[Path]:
        """The files of the sealed state, oldest first."""
        return [self.folder / name for name in self._manifest.current.files]

    def seal(self, seq: int, write: Callable[[Path], None] | None, notes: Notes) -> None:
        """Adds a run and makes the state up to `seq` the sealed one; called by one thread at a time.

        Args:
            seq: journal position, not below the last one.
            write: writes the run to a path and fsyncs it; None when nothing was added.
            notes: replace the state's notes.

        Raises:
            BadInput: `seq` lies before what is sealed.
        """
        before = self._manifest.current.sealed
        if seq < before:
            raise BadInput(f"{self.folder}: sealed at {before}, cannot seal at {seq}")
        name = ""
        if write is not None:
            name = self._fresh(before + 1, seq)
            write(self.folder / name)
            sync(self.folder)
        with self._lock:
            manifest = self._manifest
            files = (*manifest.current.files, name) if name else manifest.current.files
            state = Generation(seq, files, dict(notes))
            previous = manifest.current if seq > before else manifest.previous
            self._commit(msgspec.structs.replace(manifest, current=state, previous=previous))
        self._collect()
        self._start()

    def settle(self) -> None:
        """Waits until no merge is running or due."""
        while (thread := self._thread) is not None:
            thread.join()
            self._thread = None
            if self.failure is not None:
                return
            self._start()

    def compact(self) -> None:
        """Merges everything into one run, in the calling thread."""
        self.rewrite(self._merge)

    def rewrite(self, merge: Merge) -> None:
        """Replaces all runs by what `merge` makes of them, in the calling thread."""
        self.settle()
        if self._manifest.current.files:
            self._replace(self._manifest.current.files, merge)
        self._collect()

    def close(self) -> None:
        """Waits for a merge in progress."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _open(self, kind: str) -> _Manifest:
        path = self.folder / _NAME
        if not path.exists():
            return _Manifest(FORM, kind)
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path}: {error}") from None
        if manifest.form > FORM:
            raise Conflict(
                f"{path}: written in form {manifest.form}, this version reads up to {FORM}",
                hint="Use the newer version of modelkeep that wrote it.",
            )
        if manifest.kind != kind:
            raise Conflict(f"{path}: holds {manifest.kind}, not {kind}")
        return manifest

    def _go_back(self, at: int) -> None:
        manifest = self._manifest
        if manifest.previous is None or manifest.previous.sealed != at:
            raise Corrupt(f"{self.folder}: sealed at {manifest.current.sealed}, has no state at {at}")
        self._commit(msgspec.structs.replace(manifest, current=manifest.previous, previous=None))

    def _check(self) -> None:
        for path in self.paths():
            if not path.exists():
                raise Corrupt(f"{path}: named by the manifest, but missing", hint="Restore the folder from a backup.")

    def _fresh(self, first: int, last: int) -> str:
        with self._lock:
            serial = self._manifest.serial + 1
            self._manifest = msgspec.structs.replace(self._manifest, serial=serial)
        return f"{first:016d}-{last:016d}-{serial:08d}.run"

    def _commit(self, manifest: _Manifest) -> None:
        replace(self.folder / _NAME, msgspec.json.encode(manifest))
        self._manifest = manifest

    def _collect(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            manifest = self._manifest
            kept = {*manifest.current.files, *(manifest.previous.files if manifest.previous else ())}
            for path in self.folder.glob("*.run"):
                if path.name not in kept:
                    path.unlink()

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        names = self._due()
        self._thread = None
        if names:
            self._thread = threading.Thread(target=self._work, args=(names,), name="merge runs", daemon=True)
            self._thread.start()

    def _due(self) -> tuple[str, ...]:
        paths = self.paths()
        sizes = [path.stat().st_size for path in paths]
        first = len(sizes) - 1
        while first > 0 and sizes[first - 1] <= 2 * sum(sizes[first:]):
            first -= 1
        if len(sizes) - first < _FAN_IN:
            if len(sizes) <= _MOST:
                return ()
            first = len(sizes) - _FAN_IN
        return self._manifest.current.files[first:]

    def _work(self, names: tuple[str, ...]) -> None:
        try:
            self._replace(names, self._merge)
            self.failure = None
        except (OSError, Error) as error:
            self.failure = error

    def _replace(self, names: tuple[str, ...], merge: Merge) -> None:
        merged = self._fresh(int(names[0][:16]), int(names[-1][17:33]))
        merge([self.folder / name for name in names], self.folder / merged, self.current.notes)
        sync(self.folder)
        with self._lock:
            current = self._manifest.current
            at = current.files.index(names[0])
            files = (*current.files[:at], merged, *current.files[at + len(names) :])
            state = msgspec.structs.replace(current, files=files)
            self._commit(msgspec.structs.replace(self._manifest, current=state))


def replace(path: Path, data: bytes) -> None:
    """Writes a file so that after a crash it holds either the old bytes or the new ones."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
