"""What an expression reads: checked when a rule file is loaded, and used to choose the rule's clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import promql_parser as promql

from modelkeep.alerts.rules.rule import ClockName
from modelkeep.core.errors import BadInput
from modelkeep.metrics.promql import syntax

_ABSENCE: Final = frozenset({"absent", "absent_over_time"})
_WALL: Final = re.compile(r"host_|process_|modelkeep_|up\Z")
_LIMIT: Final = 10_000
_OPERATORS: Final = 400
_SHOWN: Final = 200
_OPERATOR: Final = re.compile(r"[-+*/%^]|[=!<>]=?|\b(?:and|or|unless|atan2)\b")
_CHILDREN: Final = ("lhs", "rhs", "expr", "param", "vector_selector")


def parse(expr: str) -> promql.Expr:
    """Gives the syntax tree.

    Raises:
        BadInput: it is not PromQL, gives no numbers, or is longer than anybody could read.

    >>> parse("sum(")
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: 'sum(': unclosed left parenthesis
    """
    shown = expr if len(expr) <= _SHOWN else expr[:_SHOWN] + "…"
    if len(expr) > _LIMIT or sum(1 for _ in _OPERATOR.finditer(expr)) > _OPERATORS:
        raise BadInput(f"{shown!r} is too long", hint=f"At most {_LIMIT} characters and {_OPERATORS} operators.")
    try:
        tree = syntax.parse(expr)
    except BadInput as error:
        raise BadInput(f"{shown!r}: {error.message.removeprefix('query: ')}") from None
    if isinstance(tree, promql.MatrixSelector | promql.SubqueryExpr | promql.StringLiteral):
        raise BadInput(f"{shown!r} gives no number at a moment", hint="Write a condition such as up == 0.")
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


def walk(root: object) -> Iterator[object]:
    """Gives a node and everything below it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        arguments = getattr(node, "args", None)
        below = [getattr(node, name, None) for name in _CHILDREN]
        waiting += [child for child in below if child is not None]
        waiting += arguments if isinstance(arguments, list) else []


def _name(selector: promql.VectorSelector) -> str:
    if selector.name:
        return str(selector.name)
    named = [matcher for matcher in selector.matchers.matchers if matcher.name == "__name__"]
    return str(named[0].value) if named else ""
