"""`.dvc` files: what a tracked file or folder was when it was last added, and where it came from.

Reading takes DVC 2's files too (no `hash:` key); writing gives the bytes that DVC gives, and leaves comments, order
and fields that are not ours as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json
from modelkeep.data.formats import plain
from modelkeep.data.formats.outs import LEGACY, Dep, Metafile, Out, Reader
from modelkeep.data.formats.rewrite import content, rewrite, shown

__all__ = ["LEGACY", "SUFFIX", "Dep", "Metafile", "Out", "document", "document_of", "parse", "read", "render", "sealed"]
__all__ += ["parse_outs", "stage_md5", "write"]

SUFFIX: Final = ".dvc"
_MARKER: Final = re.compile(rb"^(?:<{7} |={7}$|>{7} |\|{7} )", re.MULTILINE)


def read(path: Path) -> Metafile:
    """Gives a `.dvc` file.

    Raises:
        Missing: there is none.
        BadInput: it is no such file; the message names file and line.
    """
    data = content(path)
    if data is None:
        raise Missing(f"{shown(path)}: no such file", hint=f"Track the data first: modelkeep add {shown(path)[:-4]}")
    return parse(data, path)


def parse(data: bytes, path: Path) -> Metafile:
    """Gives a `.dvc` file from its bytes.

    Args:
        data: as they lie on disk or in a git revision.
        path: where the file lies, or lay.

    Raises:
        BadInput: these are not the bytes of such a file; the message names file and line.
    """
    return Reader(path, data).metafile(document_of(data, path), data)


def document_of(data: bytes, path: Path) -> dict[str, Json]:
    """Gives the mapping that a YAML file of DVC's holds.

    Raises:
        BadInput: it holds none; the message names file and line.
    """
    text = _text(data, path)
    found = plain.read(text)
    return found if found is not None else _document(text, path)


def parse_outs(outs: Json, path: Path, at: tuple[str | int, ...], data: bytes = b"") -> tuple[Out, ...]:
    """Gives a list of outs that stands in another file of DVC's.

    Args:
        outs: the list, as read.
        path: the file.
        at: the keys that lead to the list.
        data: the file's bytes, for the lines in messages.

    Raises:
        BadInput: it is no list of outs.
    """
    return Reader(path, data).outs({at[-1]: outs} if isinstance(at[-1], str) else {}, at)


def render(metafile: Metafile, previous: bytes | None = None) -> bytes:
    """Gives a `.dvc` file's bytes, as DVC writes them.

    Args:
        metafile: what it should say.
        previous: what the file holds now; its comments, its order and its other fields stay.

    Raises:
        BadInput: `previous` is no YAML, or a name is no UTF-8.
    """
    wanted = document(metafile)
    if not previous or not previous.strip():
        return _bytes(plain.write(wanted) or _dumped(wanted), metafile.path)
    text = _text(previous, metafile.path)
    old = plain.read(text)
    if old is not None and plain.write(old) == text:
        _apply(old, wanted)
        edited = plain.write(old)
        if edited is not None:
            return edited.encode()
    from modelkeep.data.formats.roundtrip import edited as edited_yaml

    return _bytes(edited_yaml(text, lambda old: _apply(old, wanted), shown(metafile.path)), metafile.path)


def write(path: Path, metafile: Metafile) -> bool:
    """Writes a `.dvc` file in one step, keeping what else stood in it; False: it said this already.

    Raises:
        BadInput: what is there now is no YAML.
        Denied: it may not be written.
    """
    return rewrite(path, render(metafile, content(path) or metafile.source))


def document(metafile: Metafile) -> dict[str, Json]:
    """Gives a metafile as the document that DVC writes, in DVC's order; empty fields are left out."""
    whole: dict[str, Json] = {
        "desc": metafile.desc,
        "md5": metafile.md5,
        "wdir": metafile.wdir if metafile.wdir != "." else "",
        "frozen": metafile.frozen,
        "deps": [_dep(dep) for dep in metafile.deps],
        "outs": [_out(out) for out in metafile.outs],
    }
    return {key: value for key, value in whole.items() if value}


def sealed(metafile: Metafile) -> Metafile:
    """Gives an import's metafile with its `md5` as DVC computes it; one without sources has none."""
    if not metafile.deps:
        return replace(metafile, md5="")
    from modelkeep.data.formats.roundtrip import load

    text = render(replace(metafile, md5=""), metafile.source).decode()
    found = plain.read(text)
    whole = found if found is not None else load(text, shown(metafile.path))
    return replace(metafile, md5=stage_md5(whole if isinstance(whole, dict) else {}))


_UNCOUNTED: Final = frozenset(
    {"desc", "type", "labels", "meta", "locked", "frozen", "metric", "persist", "isexec", "size", "nfiles"}
)


def stage_md5(document: Mapping[str, Json]) -> str:
    """Gives the `md5` of an import's document: over its sources and outs, without what may change freely.

    >>> stage_md5({"frozen": True, "deps": [{"path": "a"}], "outs": [{"path": "a", "size": 3}]})
    '0570eb716214ef0702bbf05c06768628'
    """
    import json
    from hashlib import md5

    counted = {key: value for key, value in document.items() if key != "md5" and (key, value) != ("wdir", ".")}
    text = json.dumps(_counted(counted), sort_keys=True)
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _counted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _counted(item) for key, item in value.items() if key not in _UNCOUNTED}
    return [_counted(item) for item in value] if isinstance(value, list) else value


