"""What runs, as the journal tells it: one row per release in the entries."""

from __future__ import annotations

import binascii
import json
import logging
import zlib
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.core.layouts import RELEASE
from modelkeep.core.shapes import Entry, Json
from modelkeep.store.tables import patch
from modelkeep.store.tables import release as table
from modelkeep.store.told import Row, Rows, Told

log: Final = logging.getLogger(__name__)

_COLUMNS: Final = tuple(name for name, _ in RELEASE)
_EMPTY: Final[dict[str, str | int | bool]] = {
    name: {"int64": 0, "bool": False}.get(kind, "{}" if name == "extra" else "") for name, kind in RELEASE
}


_DEFLATED: Final = "patch_deflate"
_PATCH_BYTES: Final = 1_500_000
_LARGEST: Final = 64_000_000
"""Of a patch as it is applied; one that claims more is not opened."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What a working tree had beyond its commit.

    Args:
        digest: its name, in the releases' `extra.patch`.
        size: bytes when inflated.
        first_ns: when it was first told.
        deflated: as zlib made it smaller.
    """

    digest: str
    size: int
    first_ns: int
    deflated: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """One release: which model, code, data and configuration ran where; see `core.layouts.RELEASE`.

    Args:
        at: when its process told first, ns.
        code: the commit.
        deployer: the name of the token that its process used.
        extra: a JSON object as text: `role`, `branch`, `remote`, `patch` and its `patch_size`, `patch_refused`,
            `untracked`, `patch_left_out`, and `content` where there is no commit; what is not said is absent.
    """

    id: str
    at: int
    model: str
    version: str
    code: str
    dirty: bool
    author: str
    data_version: str
    config_version: str
    host: str
    process: str
    deployer: str
    extra: str


class Releases(Told):
    """A reader of the journal that keeps releases.

    The same release told again changes its row only where something was said, and keeps the earliest time.
    """

    name = "releases"

    def list(self, model: str | None = None) -> list[Release]:
        """Gives the releases of a model, or of all, newest first."""
        query = sa.select(*(table.c[name] for name in _COLUMNS)).order_by(table.c.at.desc(), table.c.id)
        if model is not None:
            query = query.where(table.c.model == model)
        with self._entries.connect() as connection:
            return [Release(*row) for row in connection.execute(query)]

    def patch(self, digest: str) -> Patch | None:
        """Gives a patch by its name; None when it never came."""
        query = sa.select(patch.c.digest, patch.c.size, patch.c.first_ns, patch.c.bytes).where(patch.c.digest == digest)
        with self._entries.connect() as connection:
            row = connection.execute(query).first()
        return Patch(*row) if row else None

    def _rows(self, entry: Entry) -> Rows:
        rows: Rows = []
        for part in entry.parts:
            if part.kind == "release":
                rows += [
                    {name: _EMPTY[name] if row.get(name) is None else row[name] for name in _COLUMNS}
                    | {"seq": entry.seq}
                    for row in part.batch.to_pylist()
                ]
        return rows

    def _write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        for row in rows:
            if found := _taken(row):
                connection.execute(insert(patch).values(**found).on_conflict_do_nothing())
        connection.execute(_UPSERT, rows)


def _upsert() -> sa.Insert:
    new = insert(table)
    changed = {
        name: sa.case((new.excluded[name] == _EMPTY[name], table.c[name]), else_=new.excluded[name])
        for name in _COLUMNS
        if name not in {"id", "at", "dirty"}
    }
    earliest = sa.func.min(table.c.at, new.excluded.at)
    fixed = {"at": earliest, "dirty": new.excluded.dirty, "seq": new.excluded.seq}
    return new.on_conflict_do_update(index_elements=["id"], set_=changed | fixed)


def _taken(row: Row) -> dict[str, object] | None:
    """Takes the patch out of a release's extra; one that is not what its name says stays out of the table."""
    text = str(row["extra"])
    if _DEFLATED not in text:
        return None
    try:
        extra: dict[str, Json] = json.loads(text)
        deflated = b64decode(str(extra.pop(_DEFLATED)), validate=True)
        size = int(str(extra.get("patch_size")))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
        deflated, size = b"", 0
        extra = {name: value for name, value in _object(text).items() if name != _DEFLATED}
    digest = str(extra.get("patch", ""))
    good = _is(deflated, size, digest)
    if not good:
        log.warning("release %s: its patch is damaged and is not kept", row["id"])
        extra.pop("patch", None)
        extra["patch_refused"] = "it was damaged on its way"
    row["extra"] = json.dumps(extra, ensure_ascii=False, separators=(",", ":"))
    return {"digest": digest, "size": size, "first_ns": row["at"], "bytes": deflated} if good else None


def _object(text: str) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is(deflated: bytes, size: int, digest: str) -> bool:
    if not 0 < size <= _LARGEST or len(deflated) > _PATCH_BYTES:
        return False
    try:
        found = zlib.decompressobj().decompress(deflated, size + 1)
    except zlib.error:
        return False
    return len(found) == size and blake2b(found, digest_size=16).hexdigest() == digest


_UPSERT: Final = _upsert()
