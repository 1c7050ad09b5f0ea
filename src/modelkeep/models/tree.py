"""A commit as models see it: what is tracked in it, what its pipelines took and gave, and the figures it holds."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from modelkeep.core.errors import BadInput, Error, Missing
from modelkeep.core.shapes import Json
from modelkeep.models.artifacts import STAGES

if TYPE_CHECKING:
    from modelkeep.code.repository import File, Git
    from modelkeep.data.elsewhere.revisions import TrackedAt

Figure = int | float | str
"""A metric or a parameter."""
LOCK: Final = "dvc.lock"
TEXTS: Final = (".json", ".yaml", ".yml")
_SUFFIXES: Final = (".dvc", LOCK, STAGES, ".dvc/config")
_MOST_BYTES: Final = 1_000_000
"""Of one file of metrics or features."""
_MOST_VALUES: Final = 1_000
_DEEPEST: Final = 12


class Piece(msgspec.Struct, frozen=True):
    """A file or folder at the commit of a version.

    Args:
        path: relative to git's root.
        oid: `md5:…` of what is tracked, `git:…` of what lies in git; empty when it is not there.
        size: bytes; None when nobody has written it down.
        files: of a folder, how many; None for a file.
        metafile: which file tracks it; empty when git does.
    """

    path: str
    oid: str = ""
    size: int | None = None
    files: int | None = None
    metafile: str = ""

    def json(self) -> dict[str, Json]:
        """The piece as programs read it."""
        return {
            "path": self.path,
            "oid": self.oid or None,
            "size": self.size,
            "files": self.files,
            "metafile": self.metafile or None,
        }


class Stage(msgspec.Struct, frozen=True):
    """One stage of a `dvc.lock`; paths are relative to git's root."""

    deps: dict[str, str]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    params: dict[str, Figure]


class Tree:
    """A commit: what is tracked in it, what its pipelines say, and what lies in git."""

    def __init__(self, git: Git, commit: str, faults: list[str] | None = None) -> None:
        self._git = git
        self._commit = commit
        self._faults = faults
        self._files = git.files(commit, suffixes=_SUFFIXES)
        self._read: dict[str, dict[str, Json]] = {}
        self._tracked = {one.path: one for one in self._all_tracked()}
        self._stages = [*self._all_stages()]

    def piece(self, path: str) -> Piece:
        """What lies at a path: tracked, a part of what is tracked, or in git."""
        found = self._tracked.get(path)
        if found is not None:
            return _piece(found)
        code, out, _ = self._git.attempt(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._commit}:{path}"
        )
        if not code:
            oid = out.decode().strip()
            return Piece(path, f"git:{oid}", self._git.sizes([oid]).get(oid))
        above = next((one for one in self._tracked.values() if path.startswith(one.path + "/")), None)
        if above is not None and above.out.oid:
            return Piece(path, f"md5:{above.out.oid}", metafile=above.metafile)
        return Piece(path)

    def named(self, oids: Sequence[str]) -> list[Piece]:
        """The pieces of some ids, those that are not in the commit with an id only."""
        by = {f"md5:{one.out.oid}": one for one in self._tracked.values()}
        return [_piece(by[oid]) if oid in by else Piece("", oid) for oid in oids]

    def behind(self, path: str) -> list[Piece]:
        """What the stage that puts out a path takes from among what is tracked."""
        stage = self._stage_of(path)
        return [self.piece(dep) for dep in stage.deps if dep in self._tracked] if stage else []

    def beside(self, path: str) -> list[Piece]:
        """All that is tracked but a path, and what pipelines put out as metrics."""
        left_out = {path, *(name for stage in self._stages for name in stage.metrics)}
        return [
            _piece(self._tracked[path])
            for path in sorted(self._tracked.keys() - left_out)
            if self._tracked[path].out.oid
        ]

    def params(self, path: str) -> dict[str, Figure]:
        """What the stage that puts out a path was given, by name."""
        stage = self._stage_of(path)
        return stage.params if stage else {}

    def metrics(self) -> dict[str, Figure]:
        """The numbers in the files of metrics that lie in git."""
        found: dict[str, Figure] = {}
        names = [name for stage in self._stages for name in stage.metrics]
        for file in self._files:
            if posixpath.basename(file.path) == STAGES:
                folder = posixpath.dirname(file.path)
                names += [join(folder, name) for name in _names(self._readable(file).get("metrics"))]
        for name in dict.fromkeys(names):
            if name.endswith(TEXTS):
                found |= self._figures(name)
        return dict(list(found.items())[:_MOST_VALUES])

    def _figures(self, path: str) -> dict[str, Figure]:
        try:
            data = self._git.read(self._commit, path)
        except (Missing, BadInput):
            return {}
        try:
            return flat(parsed(data, f"{self._commit[:12]}:{path}"))
        except Error as error:
            self._failed(error)
            return {}

    def _stage_of(self, path: str) -> Stage | None:
        return next((stage for stage in self._stages if path and path in stage.outs), None)

    def _all_tracked(self) -> list[TrackedAt]:
        from modelkeep.data.elsewhere.revisions import tracked_in

        try:
            return tracked_in(self._git, self._commit, self._files)
        except Error as error:
            self._failed(error)
            return []

    def _all_stages(self) -> Iterable[Stage]:
        written = {file.path: file for file in self._files}
        for file in self._files:
            folder, _, name = file.path.rpartition("/")
            if name != LOCK:
                continue
            yaml = written.get(join(folder, STAGES))
            stages = self._readable(yaml).get("stages") if yaml else None
            yield from _stages(folder, self._readable(file), stages if isinstance(stages, dict) else {})

    def _readable(self, file: File) -> dict[str, Json]:
        """What a YAML file holds; nothing when it cannot be read and that is only told."""
        from modelkeep.data.formats.metafile import document_of

        if file.path not in self._read:
            data = self._git.blob(file.blob)
            self._read[file.path] = {}
            try:
                where = Path(f"{self._commit[:12]}:{file.path}")
                self._read[file.path] = document_of(data, where) if data.strip() else {}
            except Error as error:
                self._failed(error)
        return self._read[file.path]

    def _failed(self, error: Error) -> None:
        if self._faults is None:
            raise error
        self._faults.append(error.message)