def _text(data: bytes, path: Path) -> str:
    marker = _MARKER.search(data)
    if marker is not None:
        line = data.count(b"\n", 0, marker.start()) + 1
        name = shown(path)
        raise BadInput(
            f"{name}:{line}: merge conflict markers",
            hint=f"Keep one side: `git checkout --ours -- {name}` or `--theirs`, then `modelkeep checkout {name}`.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{shown(path)}:{line}: not UTF-8 at byte {error.start}") from None


def _bytes(text: str, path: Path) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"{shown(path)!a}: a name that is no UTF-8 cannot stand in it", hint="Rename the file."
        ) from None


def _document(text: str, path: Path) -> dict[str, Json]:
    from modelkeep.data.formats.roundtrip import load

    found = load(text, shown(path))
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise BadInput(f"{shown(path)}:1: not a .dvc file: no mapping at its top")
    return found


def _dumped(wanted: dict[str, Json]) -> str:
    from modelkeep.data.formats.roundtrip import dumped

    return dumped(wanted)


def _out(out: Out) -> dict[str, Json]:
    whole: dict[str, Json] = {}
    if out.oid:
        whole["md5"] = out.oid
    if out.size is not None:
        whole["size"] = out.size
    if out.nfiles is not None:
        whole["nfiles"] = out.nfiles
    if out.executable:
        whole["isexec"] = True
    if out.hash != LEGACY:
        whole["hash"] = out.hash
    whole["path"] = out.path
    if not out.cache:
        whole["cache"] = False
    if out.persist:
        whole["persist"] = True
    if out.remote:
        whole["remote"] = out.remote
    if not out.push:
        whole["push"] = False
    return whole


def _dep(dep: Dep) -> dict[str, Json]:
    if dep.repo_url:
        repo: dict[str, Json] = {
            "url": dep.repo_url,
            "rev": dep.repo_rev,
            "rev_lock": dep.repo_rev_lock,
            "config": _settings(dep.repo_config),
            "remote": _settings(dep.repo_remote),
        }
        return {"path": dep.path, "repo": {key: value for key, value in repo.items() if value}}
    whole: dict[str, Json] = {"md5": dep.oid or None, "etag": dep.etag or None, "checksum": dep.checksum or None}
    whole |= {"size": dep.size, "nfiles": dep.nfiles, "isexec": dep.executable or None}
    whole["hash"] = dep.hash if dep.hash != LEGACY else None
    whole["path"] = dep.path
    return {key: value for key, value in whole.items() if value is not None}


def _settings(text: str) -> Json:
    if not text.startswith("{"):
        return text
    import msgspec

    found: Json = msgspec.json.decode(text)
    return found


_OURS: Final = {
    "": ("desc", "md5", "wdir", "frozen", "locked", "deps", "outs"),
    "outs": ("md5", "size", "nfiles", "isexec", "hash", "path", "cache", "persist", "remote", "push"),
    "deps": ("md5", "etag", "checksum", "size", "nfiles", "isexec", "hash", "path", "repo"),
}


def _apply(old: dict[str, Json], wanted: dict[str, Json], part: str = "") -> None:
    """Makes a document say what is wanted, touching nothing that says so already."""
    moved = part == "outs" and old.get("md5") != wanted.get("md5")
    for key, value in wanted.items():
        now = old.get(key)
        if isinstance(value, list) and key in _OURS:
            old[key] = _items(now if isinstance(now, list) else None, value, key)
        elif isinstance(value, dict) and isinstance(now, dict):
            for name in [name for name in now if name not in value]:
                del now[name]
            now.update({name: item for name, item in value.items() if now.get(name) != item})
        elif key not in old or now != value or isinstance(value, bool) != isinstance(now, bool):
            old[key] = value
    for key in _OURS[part]:
        if key not in wanted and key in old and not (part == "" and key == "desc"):
            del old[key]
    for key in ("files", "cloud", "etag", "version_id") if moved else ():
        old.pop(key, None)  # said where a store kept the object that it no longer is


def _items(now: list[Json] | None, wanted: list[Json], part: str) -> list[Json]:
    """Brings a list of outs or deps to what is wanted; items are the same by path, or by place if none is added."""
    if now is None:
        return wanted
    if len(now) == len(wanted):
        pairs = list(zip(now, wanted, strict=True))
        if all(isinstance(one, dict) for one in now):
            for one, other in pairs:
                if isinstance(one, dict) and isinstance(other, dict):
                    _apply(one, other, part)
            return now
    by_path = {str(one.get("path")): one for one in now if isinstance(one, dict)}
    items: list[Json] = []
    for other in wanted:
        one = by_path.pop(str(other.get("path")), None) if isinstance(other, dict) else None
        if one is not None and isinstance(other, dict):
            _apply(one, other, part)
        items.append(other if one is None else one)
    now[:] = items
    return now
