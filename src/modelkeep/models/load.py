"""`mk.load`: the file of a model's version on this machine, verified, and the process tied to that version."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from modelkeep.core.errors import Corrupt, Denied, Missing, Unreachable
from modelkeep.models.names import asked, check_model

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.data.progress import Progress
    from modelkeep.models.formats import Format
    from modelkeep.models.state import Version

REPOSITORY: Final = "MODELKEEP_MODELS_REPOSITORY"
_RECORD: Final = "loaded.json"
_KEPT: Final = 10
"""Versions of a model that stay in the cache, those used last."""


class Loaded(msgspec.Struct, frozen=True):
    """A version of a model on this machine; it can be given wherever a path can.

    Args:
        model: its name.
        version: such as `v1.2.0`; the commit of one that was never registered.
        path: the model's file or folder; not to be written to.
        commit: the git commit that the version names.
        features: their names, in order.
        metrics: by name.
        reference: the data that the version was accepted on, for `mk.reference`; None without any.
        data_version: what it was trained on.
        configuration: the hash of the configuration that it was trained with.
        format: what kind of file it is, such as `safetensors`.
        executes: whether reading it with its own library executes code that it names; None when that is not known.
    """

    model: str
    version: str
    path: Path
    commit: str
    features: tuple[str, ...] = ()
    metrics: dict[str, int | float | str] = {}
    reference: Path | None = None
    data_version: str = ""
    configuration: str = ""
    format: str = ""
    executes: bool | None = None

    def __fspath__(self) -> str:
        """The path as text, so that `open`, `joblib.load` and others take it as it is."""
        return str(self.path)


def load(model: str, *, repo: str | os.PathLike[str] | None = None, safe: bool = False, tie: bool = True) -> Loaded:
    """Gives the file of a version of a model, fetched and verified; nothing is read into memory, nothing is unpickled.

    From now on predictions of that model which name no version carry this one, its data and its configuration.
    A version is fetched once; after that an exact one, such as `credit-risk@v1.2.0`, needs no network.

    Args:
        model: which version: `credit-risk@production`, `credit-risk@v1.2.0`, `credit-risk@5`, `credit-risk@latest`.
        repo: the git repository with the registry, a folder or an address; None: MODELKEEP_MODELS_REPOSITORY, or the
            one around the working folder.
        safe: refuse a file whose reading executes code, or of which that is not known.
        tie: have predictions carry the version.

    Raises:
        Missing: there is no such model, version or stage, or nobody says where its file is.
        Unreachable: the repository or the remote with the data does not answer.
        Corrupt: the file is not what was registered, wherever it was looked for.
        Denied: `safe` was asked for, and the file executes code.

    >>> import modelkeep as mk
    >>> mk.load("credit-risk@production", repo="/nowhere")
    Traceback (most recent call last):
    modelkeep.core.errors.Missing: /nowhere: no such folder
    """
    where = os.fspath(repo) if repo is not None else os.environ.get(REPOSITORY, "")
    found = materialise(model, where)
    if safe and found.executes is not False:
        raise Denied(
            f"{found.model}@{found.version}: {found.format} executes code when it is read, and that was refused",
            hint="Save it in a form without code (safetensors, onnx, skops, a booster's own), or load it without safe.",
        )
    if tie:
        from modelkeep.sdk.tied import Tie, tied

        tied.take(Tie(found.model, found.version, found.commit, found.data_version, found.configuration))
    return found


def materialise(text: str, repo: str = "", *, cache: Path | None = None, progress: Progress | None = None) -> Loaded:
    """Gives a version from the cache of models, fetched when it is not there; nothing is tied.

    Args:
        text: which version, see `load`.
        repo: the repository's folder or address; the one around the working folder when empty.
        cache: the folder of all models; the user's cache folder when None.
        progress: hears of bytes.

    Raises:
        Missing, Unreachable, Corrupt: see `load`.
    """
    want = asked(text)
    folder = cache or cache_folder()
    try:
        git = open_repository(repo)
    except Unreachable:
        exact = want.kind == "version"
        kept = _kept(_place(folder, _address(repo), check_model(want.model), want.value)) if exact else None
        if kept is None:
            raise
        return kept
    with git:
        from modelkeep.models.registry import Registry

        version = Registry(git).resolve(text)
        source = _address(repo) if _is_address(repo) else str(git.root)
        place = _place(folder, source, version.model, version.version)
        return _had(git, version, repo or str(git.root), place, progress)


def open_repository(repo: str = "") -> Git:
    """Gives the repository with the registry.

    Args:
        repo: a folder, or an address of git, of which a clone is kept; the one around the working folder when empty.

    Raises:
        Missing: there is none.
        Unreachable: it does not answer.
    """
    from modelkeep.code.repository import Git

    folder = Path(repo or ".").expanduser()
    if not _is_address(repo):
        if folder.is_dir():
            return Git(folder)
        raise Missing(f"{repo}: no such folder", hint="Name a git repository's folder, or its address.")
    from modelkeep.code.clones import clone

    return clone(repo)


def cache_folder() -> Path:
    """Gives the folder in which versions that were loaded are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "modelkeep" / "models"


