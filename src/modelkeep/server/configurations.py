"""What the typed API tells of configurations: what holds where, what changed, who wrote a key, how two differ."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

import orjson
from pydantic import Field, JsonValue

from modelkeep.configuration.secrecy import MASK, is_hidden, mask_url
from modelkeep.configuration.tree import leaves, parts, pick
from modelkeep.core.clock import SECOND, Clock
from modelkeep.core.errors import Missing
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso
from modelkeep.server.values import Row, plain
from modelkeep.server.words import Given, Told
from modelkeep.store.configurations import APPLIED, Change
from modelkeep.store.pairs import Write

if TYPE_CHECKING:
    from modelkeep.server.house import House

State = Literal["applied", "rejected", "rolled back", "unreachable", "recovered"]
_LIVE_NS: Final = 60 * SECOND
_PROCESSES: Final = 10_000
_BLAMED: Final = 5_000


class DifferenceTold(Told):
    """One key that differs; values of secrets are masked."""

    key: str
    before: JsonValue
    after: JsonValue
    mark: str


class ConfigurationTold(Told):
    """What holds in one process, and where each key was written."""

    process: str
    host: str
    service: str
    name: str
    hash: str
    applied: str
    source: str
    author: str
    reason: str
    live: bool
    seen: str | None
    tree: JsonValue
    marks: dict[str, str]


class ConfigurationsTold(Told):
    """What holds, newest first."""

    configurations: list[ConfigurationTold]


class VersionOfConfigurationTold(Told):
    """One configuration by its content."""

    hash: str
    first: str
    tree: JsonValue
    marks: dict[str, str]
    processes: list[str]


class ChangeTold(Told):
    """One change in one process."""

    id: str
    at: str
    state: str
    hash: str
    previous: str
    name: str
    source: str
    author: str
    reason: str
    error: str
    differences: list[DifferenceTold]
    service: str
    host: str
    process: str
    deployer: str


class ChangesTold(Told):
    """Changes, newest first."""

    changes: list[ChangeTold]


class DiffTold(Told):
    """How two configurations differ; `hidden` are keys whose values are masked in both, so that nobody can tell."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    same: bool
    differences: list[DifferenceTold]
    hidden: list[str]


class BlamedTold(Told):
    """One time that a key got another value."""

    at: str
    value: JsonValue
    mark: str
    state: str
    author: str
    reason: str
    source: str
    hash: str
    name: str
    process: str


class BlameTold(Told):
    """Who gave a key its values, newest first."""

    key: str
    blame: list[BlamedTold]


class WriteTold(Told):
    """One write of the key-value store; `value` is null for a removal."""

    index: int
    at: str
    key: str
    value: str | None
    author: str
    reason: str


class WritesTold(Told):
    """Writes, newest first."""

    writes: list[WriteTold]


class RollbackGiven(Given):
    """Which keys, and after which write they stood as they are to stand again."""

    prefix: Annotated[str, Field(max_length=1024)] = ""
    index: Annotated[int, Field(ge=0, lt=1 << 62)]
    reason: Annotated[str, Field(max_length=10_000)] = ""
    author: Annotated[str, Field(max_length=200, description="Who; the owner of the token where there is one.")] = ""
    dry: bool = False


class RolledBackTold(Told):
    """The keys that changed."""

    keys: list[str]


