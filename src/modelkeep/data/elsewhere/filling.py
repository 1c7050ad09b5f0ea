"""The tracked data of files that were put somewhere: what their metafiles name, from the repository they came from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import Conflict
from modelkeep.data.elsewhere.foreign import Foreign, Live, View, live_tracked, open_foreign
from modelkeep.data.elsewhere.pieces import gather
from modelkeep.data.elsewhere.supply import Supply
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors
from modelkeep.data.verbs.get import aside, deliver

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.revisions import TrackedAt
    from modelkeep.data.repository import Repository


@dataclass(frozen=True, slots=True)
class Filled:
    """What was brought.

    Args:
        path: of the output, below the folder.
        oid: its object.
        files: how many files it has.
        size: their bytes.
    """

    path: str
    oid: str
    files: int
    size: int


class _Laid(Foreign):
    """A repository's commit whose files lie in a folder, perhaps changed since: its metafiles count, not git's."""

    def __init__(self, source: Foreign, folder: Path) -> None:
        super().__init__(source.url, source.git, source.commit, source.folder, source.base)
        self.place: Final = folder / source.base

    @cached_property
    def view(self) -> View:
        return Live(self.place, self.tracked)

    @cached_property
    def tracked(self) -> list[TrackedAt]:
        return sorted(live_tracked(self.place), key=lambda one: one.path)

    def file(self, path: str) -> bytes | None:
        place = self.place / path
        return place.read_bytes() if place.is_file() else None


def fill(folder: Path, url: str, rev: str, *, remote: str = "", progress: Progress = SILENT) -> list[Filled]:
    """Brings the data that the metafiles in a folder name: files and folders, verified, as files of the user.

    Args:
        folder: holds the files of a commit, perhaps with changes that were never committed.
        url: the repository they came from, a folder or an address; its cache and remotes have the data.
        rev: the commit.
        remote: the name of the remote to use; "" is what outputs ask for, else the default one.
        progress: hears of bytes.

    Raises:
        Missing: an object is nowhere.
        Corrupt: an object is corrupt wherever it was looked for.
        Conflict: something is in the way.
        Unreachable: a remote does not answer.
    """
    with open_foreign(url, rev, live=False) as source:
        laid = _Laid(source, folder)
        wanted = [one for one in laid.tracked if one.out.oid and one.out.cache]
        if not wanted:
            return []
        with disk_errors(str(folder)), tempfile.TemporaryDirectory(prefix=".modelkeep-", dir=folder.parent) as part:
            repo = aside(Path(part))
            supply = Supply(laid, repo, remote=remote, progress=progress)
            return [_brought(laid, supply, repo, one, progress) for one in wanted]


def _brought(laid: _Laid, supply: Supply, repo: Repository, one: TrackedAt, progress: Progress) -> Filled:
    target = laid.place / one.path
    if target.exists() or target.is_symlink():
        raise Conflict(f"{target}: git has a file where data belongs", hint="Take one of the two out of the commit.")
    gathered = gather(laid, supply, one.path)
    supply.fetch(gathered.outs)
    size = deliver(laid, gathered, repo.blobs, repo.root / "out", progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    (repo.root / "out").rename(target)
    return Filled(path=f"{laid.base}/{one.path}".lstrip("/"), oid=one.out.oid, files=len(gathered.pieces), size=size)
