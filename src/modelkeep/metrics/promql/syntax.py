"""PromQL text to its tree; what the parser cannot take is refused here, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal

import promql_parser as ast

from modelkeep.core.clock import DAY
from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Matcher
from modelkeep.core.times import datetime_ns

Op = Literal["=", "!=", "=~", "!~"]

_LENGTH: Final = 100_000
_LONGEST_NS: Final = 50 * 365 * DAY
_FARTHEST_NS: Final = 190 * 365 * DAY
_LATEST_S: Final = 1e11
_DEPTH: Final = 100
_OPERATORS: Final = 200
_TOKENS: Final = re.compile(
    r"""
      "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `(?P<raw>[^`]*)` | (?P<comment>\#[^\n]*)
    | @\s*(?P<moment>-\s*[\d.]|[+]?\s*[\d.][\w.]*(?:(?<=[eE])[+-]?\d+)?) | (?P<open>[(\[{]) | (?P<close>[)\]}])
    | (?P<operator>[-+*/%^<>=!]=?~? | \b(?:and|or|unless|atan2)\b)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPS: Final[tuple[tuple[ast.MatchOp, Op], ...]] = (
    (ast.MatchOp.Equal, "="),
    (ast.MatchOp.NotEqual, "!="),
    (ast.MatchOp.Re, "=~"),
    (ast.MatchOp.NotRe, "!~"),
)


@lru_cache(maxsize=512)
def parse(query: str) -> ast.Expr:
    """Gives the tree of an expression.

    Args:
        query: PromQL; backquoted strings are raw, `#` starts a comment.

    Raises:
        BadInput: the text is not PromQL, or nests too deeply, or uses `@` with a time before 1970.

    >>> type(parse("sum(rate(x[5m]))")).__name__
    'AggregateExpr'
    """
    if len(query) > _LENGTH:
        raise BadInput(f"query: {len(query)} characters, at most {_LENGTH} are taken")
    text = _TOKENS.sub(_Plain(), query)
    try:
        return ast.parse(text)
    except ValueError as error:
        raise BadInput(f"query: {error}", hint="See the PromQL reference for what can be asked.") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise BadInput(f"query: the parser gave up: {error}") from None


def _checked(moment: str) -> None:
    """Refuses what the parser cannot hold behind an `@`."""
    if moment.startswith("-"):
        raise BadInput("query: @ with a time before 1970")
    try:
        good = float(moment.lstrip("+ \t\n")) < _LATEST_S
    except ValueError:
        return
    if not good:
        raise BadInput("query: the time behind @ is out of bounds")


class _Plain:
    """Rewrites raw strings as quoted ones, because the parser takes escapes in both alike, and drops comments.

    It also counts: the parser and we walk the tree recursively, so the tree must not be too deep.
    """

    def __init__(self) -> None:
        self._open: list[str] = []
        self._operators = 0

    def __call__(self, token: re.Match[str]) -> str:
        kind = token.lastgroup
        if kind == "raw":
            escaped = token["raw"].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        if kind == "comment":
            return ""
        if kind == "moment":
            _checked(token["moment"])
        self._count(kind, token[0])
        return token[0]

    def _count(self, kind: str | None, text: str) -> None:
        if kind == "open":
            self._open.append(text)
        elif kind == "close" and self._open:
            self._open.pop()
        elif kind == "operator" and self._open[-1:] != ["{"]:
            self._operators += 1
        if len(self._open) > _DEPTH:
            raise BadInput(f"query: nested more than {_DEPTH} deep")
        if self._operators > _OPERATORS:
            raise BadInput(f"query: more than {_OPERATORS} operators")


def op(node: ast.MatchOp) -> Op:
    """Gives a matcher's operator as it is written."""
    return next(text for kind, text in _OPS if kind == node)


def matchers(node: ast.VectorSelector) -> Sequence[Matcher]:
    """Gives a selector's conditions, the metric's name among them.

    Raises:
        BadInput: alternatives joined by `or` inside the braces.

    >>> [m.name for m in matchers(parse('up{job="a"}'))]
    ['__name__', 'job']
    """
    if node.matchers.or_matchers:
        raise BadInput("query: `or` between matchers is not supported", hint="Write two selectors joined by `or`.")
    found = [Matcher(NAME, "=", node.name)] if node.name else []
    return [*found, *(Matcher(m.name, op(m.op), m.value) for m in node.matchers.matchers)]


def duration_ns(length: object) -> int:
    """Gives a duration of the tree in ns; nothing is 0.

    Raises:
        BadInput: it is longer than 50 years.

    >>> duration_ns(timedelta(milliseconds=-3))
    -3000000
    """
    found = length // timedelta(microseconds=1) * 1000 if isinstance(length, timedelta) else 0
    if abs(found) > _LONGEST_NS:
        raise BadInput(f"query: {length} is longer than 50 years")
    return found


def moment_ns(at: ast.AtModifier, start_ns: int, end_ns: int) -> int:
    """Gives the moment that an `@` names.

    Raises:
        BadInput: no calendar has it.
    """
    if at.type == ast.AtModifierType.Start:
        return start_ns
    if at.type == ast.AtModifierType.End:
        return end_ns
    try:
        named = at.at
    except (ValueError, OverflowError):
        named = None
    if named is None:
        raise BadInput("query: the time behind @ is out of bounds")
    return within(round(datetime_ns(named) / 1e6) * 1_000_000)


def within(at_ns: int) -> int:
    """Gives back a time that leaves room to look around it.

    Raises:
        BadInput: it is before 1780 or after 2160.

    >>> within(5)
    5
    """
    if abs(at_ns) > _FARTHEST_NS:
        raise BadInput("query: the time is out of bounds")
    return at_ns


def metric_names(query: str) -> set[str]:
    """Gives the metric names of all selectors of a query; an empty name stands for a selector without one.

    Raises:
        BadInput: the text is not PromQL.

    >>> sorted(metric_names('rate(a[5m]) + on() b{x="1"} and {job="c"}'))
    ['', 'a', 'b']
    """
    names: set[str] = set()

    def visit(node: ast.Expr) -> None:
        if isinstance(node, ast.VectorSelector):
            named = [m.value for m in matchers(node) if m.name == NAME and m.op == "="]
            names.add(named[0] if named else "")

    ast.walk(parse(query), visit)
    return names