class Presence:
    """Which processes sent something lately.

    Args:
        clock: the wall.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def told(self, process: str) -> None:
        """Takes that a process sent something."""
        if not process:
            return
        with self._lock:
            self._seen[process] = self._clock.now_ns()
            self._seen.move_to_end(process)
            while len(self._seen) > _PROCESSES:
                self._seen.popitem(last=False)

    def seen(self) -> dict[str, int]:
        """Gives when each process was heard of last, ns."""
        with self._lock:
            return dict(self._seen)

    def live(self) -> set[str]:
        """Gives the processes that were heard of within a minute."""
        since = self._clock.now_ns() - _LIVE_NS
        return {process for process, at_ns in self.seen().items() if at_ns >= since}


class Asked:
    """Everything that can be asked of configurations.

    Args:
        house: which knows.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._kept = house.configurations

    def current(self, *, name: str, process: str, everyone: bool, brief: bool) -> Row:
        """Gives what holds in live processes, or in all that ever told."""
        live, seen = self._house.presence.live(), self._house.presence.seen()
        found = self._kept.current(None if everyone else live, name=name)
        found = [one for one in found if not process or one.process == process]
        trees = {} if brief else self._kept.trees(one.hash for one in found)
        marks = {} if brief else self._kept.marks(one.marks for one in found)
        rows: list[Json] = [
            {
                "process": one.process,
                "host": one.host,
                "service": one.service,
                "name": one.name,
                "hash": one.hash,
                "applied": iso(one.at),
                "source": one.source,
                "author": one.author,
                "reason": one.reason,
                "live": one.process in live,
                "seen": iso(seen[one.process]) if one.process in seen else None,
                "tree": _json(trees.get(one.hash)),
                "marks": _json(marks.get(one.marks)),
            }
            for one in found
        ]
        return {"configurations": rows}

    def version(self, beginning: str) -> Row:
        """Gives one configuration by the beginning of its hash."""
        found = self._kept.version(beginning)
        held = self._kept.applications(found.hash)
        marks = self._kept.marks([held[0].marks]) if held else {}
        return {
            "hash": found.hash,
            "first": iso(found.first_ns),
            "tree": _json(found.tree),
            "marks": _json(marks.get(held[0].marks) if held else None),
            "processes": [*dict.fromkeys(one.process for one in held)],
        }

    def history(
        self,
        *,
        process: str,
        name: str,
        key: str,
        state: str,
        start_ns: int | None,
        end_ns: int | None,
        limit: int,
    ) -> Row:
        """Gives changes, newest first."""
        found = self._kept.history(
            process=process, name=name, key=key, state=state, start_ns=start_ns, end_ns=end_ns, limit=limit
        )
        return {"changes": [_change(one) for one in found]}

    def diff(self, before: str, after: str) -> Row:
        """Gives how two configurations differ, named by hashes or by releases."""
        old_name, old, _ = self._side(before)
        new_name, new, marks = self._side(after)
        rows: list[Json] = [
            {"key": key, "before": plain(old.get(key)), "after": plain(new.get(key)), "mark": _marked(marks, key)}
            for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key) or (key in old) != (key in new)
        ]
        hidden: list[Json] = [key for key, value in new.items() if value == old.get(key) == MASK]
        same = old_name == new_name
        return {
            "from": old_name,
            "to": new_name,
            "same": same,
            "differences": rows,
            "hidden": [] if same else hidden,
        }

    def blame(self, key: str, *, process: str, name: str, limit: int) -> Row:
        """Gives who gave a key its values."""
        found = self._kept.history(process=process, name=name, limit=_BLAMED)
        held = [one for one in reversed(found) if one.state in APPLIED]
        rows = list(self._blamed(key, held))
        if not rows:
            raise Missing(f"no configuration has the key {key!r}", hint="`modelkeep config history` lists changes.")
        return {"key": key, "blame": [*reversed(rows[-limit:])]}

    def writes(self, prefix: str, limit: int) -> Row:
        """Gives the writes of the key-value store."""
        return {"writes": [_write(one) for one in self._house.pairs.history(prefix, limit=limit)]}

    def rollback(self, given: RollbackGiven, author: str) -> Row:
        """Puts keys of the key-value store back to an earlier state."""
        changed = self._house.pairs.rollback(
            given.prefix, given.index, author=author, reason=given.reason, dry=given.dry
        )
        return {"keys": [*changed]}

    def _side(self, named: str) -> tuple[str, dict[str, Json], Mapping[str, str]]:
        """Gives a configuration's hash, its values and its places; of a release with several, names come first."""
        release = next((one for one in self._house.releases.list() if one.id == named), None)
        if release is None:
            found = self._kept.version(named)
            return found.hash, _flat(_json(found.tree)), self._places(found.hash, "")
        hashes = [text for text in release.config_version.split("+") if text]
        trees = self._kept.trees(hashes)
        if not hashes or any(one not in trees for one in hashes):
            said = release.config_version or "none"
            raise Missing(
                f"release {named} names the configuration {said[:80]}, which was never told here",
                hint="mk.config tells it when MODELKEEP_URL is set.",
            )
        if len(hashes) == 1:
            return hashes[0], _flat(_json(trees[hashes[0]])), self._places(hashes[0], release.process)
        whole: dict[str, Json] = {}
        marks: dict[str, str] = {}
        for one in hashes:
            name = self._named(one, release.process)
            whole |= {f"{name}.{key}": value for key, value in _flat(_json(trees[one])).items()}
            marks |= {f"{name}.{key}": mark for key, mark in self._places(one, release.process).items()}
        return release.config_version, whole, marks

    def _application(self, hash_: str, process: str) -> Change | None:
        found = self._kept.applications(hash_)
        own = [one for one in found if one.process == process]
        return next(iter(own or found), None)

    def _named(self, hash_: str, process: str) -> str:
        found = self._application(hash_, process)
        return found.name if found else hash_[:12]

    def _places(self, hash_: str, process: str) -> Mapping[str, str]:
        found = self._application(hash_, process)
        return _texts(self._kept.marks([found.marks]).get(found.marks)) if found else {}

    def _blamed(self, key: str, held: Sequence[Change]) -> Iterator[Json]:
        trees = {hash_: _json(text) for hash_, text in self._kept.trees(one.hash for one in held).items()}
        marks = {digest: _texts(text) for digest, text in self._kept.marks(one.marks for one in held).items()}
        last: dict[tuple[str, str], tuple[bool, Json, str]] = {}
        for one in held:
            there, value = _reached(trees.get(one.hash), key)
            now = (there, value, _marked(marks.get(one.marks, {}), key) if there else "")
            before = last.get((one.process, one.name), (False, None, ""))
            last[one.process, one.name] = now
            named = any(isinstance(row, dict) and row.get("key") == key for row in _list(one.differences))
            if now != before or named:
                yield {
                    "at": iso(one.at),
                    "value": now[1],
                    "mark": now[2],
                    "state": one.state,
                    "author": one.author,
                    "reason": one.reason,
                    "source": one.source,
                    "hash": one.hash,
                    "name": one.name,
                    "process": one.process,
                }


