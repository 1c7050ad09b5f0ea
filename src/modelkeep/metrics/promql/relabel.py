"""Functions that write labels: label_replace, label_join, and the labels of what is absent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Labels, Matcher
from modelkeep.metrics.promql.values import Vector, relabelled

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[A-Za-z0-9_]+)\}|(?P<bare>[A-Za-z0-9_]+))")


def _checked(name: str, function: str) -> str:
    if not _LABEL.fullmatch(name):
        raise BadInput(f"query: invalid destination label name in {function}(): {name!r}")
    return name


def _set(labels: Labels, name: str, value: str) -> Labels:
    kept = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*kept, (name, value)])) if value else tuple(kept)


def expanded(match: re.Match[str], template: str) -> str:
    """Gives the template with `$1`, `${name}` and `$$` filled in; an unknown group is empty.

    >>> expanded(re.match("(a)(b)", "ab"), "$2-${1}-$3-$$-$1x")
    'b-a--$-'
    """

    def one(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["bare"]
        key: int | str = int(name) if name.isdecimal() else name
        try:
            return match[key] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(one, template)


def label_replace(vector: Vector, target: str, template: str, source: str, pattern: str) -> Vector:
    """Gives the series with `target` written from the groups of `pattern` over the whole of `source`.

    Raises:
        BadInput: the pattern or the name is not valid, or series became equal.
    """
    _checked(target, "label_replace")
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise BadInput(f"query: invalid regular expression in label_replace(): {pattern!r}: {error}") from None

    def change(labels: Labels) -> Labels:
        match = compiled.fullmatch(dict(labels).get(source, ""))
        return labels if match is None else _set(labels, target, expanded(match, template))

    return relabelled(vector, change)


def label_join(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Gives the series with `target` written from other labels' values.

    Raises:
        BadInput: the name is not valid, or series became equal.
    """
    _checked(target, "label_join")
    for name in sources:
        if not _LABEL.fullmatch(name):
            raise BadInput(f"query: invalid source label name in label_join(): {name!r}")

    def change(labels: Labels) -> Labels:
        own = dict(labels)
        return _set(labels, target, separator.join(own.get(name, "") for name in sources))

    return relabelled(vector, change)


def absent_labels(matchers: Sequence[Matcher]) -> Labels:
    """Gives the labels that a selector fixes to one value.

    >>> absent_labels([Matcher("__name__", "=", "up"), Matcher("a", "=", "1"), Matcher("b", "=~", "2")])
    (('a', '1'),)
    """
    fixed: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == NAME:
            continue
        if matcher.op == "=" and matcher.name not in seen:
            fixed[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            fixed.pop(matcher.name, None)
    return tuple(sorted((name, value) for name, value in fixed.items() if value))
