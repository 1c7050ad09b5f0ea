"""Text from places that know only text (variables, arguments, key-value stores), read as YAML reads a value."""

from __future__ import annotations

from typing import cast

import yaml

from modelkeep.configuration.tree import Mark, Node, Tree, parts
from modelkeep.core.errors import BadInput


def scalar(text: str, mark: Mark) -> Node:
    """Gives the value that a text stands for, as OmegaConf reads the right side of `key=value`.

    Raises:
        BadInput: it begins like a list or a mapping and is none.

    >>> [scalar(text, Mark("here")) for text in ("8", "true", "[a, 1]", "", "1e3", "${db.url}")]
    [8, True, ['a', 1], '', 1000.0, '${db.url}']
    """
    from omegaconf import OmegaConf

    if not text:
        return text
    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
    except yaml.YAMLError as error:
        if text[0] in "{[":
            raise BadInput(f"{mark}: {str(error).partition(chr(10))[0]}", hint="Quote it to make it a text.") from None
        return text
    return cast("dict[str, Node]", read)["value"]


def assign(tree: Tree, key: str, value: Node, mark: Mark) -> None:
    """Puts a value at a dotted key, making the containers above it.

    Raises:
        BadInput: a value stands where a container is needed.

    >>> tree: Tree = {}
    >>> assign(tree, "a.b", 1, Mark("here"))
    >>> tree
    {'a': {'b': 1}}
    """
    node, path = tree, [str(part) for part in parts(key)]
    for place, part in enumerate(path[:-1]):
        inner = node.setdefault(part, {})
        if not isinstance(inner, dict):
            there = ".".join(path[: place + 1])
            raise BadInput(f"{mark} {key}: {there} is a value already", hint="Give one of the two.")
        node = inner
    node[path[-1]] = value
