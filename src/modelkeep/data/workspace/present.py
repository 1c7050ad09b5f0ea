"""Which objects are in the cache, without looking for each of them every time.

An object comes or goes only with a change of the folder that it lies in. So whatever was complete once is complete as
long as the cache's 256 folders have the same stamps; only when one differs is looked again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Corrupt

if TYPE_CHECKING:
    from modelkeep.data.formats.metafile import Out
    from modelkeep.data.repository import Repository

_TICKS_NS: Final = 50_000_000
_SECONDS_NS: Final = 2_500_000_000


def settling_ns(stamps: Iterable[int]) -> int:
    """Gives for how long a folder may change again without a new stamp: some ticks, or 2 s where seconds are counted.

    >>> settling_ns([1_000_000_007]), settling_ns([1_000_000_000, 4_000_000_000])
    (50000000, 2500000000)
    """
    return _TICKS_NS if any(stamp % 1_000_000_000 for stamp in stamps) else _SECONDS_NS


def absent(repo: Repository, outs: Iterable[Out]) -> dict[str, set[str]]:
    """Gives, for each output whose objects are not all in the cache, those that are not.

    Args:
        repo: the repository.
        outs: entries of metafiles; those without a hash or outside of the cache are passed over.

    Returns: oids of outputs to the oids that are missing; a manifest that is missing or corrupt stands for its folder.
    """
    wanted = {out.oid: out.hash != "md5" for out in outs if out.oid and out.cache}
    if not wanted:
        return {}
    file = repo.private / "present"
    mark, newest = _folders(repo.blobs.folder)
    complete = _complete(file, mark)
    found: dict[str, set[str]] = {}
    fresh = [oid for oid in wanted if oid not in complete]
    singles: dict[bool, list[str]] = {False: [], True: []}
    for oid in fresh:
        if oid.endswith(".dir"):
            missing = _of_folder(repo, oid, wanted[oid])
            if missing:
                found[oid] = missing
        else:
            singles[wanted[oid]].append(oid)
    for legacy, oids in singles.items():
        found |= {oid: {oid} for oid in repo.blobs.missing(oids, legacy=legacy)} if oids else {}
    if fresh and time.time_ns() - newest > settling_ns([newest]):
        _keep(file, mark, sorted(complete | (wanted.keys() - found.keys())))
    return found


def _of_folder(repo: Repository, oid: str, legacy: bool) -> set[str]:
    from modelkeep.data.formats import manifest

    if repo.blobs.missing([oid], legacy=legacy):
        return {oid}
    try:
        entries = manifest.decode(repo.blobs.read(oid, legacy=legacy), oid)
    except Corrupt:
        return {oid}
    return repo.blobs.missing({member for _, member in entries}, legacy=legacy)


def _folders(cache: Path) -> tuple[str, int]:
    """Gives one mark of all the folders that hold objects, and when the youngest of them changed."""
    mark, newest = blake2b(digest_size=16), 0
    pieces = cache / "modelkeep" / "chunks"
    for top in (cache / "files" / "md5", cache, pieces / "packs", pieces / "recipes"):
        rows = []
        try:
            with os.scandir(top) as entries:
                for entry in entries:
                    if len(entry.name) == 2:
                        stat = entry.stat()
                        newest = max(newest, stat.st_mtime_ns)
                        rows.append((entry.name, stat.st_ino, stat.st_mtime_ns))
        except OSError:
            rows = []
        mark.update(repr((str(top), sorted(rows))).encode())
    return mark.hexdigest(), newest


def _complete(file: Path, mark: str) -> set[str]:
    try:
        first, *oids = file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return set()
    return set(oids) if first == mark else set()


def _keep(file: Path, mark: str, oids: list[str]) -> None:
    aside = file.with_name(f"present.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text("\n".join([mark, *oids, ""]), encoding="ascii")
        aside.replace(file)
    except OSError:  # nothing is lost: it is looked for again next time
        aside.unlink(missing_ok=True)
