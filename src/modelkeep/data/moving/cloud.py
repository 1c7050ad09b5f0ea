"""One remote as a repository knows it: where objects lie on it, what it holds, and what was seen of it before."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec

from modelkeep.core.errors import BadInput
from modelkeep.data.workspace.present import settling_ns

if TYPE_CHECKING:
    from modelkeep.data.formats.config import RemoteSettings
    from modelkeep.data.repository import Repository
    from modelkeep.store.remote import Remote

MODERN: Final = "files/md5/"
_KEY: Final = re.compile(r"(files/md5/)?([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)\Z")
_TRUST_S: Final = 7 * 24 * 3600
"""How long a folder seen whole on a remote is asked for by its manifest alone."""


def key_of(oid: str, *, legacy: bool = False) -> str:
    """Gives where an object lies on a remote, as in a cache.

    >>> key_of("0cc175b9c0f1b6a831c399e269772661")
    'files/md5/0c/c175b9c0f1b6a831c399e269772661'
    >>> key_of("0cc175b9c0f1b6a831c399e269772661.dir", legacy=True)
    '0c/c175b9c0f1b6a831c399e269772661.dir'
    """
    return f"{'' if legacy else MODERN}{oid[:2]}/{oid[2:]}"


def oid_of(key: str) -> str:
    """Gives the object that lies under a remote's key.

    >>> oid_of("files/md5/0c/c175b9c0f1b6a831c399e269772661")
    '0cc175b9c0f1b6a831c399e269772661'
    """
    head, _, tail = key.rpartition("/")
    return head[-2:] + tail


class Movable(Protocol):
    """A remote that gives blobs other keys without sending them anew."""

    def move(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Moves blobs from one key to another; one that is not there is no error."""
        ...


class _Seen(msgspec.Struct):
    """What is remembered of a remote between commands; losing it costs time, never data."""

    whole: dict[str, float] = {}
    bad: list[str] = []
    stamps: dict[str, int] = {}
    unneeded: dict[str, float] = {}


