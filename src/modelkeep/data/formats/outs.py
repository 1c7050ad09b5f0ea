"""What a `.dvc` file says, as values, and how its YAML becomes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.data.formats.rewrite import shown

LEGACY: Final = "md5-dos2unix"
_OID: Final = re.compile(r"[0-9a-f]{32}(?:\.dir)?\Z")
_Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """One tracked file or folder.

    Args:
        path: as written: POSIX separators, from the metafile's folder (or its `wdir`).
        oid: the object's md5, a folder's with `.dir` behind it; "" when there is none yet.
        size: bytes, of a folder's files together.
        nfiles: how many files a folder has.
        executable: a single file that may be run.
        hash: "md5", or "md5-dos2unix" for files of DVC 2.
        cache: False when the data is not kept as objects.
        push: False when it stays on this machine.
        remote: the one remote it belongs to; "" for the default.
        persist: a pipeline does not remove it before it runs.
    """

    path: str
    oid: str = ""
    size: int | None = None
    nfiles: int | None = None
    executable: bool = False
    hash: str = "md5"
    cache: bool = True
    push: bool = True
    remote: str = ""
    persist: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.oid.endswith(".dir") or self.nfiles is not None

    @property
    def legacy(self) -> bool:
        """Whether its object lies where DVC 2 put it."""
        return self.hash == LEGACY


@dataclass(frozen=True, slots=True, kw_only=True)
class Dep:
    """Where an imported file or folder came from.

    Args:
        path: a URL or a path; of a git repository's import, the path in it.
        oid: its md5 when it was imported, or "".
        etag: what the store called that version, or "".
        checksum: the same for stores without etags.
        size: bytes.
        nfiles: how many files a folder has.
        executable: a single file that may be run.
        hash: as for `Out`.
        repo_url: the git repository; "" when it came from elsewhere.
        repo_rev: the branch or tag asked for, or "".
        repo_rev_lock: the commit it stood for.
        repo_config: a file with DVC settings for that repository, or the settings as a JSON object.
        repo_remote: the remote's name there, or its settings as a JSON object.
    """

    path: str
    oid: str = ""
    etag: str = ""
    checksum: str = ""
    size: int | None = None
    nfiles: int | None = None
    executable: bool = False
    hash: str = "md5"
    repo_url: str = ""
    repo_rev: str = ""
    repo_rev_lock: str = ""
    repo_config: str = ""
    repo_remote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metafile:
    """A `.dvc` file.

    Args:
        path: where it lies.
        outs: what it tracks.
        deps: where that came from.
        frozen: not to be brought up to date.
        md5: of an import, the hash over the file's own content.
        wdir: the folder that paths start from, seen from the file's own.
        desc: what somebody wrote about it.
        source: the bytes it was read from, for what else they hold.
    """

    path: Path
    outs: tuple[Out, ...]
    deps: tuple[Dep, ...] = ()
    frozen: bool = False
    md5: str = ""
    wdir: str = "."
    desc: str = ""
    source: bytes = field(default=b"", repr=False, compare=False)


class Reader:
    """Turns a document into a metafile; errors name the line, which is looked up only then."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._data = data

    def metafile(self, document: dict[str, Json], data: bytes) -> Metafile:
        return Metafile(
            path=self._path,
            outs=self.outs(document, ("outs",)),
            deps=tuple(self._dep(item, at) for at, item in self._items(document, ("deps",))),
            frozen=self._flag(document, "frozen", (), False) or self._flag(document, "locked", (), False),
            md5=self._word(document, "md5", ()),
            wdir=self._word(document, "wdir", ()) or ".",
            desc=self._word(document, "desc", ()),
            source=data,
        )

    def outs(self, document: dict[str, Json], at: _Place) -> tuple[Out, ...]:
        return tuple(self._out(item, place) for place, item in self._items(document, at))

    def _items(self, document: dict[str, Json], at: _Place) -> list[tuple[_Place, dict[str, Json]]]:
        found = document.get(str(at[-1]))
        if found is None:
            return []
        if not isinstance(found, list):
            self._refuse(at, "expected a list")
        items: list[tuple[_Place, dict[str, Json]]] = []
        for number, item in enumerate(found):
            if not isinstance(item, dict):
                self._refuse((*at, number), "expected `path:` and what belongs to it")
            items.append(((*at, number), item))
        return items

    def _out(self, item: dict[str, Json], at: _Place) -> Out:
        return Out(
            path=self._path_of(item, at),
            oid=self._oid(item, at),
            size=self._count(item, "size", at),
            nfiles=self._count(item, "nfiles", at),
            executable=self._flag(item, "isexec", at, False),
            hash=self._hash(item, at),
            cache=self._flag(item, "cache", at, True),
            push=self._flag(item, "push", at, True),
            remote=self._word(item, "remote", at),
            persist=self._flag(item, "persist", at, False),
        )

    def _dep(self, item: dict[str, Json], at: _Place) -> Dep:
        repo = item.get("repo")
        if repo is None:
            repo = {}
        if not isinstance(repo, dict):
            self._refuse((*at, "repo"), "expected `url:` and what belongs to it")
        inside = (*at, "repo")
        return Dep(
            path=self._path_of(item, at),
            oid=self._word(item, "md5", at).lower(),
            etag=self._word(item, "etag", at),
            checksum=self._word(item, "checksum", at),
            size=self._count(item, "size", at),
            nfiles=self._count(item, "nfiles", at),
            executable=self._flag(item, "isexec", at, False),
            hash=self._hash(item, at),
            repo_url=self._word(repo, "url", inside),
            repo_rev=self._word(repo, "rev", inside),
            repo_rev_lock=self._word(repo, "rev_lock", inside),
            repo_config=self._nested(repo, "config", inside),
            repo_remote=self._nested(repo, "remote", inside),
        )

    def _path_of(self, item: dict[str, Json], at: _Place) -> str:
        path = item.get("path")
        if not isinstance(path, str) or not path or "\0" in path:
            self._refuse((*at, "path"), "expected the path of a file or folder")
        return path

    def _oid(self, item: dict[str, Json], at: _Place) -> str:
        oid = self._word(item, "md5", at).lower()
        if oid and _OID.match(oid) is None:
            self._refuse((*at, "md5"), "expected 32 hex digits, for a folder with `.dir` behind them")
        return oid

    def _hash(self, item: dict[str, Json], at: _Place) -> str:
        name = self._word(item, "hash", at)
        if name not in {"", "md5", LEGACY}:
            self._refuse((*at, "hash"), "expected md5")
        return name or LEGACY

    def _word(self, item: dict[str, Json], key: str, at: _Place) -> str:
        value = item.get(key)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # an id of digits alone, written without quotes
        if not isinstance(value, str):
            self._refuse((*at, key), "expected a text")
        return value

    def _nested(self, item: dict[str, Json], key: str, at: _Place) -> str:
        value = item.get(key)
        if not isinstance(value, dict):
            return self._word(item, key, at)
        import msgspec

        return msgspec.json.encode(value).decode()

    def _count(self, item: dict[str, Json], key: str, at: _Place) -> int | None:
        value = item.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            self._refuse((*at, key), "expected a whole number from 0")
        return value

    def _flag(self, item: dict[str, Json], key: str, at: _Place, default: bool) -> bool:
        value = item.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._refuse((*at, key), "expected true or false")
        return value

    def _refuse(self, at: _Place, what: str) -> NoReturn:
        from modelkeep.data.formats.roundtrip import line_of

        name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")
        line = f":{line_of(self._data.decode(), at)}" if self._data else ""
        raise BadInput(f"{shown(self._path)}{line}: {name}: {what}")