def _stages(folder: str, locked: dict[str, Json], written: dict[str, Json]) -> Iterable[Stage]:
    stages = locked.get("stages") if {"stages", "schema"} & locked.keys() else locked
    for name, stage in (stages if isinstance(stages, dict) else {}).items():
        if not isinstance(stage, dict):
            continue
        source = written.get(name, written.get(name.rpartition("@")[0]))
        source = source if isinstance(source, dict) else {}
        inner = source.get("do")
        source = inner if isinstance(inner, dict) else source
        wdir = source.get("wdir")
        base = join(folder, wdir) if isinstance(wdir, str) and "${" not in wdir else folder
        params = stage.get("params")
        yield Stage(
            deps={join(base, path): oid for path, oid in _hashed(stage.get("deps"))},
            outs=tuple(join(base, path) for path, _ in _hashed(stage.get("outs"))),
            metrics=tuple(join(base, path) for path in _names(source.get("metrics"))),
            params=flat(params) if isinstance(params, dict) else {},
        )


def _hashed(items: Json) -> Iterable[tuple[str, str]]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("path"), str):
            oid = item.get("md5")
            yield str(item["path"]), oid if isinstance(oid, str) else ""


def _names(items: Json) -> list[str]:
    """Paths as `dvc.yaml` lists them: texts, or mappings of one path to how it is kept."""
    found: list[str] = []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found += [str(path) for path in item]
    return found


def _piece(one: TrackedAt) -> Piece:
    out = one.out
    return Piece(one.path, f"md5:{out.oid}" if out.oid else "", out.size, out.nfiles, one.metafile)


def parsed(data: bytes, where: str) -> Json:
    """Gives what a JSON or YAML file of a commit holds.

    Raises:
        BadInput: it is no such file, or too large; the message names it.
    """
    if len(data) > _MOST_BYTES:
        raise BadInput(f"{where}: {len(data)} bytes are too many for metrics or features")
    if where.endswith(".json"):
        try:
            found: Json = msgspec.json.decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadInput(f"{where}: {error}") from None
        return found
    from modelkeep.data.formats.metafile import document_of

    return document_of(data, Path(where)) if data.strip() else {}


def flat(value: Json) -> dict[str, Figure]:
    """Gives the numbers and texts of a tree by their dotted names, the first thousand of them.

    >>> flat({"test": {"auc": 0.9, "curve": [1, 2]}, "rows": 5})
    {'test.auc': 0.9, 'rows': 5}
    """
    return dict(islice(_leaves(value, "", [_MOST_VALUES * 10], 0), _MOST_VALUES))


def _leaves(value: Json, name: str, left: list[int], depth: int) -> Iterator[tuple[str, Figure]]:
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key), left, depth + 1)
    elif isinstance(value, int | float | str) and name:
        yield name, value


def join(folder: str, path: str) -> str:
    """Gives a path that is relative to a folder of the repository as one relative to its root."""
    return posixpath.normpath(posixpath.join(folder, path))
