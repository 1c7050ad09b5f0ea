"""What somebody wants back: a version, what served at a time, or a release, as the registry and the server know it."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from modelkeep.cli.client import Client
from modelkeep.cli.output import rows_of
from modelkeep.core.clock import Wall
from modelkeep.core.errors import BadInput, Error, Missing
from modelkeep.core.times import iso, time_ns

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.models.registry import Registry
    from modelkeep.models.restore import Ran
    from modelkeep.models.state import Version

Row = Mapping[str, "Json"]
_RELEASE: Final = re.compile(r"[0-9a-f]{8,32}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOST: Final = 10_000
NO_SERVER: Final = "no server is known (MODELKEEP_URL): what was never committed and the configuration are not brought"


class Wish(NamedTuple):
    """What is to be restored.

    Args:
        ran: code, patch and configurations.
        version: of the registry; None when it has none.
        notes: what a person should know about the choice.
    """

    ran: Ran
    version: Version | None
    notes: tuple[str, ...]


def wish(registry: Registry, what: str, *, release: str = "", clean: bool = False) -> Wish:
    """Gives what a text asks for.

    Args:
        registry: of the repository.
        what: `churn@v1.2.0`, `churn@production`, `churn@2026-03-01T12:00`, or the beginning of a release's id.
        release: which one, where several ran the same version.
        clean: leave out what was never committed.

    Raises:
        Missing: nobody knows of it.
        BadInput: it is no such text, or is known to the server only and there is none.
    """
    client = _server()
    name, _, rest = what.partition("@")
    notes: list[str] = []
    version: Version | None = None
    row: Row | None
    if not rest:
        row = _one(_rows(_needed(client, what)), release or what)
    elif _DAY.match(rest):
        row = _then(_rows(_needed(client, what), model=name), name, rest, notes)
    else:
        version = registry.resolve(what)
        rows = _rows(client, model=version.model, version=version.version) if client is not None else []
        row = _latest(rows, release, version, notes)
    if client is None:
        notes.append(NO_SERVER)
    if version is None and row is not None:
        version = _registered(registry, row, notes)
    return Wish(_ran(client, row, version, clean), version, tuple(notes))


def _server() -> Client | None:
    known = os.environ.get("MODELKEEP_URL") or Path(".modelkeep", "server.json").exists()
    return Client.here() if known else None


def _needed(client: Client | None, what: str) -> Client:
    if client is None:
        raise BadInput(
            f"{what}: only a server knows what ran when, and none is known here",
            hint="Set MODELKEEP_URL, or name a version: churn@v1.2.0",
        )
    return client


def _rows(client: Client, **asked: str) -> Sequence[Row]:
    return rows_of(client.get("/api/v1/models/timeline", limit=_MOST, **asked), "timeline")


def _one(rows: Sequence[Row], release: str) -> Row:
    if not _RELEASE.fullmatch(release):
        raise BadInput(
            f"{release!r} is neither a version of a model nor a release nor a backup's file",
            hint="Say churn@v1.2.0, churn@production, churn@2026-03-01T12:00, or the id of a release.",
        )
    found = [row for row in rows if any(name.startswith(release) for name in _texts(row, "releases"))]
    if len(found) != 1:
        what = f"{len(found)} releases begin with" if found else "no release is named"
        raise Missing(f"{what} {release}", hint="See them: modelkeep model timeline")
    return found[0]


def _then(rows: Sequence[Row], model: str, when: str, notes: list[str]) -> Row:
    """What served at a time: what answered then; else what began last before it."""
    at_ns = time_ns(when, now_ns=Wall().now_ns())
    moment = iso(at_ns)
    begun = [row for row in rows if row.get("role") != "shadow" and str(row.get("first_prediction") or "9") <= moment]
    if not begun:
        raise Missing(f"{model}: nothing served yet at {moment}", hint=f"modelkeep model timeline {model}")
    serving = [row for row in begun if str(row.get("last_prediction") or "") >= moment]
    found = max(serving or begun, key=lambda row: str(row.get("first_prediction")))
    if not serving:
        notes.append(f"nothing answered at {moment} itself; this is what had begun last before")
    notes += [f"also answering then: {_named(row)}" for row in serving if row is not found]
    return found


def _latest(rows: Sequence[Row], release: str, version: Version, notes: list[str]) -> Row | None:
    if release:
        return _one(rows, release)
    if not rows:
        return None
    found = max(rows, key=lambda row: str(row.get("announced")))
    others = [row for row in rows if row is not found]
    if others:
        notes.append(f"{version.name} ran in {len(rows)} ways; this is the newest, {_named(found)}")
        notes += [f"another, by --release: {_named(row)}" for row in others[:5]]
    return found


def _named(row: Row) -> str:
    dirty = ", with changes that were never committed" if row.get("dirty") else ""
    release = next(iter(_texts(row, "releases")), "")[:12]
    return f"release {release}: {row.get('model')} {row.get('version')}, code {str(row.get('code'))[:12]}{dirty}"


def _registered(registry: Registry, row: Row, notes: list[str]) -> Version | None:
    try:
        return registry.resolve(f"{row.get('model')}@{row.get('version')}", hidden=True)
    except Error as error:
        notes.append(f"no model of the registry: {error.message}")
        return None


def _ran(client: Client | None, row: Row | None, version: Version | None, clean: bool) -> Ran:
    from modelkeep.models.restore import Ran

    if row is None:
        if version is None:
            raise Missing("nothing is known of it")
        return Ran(version.model, version.version, version.commit)
    patch, refused = _patch(client, row, clean)
    return Ran(
        model=str(row.get("model")),
        version=str(row.get("version")),
        commit=str(row.get("code") or ""),
        release=next(iter(_texts(row, "releases")), ""),
        patch=patch,
        refused=refused,
        configurations=_configurations(client, str(row.get("config_version") or "")),
        announced=str(row.get("announced") or ""),
        who=", ".join(_texts(row, "deployers") or _texts(row, "authors")),
    )


def _patch(client: Client | None, row: Row, clean: bool) -> tuple[bytes | None, str]:
    from modelkeep.code.patch import inflated

    name = str(row.get("patch") or "")
    if not row.get("dirty"):
        return None, ""
    if clean:
        return None, "changes that were never committed were left out, as asked"
    if not name or client is None:
        return None, "it ran with changes that were never committed, and nobody sent them to the server"
    told = client.get(f"/api/v1/patches/{quote(name, safe='')}")
    return inflated(b64decode(str(told["deflated"])), name, int(str(told["size"]))), ""


def _configurations(client: Client | None, names: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name in filter(None, names.split("+")):
        try:
            told = client.get(f"/api/v1/configurations/versions/{quote(name, safe='')}") if client is not None else {}
        except (Missing, BadInput):
            told = {}
        found[name] = told.get("tree")
    return found


def _texts(row: Row, key: str) -> list[str]:
    found = row.get(key)
    return [str(one) for one in found if one] if isinstance(found, list) else []
