"""Functions that write labels: label_replace, label_join, and the labels of what is absent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput
from modelkeep.core.series import NAME, Labels, Matcher
from modelkeep.metrics.promql.values import Vector, joined, relabelled

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[A-Za-z0-9_]+)\}|(?P<bare>[A-Za-z0-9_]+))")


def _checked(name: str, function: str) -> str:
    if not _LABEL.fullmatch(name):
        raise BadInput(f"query: invalid destination label name in {function}(): {name!r}")
    return name


def _set(labels: Labels, name: str, value: str) -> Labels:
    kept = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*kept, (name, value)])) if value else tuple(kept)


def rewritten(template: str, groups: Mapping[str, int], count: int) -> str:
    r"""Gives a template with `$1`, `${name}` and `$$` as RE2 writes it; an unknown group is empty.

    Raises:
        BadInput: it uses a group behind the ninth.

    >>> print(rewritten("$2-${name}-$3-$$-$1x", {"name": 1}, 2))
    \2-\1--$-
    """

    def one(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["bare"]
        number = int(name) if name.isdecimal() else groups.get(name, count + 1)
        if 9 < number <= count:
            raise BadInput("query: label_replace() takes at most nine groups")
        return rf"\{number}" if number <= count else ""

    return _REFERENCE.sub(one, template.replace("\\", "\\\\"))


def label_replace(vector: Vector, target: str, template: str, source: str, pattern: str) -> Vector:
    """Gives the series with `target` written from the groups of `pattern` over the whole of `source`.

    Raises:
        BadInput: the pattern or the name is not valid, or series became equal.
    """
    _checked(target, "label_replace")
    values = pa.array([dict(one).get(source, "") for one in vector.labels], pa.string())
    whole = rf"\A(?s:{pattern})\z"
    try:
        compiled = re.compile(pattern)
        matches = pc.match_substring_regex(values, whole).to_pylist()
        replacement = rewritten(template, compiled.groupindex, compiled.groups)
        written = pc.replace_substring_regex(values, whole, replacement).to_pylist()
    except (re.error, pa.ArrowInvalid) as error:
        raise BadInput(f"query: invalid regular expression in label_replace(): {pattern!r}: {error}") from None
    labels = [
        _set(one, target, str(text)) if matched else one
        for one, matched, text in zip(vector.labels, matches, written, strict=True)
    ]
    return joined(Vector(labels, vector.values, vector.present))


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
