"""Plain trees: looked through for what only OmegaConf can merge, laid over each other where that comes to the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from modelkeep.configuration.secrecy import is_secret, reference
from modelkeep.configuration.tree import Mark, Node, Tree, join, parts

Lists = Literal["replace", "extend", "extend_unique"]
RESOLVER: Final = "secret"
MISSING: Final = "???"
_MARKER: Final = "${"
_PLAIN: Final = frozenset({int, float, bool, bytes, type(None)})
_NAMES: Final = frozenset({str, int, float, bool, bytes})
_NAMED_SECRET: Final = re.compile(rf"\$\{{{RESOLVER}:")
_VARIABLE: Final = re.compile(r"\$\{oc\.env:\s*(\w+)")


class Looked:
    """A copy of a tree, and what was seen while it was made.

    A reference to a secret stands where the text `secret:NAME` stood.

    Args:
        tree: of one source.
        native: an object that OmegaConf takes in its place.
    """

    def __init__(self, tree: Tree, native: object = None) -> None:
        self.secret_keys: Final[set[str]] = set()
        """Keys whose value names a secret."""
        self.alive = False
        """Whether there are interpolations or missing values."""
        self.foreign = native is not None
        """Whether OmegaConf alone may judge: types, flags, objects that are no plain values."""
        self._path: list[str | int] = []
        self._named: list[tuple[str | int, ...]] = []
        self.tree: Final[Tree] = self._mapping(tree)
        self.named: Final[Tree] = _only(self.tree, self._named)
        """The part of the tree that holds the references, to be merged over a native object."""

    def _node(self, node: Node) -> Node:
        kind = type(node)
        if kind is str:
            return self._text(node)  # type: ignore[arg-type]
        if kind in _PLAIN:
            return node
        if kind is dict:
            return self._mapping(node)  # type: ignore[arg-type]
        if kind is list:
            return self._list(node)  # type: ignore[arg-type]
        self.foreign = True
        return node

    def _mapping(self, node: Tree) -> Tree:
        path, found = self._path, {}
        for name, value in node.items():
            if type(name) not in _NAMES or (type(name) is str and name.endswith(MISSING)):
                self.foreign = True
            path.append(name)
            found[name] = self._node(value)
            path.pop()
        return found

    def _list(self, node: list[Node]) -> list[Node]:
        path, found = self._path, []
        for place, value in enumerate(node):
            path.append(place)
            found.append(self._node(value))
            path.pop()
        return found

    def _text(self, text: str) -> str:
        name = reference(text)
        if name:
            text = f"${{{RESOLVER}:'{name}'}}"
            self._named.append(tuple(self._path))
        if _MARKER in text:
            self.alive = True
            if _NAMED_SECRET.search(text) or any(is_secret(name) for name in _VARIABLE.findall(text)):
                self.secret_keys.add(dotted(self._path))
        elif text.endswith(MISSING):
            self.alive = True
        return text


def dotted(path: Sequence[str | int]) -> str:
    """Gives a path as a dotted key.

    >>> dotted(["db", "hosts", 2])
    'db.hosts[2]'
    """
    key = ""
    for part in path:
        key = join(key, part)
    return key


def _only(tree: Tree, paths: Sequence[Sequence[str | int]]) -> Tree:
    """Gives the part of a tree that leads to the paths; lists are whole."""
    found: Tree = {}
    for path in paths:
        below, node = found, tree
        for part in path[:-1]:
            inner = node[part]  # type: ignore[index]
            if not isinstance(inner, dict):
                below[part] = inner  # type: ignore[index]
                break
            node = inner
            below = below.setdefault(part, {})  # type: ignore[arg-type,assignment]
        else:
            below[path[-1]] = node[path[-1]]  # type: ignore[index]
    return found


def lay(below: Tree, above: Tree) -> bool:
    """Lays one tree over another, which is changed; False where only OmegaConf knows what comes out.

    >>> tree: Tree = {"a": {"b": 1}, "c": 2}
    >>> lay(tree, {"a": {"d": [3]}, "c": 4}), tree
    (True, {'a': {'b': 1, 'd': [3]}, 'c': 4})
    >>> lay(tree, {"a": [5]})
    False
    """
    for name, value in above.items():
        if name not in below:
            below[name] = value
            continue
        old = below[name]
        if type(old) is dict and type(value) is dict:
            if not lay(old, value):
                return False
        elif isinstance(old, dict | list) or isinstance(value, dict | list):
            if type(old) is not list or type(value) is not list:
                return False
            below[name] = value
        elif isinstance(value, str) and value.endswith(MISSING):
            return False
        else:
            below[name] = value
    return True


def extended(old: object, new: object, lists: Lists, moved: dict[str, tuple[int, list[int]]], key: str = "") -> object:
    """Gives a later tree whose lists begin with the earlier ones.

    Args:
        old: the tree so far.
        new: the later one.
        lists: whether items that are there already are left out.
        moved: filled with what became of each list: how many items stand before, and the places of the new ones.
        key: where the two stand.

    >>> moved: dict[str, tuple[int, list[int]]] = {}
    >>> extended({"a": [1, 2]}, {"a": [2, 3]}, "extend_unique", moved), moved
    ({'a': [1, 2, 3]}, {'a': (2, [-1, 2])})
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {
            name: extended(old[name], value, lists, moved, join(key, str(name))) if name in old else value
            for name, value in new.items()
        }
    if isinstance(old, list) and isinstance(new, list):
        joined = list(old)
        places = []
        for item in new:
            fresh = lists == "extend" or item not in joined
            places.append(len(joined) if fresh else -1)
            if fresh:
                joined.append(item)
        moved[key] = (len(old), places)
        return joined
    return new


def moved_marks(marks: Mapping[str, Mark], moved: Mapping[str, tuple[int, list[int]]]) -> dict[str, Mark]:
    """Gives the places of a tree's keys after its lists were put behind others.

    >>> moved_marks({"a": Mark("f", 1), "a[0]": Mark("f", 2)}, {"a": (3, [3])})
    {'a': Mark(source='f', line=1), 'a[3]': Mark(source='f', line=2)}
    """
    found: dict[str, Mark] = {}
    for key, mark in marks.items():
        new = _moved(key, moved)
        if new:
            found[new] = mark
    return found


def _moved(key: str, moved: Mapping[str, tuple[int, list[int]]]) -> str:
    so_far, new = "", ""
    for part in parts(key):
        place = part
        if isinstance(part, int) and so_far in moved:
            places = moved[so_far][1]
            place = places[part] if part < len(places) else -1
            if place == -1:
                return ""
        so_far, new = join(so_far, part), join(new, place)
    return new


def flat(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Gives every node of a tree, containers too, with its dotted key.

    >>> list(flat({"a": {"b": [1]}}))
    [('a', {'b': [1]}), ('a.b', [1]), ('a.b[0]', 1)]
    """
    if isinstance(node, Mapping):
        members = [(f"{key}.{name}" if key else str(name), value) for name, value in node.items()]
    else:
        members = [(f"{key}[{place}]", value) for place, value in enumerate(node)]  # type: ignore[arg-type,var-annotated]
    for inner, value in members:
        yield inner, value
        if isinstance(value, Mapping | list | tuple):
            yield from flat(value, inner)
