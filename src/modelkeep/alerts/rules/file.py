"""Prometheus rule files: read strictly, every complaint with file, line and key."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar

import yaml

from modelkeep.alerts.rules.expression import clock_of
from modelkeep.alerts.rules.rule import ALERTNAME, ClockName, Rule, RuleGroup
from modelkeep.alerts.rules.template import Template
from modelkeep.core.clock import MINUTE
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.times import duration_ns

LIMIT_BYTES: Final = 1_000_000
_LIMIT_NODES: Final = 100_000
_LABEL: Final = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_CLOCKS: Final[dict[str, ClockName]] = {"wall": "wall", "events": "events"}

T = TypeVar("T")
Node = yaml.Node
Pairs = tuple[tuple[str, Template], ...]


def load_rules(patterns: Sequence[str], *, interval_ns: int = MINUTE) -> list[RuleGroup]:
    """Gives the groups of all rule files that the patterns name, sorted by file.

    Args:
        patterns: paths, with `*`, `?` and `**`.
        interval_ns: for groups that name none.

    Raises:
        BadInput: a file is wrong; the message names file, line and key.
        Missing: a pattern without wildcards names no file.
    """
    files: dict[str, None] = {}
    for pattern in patterns:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (absolute patterns)
        if not found and not glob.has_magic(pattern):
            raise Missing(f"{pattern}: no such rule file")
        files |= dict.fromkeys(found)
    groups: list[RuleGroup] = []
    for file in files:
        with Path(file).open("rb") as source:
            data = source.read(LIMIT_BYTES + 1)
        groups += parse_rules(data, file=file, interval_ns=interval_ns)
    return distinct(groups)


def default_rules() -> list[RuleGroup]:
    """Gives the pack of rules for any model.

    >>> sorted({group.clock for group in default_rules()})
    ['events', 'wall']
    """
    data = resources.files("modelkeep.alerts").joinpath("rules/default.yaml").read_bytes()
    return parse_rules(data, file="default.yaml")


def parse_rules(data: bytes | str, *, file: str = "rules", interval_ns: int = MINUTE) -> list[RuleGroup]:
    r"""Gives the groups of one rule file. A group whose rules belong to two clocks becomes two.

    Args:
        data: the file's bytes, YAML.
        file: its name, for messages.
        interval_ns: for groups that name none.

    Raises:
        BadInput: the file is wrong; the message names file, line and key.

    >>> groups = parse_rules("groups: [{name: a, rules: [{alert: Down, expr: up == 0, for: 5m}]}]")
    >>> groups[0].rules[0].for_ns == 5 * MINUTE
    True
    >>> parse_rules("groups:\n- name: a\n  rulez: []", file="x.yaml")
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: x.yaml:3: rulez: unknown key
    """
    reading = _Reading(file, interval_ns)
    root = reading.compose(data)
    if root is None:
        return []
    top = reading.mapping(root, "file", required=("groups",), known=("groups",))
    groups = [group for node in reading.sequence(top["groups"], "groups") for group in reading.group(node)]
    return distinct(groups)


@dataclass
class _Reading:
    """One file while it is read."""

    file: str
    interval_ns: int
    nodes: int = 0

    def compose(self, data: bytes | str) -> Node | None:
        if len(data) > LIMIT_BYTES:
            raise BadInput(f"{self.file}: more than {LIMIT_BYTES} bytes", status=413)
        try:
            text = data.decode() if isinstance(data, bytes) else data
            documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        except UnicodeDecodeError as error:
            raise BadInput(f"{self.file}: not UTF-8 at byte {error.start}") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise BadInput(f"{self.file}:{line}: {error.problem or error.context}") from None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise BadInput(f"{self.file}: {str(error) or 'nested too deeply'}") from None
        if len(documents) > 1:
            raise self.wrong(documents[1], "file", "a second document")
        return documents[0] if documents else None

    def wrong(self, node: Node, key: str, reason: str, hint: str = "") -> BadInput:
        return BadInput(f"{self.file}:{node.start_mark.line + 1}: {key}: {reason}", hint=hint)

    def mapping(self, node: Node, where: str, *, required: Sequence[str], known: Sequence[str]) -> dict[str, Node]:
        found = self.pairs(node, where)
        for key, value in found.items():
            if key not in known:
                raise self.wrong(value, key, "unknown key", f"Known: {', '.join(known)}.")
        for key in required:
            if key not in found:
                raise self.wrong(node, key, "missing")
        return found

    def pairs(self, node: Node, where: str) -> dict[str, Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, where, "expected keys and values")
        found: dict[str, Node] = {}
        for key, value in node.value:
            self.nodes += 1
            if self.nodes > _LIMIT_NODES:
                raise self.wrong(node, where, "too many entries")
            name = self.text(key, where)
            if name in found:
                raise self.wrong(key, name, f"given twice, first in line {found[name].start_mark.line + 1}")
            found[name] = value
        return found

    def sequence(self, node: Node, where: str) -> list[Node]:
        if _empty(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(node, where, "expected a list")
        self.nodes += len(node.value)
        if self.nodes > _LIMIT_NODES:
            raise self.wrong(node, where, "too many entries")
        return list(node.value)

    def text(self, node: Node, where: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(node, where, "expected a text")
        return "" if _empty(node) else str(node.value)

    def duration(self, found: dict[str, Node], key: str, default_ns: int) -> int:
        if key not in found:
            return default_ns
        text = self.text(found[key], key)
        if text == "0":
            return 0
        try:
            return duration_ns(text)
        except BadInput as error:
            raise self.wrong(found[key], key, error.message, error.hint) from None

    def group(self, node: Node) -> list[RuleGroup]:
        known = ("name", "interval", "query_offset", "limit", "labels", "rules")
        found = self.mapping(node, "group", required=("name", "rules"), known=known)
        name = self.text(found["name"], "name")
        if not name:
            raise self.wrong(found["name"], "name", "empty")
        interval_ns = self.duration(found, "interval", 0) or self.interval_ns
        limit = self.text(found["limit"], "limit") if "limit" in found else "0"
        if not (limit.isascii() and limit.isdigit()):
            raise self.wrong(found["limit"], "limit", "expected a whole number, 0 for none")
        shared = self.templates(found, "labels") if "labels" in found else ()
        rules = _keyed([self.rule(name, shared, entry) for entry in self.sequence(found["rules"], "rules")])
        group = RuleGroup(
            name,
            interval_ns,
            tuple(rules),
            limit=int(limit[:9]),
            offset_ns=self.duration(found, "query_offset", 0),
            file=self.file,
        )
        clocks: list[ClockName] = sorted({rule.clock for rule in rules}) or ["events"]
        return [
            replace(group, clock=clock, rules=tuple(rule for rule in rules if rule.clock == clock)) for clock in clocks
        ]

    def rule(self, group: str, shared: Pairs, node: Node) -> Rule:
        known = ("alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations")
        found = self.mapping(node, "rule", required=(), known=known)
        if "record" in found:
            raise self.wrong(found["record"], "record", "recording rules are not built yet", "Query the expression.")
        for key in ("alert", "expr"):
            if not (key in found and self.text(found[key], key).strip()):
                raise self.wrong(found.get(key, node), key, "missing")
        name, expr = self.text(found["alert"], "alert"), self.text(found["expr"], "expr").strip()
        labels = tuple(dict([*shared, *self.templates(found, "labels")]).items())
        annotations = self.templates(found, "annotations")
        clock = self.named(found["expr"], "expr", lambda: clock_of(expr))
        if chosen := dict(annotations).get("clock"):
            if chosen.text not in _CLOCKS:
                raise self.wrong(found["annotations"], "clock", "expected wall or events")
            clock = _CLOCKS[chosen.text]
        return Rule(
            name,
            expr,
            for_ns=self.duration(found, "for", 0),
            keep_ns=self.duration(found, "keep_firing_for", 0),
            labels=labels,
            annotations=tuple(pair for pair in annotations if pair[0] != "clock"),
            key="\x00".join([group, name, *(f"{key}={template.text}" for key, template in sorted(labels, key=_first))]),
            where=f"{self.file}:{node.start_mark.line + 1}",
            clock=clock,
        )

    def templates(self, found: dict[str, Node], where: str) -> Pairs:
        if where not in found or _empty(found[where]):
            return ()
        made: list[tuple[str, Template]] = []
        for name, node in self.pairs(found[where], where).items():
            if not _LABEL.match(name) or (where == "labels" and name in {ALERTNAME, "__name__"}):
                raise self.wrong(node, f"{where}.{name}", "cannot be a name here")
            text = self.text(node, name)
            made.append((name, self.named(node, f"{where}.{name}", lambda text=text: Template(text))))  # type: ignore[misc]
        return tuple(made)

    def named(self, node: Node, key: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except BadInput as error:
            raise self.wrong(node, key, error.message, error.hint) from None


def _first(pair: tuple[str, Template]) -> str:
    return pair[0]


def _empty(node: Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _keyed(rules: Sequence[Rule]) -> list[Rule]:
    """Numbers rules of the same name and labels, so that each keeps alerts of its own."""
    seen: Counter[str] = Counter()
    keyed = []
    for rule in rules:
        seen[rule.key] += 1
        keyed.append(rule if seen[rule.key] == 1 else replace(rule, key=f"{rule.key}\x00#{seen[rule.key]}"))
    return keyed


def distinct(groups: Sequence[RuleGroup]) -> list[RuleGroup]:
    """Gives groups with names of their own: those of the same name in another file take that file's name before theirs.

    Raises:
        BadInput: one file gives a group twice.
    """
    files: dict[str, str] = {}
    distinct, keys = [], set()
    for group in groups:
        first = files.setdefault(group.name, group.file)
        named = group if first == group.file else _renamed(group)
        if named.key in keys:
            raise BadInput(f"{group.file}: group {group.name!r} is given twice")
        keys.add(named.key)
        distinct.append(named)
    return distinct


def _renamed(group: RuleGroup) -> RuleGroup:
    name = f"{Path(group.file).stem}/{group.name}"
    rules = tuple(replace(rule, key=f"{name}\x00{rule.key}") for rule in group.rules)
    return replace(group, name=name, rules=rules)
