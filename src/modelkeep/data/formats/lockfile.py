"""What pipelines of DVC put out: `dvc.lock` says which objects, `dvc.yaml` how they are kept. Read, never run."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.data.formats.metafile import Metafile, Out, document_of, parse_outs
from modelkeep.data.formats.rewrite import content, shown
from modelkeep.data.formats.templates import Read, filled, item, values

LOCK: Final = "dvc.lock"
STAGES: Final = "dvc.yaml"
_TEMPLATE: Final = re.compile(r"\\?\$\{[^{}]*\}")
_KINDS: Final = ("outs", "metrics", "plots")
_Stage = dict[str, Json]


def pipeline_outs(
    path: Path, lock: bytes | None, stages: bytes | None = None, *, read: Read | None = None
) -> list[Metafile]:
    """Gives what each stage of a pipeline puts out, a metafile per stage that has outs.

    Args:
        path: where `dvc.yaml` or `dvc.lock` lies; its folder is where paths start.
        lock: the bytes of `dvc.lock`; None when there is none.
        stages: the bytes of `dvc.yaml`; None when there is none: every out then counts as kept in the cache.
        read: gives the files that `dvc.yaml` takes variables from, by name; by default those beside `path`.

    Raises:
        BadInput: one of them is no such file; the message names file and line.
    """
    locked = _stages(document_of(lock, path.with_name(LOCK)) if lock else {}, path.with_name(LOCK))
    if stages is None:
        found = [_of(name, stage, path, lock or b"") for name, stage in locked.items()]
        return [one for one in found if one.outs]
    return _Pipeline(path, lock or b"", stages, read or (lambda name: content(path.parent / name))).metafiles(locked)


def _of(name: str, stage: _Stage, path: Path, lock: bytes) -> Metafile:
    return Metafile(path=path, outs=parse_outs(stage.get("outs"), path.with_name(LOCK), ("stages", name, "outs"), lock))


def _stages(document: _Stage, path: Path) -> dict[str, _Stage]:
    """The stages of either file; a lock of DVC 1 has them at its top."""
    top = path.name == LOCK and not {"stages", "schema"} & document.keys()
    stages = document if top else document.get("stages")
    if stages is None:
        return {}
    if not isinstance(stages, dict):
        raise BadInput(f"{shown(path)}: stages: expected names and what belongs to them")
    return {name: stage for name, stage in stages.items() if isinstance(stage, dict)}


class _Pipeline:
    """A lock beside the stages that it is of."""

    def __init__(self, path: Path, lock: bytes, stages: bytes, read: Read) -> None:
        self._path, self._lock, self._read = path, lock, read
        self._yaml = path.with_name(STAGES)
        self._document = document_of(stages, self._yaml) if stages.strip() else {}
        self._written = _stages(self._document, self._yaml)
        self._values: _Stage | None = None

    def metafiles(self, locked: dict[str, _Stage]) -> list[Metafile]:
        found = []
        for name, stage in locked.items():
            written = self._of(name)
            if written is None:
                continue  # left over from a stage that is gone
            one = _of(name, stage, self._path, self._lock)
            flags = list(_flags(_inner(written)))
            outs = tuple(_flagged(out, flags) for out in one.outs)
            found.append(replace(one, outs=outs, wdir=self._wdir(name, written)))
        found += [self._unlocked(name, stage) for name, stage in self._written.items() if name not in locked]
        return [one for one in found if one.outs]

    def _of(self, name: str) -> _Stage | None:
        """A stage as `dvc.yaml` writes it, by the name it has in `dvc.lock`; None: there is none any more."""
        found = self._written.get(name)
        if found is None:
            found = self._written.get(name.rpartition("@")[0])
            return found if found is not None and {"foreach", "matrix"} & found.keys() else None
        return found

    def _unlocked(self, name: str, stage: _Stage) -> Metafile:
        """Outs of a stage that never ran: without an object."""
        outs: list[Out] = []
        for out, how in _flags(stage):  # those of `foreach` stand below `do`, and have no place without an item
            if "${" not in out and not {"foreach", "matrix"} & stage.keys():
                outs.append(_flagged(Out(path=out), [(out, how)]))
        return Metafile(path=self._path, outs=tuple(outs), wdir=self._wdir(name, stage) if outs else ".")

    def _wdir(self, name: str, stage: _Stage) -> str:
        wdir = _inner(stage).get("wdir")
        if wdir is None:
            return "."
        place = f"{shown(self._yaml)}: stages.{name}.wdir"
        if not isinstance(wdir, str):
            raise BadInput(f"{place}: expected a folder")
        if "${" not in wdir:
            return wdir
        if self._values is None:
            self._values = values(self._document, self._yaml, self._read)
        try:
            return filled(wdir, {**self._values, **item(stage, name.rpartition("@")[2], self._values)})
        except KeyError as error:
            raise BadInput(f"{place}: no value for {error.args[0]!a}") from None


def _inner(stage: _Stage) -> _Stage:
    inner = stage.get("do")
    return inner if isinstance(inner, dict) else stage


def _flags(stage: _Stage) -> Iterator[tuple[str, _Stage]]:
    """Outs as written, with how each is kept."""
    for kind in _KINDS:
        outs = stage.get(kind)
        for out in outs if isinstance(outs, list) else ():
            if isinstance(out, str) and out:
                yield out, {}
            elif isinstance(out, dict):
                for path, flags in out.items():
                    yield path, flags if isinstance(flags, dict) else {}


def _flagged(out: Out, flags: list[tuple[str, _Stage]]) -> Out:
    for path, how in flags:
        if posixpath.normpath(path) == posixpath.normpath(out.path) or _matches(path, out.path):
            remote = how.get("remote")
            return replace(
                out,
                cache=how.get("cache") is not False,
                push=how.get("push") is not False,
                persist=how.get("persist") is True,
                remote=remote if isinstance(remote, str) else "",
            )
    return out


def _matches(template: str, path: str) -> bool:
    """Whether a path may be what a template with `${…}` stands for."""
    if "${" not in template:
        return False
    pieces = [re.escape(piece) for piece in _TEMPLATE.split(template)]
    return re.fullmatch(".*".join(pieces), path) is not None
