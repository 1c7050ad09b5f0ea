"""What ran, brought back into an empty folder: code with what was never committed, data, model and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from modelkeep.core.errors import Error, Missing
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.data.progress import Progress
    from modelkeep.models.state import Version

BESIDE: Final = ".restored"
"""The folder for what has no place among the code: the record, the configuration, the model of the version."""


class Ran(msgspec.Struct, frozen=True):
    """What is to be brought back.

    Args:
        model: its name.
        version: the version that served; empty when only the code is asked for.
        commit: of the code; empty when it ran without git.
        release: the id of a release that ran it; empty for a version that nobody saw run.
        patch: what the tree had beyond the commit, as git applies it; None for a clean one.
        refused: why a tree that was not clean has no patch; empty otherwise.
        configurations: by their hashes, as the server has them; None for one that it does not have.
        announced: when it was first heard of, ISO 8601; empty when it never was.
        who: whoever ran it, as the server knows.
    """

    model: str
    version: str
    commit: str
    release: str = ""
    patch: bytes | None = None
    refused: str = ""
    configurations: Mapping[str, Json] = {}
    announced: str = ""
    who: str = ""


class Restored(msgspec.Struct, frozen=True):
    """What was brought back.

    Args:
        folder: where.
        commit: of the code.
        files: how many files of the commit.
        patched: paths that the patch changed.
        data: outputs by path: object, files and bytes.
        model: where the version's file or folder is, below the folder; empty without one.
        configurations: files with configurations, below the folder.
        lacking: what is not as it was, and why; empty when all is.
    """

    folder: Path
    commit: str
    files: int
    patched: tuple[str, ...]
    data: Mapping[str, tuple[str, int, int]]
    model: str
    configurations: tuple[str, ...]
    lacking: tuple[str, ...]

    def json(self) -> dict[str, Json]:
        """The same as programs read it."""
        return {
            "folder": str(self.folder),
            "commit": self.commit,
            "files": self.files,
            "patched": [*self.patched],
            "data": {
                path: {"oid": oid, "files": count, "bytes": size} for path, (oid, count, size) in self.data.items()
            },
            "model": self.model or None,
            "configurations": [*self.configurations],
            "lacking": [*self.lacking],
        }


def restore(
    git: Git,
    ran: Ran,
    folder: Path,
    *,
    version: Version | None = None,
    data: bool = True,
    progress: Progress | None = None,
) -> Restored:
    """Builds a folder that holds what ran, byte for byte; where it fails, the folder is left as it was.

    Code, and data in its places, lie in the folder itself; what has no place there lies in `.restored`: `record.json`,
    one `configuration-HASH.json` each, and in `model` the file of the version, wherever the code has it.

    Args:
        git: the repository of the code, which is also where its data is tracked.
        ran: what is wanted.
        folder: empty, or not there yet.
        version: of the registry, whose model is brought; None for a release without one.
        data: bring the data and the model, too.
        progress: hears of bytes.

    Raises:
        Conflict: the folder is not empty.
        Missing: the commit, or an object, is nowhere.
        Corrupt: an object, or the patch, is not what was stored.
        Denied: the folder cannot be written.
    """
    from modelkeep.code.patch import apply
    from modelkeep.code.tree import cleared, materialise

    if not ran.commit:
        raise Missing(
            f"{ran.model} {ran.version}: it ran without git, so that nobody knows its code".replace("  ", " "),
            hint="Deploy from a git checkout, or set GITHUB_SHA or CI_COMMIT_SHA where it runs.",
        )
    folder = folder.absolute()
    lacking = [ran.refused] if ran.refused else []
    with cleared(folder):
        tree = materialise(git, ran.commit, folder)
        patched = apply(git, ran.commit, ran.patch, folder) if ran.patch else []
        lacking += [f"{one.path}: a submodule, at commit {one.commit}" for one in tree.submodules]
        lacking += [f"{path}: its content is in Git LFS, which is not installed" for path in tree.pointers]
        brought = _data(git, ran, folder, progress) if data else {}
        model = _model(git, version, folder, lacking, progress) if data and version is not None else ""
        configurations = _configurations(ran, folder, lacking)
        made = Restored(folder, tree.commit, tree.files, tuple(patched), brought, model, configurations, tuple(lacking))
        _record(ran, made)
    return made


def _data(git: Git, ran: Ran, folder: Path, progress: Progress | None) -> dict[str, tuple[str, int, int]]:
    from modelkeep.data.elsewhere.filling import fill
    from modelkeep.data.progress import SILENT

    filled = fill(folder, str(git.root), ran.commit, progress=progress or SILENT)
    return {one.path: (one.oid, one.files, one.size) for one in filled}


def _model(git: Git, version: Version, folder: Path, lacking: list[str], progress: Progress | None) -> str:
    """Brings the file of a version; it need not be the one that lies beside the code."""
    from modelkeep.data.progress import SILENT
    from modelkeep.data.verbs.get import get
    from modelkeep.models.version import details

    told = details(git, version)
    if told.file is None:
        lacking.append(f"{version.name}: nobody says which file is the model")
        return ""
    place = folder / BESIDE / "model"
    place.mkdir(parents=True)
    target = place / (told.file.path.rpartition("/")[2] or "model")
    get(str(git.root), told.file.path, rev=version.commit, out=str(target), progress=progress or SILENT)
    return target.relative_to(folder).as_posix()


def _configurations(ran: Ran, folder: Path, lacking: list[str]) -> tuple[str, ...]:
    names = []
    for content, told in ran.configurations.items():
        if told is None:
            lacking.append(f"configuration {content}: the server does not have it")
            continue
        place = folder / BESIDE / f"configuration-{content[:12]}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(_shown(told))
        names.append(place.relative_to(folder).as_posix())
    return tuple(names)


def _record(ran: Ran, made: Restored) -> None:
    place = made.folder / BESIDE / "record.json"
    if place.parent.is_symlink() or place.exists():
        raise Error(f"{place}: the code has a file of this name", hint=f"Take {BESIDE} out of the commit.")
    place.parent.mkdir(exist_ok=True)
    who: dict[str, Json] = {
        "model": ran.model,
        "version": ran.version,
        "release": ran.release or None,
        "announced": ran.announced or None,
        "who": ran.who or None,
    }
    place.write_bytes(_shown(who | made.json()))


def _shown(value: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
