"""From data to alerts and back: what was made of what, as a graph of nodes and edges.

The way is data, code → training → model version → release → predictions → alert; configuration joins at the release.
An edge leads from what was used to what came of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from modelkeep.models.changes import bare_hash, short
from modelkeep.models.timeline import Stretch

if TYPE_CHECKING:
    from modelkeep.store.trainings import Training

Kind = Literal["data", "code", "configuration", "training", "model", "release", "predictions", "alert"]
Detail = None | bool | int | float | str
MOST: Final = 500
"""So many stretches of time a graph holds at most, the newest ones."""


@dataclass(frozen=True, slots=True)
class Node:
    """One thing.

    Args:
        id: kind and name, unique in a graph.
        kind: what it is.
        name: for people.
        at_ns: when it came; None where that is not known.
        details: what else is known.
    """

    id: str
    kind: Kind
    name: str
    at_ns: int | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    """What was used, and what came of it; ids of nodes."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of the way, edges between them; `truncated` when older stretches are left out."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fired.

    Args:
        id: its own.
        rule: that fired.
        at_ns: when its condition began to hold.
        model: by its labels; empty for none.
        version: by its labels; empty for any.
        state: firing, acknowledged or resolved.
    """

    id: str
    rule: str
    at_ns: int
    model: str = ""
    version: str = ""
    state: str = "firing"


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to begin; what is empty does not limit.

    Args:
        model: its name.
        version: of the model.
        data: a version of data, or the beginning of its hash.
        release: id of a release.
        code: a commit, or the beginning of it.
    """

    model: str = ""
    version: str = ""
    data: str = ""
    release: str = ""
    code: str = ""

    def holds(self, one: Stretch) -> bool:
        """Whether a stretch is asked for."""
        made = one.content
        return (
            self.model in ("", made.model)
            and self.version in ("", made.version)
            and (not self.release or self.release in one.releases)
            and begins(made.data, self.data)
            and begins(made.code, self.code)
        )


def begins(value: str, asked: str) -> bool:
    """Whether a hash is the one that is asked for, or begins so; `md5:` and `.dir` do not matter.

    >>> begins("md5:0a1b2c3d4e.dir", "0a1b2c3"), begins("2026-03", "2026-0"), begins("2026-03", "2026-03")
    (True, False, True)
    """
    bare, wanted = bare_hash(value), bare_hash(asked)
    if not wanted or bare == wanted:
        return True
    return len(wanted) >= _SHORTEST and not set(wanted) - set("0123456789abcdef") and bare.startswith(wanted)


_SHORTEST: Final = 7


def graph(
    asked: Asked, newest_first: Sequence[Stretch], trainings: Iterable[Training] = (), alerts: Iterable[Fired] = ()
) -> Graph:
    """Gives everything on the way of what was asked for.

    Args:
        asked: where to begin.
        newest_first: what served when.
        trainings: of any models; those of the versions that served are taken, or that used the data.
        alerts: of any models; they hang on what served the model when their condition began to hold.
    """
    wanted = [one for one in newest_first if asked.holds(one)]
    made = _Graph()
    runs: dict[str, list[Training]] = {}
    for run in trainings:
        runs.setdefault(run.model, []).append(run)
    for one in reversed(wanted[:MOST]):
        made.stretch(one)
    seen = {(one.content.model, one.content.version) for one in wanted[:MOST]}
    for model in sorted(runs):
        for run in runs[model]:
            if _made(run, seen) or _used(run, asked):
                made.training(run, seen)
    for alert in alerts:
        served = [one for one in wanted[:MOST] if _watched(alert, one)]
        if served:
            made.alert(alert, served)
    return made.done(truncated=len(wanted) > MOST)


def _made(run: Training, seen: set[tuple[str, str]]) -> bool:
    return (run.model, run.version) in seen


def _used(run: Training, asked: Asked) -> bool:
    """Whether a training by itself is asked for: of the model, or with the data or the commit."""
    if asked.release or asked.version not in ("", run.version) or asked.model not in ("", run.model):
        return False
    return begins(run.data_version, asked.data) and begins(run.code, asked.code)


def _watched(alert: Fired, one: Stretch) -> bool:
    """Whether an alert was about what served in a stretch."""
    made = one.content
    if alert.model != made.model or alert.version not in ("", made.version):
        return False
    return one.announced_ns <= alert.at_ns


_PLACES: Final[dict[Kind, int]] = {
    "data": 0,
    "code": 1,
    "configuration": 2,
    "training": 3,
    "model": 4,
    "release": 5,
    "predictions": 6,
    "alert": 7,
}


class _Graph:
    """Collects nodes and edges, each once."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[Edge, None] = {}

    def stretch(self, one: Stretch) -> None:
        made = one.content
        model = self._version(made.model, made.version)
        release = self._node(
            "release",
            one.id,
            f"{made.model} {made.version}{f' as {made.role}' if made.role != 'live' else ''}",
            one.announced_ns,
            role=made.role,
            hosts=", ".join(one.hosts),
            processes=one.processes,
            who=one.who,
            dirty=bool(made.patch),
        )
        self._edge(model, release)
        for source in self._sources(made.code, made.data):
            self._edge(source, model)
        if made.configuration:
            self._edge(self._node("configuration", made.configuration, short(made.configuration)), release)
        if one.first_ns is not None:
            said: dict[str, Detail] = {"predictions": one.predictions, "last_ns": one.last_ns}
            name = f"{one.predictions:,} predictions"
            self._edge(release, self._node("predictions", one.id, name, one.first_ns, **said))

    def training(self, run: Training, seen: set[tuple[str, str]]) -> None:
        figures = json.loads(run.metrics or "{}")
        named = f"{run.model} {run.version}".rstrip()
        said: dict[str, Detail] = {"status": run.status, "by": run.by, "source": run.source, "url": run.url}
        said["metrics"] = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        node = self._node("training", run.id, f"training of {named}", run.at_ns, **said)
        for source in self._sources(run.code, run.data_version):
            self._edge(source, node)
        if run.version and (_made(run, seen) or run.status == "finished"):
            self._edge(node, self._version(run.model, run.version))

    def alert(self, alert: Fired, served: Sequence[Stretch]) -> None:
        """Hangs an alert on what served when its condition began: the newest of each role and version."""
        node = self._node("alert", alert.id, alert.rule, alert.at_ns, state=alert.state)
        roles: set[tuple[str, str]] = set()
        for one in served:
            key = (one.content.role, one.content.version if alert.version else "")
            if key not in roles and one.first_ns is not None:
                roles.add(key)
                self._edge(f"predictions:{one.id}", node)

    def done(self, *, truncated: bool) -> Graph:
        order = sorted(self._nodes.values(), key=lambda one: (_PLACES[one.kind], one.at_ns or 0, one.id))
        return Graph(tuple(order), tuple(self._edges), truncated)

    def _sources(self, code: str, data: str) -> Iterator[str]:
        if data:
            yield self._node("data", bare_hash(data), short(bare_hash(data)))
        if code:
            yield self._node("code", code, short(code))

    def _version(self, model: str, version: str) -> str:
        return self._node("model", f"{model}@{version}", f"{model}@{version}")

    def _node(self, kind: Kind, key: str, name: str, at_ns: int | None = None, **details: Detail) -> str:
        made = f"{kind}:{key}"
        if made not in self._nodes:
            self._nodes[made] = Node(made, kind, name, at_ns, details)
        return made

    def _edge(self, source: str, target: str) -> None:
        self._edges[Edge(source, target)] = None