def _had(git: Git, version: Version, repo: str, place: Path, progress: Progress | None) -> Loaded:
    from modelkeep.code.lock import held

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Denied(f"{place.parent}: {error.strerror}", hint="Set XDG_CACHE_HOME to a folder of yours.") from None
    with held(place.with_name(f"{place.name}.lock"), hint="Set XDG_CACHE_HOME to a folder of yours."):
        kept = _kept(place)
        if kept is not None and kept.commit == version.commit:
            return kept
        made = _fetched(git, version, repo, place, progress)
    _prune(place.parent)
    return made


class _Record(msgspec.Struct):
    """What lies beside a version in the cache; paths are relative to its folder."""

    loaded: Loaded
    files: dict[str, tuple[int, int, str]]
    """Size, time of change and BLAKE3 of every file."""


def _fetched(git: Git, version: Version, repo: str, place: Path, progress: Progress | None) -> Loaded:
    from modelkeep.models.formats import format_of
    from modelkeep.models.version import details

    told = details(git, version)
    if told.file is None:
        raise Missing(
            f"{version.name}: nobody says which file is the model",
            hint=f"Say it in dvc.yaml (artifacts: {version.model}: path: …), or by model register --path.",
        )
    fresh = place.with_name(f"{place.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        model = _get(repo, told.file.path, version.commit, fresh / "model", progress)
        _check(model, told.file.oid, version)
        reference = (
            _get(repo, told.reference, version.commit, fresh / "reference", progress) if told.reference else None
        )
        form: Format = format_of(model)
        loaded = Loaded(
            model=version.model,
            version=version.version,
            path=model.relative_to(fresh),
            commit=version.commit,
            features=told.features,
            metrics=told.metrics,
            reference=reference.relative_to(fresh) if reference else None,
            data_version=told.data_version,
            configuration=told.configuration,
            format=form.name,
            executes=form.executes,
        )
        record = _Record(loaded, {name: _stamp(fresh / name) for name in _files(fresh)})
        for name in record.files:
            (fresh / name).chmod(0o555 if os.access(fresh / name, os.X_OK) else 0o444)
        (fresh / _RECORD).write_bytes(msgspec.json.encode(record, enc_hook=os.fspath))
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return _whole(loaded, place)


def _get(source: str, path: str, commit: str, folder: Path, progress: Progress | None) -> Path:
    from modelkeep.data.progress import SILENT
    from modelkeep.data.verbs.get import get

    folder.mkdir(parents=True)
    target = folder / (path.rpartition("/")[2] or "model")
    return get(source, path, rev=commit, out=str(target), progress=progress or SILENT).path


def _check(path: Path, oid: str, version: Version) -> None:
    """Makes sure that a single file is the one that the commit names; folders were verified file by file."""
    kind, _, digest = oid.partition(":")
    if not path.is_file() or digest.endswith(".dir") or not digest:
        return
    if kind == "md5":
        with path.open("rb") as file:
            same = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == digest
    else:
        data = path.read_bytes()
        head = f"blob {len(data)}\0".encode()
        new = hashlib.sha1 if len(digest) == 40 else hashlib.sha256
        same = new(head + data, usedforsecurity=False).hexdigest() == digest
    if not same:
        raise Corrupt(f"{version.name}: {path.name} is not {oid}", hint="Push it again from where it is sound.")


def _kept(place: Path) -> Loaded | None:
    """A version in the cache; None when it is not there, or not as it was."""
    try:
        record = msgspec.json.decode((place / _RECORD).read_bytes(), type=_Record, dec_hook=_path)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    for name, (size, at_ns, digest) in record.files.items():
        try:
            told = (place / name).lstat()
            if (told.st_size, told.st_mtime_ns) != (size, at_ns) and _stamp(place / name)[2] != digest:
                return None
        except OSError:
            return None
    os.utime(place / _RECORD)
    return _whole(record.loaded, place)


def _path(kind: type, value: str) -> Path:
    return Path(value)


def _whole(loaded: Loaded, place: Path) -> Loaded:
    reference = place / loaded.reference if loaded.reference else None
    return msgspec.structs.replace(loaded, path=place / loaded.path, reference=reference)


def _stamp(path: Path) -> tuple[int, int, str]:
    import blake3

    if path.is_symlink():
        return 0, path.lstat().st_mtime_ns, str(path.readlink())
    told = path.stat()
    return told.st_size, told.st_mtime_ns, blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).hexdigest()


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield (Path(place) / name).relative_to(folder).as_posix()


def _prune(folder: Path) -> None:
    """Deletes the versions of a model that were used longest ago; who has one open keeps it."""
    found = []
    for record in folder.glob(f"*/{_RECORD}"):
        try:
            found.append((record.stat().st_mtime_ns, record.parent))
        except OSError:  # another process deletes it at this moment
            continue
    for _, place in sorted(found, reverse=True)[_KEPT:]:
        shutil.rmtree(place, ignore_errors=True)


def _place(above: Path, source: str, model: str, version: str) -> Path:
    return above / _digest(source) / quote(model, safe="") / quote(version, safe="+")


def _is_address(repo: str) -> bool:
    return "://" in repo or (re.match(r"[^/\\]+:", repo) is not None and not Path(repo).is_dir())


def _address(repo: str) -> str:
    from modelkeep.code.command import without_user

    return without_user(repo)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
