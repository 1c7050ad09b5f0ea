"""YAML files: safe, every key with its line, duplicate keys and bombs refused.

Values are what OmegaConf reads (1e3 is a number, a date is a text); anchors and merge keys (`<<`) work; the documents
of one file are layers, later ones win.

Source: YAML 1.1, https://yaml.org/spec/1.1/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree, join
from modelkeep.configuration.tree import Node as Value
from modelkeep.core.errors import BadInput

_LONGEST_NUMBER: Final = 3000
_MOST_NODES: Final = 100_000
_MOST_COPIES: Final = 100
_MOST_DEEP: Final = 100
_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_SAFE_DEPTH: Final = 1000
_LEADING: Final = re.compile(r"^[ \t?:-]+", re.MULTILINE)
_TAG: Final = "tag:yaml.org,2002:"
_DIGITS: Final = r"\d+(?:_\d+)*"
_FLOAT: Final = re.compile(
    rf"[-+]?{_DIGITS}(?:\.[\d_]*(?:[eE][-+]?\d+)?|[eE][-+]?\d+|(?::[0-5]?\d)+\.[\d_]*)\Z"
    rf"|\.{_DIGITS}(?:[eE][-+]\d+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z",
    re.ASCII,
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader with OmegaConf's idea of a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in {f"{_TAG}timestamp", f"{_TAG}float"}]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


class Yaml(File):
    """A YAML file."""

    suffixes: ClassVar[tuple[str, ...]] = (".yaml", ".yml")

    def parse(self, text: str) -> Reading:
        return read_yaml(text, self.name)


def read_yaml(text: str, name: str) -> Reading:
    r"""Reads YAML text.

    Raises:
        BadInput: with file and line.

    >>> reading = read_yaml("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1e3\n", "f.yaml")
    >>> reading.tree, str(reading.mark("c.d"))
    ({'a': {'b': 1}, 'c': {'b': 1, 'd': 1000.0}}, 'f.yaml:4')
    """
    composed = _Composed(name)
    for loader, node in _nodes(text, name):
        composed.add(loader, node)
    return Reading(composed.tree, composed.marks)


def read_value(text: str, name: str) -> Value:
    """Reads one value as YAML: what stands right of `key: ` in a file.

    Raises:
        BadInput: it is no YAML.

    >>> read_value("[a, 1e3]", "argument")
    ['a', 1000.0]
    """
    found: Value = None
    for loader, node in _nodes(text, name):
        found = _Composed(name).value(loader, node)
    return found


def _nodes(text: str, name: str) -> Iterator[tuple[_Loader, Node]]:
    try:
        _shallow(text, name)
        loader = _Loader(text)
        try:
            while loader.check_node():
                yield loader, loader.get_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise BadInput(f"{where}: {error.problem or error.context}", hint="Mend the YAML there.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(f"{name}:{line}: {error.reason}", hint="Take the character away, or escape it.") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{name}: {error}", hint="Mend the YAML there.") from None


def _shallow(text: str, name: str) -> None:
    """Refuses what is nested so deep that the parser, which is recursive and written in C, would overrun its stack.

    Raises:
        BadInput: it is.
    """
    deepest = text.count("[") + text.count("{") + 2 * max(map(len, _LEADING.findall(text)), default=0)
    if deepest < _SAFE_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEEP:
            where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
            raise BadInput(f"{where}: more than {_MOST_DEEP} levels", hint="Is a bracket left open?")


class _Composed:
    """Turns nodes into values, counting what aliases multiply."""

    def __init__(self, name: str) -> None:
        self.tree: Tree = {}
        self.marks: dict[str, Mark] = {}
        self._name = name
        self._count = 0
        self._written: set[int] = set()

    def add(self, loader: _Loader, node: Node) -> None:
        """Lays one document over those before it."""
        if isinstance(node, ScalarNode) and node.tag == f"{_TAG}null":
            return
        if not isinstance(node, MappingNode):
            raise self._wrong(node, "the top is not a mapping", "Write key: value.")
        value = self._value(loader, node, "", 0)
        assert isinstance(value, dict)
        self.tree = _over(self.tree, value)

    def value(self, loader: _Loader, node: Node) -> Value:
        """Gives the value of a node."""
        return self._value(loader, node, "", 0)

    def _value(self, loader: _Loader, node: Node, key: str, depth: int) -> Value:
        self._count += 1
        self._written.add(id(node))
        if depth > _MOST_DEEP:
            raise self._wrong(node, f"more than {_MOST_DEEP} levels", "Does an alias lead back into itself?")
        if self._count > min(_MOST_NODES, max(1000, _MOST_COPIES * len(self._written))):
            raise self._wrong(node, f"aliases make {self._count:,} values of few", "Write out what is needed.")
        if key:
            self.marks[key] = Mark(self._name, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(loader, node, key, depth)
        if isinstance(node, SequenceNode):
            if node.tag != f"{_TAG}seq":
                raise self._tagged(node)
            return [self._value(loader, item, join(key, place), depth + 1) for place, item in enumerate(node.value)]
        return self._scalar(loader, node)

    def _mapping(self, loader: _Loader, node: MappingNode, key: str, depth: int) -> Tree:
        if node.tag != f"{_TAG}map":
            raise self._tagged(node)
        found: Tree = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for name_node, value_node in node.value:
            if name_node.tag == f"{_TAG}merge":
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            name = self._name_of(loader, name_node)
            line = name_node.start_mark.line + 1
            if name in found:
                raise BadInput(
                    f"{self._name}:{line}: {join(key, str(name))} stands at line {lines[name]} already",
                    hint="Keep one of the two lines.",
                )
            lines[name] = line
            found[name] = self._value(loader, value_node, join(key, str(name)), depth + 1)
            self.marks[join(key, str(name))] = Mark(self._name, line)
        return self._with_merged(loader, found, merged, key, depth)

    def _with_merged(self, loader: _Loader, found: Tree, merged: list[Node], key: str, depth: int) -> Tree:
        """Adds what `<<` names; keys of the mapping itself win, and earlier mappings over later ones."""
        below: Tree = {}
        for inner in reversed(merged):
            if not isinstance(inner, MappingNode):
                raise self._wrong(inner, "<< stands before something that is no mapping", "Name a mapping: <<: *anchor")
            marks = dict(self.marks)
            value = self._value(loader, inner, key, depth + 1)
            assert isinstance(value, dict)
            for name in found:
                path = join(key, str(name))
                kept = {
                    one: mark for one, mark in marks.items() if one == path or one.startswith((f"{path}.", f"{path}["))
                }
                self.marks.update(kept)
            below.update(value)
        return {**below, **found}

    def _name_of(self, loader: _Loader, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise self._wrong(node, "a key is a list or a mapping", "A key is a text or a number.")
        name = node.value if node.tag == f"{_TAG}value" else self._scalar(loader, node)
        if name is None:
            raise self._wrong(node, "a key is empty", "Quote it if it is meant as a text: 'null'")
        return name  # type: ignore[return-value]

    def _scalar(self, loader: _Loader, node: Node) -> Value:
        if node.tag not in {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "binary", "value")}:
            raise self._tagged(node)
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise self._wrong(node, f"a number of {len(node.value):,} characters", "Quote it if it is a text.")
        try:
            value: Value = loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            raise self._wrong(
                node, f"the value is not what the tag {node.tag.replace(_TAG, '!!')} says", "Take the tag away."
            ) from None
        return value

    def _tagged(self, node: Node) -> BadInput:
        shown = node.tag.replace(_TAG, "!!")
        return self._wrong(node, f"the tag {shown} is refused", "Configuration is plain data: take the tag away.")

    def _wrong(self, node: Node, what: str, hint: str) -> BadInput:
        return BadInput(f"{self._name}:{node.start_mark.line + 1}: {what}", hint=hint)


def _over(below: Tree, above: Tree) -> Tree:
    """Lays one tree over another: mappings are joined, everything else is replaced."""
    joined = dict(below)
    for name, value in above.items():
        old = joined.get(name)
        joined[name] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return joined


plugin: type[Source] = Yaml
