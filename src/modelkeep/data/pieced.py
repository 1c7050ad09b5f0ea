"""The cache of a repository: objects, and files that are kept as chunks and become objects only where one is needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.core.errors import Corrupt, Missing
from modelkeep.data.progress import Progress
from modelkeep.data.snapshots.scan import stamp_of
from modelkeep.store.blobs.digest import SILENT, Step
from modelkeep.store.blobs.objects import Bad, Blobs, Placed, Placing

if TYPE_CHECKING:
    from modelkeep.data.chunks.place import Place
    from modelkeep.data.repository import Repository
    from modelkeep.data.snapshots.snapshot import Snapshot


class PiecedBlobs(Blobs):
    """A cache in which some files lie in pieces.

    Such a file counts as there. It is put together where it belongs in the workspace; whoever asks for the path of its
    object gets one, made on the spot.

    Args:
        as for `Blobs`.
    """

    def has(self, oid: str, *, legacy: bool = False) -> bool:
        """Whether an object is in the cache, whole or in pieces; this says nothing of its bytes."""
        self.check_name(oid)
        return os.path.isfile(self.place_of(oid, legacy=legacy)) or bool(not legacy and self._in_pieces([oid]))  # noqa: PTH113

    def missing(self, oids: Collection[str], *, legacy: bool = False) -> set[str]:
        """Those that are in the cache neither whole nor in pieces."""
        absent = super().missing(oids, legacy=legacy)
        return absent if legacy or not absent else absent - self._in_pieces(absent)

    def path(self, oid: str, *, legacy: bool = False) -> Path:
        """Where an object is or would be; one that is in pieces is made whole first.

        Raises:
            Corrupt: a piece is not what was written.
        """
        place = super().path(oid, legacy=legacy)
        if not legacy and not place.exists() and self._in_pieces([oid]):
            from modelkeep.data.chunks.assembling import assemble

            with self.incoming(resume=False) as incoming:
                grown = incoming.path(oid)
                assemble(self._pieces(), oid, grown, SILENT)
                incoming.publish([(oid, grown)])
        return place

    def place(
        self,
        items: Iterable[Placing],
        *,
        step: Step = SILENT,
        link_types: Sequence[str] | None = None,
        aside: Path | None = None,
    ) -> Placed:
        """Objects become workspace files, those in pieces by putting them together; see `Blobs.place`."""
        wanted = list(items)
        pieces = {oid for oid in self._in_pieces({one.oid for one in wanted if not one.legacy}) if not self._whole(oid)}
        placed = super().place(
            [one for one in wanted if one.oid not in pieces], step=step, link_types=link_types, aside=aside
        )
        if not pieces:
            return placed
        from modelkeep.data.chunks.assembling import assemble

        size, files, stamps = placed.size, placed.files, dict(placed.stamps)
        bad, missing = list(placed.bad), list(placed.missing)
        for one in wanted:
            if one.oid not in pieces:
                continue
            try:
                path = Path(one.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                size += assemble(self._pieces(), one.oid, path, step, executable=one.executable)
                stamps[os.fspath(one.path)] = stamp_of(path.stat())
                files += 1
            except Corrupt as error:
                bad.append(Bad(one.oid, error.message))
            except Missing:
                missing.append(one.oid)
        return Placed(files, size, tuple(bad), tuple(missing), placed.kind, stamps)

    def scrub(self, oids: Iterable[str] | None = None, step: Step = SILENT, *, legacy: bool = False) -> list[Bad]:
        """Reads whole objects; what is in pieces is verified as such."""
        names = oids
        if oids is not None and not legacy:
            wanted = list(oids)
            pieces = self._in_pieces({oid for oid in wanted if not os.path.isfile(self.place_of(oid))})  # noqa: PTH113
            names = [oid for oid in wanted if oid not in pieces]
        return super().scrub(names, step, legacy=legacy)

    def _whole(self, oid: str) -> bool:
        return os.path.isfile(self.place_of(oid))  # noqa: PTH113

    def _pieces(self) -> Place:
        from modelkeep.data.chunks.place import Place

        return Place(self.folder / "modelkeep" / "chunks", self.shared)

    def _in_pieces(self, oids: Collection[str]) -> set[str]:
        recipes = f"{self._old}/modelkeep/chunks/recipes"
        if not oids or not os.path.isdir(recipes):  # noqa: PTH112
            return set()
        candidates = [oid for oid in oids if os.path.isfile(f"{recipes}/{oid[:2]}/{oid[2:]}")]  # noqa: PTH113
        if not candidates:
            return set()
        from modelkeep.data.chunks.assembling import has

        place = self._pieces()
        return {oid for oid in candidates if has(place, oid)}


def keep_pieces(repo: Repository, shot: Snapshot, previous: str, progress: Progress) -> int:
    """Stores a file's snapshot as chunks instead of as an object; gives how many files were new: one, or none.

    Args:
        repo: the repository.
        shot: the file.
        previous: the oid that its metafile named until now.
        progress: hears of bytes.

    Raises:
        BadInput: numpy is not installed.
        Conflict: the file changed since it was hashed.
    """
    if not repo.blobs.missing([shot.oid]):
        return 0
    from modelkeep.data import chunks

    known = next((digest.blake3 for _, digest in shot.digests()), b"")
    with progress.begin(f"Storing {repo.shown(shot.path)}", total=shot.size, unit="bytes") as step:
        chunks.store(repo, shot.path, shot.oid, step, previous=previous, blake3=known)
    return 1
