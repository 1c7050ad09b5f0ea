"""Text from places that know only text (variables, arguments, key-value stores), read as YAML reads a value."""

from __future__ import annotations

from modelkeep.configuration.secrecy import reference
from modelkeep.configuration.tree import Mark, Node, Tree, parts
from modelkeep.core.errors import BadInput


def scalar(text: str, mark: Mark) -> Node:
    """Gives the value that a text stands for, as OmegaConf reads the right side of `key=value`.

    Raises:
        BadInput: it begins like a list or a mapping and is none.

    >>> [scalar(text, Mark("here")) for text in ("8", "true", "[a, 1]", "", "1e3", "${db.url}")]
    [8, True, ['a', 1], '', 1000.0, '${db.url}']
    """
    if not text:
        return text
    from modelkeep.configuration.sources.yaml import read_value

    try:
        return read_value(text, str(mark))
    except BadInput as error:
        if text[0] in "{[":
            place = error.message.removeprefix(str(mark)).lstrip(":0123456789 ")
            raise BadInput(f"{mark}: {place}", hint="Quote it to make it a text.") from None
        return text


def is_plain(text: str, value: Node, *, interpolated: bool = True) -> bool:
    """Says whether a field that wants text gets a text as it was written, whatever it was read as.

    It does not where the text names a secret or is in quotes, nor where `${…}` in it is resolved.

    >>> [is_plain(text, scalar(text, Mark(""))) for text in ("007", "a # b", "secret:DB", "http://${host}/", "'007'")]
    [True, True, False, False, False]
    """
    quoted = text[:1] in {"'", '"'} and isinstance(value, str) and value != text
    return not (quoted or reference(text) or (interpolated and "${" in text))


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