def _json(text: str | None) -> Json:
    found: Json = orjson.loads(text) if text else {}
    return found


def _texts(text: str | None) -> dict[str, str]:
    found = _json(text)
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _list(text: str) -> list[Json]:
    found: Json = orjson.loads(text) if text else []
    return found if isinstance(found, list) else []


def _flat(tree: Json) -> dict[str, Json]:
    return {key: plain(value) for key, value in leaves(tree)}


def _marked(marks: Mapping[str, str], key: str) -> str:
    """Gives where a key, or one below it, was written."""
    below = (mark for name, mark in marks.items() if name.startswith((f"{key}.", f"{key}[")))
    return marks.get(key) or next(below, "")


def _reached(tree: Json, key: str) -> tuple[bool, Json]:
    try:
        return True, plain(pick(tree, parts(key)))
    except KeyError:
        return False, None


def _change(one: Change) -> Json:
    found: list[Json] = [
        {name: row.get(name) for name in ("key", "before", "after")} | {"mark": str(row.get("mark") or "")}
        for row in _list(one.differences)
        if isinstance(row, dict) and isinstance(row.get("key"), str)
    ]
    names = ("id", "state", "hash", "previous", "name", "source", "author", "reason", "error")
    said: dict[str, Json] = {name: str(getattr(one, name)) for name in (*names, "service", "host", "process")}
    return said | {"at": iso(one.at), "differences": found, "deployer": one.deployer}


def _write(one: Write) -> Json:
    return {
        "index": one.seq,
        "at": iso(one.at_ns),
        "key": one.key,
        "value": None if one.value is None else shown(one.key, one.value),
        "author": one.author,
        "reason": one.reason,
    }


def shown(key: str, value: bytes) -> str:
    r"""Gives a value of the key-value store as people may see it: what is named like a secret is masked.

    >>> shown("app/db/password", b"hunter2"), shown("app/pool", b"5"), shown("app/blob", b"\xff")
    ('***', '5', 'base64:/w==')
    """
    if is_hidden(key.replace("/", ".")):
        return MASK
    try:
        return mask_url(value.decode())
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"
