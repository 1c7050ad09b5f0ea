"""One configuration as it was applied: immutable, so that whoever reads it never sees a mix of two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from modelkeep.configuration.secrecy import is_hidden, mask_tree, secret_mark
from modelkeep.configuration.tree import Mark, Node, Scalar, Tree, leaves, parts, pick

if TYPE_CHECKING:
    from modelkeep.configuration.merge import Merged

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs between two configurations; values of secrets are masked.

    Args:
        key: dotted.
        before: None also where there was nothing.
        after: None also where there is nothing now.
        mark: where the new value was written.
    """

    key: str
    before: object
    after: object
    mark: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} → {self.after!r} ({self.mark})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a key has its value.

    Args:
        key: dotted.
        value: what holds, masked when secret.
        mark: where it was written.
        history: every (place, value) that said something of it, in order; the last one that did won.
        written: the value as written when it is an interpolation, else empty.
    """

    key: str
    value: object
    mark: str
    history: tuple[tuple[str, object], ...]
    written: str = ""


class Snapshot(Generic[T]):
    """A configuration at one moment.

    Args:
        value: the typed configuration.
        tree: its plain values, secrets and all.
        merged: how it came about.
        secret_keys: keys whose values are never shown.
        number: counts the configurations that were applied in this process, from 1.
        applied_ns: when it was applied.
    """

    def __init__(
        self, value: T, tree: Tree, merged: Merged, secret_keys: frozenset[str], *, number: int = 1, applied_ns: int = 0
    ) -> None:
        self.value: Final = value
        self.number: Final = number
        self.applied_ns: Final = applied_ns
        self.secret_keys: Final = secret_keys
        self._tree: Final = tree
        self._merged: Final = merged

    @cached_property
    def hash(self) -> str:
        """The content's SHA-256: equal configurations have equal hashes, also where secrets are masked."""
        text = json.dumps(self._tree, sort_keys=True, default=repr, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _values(self) -> frozenset[str]:
        return frozenset(
            str(value)
            for key, value in leaves(self._tree)
            if value is not None and not isinstance(value, bool) and is_hidden(key, self.secret_keys)
        )

    @cached_property
    def masked(self) -> Tree:
        """The plain values without secrets."""
        masked = mask_tree(self._tree, self.secret_keys, self._values)
        assert isinstance(masked, dict)
        return masked

    def get(self, key: str) -> Node:
        """Gives the plain value of a dotted key.

        Raises:
            KeyError: there is no such key.
        """
        found: Node = pick(self._tree, parts(key))  # type: ignore[assignment]
        return found

    def mark(self, key: str) -> Mark:
        """Gives the place that decided a key."""
        return secret_mark(self._merged.mark(key))

    def names(self) -> list[str]:
        """Every dotted key that has a value."""
        return [key for key, _ in leaves(self._tree)]

    def explain(self, key: str) -> Explanation:
        """Says why a key has its value.

        Raises:
            KeyError: there is no such key.
        """
        value = pick(self.masked, parts(key))
        hidden = is_hidden(key, self.secret_keys)
        history = tuple(
            (str(secret_mark(step.mark)), mask_tree({"": step.value}, (), self._values)[""])  # type: ignore[index]
            if not hidden
            else (str(secret_mark(step.mark)), "***")
            for step in self._merged.history(key)
        )
        last = history[-1][1] if history else None
        written = last if isinstance(last, str) and "${" in last else ""
        return Explanation(key, value, str(self.mark(key)), history, written)

    def diff(self, before: Snapshot[T] | None) -> tuple[Difference, ...]:
        """Gives what changed since another configuration."""
        old = dict(_shown(before)) if before is not None else {}
        new = dict(_shown(self))
        found = []
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                masks = [None if side is None else side[0] for side in (old.get(key), new.get(key))]
                found.append(Difference(key, masks[0], masks[1], str(self.mark(key))))
        return tuple(found)

    def __repr__(self) -> str:
        return f"Snapshot({self.number}, {self.hash[:12]}, {self.masked!r})"


def _shown(snapshot: Snapshot[T]) -> Iterator[tuple[str, tuple[Scalar, str]]]:
    """Every key with its masked value and a digest of the real one: a changed secret is a change, too."""
    masked = dict(leaves(snapshot.masked))
    for key, value in leaves(snapshot._tree):
        digest = hashlib.sha256(repr(value).encode()).hexdigest() if is_hidden(key, snapshot.secret_keys) else ""
        yield key, (masked.get(key), digest or repr(value))


class View(Mapping[str, object]):
    """A part of a configuration without a schema: read by attribute, item or dotted path, never written.

    >>> view = View({"db": {"hosts": [{"port": 1}]}})
    >>> view.db.hosts[0].port, view["db.hosts[0].port"], view["db"]["hosts"][0]["port"]
    (1, 1, 1)
    """

    __slots__ = ("_tree",)
    _tree: Mapping[str, object]

    def __init__(self, tree: Mapping[str, object]) -> None:
        object.__setattr__(self, "_tree", tree)

    def __getitem__(self, key: str) -> object:
        return seen(pick(self._tree, [key] if key in self._tree else parts(str(key))))

    def __getattr__(self, name: str) -> object:
        if name in self._tree:
            return seen(self._tree[name])
        raise AttributeError(f"the configuration has no {name!r}; there are {', '.join(map(str, self._tree))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a configuration is not changed by assignment; see Config.set")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __repr__(self) -> str:
        return f"View({mask_tree(self._tree, ())!r})"


def seen(node: object) -> object:
    """Gives a node as people read it: a container as a view that cannot be written."""
    if isinstance(node, Mapping):
        return View(node)
    return tuple(seen(item) for item in node) if isinstance(node, list | tuple) else node
