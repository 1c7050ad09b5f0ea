"""What a repository says about a model at a commit: `artifacts:` of `dvc.yaml`, or GTO's older `artifacts.yaml`."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.code.repository import Git

STAGES: Final = "dvc.yaml"
OLDER: Final = "artifacts.yaml"


class Artifact(msgspec.Struct, frozen=True):
    """One entry of `artifacts:`.

    Args:
        model: its name in the registry, with the folder before a colon.
        file: which file says so; empty when none does.
        path: of the model's file or folder, relative to git's root; empty when it is not said.
        type: such as `model`.
        desc: what somebody wrote about it.
        labels: to find it by.
        meta: anything else: `features`, `metrics`, `configuration`, `log` and `reference` are understood here.
    """

    model: str
    file: str = ""
    path: str = ""
    type: str = ""
    desc: str = ""
    labels: tuple[str, ...] = ()
    meta: dict[str, Json] = {}

    def json(self) -> dict[str, Json]:
        """The entry as programs read it."""
        return {
            "path": self.path or None,
            "type": self.type or None,
            "desc": self.desc or None,
            "labels": [*self.labels],
            "meta": self.meta,
        }


def artifact_at(git: Git, commit: str, model: str) -> Artifact:
    """Gives what a commit says about a model; only its name when it says nothing.

    Args:
        git: the repository.
        commit: or another revision.
        model: its name; of `sub/folder:name` the file is `sub/folder/dvc.yaml`.

    Raises:
        BadInput: the file is no YAML, or the entry is not of that form; the message names file and line.
    """
    folder, _, name = model.rpartition(":")
    for file, key in ((posixpath.join(folder, STAGES), "artifacts"), (OLDER, "")):
        document = _document(git, commit, file)
        entries = document.get(key) if key else document
        found = entries.get(name if key else model) if isinstance(entries, dict) else None
        if isinstance(found, dict):
            return _artifact(model, file, posixpath.dirname(file), found)
        if found is not None:
            raise BadInput(f"{commit[:12]}:{file}: artifacts.{name}: expected `path:` and what belongs to it")
    return Artifact(model)


def artifacts_at(git: Git, rev: str) -> list[Artifact]:
    """Gives every entry of a revision, sorted by name.

    Raises:
        Missing: there is no such revision.
        BadInput: a file is no YAML; the message names file and line.
    """
    found: dict[str, Artifact] = {}
    for file in git.files(rev, suffixes=(STAGES,)):
        folder, _, name = file.path.rpartition("/")
        entries = _document(git, rev, file.path).get("artifacts") if name == STAGES else None
        for key, entry in (entries if isinstance(entries, dict) else {}).items():
            if isinstance(entry, dict):
                model = f"{folder}:{key}" if folder else key
                found[model] = _artifact(model, file.path, folder, entry)
    for key, entry in _document(git, rev, OLDER).items():
        if isinstance(entry, dict):
            found.setdefault(key, _artifact(key, OLDER, "", entry))
    return [found[model] for model in sorted(found)]


def _document(git: Git, commit: str, file: str) -> dict[str, Json]:
    try:
        data = git.read(commit, file)
    except (Missing, BadInput):
        return {}
    if not data.strip():
        return {}
    from modelkeep.data.formats.metafile import document_of

    return document_of(data, Path(f"{commit[:12]}:{file}"))


def _artifact(model: str, file: str, folder: str, entry: dict[str, Json]) -> Artifact:
    labels, meta, path = entry.get("labels"), entry.get("meta", entry.get("custom")), _text(entry.get("path"))
    place = posixpath.normpath(posixpath.join(folder, path)) if path else ""
    return Artifact(
        model=model,
        file=file,
        path="" if place.startswith(("../", "/")) else place,
        type=_text(entry.get("type")),
        desc=_text(entry.get("desc", entry.get("description"))),
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
        meta=meta if isinstance(meta, dict) else {},
    )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
