"""Key-value stores as trees: `app/db/pool` = `8` is `{"db": {"pool": 8}}` below `app`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from modelkeep.configuration.scalars import assign, scalar
from modelkeep.configuration.tree import Mark, Reading, Tree
from modelkeep.core.errors import BadInput

FORMATS = ("yaml", "json", "toml", "ini")


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
    tree: Tree = {}
    marks: dict[str, Mark] = {}
    texts: dict[str, str] = {}
    digest = hashlib.sha256()
    for name, value in sorted(pairs):
        digest.update(f"{len(name)} {name} {len(value)} ".encode() + value)
        inner = name[len(prefix) :].strip("/") if name.startswith(prefix) else name.strip("/")
        if not inner or (name.endswith("/") and not value):
            continue
        mark = Mark(f"{store} {name}")
        text = decoded(value, str(mark))
        key = ".".join(part for part in inner.split("/") if part)
        assign(tree, key, scalar(text, mark), mark)
        marks[key], texts[key] = mark, text
    origin = Mark(f"{store} {prefix}")
    return Reading(tree, marks, version or digest.hexdigest(), time.time_ns(), origin, texts=texts)


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
