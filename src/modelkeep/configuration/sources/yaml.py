"""YAML files: safe, every key with its line, duplicate keys and bombs refused.

Values are what OmegaConf reads (1e3 is a number, a date is a text); anchors and merge keys (`<<`) work; the documents
of one file are layers, later ones win.

Source: YAML 1.1, https://yaml.org/spec/1.1/
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from modelkeep.configuration.file import File
from modelkeep.configuration.source import Source
from modelkeep.configuration.tree import Mark, Reading, Tree, join
from modelkeep.configuration.tree import Node as Value
from modelkeep.core.errors import BadInput

_MOST_NODES: Final = 100_000
_MOST_COPIES: Final = 100
_MOST_DEEP: Final = 100
_TAG: Final = "tag:yaml.org,2002:"
_FLOAT: Final = re.compile(
    r"[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d[\d_]*(?:[eE][-+]?\d+)?"
    r"|\d[\d_]*(?::[0-5]?\d)+\.[\d_]*|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z"
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
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                composed.add(loader, loader.get_node())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise BadInput(f"{where}: {error.problem or error.context}", hint="Mend the YAML there.") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{name}: {error}", hint="Mend the YAML there.") from None
    except RecursionError:
        raise BadInput(f"{name}: nested too deep", hint=f"At most {_MOST_DEEP} levels are read.") from None
    return Reading(composed.tree, composed.marks)


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
        name = self._scalar(loader, node)
        if name is None:
            raise self._wrong(node, "a key is empty", "Quote it if it is meant as a text: 'null'")
        return name  # type: ignore[return-value]

    def _scalar(self, loader: _Loader, node: Node) -> Value:
        if node.tag not in {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "binary", "value")}:
            raise self._tagged(node)
        try:
            value: Value = loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            raise self._wrong(node, f"{node.value!r} is not what its tag says", "Take the tag away.") from None
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
