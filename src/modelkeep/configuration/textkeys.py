"""Key-value stores as trees: `app/db/pool` = `8` is `{"db": {"pool": 8}}` below `app`."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from modelkeep.configuration.scalars import assign, is_plain, scalar
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, parts
from modelkeep.core.errors import BadInput

FORMATS: Final = ("yaml", "json", "toml", "ini")
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def tree_of(pairs: Iterable[tuple[str, bytes]], prefix: str, store: str, *, version: str = "") -> Reading:
    """Gives the reading of the keys below a prefix; slashes part a key.

    Args:
        pairs: (key, value), keys whole; a value without bytes under a key that ends in a slash is a folder.
        prefix: the part that all keys share, without a slash at its end; a key that equals it is left out.
        store: how the place is called: `consul`.
        version: of the store; a hash of the pairs when empty.

    Raises:
        BadInput: a value is no UTF-8, or one key is the folder of another.

    >>> reading = tree_of([("app/db/pool", b"8"), ("app/name", b"x")], "app", "consul")
    >>> reading.tree, str(reading.mark("db.pool"))
    ({'db': {'pool': 8}, 'name': 'x'}, 'consul app/db/pool')
    """
    grown = Grown()
    digest = hashlib.sha256()
    for name, value in sorted(pairs):
        digest.update(f"{len(name)} {name} {len(value)} ".encode() + value)
        inner = name[len(prefix) :].strip("/") if name.startswith(prefix) else name.strip("/")
        if not inner or (name.endswith("/") and not value):
            continue
        mark = Mark(f"{store} {name}")
        key = ".".join(part for part in inner.split("/") if part)
        grown.add(key, decoded(value, str(mark)), mark)
    return grown.reading(version or digest.hexdigest(), Mark(f"{store} {prefix}"))


class Grown:
    """A tree that grows by texts under dotted keys.

    >>> grown = Grown()
    >>> grown.add("db.pool", "8", Mark("here"))
    >>> grown.reading("v1", Mark("there")).tree
    {'db': {'pool': 8}}
    """

    def __init__(self) -> None:
        self._tree: Tree = {}
        self._marks: dict[str, Mark] = {}
        self._texts: dict[str, str] = {}

    def add(self, key: str, text: Node, mark: Mark) -> None:
        """Puts a value at a key: a text as what it stands for, anything else as it is.

        Raises:
            BadInput: the key is empty, said twice, or a key both has a value and holds others.
        """
        path = [str(part) for part in parts(key)]
        if not path or not all(path):
            raise BadInput(f"{mark}: {key!r} is no key", hint="Name every part of it.")
        node: Node = self._tree
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None or key in self._marks:
            raise BadInput(f"{mark} {key}: is there already, as a value or as a folder", hint="Give one of the two.")
        value = scalar(text, mark) if isinstance(text, str) else text
        assign(self._tree, key, value, mark)
        self._marks[key] = mark
        if isinstance(text, str) and is_plain(text, value):
            self._texts[key] = text

    def reading(self, version: str, origin: Mark) -> Reading:
        """Gives what has grown."""
        return Reading(self._tree, self._marks, version, time.time_ns(), origin, texts=self._texts)


def written(value: Node, key: str) -> str:
    """Gives the text that is read back as this value.

    Args:
        value: what shall be read.
        key: for the complaint.

    Raises:
        BadInput: no text stands for it: bytes, infinities inside of containers.

    >>> written("x", "a"), written("8", "a"), written(8, "a"), written(["a", 1], "a"), written(math.inf, "a")
    ('x', '"8"', '8', '["a", 1]', '.inf')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    mark = Mark("a text to write")
    if isinstance(value, str):
        try:
            if scalar(value, mark) == value and value == value.strip():
                return value
        except BadInput:
            pass  # it begins like a list: it is quoted
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise BadInput(f"{key}: a {type(value).__name__} like this cannot be written as text") from None
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def path_of(prefix: str, key: str) -> str:
    """Gives the store's name of a dotted key.

    >>> path_of("app", "db.hosts[2]"), path_of("", "db")
    ('app/db/hosts/2', 'db')
    """
    return "/".join([*([prefix] if prefix else []), *(str(part) for part in parts(key))])


def refuse_whole(name: str, kind: str) -> None:
    """Refuses to write keys where one value is a whole file.

    Raises:
        BadInput: it is one.
    """
    if kind:
        raise BadInput(f"{name} holds one whole file", hint="Write the file itself; single keys cannot be set in it.")


def document(
    data: bytes, name: str, kind: str = "", *, version: str = "", options: Mapping[str, str] | None = None
) -> Reading:
    """Gives the reading of one value that is a whole file.

    Args:
        data: its bytes.
        name: what people see; its ending tells the format where `kind` does not.
        kind: yaml, json, toml or ini.
        version: of the store; a hash of the bytes when empty.
        options: of the format.

    Raises:
        BadInput: the format is unknown, or the value is wrong in it.
    """
    from modelkeep.configuration.source import KIND, suffix_plugin

    plugin = kind or suffix_plugin(PurePosixPath(name).name)
    if plugin not in FORMATS:
        raise BadInput(f"{name}: cannot tell the format", hint=f"Add ?format= with one of {', '.join(FORMATS)}.")
    query = "&".join(f"{key}={value}" for key, value in (options or {}).items())
    made = KIND.load(plugin)(f"{name}?{query}" if query else name)  # type: ignore[call-arg]
    found: Reading = made.parse(decoded(data, name))  # type: ignore[attr-defined]
    return Reading(
        found.tree,
        found.marks,
        version or hashlib.sha256(data).hexdigest(),
        time.time_ns(),
        Mark(name),
        texts=found.texts,
    )


def decoded(value: bytes, where: str) -> str:
    """Gives a value as text.

    Raises:
        BadInput: it is no UTF-8.
    """
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 at byte {error.start}", hint="Store it as UTF-8.") from None
