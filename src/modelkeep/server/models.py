"""What the typed API tells of models as they served: the timeline, shares, trainings, lineage, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

import orjson
from pydantic import Field, JsonValue

from modelkeep.alerts.ledger import Alert
from modelkeep.alerts.state import State
from modelkeep.core.clock import DAY
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso
from modelkeep.models import changes as changed
from modelkeep.models import lineage as way
from modelkeep.models import timeline as times
from modelkeep.models.training import Ends, First, ends
from modelkeep.server.values import Row, plain
from modelkeep.server.words import Told

if TYPE_CHECKING:
    from modelkeep.server.house import House
    from modelkeep.store.trainings import Training

Status = Literal["running", "finished", "failed"]
BACK_NS: Final = 90 * DAY
"""How far back `changes` looks when nobody says."""
_NEARBY_NS: Final = 30 * DAY
"""An alert is told of changes that are no older than this."""
_CONFIGURATIONS: Final = 2_000
_TRAININGS: Final = 2_000
_STATES: Final[tuple[State | None, ...]] = (None, "resolved")


class StretchTold(Told):
    """What ran over one time, in however many processes."""

    id: str
    model: str
    version: str
    role: str
    code: str
    dirty: bool
    patch: str
    files: str
    data_version: str
    config_version: str
    announced: str
    first_prediction: str | None
    last_prediction: str | None
    predictions: int
    releases: list[str]
    hosts: list[str]
    processes: int
    authors: list[str]
    deployers: list[str]
    remote: str
    branch: str
    link: str


class TimelineTold(Told):
    """What served when, the newest first."""

    timeline: list[StretchTold]
    truncated: bool


class ShareTold(Told):
    """One version in one role over one period."""

    from_: Annotated[str | None, Field(alias="from")]
    to: str | None
    version: str
    role: str
    predictions: int
    share: float | None


class SharesTold(Told):
    """The share of each version, oldest period first."""

    model: str
    rows: list[ShareTold]


class TrainingTold(Told):
    """One training."""

    id: str
    model: str
    version: str
    status: str
    start: str
    end: str | None
    seconds: float | None
    code: str
    dirty: bool
    data_version: str
    config_version: str
    metrics: dict[str, float | None]
    parameters: JsonValue
    by: str
    source: str
    run: str
    error: str
    url: str
    host: str
    process: str
    deployer: str


class TrainingsTold(Told):
    """Trainings, the one that began last first."""

    trainings: list[TrainingTold]


class NodeTold(Told):
    """One thing on the way from data to alerts."""

    id: str
    kind: str
    name: str
    at: str | None
    details: JsonValue


class EdgeTold(Told):
    """What was used, and what came of it."""

    source: str
    target: str


class LineageTold(Told):
    """The way from data to alerts."""

    nodes: list[NodeTold]
    edges: list[EdgeTold]
    truncated: bool


class PartTold(Told):
    """One part that changed."""

    name: str
    before: str
    after: str


class ChangeTold(Told):
    """One thing that changed."""

    at: str
    before_s: float
    kind: str
    near: str
    title: str
    model: str
    who: str
    code: str
    differences: list[PartTold]
    link: str
    command: str
    id: str


class AboutTold(Told):
    """The alert that was asked about."""

    id: str
    rule: str
    state: str
    labels: dict[str, str]
    summary: str
    since: str
    fired: str | None
    value: float | None


class ChangesTold(Told):
    """What changed before a moment, what most likely mattered first."""

    moment: str
    since: str
    model: str
    alert: AboutTold | None
    changes: list[ChangeTold]
    count: int


class Serving:
    """Everything that can be asked of models as they served.

    Args:
        house: which knows.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._finished: tuple[int, list[Training]] = (-1, [])
        self._read: tuple[int, list[times.Line]] = (-1, [])

    def timeline(self, model: str, *, version: str, start_ns: int | None, end_ns: int | None, limit: int) -> Row:
        """Gives what served when."""
        found = [
            one
            for one in self._stretches(model or None)
            if version in ("", one.content.version)
            and (end_ns is None or one.announced_ns < end_ns)
            and (start_ns is None or one.end_ns >= start_ns)
        ]
        return {"timeline": [_stretch(one) for one in found[:limit]], "truncated": len(found) > limit}

    def shares(self, model: str, *, start_ns: int | None, end_ns: int | None, by: times.Period) -> Row:
        """Gives the share of each version over time."""
        roles = {one.release.id: one.content.role for one in self._lines() if one.content.model == model}
        hours = self._house.serving.hours(model, start_ns, end_ns)
        rows: list[Json] = [
            {
                "from": None if one.start_ns is None else iso(one.start_ns),
                "to": None if one.end_ns is None else iso(one.end_ns),
                "version": one.version,
                "role": one.role,
                "predictions": one.predictions,
                "share": one.share,
            }
            for one in times.shares(hours, roles, by)
        ]
        return {"model": model, "rows": rows}

    def trainings(self, model: str, *, status: str, start_ns: int | None, end_ns: int | None, limit: int) -> Row:
        """Gives trainings."""
        found = self._house.trainings.list(model or None, status=status, start_ns=start_ns, end_ns=end_ns, limit=limit)
        return {"trainings": [_training(one) for one in found]}

    def lineage(self, asked: way.Asked, alert: str) -> Row:
        """Gives the way from data to alerts.

        Raises:
            BadInput: nothing is named.
            Missing: nothing is known of what is named.
        """
        if alert:
            one = self.alert(alert).instance
            if not one.labels.get("model"):
                raise Missing(f"alert {one.rule} is about no model", hint="`modelkeep why` lists what changed before.")
            asked = way.Asked(model=one.labels["model"], version=one.labels.get("version", ""))
        if asked == way.Asked():
            raise BadInput("nothing is named", hint="Give model, data, code, release or alert.")
        fired = [_fired(one) for one in self._alerts() if one.instance.fired_ns is not None]
        if alert:
            fired = [one for one in fired if one.id == self.alert(alert).instance.id]
        model = asked.model or None
        found = way.graph(asked, self._stretches(model), self._house.trainings.list(model), fired)
        if not found.nodes:
            named = " ".join(filter(None, (asked.model, asked.version, asked.data, asked.code, asked.release)))
            raise Missing(f"nothing is known of {named}", hint="`modelkeep model timeline` shows what served.")
        nodes: list[Json] = [
            {
                "id": one.id,
                "kind": one.kind,
                "name": one.name,
                "at": None if one.at_ns is None else iso(one.at_ns),
                "details": {name: _detail(name, value) for name, value in one.details.items()},
            }
            for one in found.nodes
        ]
        edges: list[Json] = [{"source": one.source, "target": one.target} for one in found.edges]
        return {"nodes": nodes, "edges": edges, "truncated": found.truncated}

    def changes(
        self, *, alert: str, model: str, at_ns: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> Row:
        """Gives what changed before an alert, or before a moment.

        Raises:
            Missing: there is no such alert, or nothing is known of the model.
        """
        about = self.alert(alert) if alert else None
        if about is not None:
            model = model or about.instance.labels.get("model", "")
            at_ns = at_ns if at_ns is not None else about.instance.started_ns
        elif model and not any(one.content.model == model for one in self._lines()):
            raise Missing(f"no model {model!r} ever told a release", hint="`modelkeep model timeline` lists them.")
        moment = next((one for one in (at_ns, end_ns) if one is not None), self._house.clocks.now_ns())
        since = start_ns if start_ns is not None else moment - BACK_NS
        found = self._ranked(moment, model, since)
        return {
            "moment": iso(moment),
            "since": iso(max(0, since)),
            "model": model,
            "alert": None if about is None else _about(about),
            "changes": [_change(one.make(), moment) for one in found[:limit]],
            "count": len(found),
        }

    def explain(self, labels: Mapping[str, str], at_ns: int) -> str:
        """Gives the newest change of what served before an alert's condition began to hold; empty for none."""
        found = self._ranked(at_ns, labels.get("model", ""), at_ns - _NEARBY_NS)[:1]
        return changed.annotation([one.make() for one in found], at_ns)

    def alert(self, named: str) -> Alert:
        """Gives the alert of an id, of the beginning of one, or the newest of a rule.

        Raises:
            Missing: there is none.
        """
        found = self._alerts()
        for test in _NAMED:
            if chosen := [one for one in found if test(one, named)]:
                return max(chosen, key=lambda one: (one.instance.state != "resolved", one.instance.since_ns))
        rules = sorted({one.instance.rule for one in found})
        hint = f"There were alerts of: {', '.join(rules[:10])}." if rules else "No alert has come up so far."
        raise Missing(f"no alert {named!r}", hint=hint)

    def ends(self) -> Ends:
        """Gives when trainings finished, for the derived series."""
        revision = self._house.trainings.revision
        if revision != self._finished[0]:
            self._finished = revision, self._house.trainings.list(status="finished")
        found = self._finished[1]
        unnamed = {one.model for one in found if not one.version}
        firsts = [
            First(model.model, version.version, version.first_ns)
            for model in (self._house.quality.models() if unnamed else ())
            for version in model.versions
            if model.model in unnamed
        ]
        return ends(found, firsts)

    def _alerts(self) -> list[Alert]:
        return [one for state in _STATES for one in self._house.alerts.list(state)]

    def _stretches(self, model: str | None = None) -> list[times.Stretch]:
        found = [one for one in self._lines() if model is None or one.content.model == model]
        return times.joined(found, self._house.serving.spans(model))

    def _lines(self) -> list[times.Line]:
        """Gives all releases, each read once however often somebody asks."""
        revision = self._house.releases.revision
        if revision != self._read[0]:
            self._read = revision, times.lines(self._house.releases.list())
        return self._read[1]

    def _ranked(self, moment_ns: int, model: str, since_ns: int) -> list[changed.Draft]:
        house = self._house
        end_ns = moment_ns + 1
        known = changed.Known(
            stretches=self._stretches(),
            configurations=[
                one
                for state in ("applied", "rolled back")
                for one in house.configurations.history(
                    state=state, start_ns=since_ns, end_ns=end_ns, limit=_CONFIGURATIONS
                )
            ],
            deploys=house.deploys.list(start_ns=since_ns, end_ns=end_ns),
            trainings=house.trainings.list(start_ns=since_ns, end_ns=end_ns, limit=_TRAININGS),
            processes={one.release.process: one.content.model for one in self._lines()},
        )
        return changed.ranked(known, moment_ns, model=model, since_ns=since_ns)


_NAMED: Final[tuple[Callable[[Alert, str], bool], ...]] = (
    lambda one, named: one.instance.id == named,
    lambda one, named: one.instance.rule == named,
    lambda one, named: len(named) >= 4 and one.instance.id.startswith(named),
)


def _stretch(one: times.Stretch) -> Json:
    made = one.content
    code = changed.Difference("code", "", made.code)
    return {
        "id": one.id,
        "model": made.model,
        "version": made.version,
        "role": made.role,
        "code": made.code,
        "dirty": bool(made.patch),
        "patch": made.patch if made.patch != "dirty" else "",
        "files": made.files,
        "data_version": made.data,
        "config_version": made.configuration,
        "announced": iso(one.announced_ns),
        "first_prediction": None if one.first_ns is None else iso(one.first_ns),
        "last_prediction": None if one.last_ns is None else iso(one.last_ns),
        "predictions": one.predictions,
        "releases": [*one.releases],
        "hosts": [*one.hosts],
        "processes": one.processes,
        "authors": [*one.authors],
        "deployers": [*one.deployers],
        "remote": one.remote,
        "branch": one.branch,
        "link": changed.link(one.remote, code),
    }


def _training(one: Training) -> Json:
    row: dict[str, Json] = {name: getattr(one, name) for name in one.__struct_fields__ if not name.endswith("_ns")}
    end = one.end_ns
    return row | {
        "start": iso(one.at_ns),
        "end": None if end is None else iso(end),
        "seconds": None if end is None else (end - one.at_ns) / 1e9,
        "metrics": orjson.loads(one.metrics or "{}"),
        "parameters": plain(orjson.loads(one.parameters or "{}")),
    }


def _fired(one: Alert) -> way.Fired:
    held = one.instance
    labels = held.labels
    return way.Fired(
        held.id, held.rule, held.started_ns, labels.get("model", ""), labels.get("version", ""), held.state
    )


def _detail(name: str, value: way.Detail) -> Json:
    return iso(value) if name.endswith("_ns") and isinstance(value, int) else value


def _change(one: changed.Change, moment_ns: int) -> Json:
    parts: list[Json] = [{"name": each.name, "before": each.before, "after": each.after} for each in one.differences]
    names = ("kind", "near", "title", "model", "who", "code", "link", "command", "id")
    said: dict[str, Json] = {name: str(getattr(one, name)) for name in names}
    return said | {"at": iso(one.at_ns), "before_s": (moment_ns - one.at_ns) / 1e9, "differences": parts}


def _about(one: Alert) -> Json:
    held = one.instance
    return {
        "id": held.id,
        "rule": held.rule,
        "state": held.state,
        "labels": dict(held.labels),
        "summary": one.annotations.get("summary", ""),
        "since": iso(held.started_ns),
        "fired": None if held.fired_ns is None else iso(held.fired_ns),
        "value": plain(held.value),
    }
