"""A durable index from 128-bit keys to fixed rows of numbers: sorted runs, looked up many keys at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.store.runs.hashed import Hashed, sort, stored, union, write_hashed
from modelkeep.store.runs.runs import Notes, Runs

Rows = npt.NDArray[np.void]
Found = npt.NDArray[np.bool_]

_MOST_RECENT: Final = 32_768


def key(*parts: str) -> bytes:
    """Gives the 16-byte key of some texts; different texts give different keys.

    >>> key("model", "id") == key("model", "id"), key("a", "b") == key("ab"), len(key("x"))
    (True, False, 16)
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(_counted(part))
    return digest.digest()


def keys(*parts: str, last: Iterable[str]) -> list[bytes]:
    """Gives `key(*parts, text)` for every text in `last`, faster than one by one.

    >>> keys("model", last=["a", "b"]) == [key("model", "a"), key("model", "b")]
    True
    """
    start = blake2b(digest_size=16)
    for part in parts:
        start.update(_counted(part))
    found = []
    for text in last:
        digest = start.copy()
        digest.update(_counted(text))
        found.append(digest.digest())
    return found


def _counted(part: str) -> bytes:
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(4, "little") + data


class Keys:
    """Rows by key that survive a crash up to the last seal; the latest put of a key counts.

    Sealed rows stay on disk (mapped into memory), the others in memory. One thread puts and seals; any may get.

    Args:
        folder: made when missing.
        fields: a structured type of numbers, the same at every opening.
        at: open the state sealed at this position (see `Runs`).

    Raises:
        Conflict: the folder was written with other fields.

    >>> import tempfile
    >>> index = Keys(Path(tempfile.mkdtemp()), np.dtype([("hour", "<i4"), ("bin", "<u2")]))
    >>> index.put([key("a")], np.array([(7, 1)], index.fields))
    >>> found, rows = index.get([key("a"), key("b")])
    >>> found.tolist(), rows["hour"].tolist()
    ([True, False], [7, 0])
    """

    def __init__(self, folder: Path, fields: np.dtype[np.void], *, at: int | None = None) -> None:
        self.fields: Final = fields
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._runs = Runs(folder, kind="keys", merge=partial(_merge_files, fields), at=at)
        self._opened: dict[str, Hashed] = {}
        self._recent: dict[bytes, int] = {}
        self._recent_rows: Rows = np.zeros(_MOST_RECENT, fields)
        self._used = 0
        self._frozen: list[Hashed] = []
        for path in self._runs.paths():
            if (found := stored(path).rows.dtype) != fields:
                raise Conflict(f"{path}: holds {found.descr}, expected {fields.descr}")

    def put(self, keys: Sequence[bytes], rows: Rows) -> None:
        """Keeps one row per key; of equal keys the last one counts.

        Args:
            keys: 16 bytes each, n of them.
            rows: shape (n,), of the type `fields`.

        Raises:
            BadInput: lengths or types differ.
        """
        if len(keys) != len(rows) or rows.dtype != self.fields:
            raise BadInput(f"keys: {len(keys)} keys, {len(rows)} rows of {rows.dtype}, expected {self.fields}")
        if any(len(one) != 16 for one in keys):
            raise BadInput("keys: a key has not 16 bytes", hint="Make keys with modelkeep.store.keys.key.")
        for start in range(0, len(keys), _MOST_RECENT):
            part = slice(start, start + _MOST_RECENT)
            with self._writing, self._lock:
                self._take(keys[part], rows[part])

    def get(self, keys: Sequence[bytes]) -> tuple[Found, Rows]:
        """Looks keys up.

        Args:
            keys: 16 bytes each, n of them.

        Returns:
            Whether each was found, shape (n,), and the rows, shape (n,), zero where not found.
        """
        rows = np.zeros(len(keys), self.fields)
        with self._lock:
            at = np.fromiter(map(self._recent.get, keys, repeat(-1)), np.int64, len(keys))
            found: Found = at >= 0
            rows[found] = self._recent_rows[at[found]]
            runs = [*reversed(self._frozen), *self._sealed_runs()]
        if found.all() or not runs:
            return found, rows
        missing = np.flatnonzero(~found)
        wanted = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64).reshape(-1, 2)[missing]
        order = np.argsort(wanted[:, 0])
        missing, wanted = missing[order], wanted[order]
        for run in runs:
            hit, where = run.find(wanted[:, 0], wanted[:, 1])
            rows[missing[hit]] = run.rows[where[hit]]
            found[missing[hit]] = True
            missing, wanted = missing[~hit], wanted[~hit]
            if not len(missing):
                break
        return found, rows

    def drop(self, gone: Callable[[Rows], Found]) -> int:
        """Forgets the sealed rows for which `gone` is true, by rewriting the files; gives how many went."""
        with self._writing:
            self._runs.settle()
            before = len(self)
            self._runs.rewrite(partial(_merge_files, self.fields, gone=gone))
            return before - len(self)

    def seal(self, seq: int) -> None:
        """Makes everything put so far durable as the state at a journal position."""
        with self._writing:
            with self._lock:
                self._freeze()
                frozen = list(self._frozen)
            write = partial(write_hashed, runs=frozen, fields=self.fields) if frozen else None
            self._runs.seal(seq, write, {})
            with self._lock:
                self._frozen.clear()

    def sealed(self) -> int:
        """The journal position of the last seal; 0 at the beginning."""
        return self._runs.current.sealed

    def __len__(self) -> int:
        """The number of rows, those of a key that was put again and not merged yet counted twice."""
        with self._lock:
            return len(self._recent) + sum(len(run) for run in (*self._frozen, *self._sealed_runs()))

    def compact(self) -> None:
        """Merges all files into one."""
        with self._writing:
            self._runs.compact()

    def close(self) -> None:
        """Waits for a merge in progress; seals nothing."""
        self._runs.close()
        self._opened.clear()

    def _take(self, keys: Sequence[bytes], rows: Rows) -> None:
        if self._used + len(keys) > _MOST_RECENT:
            self._freeze()
        first, self._used = self._used, self._used + len(keys)
        self._recent_rows[first : self._used] = rows
        self._recent.update(zip(keys, range(first, self._used), strict=True))

    def _freeze(self) -> None:
        if not self._recent:
            return
        at = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        run = sort(b"".join(self._recent), self._recent_rows[at])
        while self._frozen and len(self._frozen[-1]) <= 2 * len(run):
            run = union([self._frozen.pop(), run])
        self._frozen.append(run)
        self._recent, self._used = {}, 0

    def _sealed_runs(self) -> list[Hashed]:
        """Newest first."""
        while True:
            paths = self._runs.paths()
            for name in self._opened.keys() - {path.name for path in paths}:
                del self._opened[name]
            try:
                for path in paths:
                    if path.name not in self._opened:
                        self._opened[path.name] = stored(path)
            except FileNotFoundError:
                if paths == self._runs.paths():
                    raise
                continue
            return [self._opened[path.name] for path in reversed(paths)]


def _merge_files(
    fields: np.dtype[np.void],
    paths: Sequence[Path],
    target: Path,
    notes: Notes,
    gone: Callable[[Rows], Found] | None = None,
) -> None:
    write_hashed(target, runs=[stored(path) for path in paths], fields=fields, gone=gone)
