"""Where a foreign repository's objects are had from: its own cache when it lies on this machine, then its remotes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Corrupt, Error, Missing
from modelkeep.data.elsewhere.revisions import CONFIG, TrackedAt
from modelkeep.data.formats import manifest
from modelkeep.data.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelkeep.data.elsewhere.foreign import Foreign
    from modelkeep.data.formats.config import Config, RemoteSettings
    from modelkeep.data.moving.transfer import Moved
    from modelkeep.data.moving.wanted import Wanted
    from modelkeep.data.repository import Repository

_NOWHERE: Final = Path("/nowhere/nowhere/nowhere/nowhere/nowhere/nowhere")
"""Stands for the folder of a repository that is not on this machine."""


class Supply:
    """The places that hold a foreign repository's objects.

    Args:
        foreign: the repository.
        repo: whose cache takes what is fetched.
        remote: the name of the remote to use there; "" is what outputs ask for, else the default one.
        progress: hears of bytes.
    """

    def __init__(
        self, foreign: Foreign, repo: Repository | None = None, *, remote: str = "", progress: Progress = SILENT
    ) -> None:
        self._foreign: Final = foreign
        self._repo: Final = repo
        self._remote: Final = remote
        self._progress: Final = progress
        self._configs: Final[dict[str, Config]] = {}
        self._manifests: Final[dict[str, list[tuple[str, str]]]] = {}

    def entries(self, one: TrackedAt) -> list[tuple[str, str]]:
        """Gives the (path, oid) pairs of a tracked folder; only its manifest is fetched.

        Raises:
            Missing: the manifest is nowhere.
            Corrupt: its bytes are not what its name says.
            BadInput: it names a path that leads out of the folder.
        """
        oid = one.out.oid
        if oid not in self._manifests:
            self._manifests[oid] = manifest.decode(self._manifest(one), f"{one.path} of {self._foreign.where}")
        return self._manifests[oid]

    def fetch(self, wanted: Iterable[tuple[TrackedAt, str]]) -> None:
        """Fetches objects into the cache of the repository: of each output all, or what lies below a path in it.

        Raises:
            Missing: an object is nowhere; the message names the file it belongs to.
            Corrupt: an object is corrupt wherever it was looked for.
            Unreachable: a remote does not answer.
        """
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one, part in wanted:
            groups.setdefault((one.root, one.out.remote), []).append(_wanted(one, part))
        for (root, name), outs in groups.items():
            self._bring(outs, self._places(root, name), root)

    def _bring(self, outs: Sequence[Wanted], places: Sequence[RemoteSettings], root: str) -> None:
        from modelkeep.data.moving.cloud import Cloud
        from modelkeep.data.moving.receiving import receive

        if self._repo is None:
            raise BadInput(f"{self._foreign.name}: nowhere to put what is fetched")
        moved: Moved | None = None
        for settings in places:
            cloud = Cloud(self._repo, settings)
            try:
                moved = receive(self._repo, cloud, outs, self._progress)
            finally:
                cloud.close()
            if not moved.faults:
                return
        if moved is None:
            raise self._nowhere(root)
        moved.settle("fetch")

    def _manifest(self, one: TrackedAt) -> bytes:
        from modelkeep.store.blobs.objects import Blobs

        oid, legacy = one.out.oid, one.out.hash != "md5"
        folder = self._cache(one.root)
        for blobs in [*([self._repo.blobs] if self._repo else []), *([Blobs(folder)] if folder else [])]:
            if blobs.has(oid, legacy=legacy):
                try:
                    return blobs.read(oid, legacy=legacy)
                except Error:  # corrupt or not readable here: the next place may have a sound one
                    continue
        found = self._from_remote(one)
        if self._repo is not None and not legacy:
            self._repo.blobs.put(found, suffix=".dir")
        return found

    def _from_remote(self, one: TrackedAt) -> bytes:
        from modelkeep.data.moving.cloud import key_of
        from modelkeep.store.remote import connect

        problem: Error = self._nowhere(one.root)
        for settings in self._places(one.root, one.out.remote, cache=False):
            remote = connect(settings.url, settings.options)
            try:
                data = remote.read(key_of(one.out.oid, legacy=one.out.hash != "md5"))
            except Missing:
                problem = Missing(
                    f"{one.path} ({one.out.oid}): its list of files is not on {settings.name} of {self._foreign.where}",
                    hint="Push it from where it was added: modelkeep push",
                )
                continue
            finally:
                remote.close()
            if md5(data, usedforsecurity=False).hexdigest() + ".dir" == one.out.oid:
                return data
            problem = Corrupt(
                f"{one.path} ({one.out.oid}): its list of files is corrupt on {settings.name} of {self._foreign.where}",
                hint="Push it again from a place that has a sound copy: modelkeep push",
            )
        raise problem

    def _nowhere(self, root: str) -> Missing:
        return Missing(
            f"{self._foreign.where}: no remote is configured {f'in {root} ' if root else ''}that holds its data",
            hint="Configure one there: modelkeep remote add -d NAME URL; or name one: --remote NAME",
        )

    def _places(self, root: str, name: str, *, cache: bool = True) -> list[RemoteSettings]:
        """The cache first, when it lies on this machine; then the remote that is asked for, or the default one."""
        from modelkeep.data.formats.config import RemoteSettings

        config = self._config(root)
        found: list[RemoteSettings] = []
        folder = self._cache(root) if cache else None
        if folder is not None:
            found.append(
                RemoteSettings(name=f"the cache of {self._foreign.name}", url=str(folder), options={}, level="repo")
            )
        here = self._here(root)
        own = here.value("local", "core", "remote") if here is not None else ""
        wanted = (self._remote or name or own or config.get("core", "remote")).lower()
        if wanted:
            found.append(self._settings(config, wanted, here))
        return found

    def _settings(self, config: Config, name: str, here: Config | None) -> RemoteSettings:
        """A remote as the commit has it, with what `config.local` beside it says now, which no commit has."""
        from modelkeep.data.formats.config import RemoteSettings

        title = f'remote "{name}"'
        now = here.remotes().get(name) if here is not None and self._foreign.commit else None
        if here is not None and now is not None:
            if here.value("local", title, "url") or name not in config.remotes():
                return now
            settings = config.remote(name)
            local = {key: value for key, value in now.options.items() if here.value("local", title, key)}
            return RemoteSettings(name, settings.url, {**settings.options, **local}, settings.level)
        settings = config.remote(name)
        raw = config.value("repo", title, "url")
        if self._foreign.folder is None and settings.url.startswith("/nowhere") and raw != settings.url:
            raise BadInput(
                f"{self._foreign.where}: its remote {name} is the folder {raw}, as seen from where it was made",
                hint="Name the folder of a clone that lies there instead of this address.",
            )
        return settings

    def _here(self, root: str) -> Config | None:
        """The settings as they are now, when the repository lies on this machine."""
        if self._foreign.folder is None:
            return None
        from modelkeep.data.formats.config import Config

        return Config.load(self._place(root))

    def _cache(self, root: str) -> Path | None:
        """The cache of a repository on this machine."""
        place = self._place(root)
        if not (place / ".dvc").is_dir():
            return None
        from modelkeep.data.formats.config import Config

        folder = Config.load(place).cache_folder
        return folder if folder.is_dir() else None

    def _place(self, root: str) -> Path:
        return (self._foreign.folder or _NOWHERE) / root

    def _config(self, root: str) -> Config:
        """The settings at the commit, or those of the workspace when that is looked at."""
        if root not in self._configs:
            from modelkeep.data.formats.config import Config

            place = self._place(root)
            data = self._foreign.file(posixpath.join(root, CONFIG)) or b"\n"
            self._configs[root] = Config.of(place, data) if self._foreign.commit else Config.load(place)
        return self._configs[root]


def _wanted(one: TrackedAt, part: str) -> Wanted:
    from modelkeep.data.moving.wanted import Wanted

    out = one.out
    return Wanted(
        name=one.path,
        oid=out.oid,
        legacy=out.hash != "md5",
        remote=out.remote,
        size=out.size,
        filter=part,
    )
