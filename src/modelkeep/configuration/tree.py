"""What a source gives: a tree of plain values, and for each key the place where it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Scalar = str | int | float | bool | bytes | None
Key = str | int | float | bool | bytes
Node = Scalar | list["Node"] | dict[str, "Node"]
Tree = dict[str, Node]


class Mark(NamedTuple):
    """The place where a value was written.

    Args:
        source: a file, or what stands for one: `env APP_DB__URL`, `consul app/db/url`.
        line: counted from 1; 0 where there are no lines.

    >>> print(Mark("conf/base.yaml", 4), Mark("env APP_PORT"))
    conf/base.yaml:4 env APP_PORT
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source said at one moment.

    Args:
        tree: its values; strings may hold OmegaConf's interpolations.
        marks: dotted key → where it was written; a key without a mark of its own has that of the nearest one above.
        version: equal versions mean equal trees (an ETag, an index, a hash); empty where nobody knows.
        read_ns: when it was read.
        origin: the place of all keys that have no mark.
        native: an object that OmegaConf takes better than the tree (a config with types and flags).
        texts: dotted key → what was written, where text (`007`) was read as something else (7): a schema that wants
            text gets what was written. Interpolations and names of secrets are not among them.
        secrets: keys that the source itself calls secret; what lies below them is, too.
        places: items of lists that sources before have (`hosts[1]`), each with its new value.
    """

    tree: Tree
    marks: Mapping[str, Mark] = field(default_factory=dict)
    version: str = ""
    read_ns: int = 0
    origin: Mark = field(default=Mark("an object"))
    native: object = None
    texts: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    places: Mapping[str, Node] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Reading(of {self.origin}, {len(self.tree)} keys at the top)"  # values may be secret

    def mark(self, key: str) -> Mark:
        """The place of a key: its own, or that of the nearest key above it.

        >>> Reading({"db": {"url": "x"}}, {"db": Mark("a.yaml", 1)}).mark("db.url")
        Mark(source='a.yaml', line=1)
        """
        while key:
            found = self.marks.get(key)
            if found is not None:
                return found
            key = above(key)
        return self.origin


def above(key: str) -> str:
    """Gives the key of the container that holds a key; empty at the top.

    >>> above("db.hosts[2].name"), above("db.hosts[2]"), above("db")
    ('db.hosts[2]', 'db.hosts', '')
    """
    cut = max(key.rfind("."), key.rfind("["))
    return key[:cut] if cut > 0 else ""


def join(folder: str, part: str | int) -> str:
    """Gives the key of a member: names after a dot, places of a list in brackets.

    >>> join("", "db"), join("db", "url"), join("hosts", 2)
    ('db', 'db.url', 'hosts[2]')
    """
    if isinstance(part, int):
        return f"{folder}[{part}]"
    return f"{folder}.{part}" if folder else part


def where(mark: Mark, key: str) -> str:
    """Gives the beginning of a complaint: the place and the key, once where the place has it already.

    >>> where(Mark("a.yaml", 3), "db.pool"), where(Mark("cli db.pool"), "db.pool")
    ('a.yaml:3 db.pool: ', 'cli db.pool: ')
    """
    return f"{mark}: " if not key or mark.source.endswith(f" {key}") else f"{mark} {key}: "


def parts(key: str) -> list[str | int]:
    """Gives a dotted key's parts.

    >>> parts("db.hosts[2].name")
    ['db', 'hosts', 2, 'name']
    """
    found: list[str | int] = []
    for piece in key.replace("]", "").split("."):
        name, *places = piece.split("[")
        if name:
            found.append(name)
        found += [int(place) if place.lstrip("-").isdigit() else place for place in places]
    return found


def leaves(node: object, key: str = "") -> Iterator[tuple[str, Scalar]]:
    """Gives each value with its dotted key; an empty container counts as a value, shown as None.

    >>> list(leaves({"a": {"b": 1}, "c": [2, {"d": 3}]}))
    [('a.b', 1), ('c[0]', 2), ('c[1].d', 3)]
    """
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from leaves(value, join(key, str(name)))
    elif isinstance(node, list | tuple) and node:
        for place, value in enumerate(node):
            yield from leaves(value, join(key, place))
    elif key:
        yield key, node if isinstance(node, str | int | float | bool | bytes) else None


def pick(node: object, path: Sequence[str | int]) -> object:
    """Gives the node at a path.

    Raises:
        KeyError: nothing is there.

    >>> pick({"a": [{"b": 1}]}, ["a", 0, "b"])
    1
    """
    for part in path:
        if isinstance(node, Mapping):
            if part not in node:
                named = {str(name): value for name, value in node.items()}
                node = named[str(part)]
            else:
                node = node[part]
        elif isinstance(node, list | tuple) and isinstance(part, int) and -len(node) <= part < len(node):
            node = node[part]
        else:
            raise KeyError(part)
    return node
