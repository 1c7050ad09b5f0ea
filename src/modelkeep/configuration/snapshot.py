"""One configuration as it was applied: immutable, so that whoever reads it never sees a mix of two."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from modelkeep.configuration.secrecy import KEY, MASK, SHORTEST_KEY, is_hidden, mask_tree, secret_mark, secret_texts
from modelkeep.configuration.tree import Mark, Node, Scalar, Tree, join, leaves, parts, pick

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


class Veil:
    """What is not to be shown of a tree: the values of secret keys, and their copies in other values.

    Args:
        tree: plain values, secrets and all.
        keys: keys whose values are never shown; others tell it by their names.
    """

    __slots__ = ("_tree", "_values", "keys")

    def __init__(self, tree: Mapping[str, object], keys: frozenset[str]) -> None:
        self.keys: Final = keys
        self._tree = tree
        self._values: frozenset[str] | None = None

    def over(self, node: object, key: str = "") -> object:
        """Gives a node without secrets."""
        return mask_tree(node, self.keys, self.values(), key)

    def hides(self, key: str) -> bool:
        """Says whether the value of a key is not to be shown."""
        return is_hidden(key, self.keys)

    def values(self) -> frozenset[str]:
        """The texts that are not to be shown anywhere."""
        if self._values is None:
            self._values = frozenset(secret_texts(self._tree, self.keys))
        return self._values


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
        """A SHA-256 of the content: equal configurations have equal hashes.

        Where nothing is secret, it is that of the values, everywhere. Otherwise it is that of the masked values, and of
        the secret ones only through an HMAC with MODELKEEP_SECRET_KEY, where that has 16 characters: so nobody can try
        which secret fits a hash. Without the key another secret makes no other hash; the change is in the history.
        """
        seen = _text(self.masked)
        if seen != self._whole and len(key := os.environ.get(KEY, "")) >= SHORTEST_KEY:
            seen += hmac.digest(key.encode(), b"configuration\0" + self._whole, "sha256")
        return hashlib.sha256(seen).hexdigest()

    @cached_property
    def _whole(self) -> bytes:
        return _text(self._tree)

    def same(self, other: Snapshot[T]) -> bool:
        """Says whether another one has the same values, secrets and all."""
        return self._whole == other._whole

    @cached_property
    def veil(self) -> Veil:
        """What is not to be shown of it."""
        return Veil(self._tree, self.secret_keys)

    @cached_property
    def masked(self) -> Tree:
        """The plain values without secrets."""
        return cast("Tree", self.veil.over(self._tree))

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
        hidden = self.veil.hides(key)
        steps = self._merged.trail.history(key)
        history = tuple((str(secret_mark(step.mark)), MASK if hidden else self.veil.over(step.value)) for step in steps)
        last = steps[-1].value if steps else None
        written = str(history[-1][1]) if isinstance(last, str) and "${" in last else ""
        return Explanation(key, value, str(self.mark(key)), history, written)

    def diff(self, before: Snapshot[T] | None) -> tuple[Difference, ...]:
        """Gives what changed since another configuration."""
        old = dict(_shown(before)) if before is not None else {}
        new = dict(_shown(self))
        found = []
        for key in dict.fromkeys([*old, *new]):
            if _unlike(old.get(key), new.get(key)):
                masks = [None if side is None else side[0] for side in (old.get(key), new.get(key))]
                found.append(Difference(key, masks[0], masks[1], str(self.mark(key))))
        return tuple(found)

    def __repr__(self) -> str:
        return f"Snapshot({self.number}, {self.hash[:12]}, {self.masked!r})"


def _shown(snapshot: Snapshot[T]) -> Iterator[tuple[str, tuple[Scalar, Scalar]]]:
    """Every key with its masked value and the real one: a changed secret is a change, too."""
    masked = dict(leaves(snapshot.masked))
    for key, value in leaves(snapshot._tree):
        yield key, (masked.get(key), value)


def _text(tree: Tree) -> bytes:
    """Gives a tree as bytes: equal for equal values, whatever the order of their keys."""
    try:
        text = json.dumps(tree, sort_keys=True, default=repr, ensure_ascii=False)
    except TypeError:  # keys of several kinds
        text = repr(_sorted(tree))
    return text.encode(errors="surrogatepass")


def _sorted(node: object) -> object:
    if isinstance(node, Mapping):
        return sorted((repr(name), _sorted(value)) for name, value in node.items())
    return [_sorted(item) for item in node] if isinstance(node, list | tuple) else repr(node)


def _unlike(one: tuple[Scalar, Scalar] | None, other: tuple[Scalar, Scalar] | None) -> bool:
    if one is None or other is None:
        return one is not other
    return one[1] != other[1] or type(one[1]) is not type(other[1])


class View(Mapping[str, object]):
    """A part of a configuration without a schema: read by attribute, item or dotted path, never written.

    >>> view = View({"db": {"hosts": [{"port": 1}]}})
    >>> view.db.hosts[0].port, view["db.hosts[0].port"], view["db"]["hosts"][0]["port"]
    (1, 1, 1)
    """

    __slots__ = ("_key", "_tree", "_veil")
    _tree: Mapping[str, object]
    _key: str
    _veil: Veil

    def __init__(self, tree: Mapping[str, object], key: str = "", veil: Veil | None = None) -> None:
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_veil", veil or Veil(tree, frozenset()))

    def __getitem__(self, key: str) -> object:
        path = [key] if key in self._tree else parts(str(key))
        return self._seen(pick(self._tree, path), path)

    def __getattr__(self, name: str) -> object:
        if name in self._tree:
            return self._seen(self._tree[name], [name])
        raise AttributeError(f"the configuration has no {name!r}; there are {', '.join(map(str, self._tree))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a configuration is not changed by assignment; see Config.set")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, View):
            return self._tree == other._tree
        return isinstance(other, Mapping) and self._tree == other

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[View], tuple[Mapping[str, object], str, Veil]]:
        return View, (self._tree, self._key, self._veil)

    def __repr__(self) -> str:
        return f"View({self._veil.over(self._tree, self._key)!r})"

    def _seen(self, node: object, path: Sequence[str | int]) -> object:
        if isinstance(node, str | int | float | bool | None):
            return node
        key = self._key
        for part in path:
            key = join(key, part if isinstance(part, int) else str(part))
        return seen(node, key, self._veil)


def seen(node: object, key: str = "", veil: Veil | None = None) -> object:
    """Gives a node as people read it: a container as a view that cannot be written."""
    if isinstance(node, Mapping):
        return View(node, key, veil)
    if isinstance(node, list | tuple):
        return tuple(seen(item, join(key, place), veil) for place, item in enumerate(node))
    return node
