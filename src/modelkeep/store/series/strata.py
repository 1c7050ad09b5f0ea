"""What the series engine has on disk: blocks, increments of groups that are not full yet, and the manifest.

A file counts from the moment the manifest names it, and the manifest is replaced whole; so a crash leaves the state
before or after a seal, never one between. Blocks are merged in tiers and leave as a whole when they are too old.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from modelkeep.core.errors import Conflict, Corrupt
from modelkeep.store.disk import Disk
from modelkeep.store.series.blocks import BlockFile, Matrix, merge, write
from modelkeep.store.series.postings import Postings

FORM: Final = 1
_NAME: Final = "manifest.json"
_FAN_IN: Final = 8
_LARGEST_BYTES: Final = 256 << 20

log: Final = logging.getLogger(__name__)


class Increment(msgspec.Struct, frozen=True):
    """A file with new columns of some groups.

    Args:
        name: of the file.
        live: the groups that no block holds yet.
    """

    name: str
    live: tuple[int, ...]


class Tier(msgspec.Struct, frozen=True):
    """A block file and how often it was merged."""

    name: str
    level: int


class Notes(msgspec.Struct, frozen=True):
    """Figures that belong to the sealed state.

    Args:
        samples: taken so far.
        refused: by reason.
        now_ns: the clock at the last seal.
    """

    samples: int = 0
    refused: dict[str, int] = {}
    now_ns: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """Everything that counts at one moment.

    Args:
        form: of this document and of the files.
        sealed: the journal position it covers.
        serial: grows with every file; no name is used twice.
        blocks: oldest first.
        increments: oldest first.
        notes: figures.
    """

    form: int = FORM
    sealed: int = 0
    serial: int = 0
    blocks: tuple[Tier, ...] = ()
    increments: tuple[Increment, ...] = ()
    notes: Notes = Notes()


class _Form(msgspec.Struct):
    form: int


class Strata:
    """The files of one folder.

    Args:
        folder: made when missing.
        postings: gives series their numbers.
        disk: where.
        span_ns: samples further apart than this are not put into one file, so that each can go when it is old.

    Raises:
        Corrupt: a file that counts is damaged or missing.
        Conflict: a newer modelkeep wrote the folder.
    """

    def __init__(self, folder: Path, postings: Postings, disk: Disk, span_ns: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._postings = postings
        self._disk = disk
        self._span = span_ns
        self.manifest = _load(folder / _NAME)
        self._serial = self.manifest.serial
        self._collect()
        self.blocks: tuple[BlockFile, ...] = tuple(self._open(one.name) for one in self.manifest.blocks)

    def increments(self) -> list[tuple[Increment, BlockFile]]:
        """Opens the increments, oldest first."""
        return [(one, self._open(one.name)) for one in self.manifest.increments]

    def seal(
        self, seq: int, full: Sequence[Matrix], fresh: Sequence[Matrix], *, whole: bool, notes: Notes
    ) -> tuple[BlockFile, ...]:
        """Writes what is new and makes the state up to `seq` the sealed one.

        The caller puts the answer into `blocks` at the same moment as it lets go of the groups in it.

        Args:
            seq: journal position.
            full: groups that become a block.
            fresh: new columns of other groups.
            whole: `fresh` has all columns of all other groups, so that earlier increments can go.
            notes: figures.

        Returns:
            All blocks.
        """
        name = self._postings.text
        blocks = [
            self._written("block", partial(write, matrices=some, name=name, disk=self._disk))
            for some in self._near(full)
        ]
        increment = self._written("fresh", partial(write, matrices=fresh, name=name, disk=self._disk)) if fresh else ""
        gone = {matrix.uid for matrix in full}
        left = [] if whole else [_without(one, gone) for one in self.manifest.increments]
        increments = [one for one in left if one.live]
        if increment:
            increments.append(Increment(increment, tuple(matrix.uid for matrix in fresh)))
        tiers = (*self.manifest.blocks, *(Tier(block, 0) for block in blocks))
        opened = (*self.blocks, *(self._open(block) for block in blocks))
        self._commit(
            msgspec.structs.replace(self.manifest, sealed=seq, blocks=tiers, increments=tuple(increments), notes=notes)
        )
        return opened

    def expire(self, before_ns: int) -> int:
        """Lets go of blocks whose newest sample is older; gives how many."""
        kept = [file.to_ns.max() >= before_ns for file in self.blocks]
        if all(kept):
            return 0
        pairs = [pair for pair, ok in zip(zip(self.manifest.blocks, self.blocks, strict=True), kept, strict=True) if ok]
        self._commit(msgspec.structs.replace(self.manifest, blocks=tuple(tier for tier, _ in pairs)))
        self.blocks = tuple(file for _, file in pairs)
        return len(kept) - len(pairs)

    def compact(self) -> int:
        """Merges blocks of a tier that has enough of them; gives how many files went into others."""
        done = 0
        for level in sorted({tier.level for tier in self.manifest.blocks}):
            some = self._neighbours(level)
            if some:
                self._merge(some, level + 1)
                done += len(some)
        return done

    def _near(self, matrices: Sequence[Matrix]) -> list[list[Matrix]]:
        """Parts what is to be written by its time."""
        found: dict[int, list[Matrix]] = {}
        for matrix in matrices:
            found.setdefault(int(matrix.times[-1]) // self._span, []).append(matrix)
        return [found[epoch] for epoch in sorted(found)]

    def _neighbours(self, level: int) -> list[int]:
        """Gives enough blocks of a tier that lie near each other in time, or none."""
        some = [
            at
            for at, tier in enumerate(self.manifest.blocks)
            if tier.level == level and self.blocks[at].size_bytes < _LARGEST_BYTES
        ]
        some.sort(key=lambda at: int(self.blocks[at].to_ns.max()))
        for begin in range(len(some) - _FAN_IN + 1):
            files = some[begin : begin + _FAN_IN]
            if self.blocks[files[-1]].to_ns.max() - self.blocks[files[0]].to_ns.max() <= self._span:
                return files
        return []

    def _merge(self, at: Sequence[int], level: int) -> None:
        files = [self.blocks[one] for one in at]
        name = self._written("block", partial(merge, files=files, disk=self._disk))
        opened = self._open(name)
        tiers, blocks = list(self.manifest.blocks), list(self.blocks)
        tiers[at[0]], blocks[at[0]] = Tier(name, level), opened
        rest = set(at[1:])
        self._commit(
            msgspec.structs.replace(
                self.manifest, blocks=tuple(tier for one, tier in enumerate(tiers) if one not in rest)
            )
        )
        self.blocks = tuple(file for one, file in enumerate(blocks) if one not in rest)

    def _written(self, kind: str, make: Callable[[Path], None]) -> str:
        self._serial += 1
        name = f"{self._serial:012d}.{kind}"
        try:
            make(self._folder / name)
        except OSError:
            self._disk.remove(self._folder / name)
            raise
        return name

    def _open(self, name: str) -> BlockFile:
        return BlockFile(self._folder / name, self._postings, self._disk)

    def _commit(self, manifest: Manifest) -> None:
        self._disk.sync_folder(self._folder)
        changed = msgspec.structs.replace(manifest, serial=self._serial)
        self._disk.keep(self._folder / _NAME, msgspec.json.encode(changed))
        self.manifest = changed
        self._collect()

    def _collect(self) -> None:
        """Removes files that do not count."""
        named = {one.name for one in self.manifest.blocks} | {one.name for one in self.manifest.increments}
        for name in self._disk.names(self._folder):
            if name.endswith((".block", ".fresh", ".new")) and name not in named:
                self._disk.remove(self._folder / name)


def _without(increment: Increment, gone: Iterable[int]) -> Increment:
    return Increment(increment.name, tuple(uid for uid in increment.live if uid not in set(gone)))


def _load(path: Path) -> Manifest:
    if not path.exists():
        return Manifest()
    data = path.read_bytes()
    try:
        form = msgspec.json.decode(data, type=_Form).form
        if form > FORM:
            raise Conflict(
                f"{path} has form {form}, this modelkeep reads up to {FORM}",
                hint="Run the newer modelkeep that wrote it, or restore a backup.",
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path} is damaged: {error}", hint="Restore the series folder from a backup.") from None