class Cloud:
    """A remote with what this repository remembers of it.

    Args:
        repo: the repository.
        settings: the remote's place and options.
        jobs: how many transfers run side by side; None leaves it to the remote.

    Raises:
        BadInput: the remote is one of DVC's that keep versions of files in place of objects.

    Attributes:
        folder: where it is on this machine; None when it is elsewhere.
    """

    def __init__(self, repo: Repository, settings: RemoteSettings, *, jobs: int | None = None) -> None:
        for name in ("worktree", "version_aware"):
            if settings.options.get(name, "").lower() in {"true", "yes", "on", "1"}:
                raise BadInput(
                    f"remote {settings.name}: {name} = true keeps files in a layout that modelkeep cannot use",
                    hint=f"Use DVC for it, or: modelkeep remote modify {settings.name} {name} false",
                )
        self.name: Final = settings.name
        self._settings: Final = settings
        self._jobs: Final = jobs
        self._remote: Remote | None = None
        mark = msgspec.json.encode([settings.name, settings.url])
        self._file: Final = repo.private / "remotes" / f"{_digest(mark)}.json"
        self._seen: Final = _read(self._file)
        self.folder: Final = _local(settings.url)
        self._changed = False
        self._worse: set[str] = set()
        self._better: set[str] = set()

    @classmethod
    def open(cls, repo: Repository, name: str = "", *, jobs: int | None = None) -> Cloud:
        """Gives a configured remote, the default one without a name.

        Raises:
            Missing: no such remote is configured.
        """
        return cls(repo, repo.config.remote(name), jobs=jobs)

    @property
    def remote(self) -> Remote:
        """The remote itself, connected when it is first needed."""
        if self._remote is None:
            from modelkeep.store.remote import connect

            options = dict(self._settings.options)
            if self._jobs is not None:
                options["jobs"] = str(self._jobs)
            self._remote = connect(self._settings.url, options)
        return self._remote

    def close(self) -> None:
        """Ends the connection and keeps what was learnt."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None
        if self._changed:
            self._keep()
            self._changed = False

    def missing(self, oids: Collection[str], *, legacy: bool = False) -> set[str]:
        """Gives those of some objects that the remote does not hold, or holds only as a corrupt one."""
        if not oids:
            return set()
        bad = self._seen.bad and set(self._seen.bad).intersection(oids)
        if self.folder is not None:  # it is laid out as a cache: no key needs to be put together
            from modelkeep.store.blobs.objects import Blobs

            return Blobs(self.folder).missing(oids, legacy=legacy).union(bad)
        keys = {key_of(oid, legacy=legacy): oid for oid in oids}
        there = self.remote.has(keys.keys())
        return {oid for key, oid in keys.items() if key not in there}.union(bad)

    def whole(self, manifests: Collection[str]) -> set[str]:
        """Gives those folders that were seen whole here before and, as far as a cheap look tells, still are.

        On a folder of this machine the times of the 256 prefix folders tell whether anything was added or taken away.
        Elsewhere the manifest is asked for: DVC and we delete a manifest before its members and send it after them.
        """
        now = time.time()
        known = {oid for oid in manifests if 0 <= now - self._seen.whole.get(oid, 0.0) < _TRUST_S}
        if not known:
            return set()
        if self.folder is not None:
            return known if self._seen.stamps and _stamps(self.folder) == self._seen.stamps else set()
        return known - self.missing(known)

    @property
    def settles(self) -> bool:
        """Whether what was sent may be remembered at once; a folder of this machine has to be looked at again later."""
        return self.folder is None

    def look(self) -> dict[str, int]:
        """Gives what the folders of a remote on this machine look like now; take it before asking what is there."""
        return {} if self.folder is None else _stamps(self.folder)

    def remember(self, manifests: Iterable[str], looked: dict[str, int]) -> None:
        """Keeps in mind that folders are whole on the remote.

        Args:
            manifests: the folders' oids, every member of which the remote was seen to hold.
            looked: what `look` gave before that was seen.
        """
        now = time.time()
        if self.folder is not None:
            settled = now * 1e9 - settling_ns(looked.values())
            if not looked or any(stamp >= settled for stamp in looked.values()):
                return
            if looked != self._seen.stamps:
                self._seen.whole.clear()
                self._seen.stamps = looked
        self._seen.whole.update(dict.fromkeys(manifests, now))
        self._changed = True

    def forget(self) -> None:
        """Forgets which folders are whole: objects are about to be taken away."""
        if self._seen.whole:
            self._seen.whole.clear()
            self._changed = True

    def list(self) -> Iterator[tuple[str, int, bool]]:
        """Gives every object of both layouts: its oid, its bytes, whether it lies in DVC 2's layout.

        Raises:
            BadInput: this kind of remote cannot be listed.
        """
        for stat in self.remote.list():
            found = _KEY.match(stat.key)
            if found:
                yield found[2] + found[3], stat.size, not found[1]

    @property
    def movable(self) -> bool:
        """Whether blobs can get other keys here without being sent anew."""
        return self.folder is not None or hasattr(self.remote, "move")

    def move(self, pairs: Collection[tuple[str, str]]) -> None:
        """Moves blobs from one key to another; one that is not there is no error."""
        if self.folder is None:
            cast("Movable", self.remote).move(pairs)
            return
        made: set[Path] = set()
        for source, target in pairs:
            place = self.folder / target
            if place.parent not in made:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.add(place.parent)
            with suppress(FileNotFoundError):
                (self.folder / source).rename(place)

    def since(self, keys: Collection[str], now: float) -> dict[str, float]:
        """Gives since when each of some blobs was seen to be unneeded, and keeps it in mind.

        A remote does not say how old a blob is by a clock that could be compared with ours, so gc goes by what it saw
        itself.
        """
        before = self._seen.unneeded
        self._seen.unneeded = {key: min(before.get(key, now), now) for key in keys}
        self._changed = True
        return self._seen.unneeded

    def distrust(self, oids: Collection[str]) -> None:
        """Keeps in mind that the remote's copies of some objects are corrupt: the next push sends them again."""
        if oids:
            self._seen.bad = sorted({*self._seen.bad, *oids})
            self._seen.whole.clear()
            self._worse.update(oids)
            self._better -= set(oids)
            self._changed = True

    def healed(self, oids: Collection[str]) -> None:
        """Keeps in mind that the remote's copies are sound again."""
        better = set(self._seen.bad).intersection(oids)
        if better:
            self._seen.bad = [oid for oid in self._seen.bad if oid not in better]
            self._better |= better
            self._worse -= better
            self._changed = True

    def _keep(self) -> None:
        """Writes down what was learnt, beside what others learnt meanwhile of corrupt objects."""
        self._seen.bad = sorted({*_read(self._file).bad, *self._worse} - self._better)
        _write(self._file, self._seen)


def _digest(data: bytes) -> str:
    from hashlib import md5

    return md5(data, usedforsecurity=False).hexdigest()


def _local(url: str) -> Path | None:
    if "://" in url and not url.startswith("file://"):
        return None
    return Path(url.removeprefix("file://"))


def _stamps(folder: Path) -> dict[str, int]:
    """Gives the time of change of every folder that holds objects."""
    top = folder / "files" / "md5"
    found: dict[str, int] = {}
    try:
        found[""] = top.stat().st_mtime_ns
        with os.scandir(top) as listed:
            found |= {entry.name: entry.stat().st_mtime_ns for entry in listed}
    except OSError:
        return {}
    return found


def _read(file: Path) -> _Seen:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Seen)
    except (OSError, msgspec.MsgspecError):
        return _Seen()


def _write(file: Path, seen: _Seen) -> None:
    aside = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.json.encode(seen))
        aside.replace(file)
    except OSError:  # only memory: a read-only or full disk may not fail a transfer that succeeded
        aside.unlink(missing_ok=True)
