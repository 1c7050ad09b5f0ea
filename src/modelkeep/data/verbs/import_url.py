"""`import-url`: a file or folder from a path or an address becomes tracked here, and remembers where it came from."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.elsewhere.imports import Imported, place_for, settle
from modelkeep.data.formats import manifest
from modelkeep.data.formats.metafile import Dep, Out
from modelkeep.data.formats.side import Side
from modelkeep.data.progress import SILENT, Progress
from modelkeep.data.repository import disk_errors

if TYPE_CHECKING:
    from modelkeep.data.formats.config import RemoteSettings
    from modelkeep.data.repository import Repository
    from modelkeep.store.remote import Remote, Stat

_BY_CHECKSUM: Final = frozenset({"http", "https"})
"""Where DVC keeps what the server calls a version as `checksum`, quotes and all."""
_BY_ETAG: Final = frozenset({"s3", "gs", "azure", "abfs", "abfss", "webdav", "webdavs"})
_QUOTED: Final = frozenset({"azure", "abfs", "abfss", "http", "https"})


def import_url(
    repo: Repository,
    url: str,
    out: str = "",
    *,
    force: bool = False,
    no_download: bool = False,
    progress: Progress = SILENT,
) -> Imported:
    """Imports a file or folder from a path of this machine or from an address that remotes understand.

    Args:
        repo: the repository.
        url: a path, `remote://NAME/path`, or an address such as `s3://bucket/prices.csv`; kept as it is written.
        out: where to put it; a folder that is there takes it under its own name. "" is here.
        force: take the place of what is there.
        no_download: only write the metafile.
        progress: hears of bytes.

    Raises:
        Missing: nothing is there.
        Unreachable: the other side does not answer.
        Conflict: something is at that place, or lies in or around something tracked.
        BadInput: it cannot be tracked there, or no remote understands the address.
    """
    name = posixpath.basename(_without_query(url).rstrip("/"))
    if not name:
        raise BadInput(f"{url}: no name to give it here", hint="Say where to put it.")
    place = place_for(repo, name, out, force=force)
    source = _source(repo, url)
    with repo.writing(place, progress=progress), disk_errors(url):
        if isinstance(source, Path):
            entry, dep, told = _from_path(repo, source, url, place, no_download=no_download, progress=progress)
        else:
            entry, dep, told = _from_remote(repo, source, url, place, no_download=no_download, progress=progress)
        if no_download:
            entry = Out(path=place.name)
        return settle(repo, place, entry, dep, told=told, download=not no_download, progress=progress)


def _source(repo: Repository, url: str) -> Path | RemoteSettings:
    """A path of this machine, or the address with the options of the remote that it names."""
    from modelkeep.data.formats.config import RemoteSettings, masked_url

    if url.startswith("remote://"):
        name, _, path = url.removeprefix("remote://").partition("/")
        base = repo.config.remote(name)
        settings = RemoteSettings(base.name, f"{base.url.rstrip('/')}/{path}", base.options, base.level)
    else:
        settings = RemoteSettings(masked_url(url), url, {}, "repo")
    if "://" not in settings.url or settings.url.startswith("file://"):
        there = Path(settings.url.removeprefix("file://")).expanduser()
        if not there.exists():
            raise Missing(f"{url}: no such file or folder", hint="Look at the path.")
        return there
    if masked_url(url) != url:
        raise BadInput(
            f"{masked_url(url)}: a password in an address that git would publish",
            hint="Add a remote, keep the password out of git by `modelkeep remote modify --local`, and use remote://NAME/.",
        )
    return settings


def _from_path(
    repo: Repository, source: Path, url: str, place: Path, *, no_download: bool, progress: Progress
) -> tuple[Out, Dep, Side]:
    written = url
    if "://" not in url and source.absolute().is_relative_to(repo.root):
        written = os.path.relpath(source, place.parent).replace(os.sep, "/")
    if source.is_dir():
        return _from_folder(repo, source, written, place, no_download=no_download, progress=progress)
    size = source.stat().st_size
    with progress.begin(f"Reading {url}", total=size, unit="bytes") as step:
        if no_download:
            from modelkeep.store.blobs.hashed import file_digest

            digest = file_digest(source, step)
        else:
            [digest] = repo.blobs.ingest([source], step=step)
    runs = os.access(source, os.X_OK)
    entry = Out(path=place.name, oid=digest.md5, size=digest.size)
    return entry, Dep(path=written, oid=digest.md5, size=digest.size, executable=runs), Side()


def _from_folder(
    repo: Repository, source: Path, written: str, place: Path, *, no_download: bool, progress: Progress
) -> tuple[Out, Dep, Side]:
    from modelkeep.data.formats.ignore import Ignore
    from modelkeep.data.snapshots.scan import scan
    from modelkeep.store.blobs.hashed import file_digest

    if place.is_relative_to(source.absolute()):
        raise BadInput(f"{written}: the place to put it lies inside of it")
    tree = scan(source, Ignore.load(source))
    paths = [source / path for path in tree.paths]
    with progress.begin(f"Reading {written}", total=sum(stamp[1] for stamp in tree.stamps), unit="bytes") as step:
        digests = [file_digest(path, step) for path in paths] if no_download else repo.blobs.ingest(paths, step=step)
    data = manifest.encode((path, digest.md5) for path, digest in zip(tree.paths, digests, strict=True))
    oid = manifest.oid_of(data) if no_download else repo.blobs.put(data, suffix=".dir")
    size = sum(digest.size for digest in digests)
    told = Side() if no_download else Side(executable=tuple(tree.executable), empty=tuple(tree.empty))
    entry = Out(path=place.name, oid=oid, size=size, nfiles=len(paths))
    return entry, Dep(path=written, oid=oid, size=size, nfiles=len(paths)), told


def _from_remote(
    repo: Repository, source: RemoteSettings, url: str, place: Path, *, no_download: bool, progress: Progress
) -> tuple[Out, Dep, Side]:
    from modelkeep.store.remote import connect, scheme_of

    above, _, name = source.url.rstrip("/").rpartition("/")
    scheme = scheme_of(source.url)
    remote = connect(above, source.options)
    try:
        stat = None if url.endswith("/") else remote.stat(name)
        found = [stat] if stat is not None else _listed(remote, name, scheme)
        if not found:
            raise Missing(f"{url}: nothing there", hint="Look at the address.")
        oids = ["" for _ in found] if no_download else _fetched(repo, remote, found, source.url, progress)
    finally:
        remote.close()
    if stat is not None:
        dep = _versioned(Dep(path=url, size=stat.size), scheme, stat.etag, oids[0])
        return Out(path=place.name, oid=oids[0], size=stat.size), dep, Side()
    paths = [one.key[len(name) + 1 :] for one in found]
    seen = _listing_version(scheme, zip(paths, found, strict=True))
    dep = Dep(path=url, size=sum(one.size for one in found), nfiles=len(found))
    if no_download:
        return Out(path=place.name), _versioned(dep, scheme, seen, ""), Side()
    data = manifest.encode(zip(paths, oids, strict=True))
    manifest.decode(data, url)  # refuses names that lead out of the folder
    entry = Out(path=place.name, oid=repo.blobs.put(data, suffix=".dir"), size=dep.size, nfiles=dep.nfiles)
    return entry, _versioned(dep, scheme, seen, entry.oid), Side()


def _listing_version(scheme: str, found: Iterable[tuple[str, Stat]]) -> str:
    """What tells versions of a remote folder apart: a hash over the versions of its files."""
    import json

    versions = [{"etag": _etag(scheme, one.etag), "relpath": path} for path, one in found]
    return md5(json.dumps(versions, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _listed(remote: Remote, name: str, scheme: str) -> list[Stat]:
    if scheme in _BY_CHECKSUM:
        return []
    return sorted((one for one in remote.list(name + "/") if not one.key.endswith("/")), key=lambda one: one.key)


def _fetched(repo: Repository, remote: Remote, found: Sequence[Stat], url: str, progress: Progress) -> list[str]:
    """Fetches blobs whose md5 nobody knows yet into the cache; what a cut transfer left is used again."""
    from modelkeep.store.blobs.hashed import file_digest
    from modelkeep.store.remote import Download

    oids: dict[str, str] = {}
    with repo.blobs.incoming() as incoming:
        paths = {one.key: incoming.path(_mark(url, one)) for one in found}
        for one in found:
            if not one.etag:
                paths[one.key].unlink(missing_ok=True)
        items = [Download(one.key, paths[one.key], one.size) for one in found]
        with progress.begin(f"Fetching {url}", total=sum(one.size for one in found), unit="bytes") as step:
            for key, error, _ in remote.download(items, step.add):
                if error is not None:
                    raise error
                digest = file_digest(paths[key])
                target = incoming.path(digest.md5)
                paths[key].replace(target)
                incoming.publish([(digest.md5, target)], {digest.md5: digest})
                oids[key] = digest.md5
    return [oids[one.key] for one in found]


def _mark(url: str, one: Stat) -> str:
    return md5(f"{url}\0{one.key}\0{one.etag}\0{one.size}".encode(), usedforsecurity=False).hexdigest()


def _versioned(dep: Dep, scheme: str, etag: str, oid: str) -> Dep:
    """A source with what tells its versions apart, under the name that DVC has for it."""
    if scheme in _BY_CHECKSUM:
        return replace(dep, checksum=_etag(scheme, etag))
    if scheme in _BY_ETAG:
        return replace(dep, etag=_etag(scheme, etag))
    return replace(dep, oid=oid)


def _etag(scheme: str, etag: str) -> str:
    weak = "W/" if etag.startswith("W/") and scheme in _BY_CHECKSUM else ""
    bare = etag.removeprefix("W/").strip('"')
    return f'{weak}"{bare}"' if scheme in _QUOTED and bare else bare


def _without_query(url: str) -> str:
    return url.partition("?")[0] if "://" in url else url
