"""What an expression reads: checked when a rule file is loaded, and used to choose the rule's clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import promql_parser as promql

from modelkeep.alerts.rules.rule import ClockName
from modelkeep.core.errors import BadInput

_ABSENCE: Final = frozenset({"absent", "absent_over_time"})
_WALL: Final = re.compile(r"host_|process_|modelkeep_|up\Z")
_CHILDREN: Final = ("lhs", "rhs", "expr", "param", "vector_selector")


def parse(expr: str) -> promql.Expr:
    """Gives the syntax tree.

    Raises:
        BadInput: it is not PromQL.

    >>> parse("up == ")
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: 'up == ': invalid promql query
    """
    try:
        tree = promql.parse(expr)
    except ValueError as error:
        raise BadInput(f"{expr!r}: {error}") from None
    if isinstance(tree, promql.MatrixSelector | promql.SubqueryExpr | promql.StringLiteral):
        raise BadInput(f"{expr!r} gives no number at a moment", hint="Write a condition such as up == 0.")
    return tree


def clock_of(expr: str) -> ClockName:
    """Gives the clock that an expression belongs to.

    It is the machine's when every selector names a series of this machine or of modelkeep itself, or when the
    expression asks for an absence: a clock of events stands still when nothing arrives.

    >>> clock_of("host_disk_free_bytes < 1e9"), clock_of("absent(model_labels_total)"), clock_of("model_quality > 1")
    ('wall', 'wall', 'events')
    """
    nodes = list(walk(parse(expr)))
    if any(isinstance(node, promql.Call) and node.func.name in _ABSENCE for node in nodes):
        return "wall"
    names = [_name(node) for node in nodes if isinstance(node, promql.VectorSelector)]
    return "wall" if names and all(_WALL.match(name) for name in names) else "events"


def walk(node: object) -> Iterator[object]:
    """Gives a node and everything below it."""
    yield node
    below = [getattr(node, name, None) for name in _CHILDREN]
    arguments = getattr(node, "args", None)
    for child in [*below, *(arguments if isinstance(arguments, list) else [])]:
        if child is not None:
            yield from walk(child)


def _name(selector: promql.VectorSelector) -> str:
    if selector.name:
        return str(selector.name)
    named = [matcher for matcher in selector.matchers.matchers if matcher.name == "__name__"]
    return str(named[0].value) if named else ""
