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
from modelkeep.data.metafile import Metafile, Out, document_of, parse_outs
from modelkeep.data.rewrite import shown

LOCK: Final = "dvc.lock"
STAGES: Final = "dvc.yaml"
_TEMPLATE: Final = re.compile(r"\\?\$\{[^{}]*\}")
_KINDS: Final = ("outs", "metrics", "plots")


def pipeline_outs(path: Path, lock: bytes | None, stages: bytes | None = None) -> list[Metafile]:
    """Gives what each stage of a pipeline puts out, a metafile per stage that has outs.

    Args:
        path: where `dvc.yaml` or `dvc.lock` lies; its folder is where paths start.
        lock: the bytes of `dvc.lock`; None when there is none.
        stages: the bytes of `dvc.yaml`; None when there is none: every out then counts as kept in the cache.

    Raises:
        BadInput: one of them is no such file; the message names file and line.
    """
    locked = _stages(lock, path.with_name(LOCK))
    written = _stages(stages, path.with_name(STAGES)) if stages is not None else None
    found = []
    for name, stage in locked.items():
        wanted = _stage(written, name) if written is not None else {}
        if wanted is None:
            continue  # left over from a stage that is gone
        outs = parse_outs(stage.get("outs"), path.with_name(LOCK), ("stages", name, "outs"))
        flags = list(_flags(wanted))
        kept = tuple(_flagged(out, flags) for out in outs)
        if kept:
            found.append(Metafile(path=path, outs=kept, wdir=_wdir(wanted, name, path)))
    return found + _unlocked(path, locked, written or {})


def _stages(data: bytes | None, path: Path) -> dict[str, dict[str, Json]]:
    if not data or not data.strip():
        return {}
    document = document_of(data, path)
    stages = document.get("stages") if "stages" in document or "schema" in document else document
    if path.name == STAGES:
        stages = document.get("stages")
    if stages is None:
        return {}
    if not isinstance(stages, dict):
        raise BadInput(f"{shown(path)}: stages: expected names and what belongs to them")
    return {name: stage for name, stage in stages.items() if isinstance(stage, dict)}


def _stage(stages: dict[str, dict[str, Json]], name: str) -> dict[str, Json] | None:
    """A stage as `dvc.yaml` writes it, by the name it has in `dvc.lock`; None: there is none any more."""
    found = stages.get(name)
    if found is None:
        found = stages.get(name.rpartition("@")[0])
        if found is None or not {"foreach", "matrix"} & found.keys():
            return None
    inner = found.get("do")
    return inner if isinstance(inner, dict) else found


def _flags(stage: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Outs as written, with how each is kept."""
    for kind in _KINDS:
        outs = stage.get(kind)
        for out in outs if isinstance(outs, list) else ():
            if isinstance(out, str):
                yield out, {}
            elif isinstance(out, dict):
                for path, flags in out.items():
                    yield path, flags if isinstance(flags, dict) else {}


def _flagged(out: Out, flags: list[tuple[str, dict[str, Json]]]) -> Out:
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


def _wdir(stage: dict[str, Json], name: str, path: Path) -> str:
    wdir = stage.get("wdir")
    if wdir is None:
        return "."
    if not isinstance(wdir, str):
        raise BadInput(f"{shown(path.with_name(STAGES))}: stages.{name}.wdir: expected a folder")
    return wdir


def _unlocked(path: Path, locked: dict[str, dict[str, Json]], written: dict[str, dict[str, Json]]) -> list[Metafile]:
    """Outs of stages that never ran: without an object."""
    found = []
    for name, stage in written.items():
        if name in locked or {"foreach", "matrix", "do"} & stage.keys():
            continue
        outs = tuple(_flagged(Out(path=out), [(out, how)]) for out, how in _flags(stage) if "${" not in out)
        if outs:
            found.append(Metafile(path=path, outs=outs, wdir=_wdir(stage, name, path)))
    return found
