"""`mk.config`: sources merged, validated and traced; read without a lock, changed in one step."""

from __future__ import annotations

import copy
import getpass
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from modelkeep.configuration.bare import bare
from modelkeep.configuration.change import Change, Ledger, State
from modelkeep.configuration.history import Memory
from modelkeep.configuration.layers import Lists
from modelkeep.configuration.merge import merge
from modelkeep.configuration.snapshot import Difference, Explanation, Snapshot, Veil, View, seen
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree, parts, pick
from modelkeep.core.errors import BadInput, Error, Missing, Unreachable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modelkeep.configuration.lastgood import LastGood
    from modelkeep.configuration.live import Watch
    from modelkeep.configuration.validate import Schema

T = TypeVar("T")
Listener = Callable[[Change], None]
_KEPT: Final = 20
"""Configurations that a process keeps whole, for rolling back without a server."""


class Config(Generic[T]):
    """A configuration that is read like an object and may change while the process runs.

    `cfg.db.pool`, `cfg["db"]["pool"]`, `cfg["db.pool"]` and `cfg.get("db.pool")` read the value that holds now;
    `cfg.value` is the typed whole. Two reads may see two configurations: `cfg.snapshot()` holds one fast. A key that is
    named like a method here is read as an item or through `value`.

    Args:
        sources: in order; later ones win.
        schema: what it must look like; None takes anything.
        lists: what a later list does to an earlier one.
        strict: refuse keys that the schema does not have.
        secrets: further keys whose values are never shown.
        ledger: who keeps the history.
        last_good: where the last good copy of each live source is kept, for starts while it is away.

    Raises:
        BadInput: the configuration is wrong; every complaint has its place.
        Missing, Unreachable, Denied: a source cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        schema: Schema[T] | None = None,
        lists: Lists = "replace",
        strict: bool = True,
        secrets: Sequence[str] = (),
        ledger: Ledger | None = None,
        last_good: LastGood | None = None,
    ) -> None:
        self.sources: Final = tuple(sources)
        self._schema = schema
        self._lists: Lists = lists
        self._strict = strict
        self._secrets = tuple(secrets)
        self._ledger: Ledger = ledger if ledger is not None else Memory()
        self._changing = threading.RLock()
        self._listeners: dict[object, tuple[str, Listener]] = {}
        self._set: Reading | None = None
        self._kept: list[Snapshot[T]] = []
        self._held_back: tuple[str, ...] | None = None
        self._last_good = last_good
        self._saved: dict[int, Reading] = {}
        self._gate: Callable[[str], bool] | None = None
        self._waiting: tuple[tuple[Reading, ...], str, str] | None = None
        self._absent: list[tuple[str, str]] = []
        self._readings = tuple(self._first(source) for source in self.sources)
        self._current = self._built(self._readings, 1)
        self._keep(self._current)
        self._save()
        self._tell("applied", self._current, ", ".join(source.name for source in self.sources))
        for name, error in self._absent:
            self.note("unreachable", name, error)

    # reading

    @property
    def value(self) -> T:
        """The typed configuration that holds now."""
        return self._current.value

    @property
    def hash(self) -> str:
        """The content hash of what holds now; see `Snapshot.hash`."""
        return self._current.hash

    def snapshot(self) -> Snapshot[T]:
        """Gives what holds now, as one thing that never changes."""
        return self._current

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._current.value, name)

    def __getitem__(self, key: str) -> Any:
        return _reached(self._current.value, key)

    def get(self, key: str, default: object = None) -> Any:
        """Gives the value of a dotted key, or the default where there is no such key."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: str) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def tree(self) -> Tree:
        """Gives the plain values; secrets are masked."""
        return self._current.masked

    def explain(self, key: str) -> Explanation:
        """Says why a key has its value: who said what of it, in order.

        Raises:
            Missing: there is no such key.
        """
        try:
            return self._current.explain(key)
        except KeyError:
            raise Missing(f"the configuration has no key {key!r}", hint="modelkeep config show lists all.") from None

    def to_omegaconf(self) -> DictConfig:
        """Gives OmegaConf's own object, with interpolations as written; secrets are in it."""
        from omegaconf import OmegaConf

        return OmegaConf.create(self._current._merged.config)

    # changing

    def refresh(self, *, author: str = "", reason: str = "") -> Change | None:
        """Reads every live source again and applies what changed; None when nothing did.

        Raises:
            BadInput: the new configuration is wrong; the old one goes on holding, and the refusal is in the history.
            Unreachable, Denied, Missing: a source cannot be read now; the old one goes on holding.
        """
        readings = []
        for source, old in zip(self.sources, self._readings, strict=True):
            readings.append(self._read(source) if source.live else old)
        return self.apply(readings, author=author, reason=reason)

    def apply(
        self, readings: Sequence[Reading], *, author: str = "", reason: str = "", state: State = "applied"
    ) -> Change | None:
        """Validates readings, one per source, and puts them in the place of the old ones; None when nothing differs.

        Raises:
            BadInput: they are wrong; see `refresh`.
        """
        with self._changing:
            versions = tuple(reading.version for reading in readings)
            if self._held_back is not None and versions == self._held_back:
                return None  # what was rolled back stays away until a source changes
            changed = [s.name for s, old, new in zip(self.sources, self._readings, readings, strict=True) if old != new]
            try:
                fresh = self._built(readings, self._current.number + 1)
            except Error as error:
                self._tell("rejected", self._current, ", ".join(changed), author, reason, error=error.message)
                raise
            if self._gate is not None and fresh.hash != self._current.hash and not self._gate(fresh.hash):
                self._waiting = (tuple(readings), author, reason)
                return None
            self._readings, self._held_back, self._waiting = tuple(readings), None, None
            self._save()
            return self._swap(fresh, ", ".join(changed), author, reason, state)

    def set(self, values: Mapping[str, object], *, author: str = "", reason: str = "") -> Change | None:
        """Sets dotted keys over all sources, for this process and until it ends.

        Raises:
            BadInput: the result would be wrong; nothing is changed.
        """
        done = self._over(values, author, reason)
        if isinstance(done, Error):
            values = {}
            raise done
        return done

    def _over(self, values: Mapping[str, object], author: str, reason: str) -> Change | Error | None:
        with self._changing:
            before = self._set
            place = Mark(f"set by {author or _user()}")
            try:
                self._set = _set_reading(before, values, place)
                fresh = self._built(self._readings, self._current.number + 1)
            except Error as error:
                self._set = before
                self._tell("rejected", self._current, str(place), author, reason, error=error.message)
                return bare(error)
            self._held_back = None
            return self._swap(fresh, str(place), author, reason, "applied")

    def rollback(self, to: str = "", *, author: str = "", reason: str = "") -> Change | None:
        """Puts an earlier configuration back; it holds until a source changes again.

        Args:
            to: the beginning of its hash; empty for the one before the present one.
            author: who does it.
            reason: why.

        Raises:
            Missing: this process has applied no such configuration.
        """
        with self._changing:
            before = [one for one in self._kept if not one.same(self._current)]
            found = [one for one in before if one.hash.startswith(to)]
            if not found and to and self._current.hash.startswith(to):
                return None
            if not found:
                known = ", ".join(one.hash[:12] for one in self._kept)
                raise Missing(f"no configuration {to or 'before this one'}", hint=f"This process has applied {known}.")
            old = found[-1]
            again = Snapshot(
                old.value,
                old._tree,
                old._merged,
                old.secret_keys,
                number=self._current.number + 1,
                applied_ns=time.time_ns(),
            )
            self._held_back = tuple(reading.version for reading in self._readings)
            return self._swap(again, "rollback", author, reason, "rolled back")

    def gate(self, admits: Callable[[str], bool] | None) -> None:
        """Lets a function decide, by the hash, whether a valid configuration from the sources is applied now.

        What it holds back is applied by `release`, unless the sources have changed again by then.
        """
        self._gate = admits

    def release(self) -> Change | None:
        """Applies what the gate held back, when it lets it pass now; None when there is nothing or it does not."""
        with self._changing:
            if self._waiting is None:
                return None
            readings, author, reason = self._waiting
            return self.apply(readings, author=author, reason=reason)

    def on_change(self, listener: Listener, *, key: str = "") -> Callable[[], None]:
        """Calls a function after every applied change; what it raises is written to stderr and changes nothing.

        Args:
            listener: gets the change.
            key: call it only when this key or one below it differs.

        Returns:
            a function that ends it.
        """
        ticket = object()
        self._listeners[ticket] = (key, listener)
        return lambda: void(self._listeners.pop(ticket, None))

    def watch(self) -> Watch:
        """Starts to follow the live sources in the background; see `live.Watch`."""
        from modelkeep.configuration.live import Watch

        return Watch(self)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What each source said when it was last applied."""
        return self._readings

    @property
    def ledger(self) -> Ledger:
        """Who keeps the history."""
        return self._ledger

    def history(self, limit: int = 100) -> Sequence[Change]:
        """Gives what was applied, refused and rolled back, newest first."""
        return self._ledger.list(limit)

    def note(self, state: State, source: str, error: str = "", *, author: str = "", reason: str = "") -> None:
        """Writes into the history what happened to a source without changing the configuration."""
        self._tell(state, self._current, source, author, reason, error=error)

    def close(self) -> None:
        """Closes the sources."""
        for source in self.sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        current = self.__dict__.get("_current")
        return f"Config({current.masked!r})" if current is not None else "Config()"

    # making

    def _first(self, source: Source) -> Reading:
        """Reads a source; when it is away, its last good copy holds, and the history says so."""
        try:
            return self._read(source)
        except Unreachable as error:
            kept = self._last_good.load(source.name) if self._last_good is not None and source.live else None
            if kept is None:
                raise
            from modelkeep.configuration.lastgood import age  # it loads much, and most have no such copies

            self._absent.append((source.name, f"{error.message}; a copy of {age(kept)} ago holds"))
            return kept

    def _save(self) -> None:
        if self._last_good is not None:
            for number, (source, reading) in enumerate(zip(self.sources, self._readings, strict=True)):
                if source.live and self._saved.get(number) is not reading:
                    self._last_good.save(source.name, reading)
                    self._saved[number] = reading

    def _read(self, source: Source) -> Reading:
        try:
            return source.read()
        except Error as error:
            failure = bare(error)
        raise failure

    def _built(self, readings: Sequence[Reading], number: int) -> Snapshot[T]:
        try:
            return self._assembled(readings, number)
        except Error as error:
            failure = bare(error)
        raise failure

    def _assembled(self, readings: Sequence[Reading], number: int) -> Snapshot[T]:
        first = [self._schema.defaults(strict=self._strict)] if self._schema is not None else []
        last = [self._set] if self._set is not None else []
        layers = [*first, *readings, *last]
        merged = merge(layers, lists=self._lists)
        tree = merged.resolved()
        keys = frozenset({*merged.secret_keys, *self._secrets}).union(*(layer.secrets for layer in layers))
        value = cast("T", View(tree, "", Veil(tree, keys)))
        if self._schema is not None:
            keys |= self._schema.secret_keys(tree)
            texts = merged.trail.texts()
            value = self._schema.check(tree, merged.mark, strict=self._strict, secrets=keys, texts=texts)
        return Snapshot(value, tree, merged, keys, number=number, applied_ns=time.time_ns())

    def _swap(self, fresh: Snapshot[T], source: str, author: str, reason: str, state: State) -> Change | None:
        before = self._current
        if fresh.same(before):
            return None
        self._current = fresh  # one assignment: a reader has the old one or the new one
        self._keep(fresh)
        change = self._tell(state, fresh, source, author, reason, before=before)
        for key, listener in list(self._listeners.values()):
            if not key or any(_below(difference, key) for difference in change.differences):
                _call(listener, change)
        return change

    def _keep(self, snapshot: Snapshot[T]) -> None:
        self._kept = [*(one for one in self._kept if not one.same(snapshot)), snapshot][-_KEPT:]

    def _tell(
        self,
        state: State,
        snapshot: Snapshot[T],
        source: str,
        author: str = "",
        reason: str = "",
        *,
        before: Snapshot[T] | None = None,
        error: str = "",
    ) -> Change:
        applied = state in {"applied", "rolled back"}
        change = Change(
            at_ns=time.time_ns(),
            state=state,
            hash=snapshot.hash,
            previous=before.hash if before else ("" if applied else snapshot.hash),
            source=source,
            author=author or _user(),
            reason=reason,
            differences=snapshot.diff(before) if before else (),
            error=error,
            of=snapshot if applied else None,
        )
        self._ledger.record(change)
        return change


def void(_: object) -> None:
    """Takes anything and gives nothing."""


def _reached(value: object, key: str) -> object:
    """Gives the value at a dotted key of a typed object, a mapping or a sequence.

    Raises:
        KeyError: there is none.
    """
    if isinstance(value, Mapping) and key in value:
        return value[key]
    for part in parts(key):
        names = getattr(type(value), "model_fields", None) or getattr(value, "__dataclass_fields__", None)
        if names is not None and isinstance(part, str):
            if part not in names and part not in (getattr(value, "model_extra", None) or {}):
                raise KeyError(key)
            value = getattr(value, part)
        else:
            try:
                value = pick(value, [part])
            except KeyError:
                raise KeyError(key) from None
    return seen(value) if isinstance(value, Mapping) and not isinstance(value, View) else value


def _set_reading(before: Reading | None, values: Mapping[str, object], place: Mark) -> Reading:
    tree: Tree = copy.deepcopy(before.tree) if before else {}
    marks = dict(before.marks) if before else {}
    for key, value in values.items():
        node: dict[str, Any] = tree
        path = parts(key)
        for part in path:
            if not isinstance(part, str):
                raise BadInput(f"{place} {key}: a place in a list cannot be set", hint="Set the whole list.")
        for part in path[:-1]:
            inner = node.get(str(part))
            node[str(part)] = inner = inner if isinstance(inner, dict) else {}
            node = inner
        node[str(path[-1])] = value
        marks[key] = place
    return Reading(tree, marks, origin=place)


def _below(difference: Difference, key: str) -> bool:
    return difference.key == key or difference.key.startswith((f"{key}.", f"{key}["))


def _call(listener: Listener, change: Change) -> None:
    try:
        listener(change)
    except Exception as error:  # noqa: BLE001 - a listener's fault must not undo or stop the change
        print(f"modelkeep: {listener!r} failed on a change of configuration: {error!r}", file=sys.stderr)  # noqa: T201


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
