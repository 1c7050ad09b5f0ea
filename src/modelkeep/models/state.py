"""What a model's events add up to: its versions, who stands in which stage, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modelkeep.models.events import Event, Problem
from modelkeep.models.names import precedence

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json


class Version(msgspec.Struct, frozen=True, gc=False):
    """One version of a model.

    Args:
        model: its name.
        version: such as `v1.2.0`; of a version that was never registered, its commit.
        number: the how manieth of this model that was registered, from 1, kept for ever; 0 when it never was.
        commit: the code, and with it the data and the model file, by git's id.
        event: its registration; of one that was never registered, the first event of a stage.
        gone: the event that deregistered it; None while it holds.
        stages: which it stands in now, sorted.
    """

    model: str
    version: str
    number: int
    commit: str
    event: Event
    gone: Event | None = None
    stages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The version as one asks for it: `churn@v1.2.0`."""
        return f"{self.model}@{self.version if self.registered else self.version[:12]}"

    @property
    def registered(self) -> bool:
        """Whether it has a version number of its own."""
        return bool(self.number)

    @property
    def active(self) -> bool:
        """Whether it was not deregistered."""
        return self.gone is None

    @property
    def by(self) -> str:
        """Who registered it, `Name <address>`."""
        return self.event.by

    @property
    def at_ns(self) -> int:
        """When, by the clock of whoever did it."""
        return self.event.at_ns

    def json(self) -> dict[str, Json]:
        """The version as programs read it."""
        from modelkeep.core.times import iso

        return {
            "model": self.model,
            "version": self.version,
            "number": self.number or None,
            "registered": self.registered,
            "active": self.active,
            "stages": [*self.stages],
            "commit": self.commit,
            "by": self.by,
            "at": iso(self.at_ns),
            "message": self.event.text or None,
            "tag": self.event.tag,
        }


class Held(NamedTuple):
    """Who stood in a stage from a moment on.

    Args:
        version: the version; None when nobody did.
        event: what brought it there.
    """

    version: Version | None
    event: Event


class Model(msgspec.Struct, frozen=True):
    """One model of the registry.

    Args:
        name: of the model.
        versions: those registered in order of their numbers, then those that only stand in a stage.
        stages: which version stands where now.
        events: everything that happened to it, in order; a stage's events carry their version.
        deprecated: what hid the model; None while it is in use.
        problems: what its tags say in contradiction.
        strays: events that do not count, because they contradict others.
    """

    name: str
    versions: tuple[Version, ...]
    stages: dict[str, Version]
    events: tuple[Event, ...]
    deprecated: Event | None
    problems: tuple[Problem, ...]
    strays: tuple[Event, ...] = ()

    @property
    def active(self) -> list[Version]:
        """The registered versions that were not deregistered, in order of their numbers."""
        return [one for one in self.versions if one.active and one.registered]

    @property
    def latest(self) -> Version | None:
        """The highest version, pre-releases among them; None when none is registered."""
        return max(self.active, key=lambda one: precedence(one.version), default=None)

    @property
    def next_number(self) -> int:
        """The number that the next registration gets."""
        return max((one.number for one in self.versions), default=0) + 1

    def assigned(self, stage: str) -> list[Version]:
        """Gives the versions that were assigned to a stage and not taken out since, the last one last."""
        state = State()
        for event in self.events:
            state.take(event)
        known = {one.version: one for one in self.versions}
        return [known[name] for name in state.assigned.get(stage, {})]

    def json(self) -> dict[str, Json]:
        """The model as programs read it, without its versions."""
        latest = self.latest
        return {
            "model": self.name,
            "latest": latest.version if latest else None,
            "versions": len(self.active),
            "stages": {stage: one.version for stage, one in self.stages.items()},
            "deprecated": self.deprecated is not None,
        }


class State:
    """What holds after some events: which versions are active, which stand assigned, and since when."""

    def __init__(self) -> None:
        self.gone: dict[str, Event] = {}
        self.assigned: dict[str, dict[str, None]] = {}
        """For each stage its versions, the one that was assigned last at the end."""

    def take(self, event: Event) -> None:
        """Goes one event on."""
        if event.action == "register":
            self.gone.pop(event.version, None)
        elif event.action == "deregister":
            self.gone[event.version] = event
        elif event.stage:
            row = self.assigned.setdefault(event.stage, {})
            row.pop(event.version, None)
            if event.action == "assign":
                row[event.version] = None

    def holder(self, stage: str) -> str:
        """The version that stands in a stage, or nothing."""
        return next((name for name in reversed(self.assigned.get(stage, {})) if name not in self.gone), "")


def assembled(name: str, events: Sequence[Event]) -> Model:
    """Gives a model from its events.

    Args:
        name: of the model.
        events: in order, stages' events without a version yet.
    """
    registered, problems = _registered(events)
    strays: list[Event] = []
    told = [*_with_versions(events, registered, problems, strays)]
    state = State()
    last = told[-1] if told else None
    for event in told:
        state.take(event)
    stages = {stage: state.holder(stage) for stage in sorted(state.assigned)}
    held: dict[str, list[str]] = {}
    for stage, version in stages.items():
        held.setdefault(version, []).append(stage)
    known = [*registered.values(), *_unregistered(name, told, registered)]
    versions = tuple(
        msgspec.structs.replace(one, gone=state.gone.get(one.version), stages=tuple(held.get(one.version, ())))
        if one.version in state.gone or one.version in held
        else one
        for one in known
    )
    by_name = {one.version: one for one in versions if one.version in held}
    return Model(
        name=name,
        versions=versions,
        stages={stage: by_name[version] for stage, version in stages.items() if version},
        events=tuple(told),
        deprecated=last if last is not None and last.action == "deprecate" else None,
        problems=tuple(problems),
        strays=tuple(strays),
    )


def _registered(events: Sequence[Event]) -> tuple[dict[str, Version], list[Problem]]:
    """The versions that were ever registered, by their names, in order of their numbers."""
    found: dict[str, Version] = {}
    problems: list[Problem] = []
    number = 0
    for event in events:
        if event.action != "register":
            continue
        before = found.get(event.version)
        if before is not None:
            if before.commit != event.commit:
                problems.append(_twice(event, before))
            continue
        own = event.ordinal
        if own > number + 1:
            problems.append(_gap(event, number + 1, own))
        number = max(number + 1, own)
        found[event.version] = Version(event.model, event.version, number, event.commit, event)
    return found, problems


def _with_versions(
    events: Sequence[Event], registered: dict[str, Version], problems: list[Problem], strays: list[Event]
) -> Iterable[Event]:
    """The events that count; a stage's with the version that is registered at its commit, or else that commit."""
    at: dict[str, list[Version]] = {}
    for one in registered.values():
        at.setdefault(one.commit, []).append(one)
    for event in events:
        if event.action == "deregister":
            known = registered.get(event.version)
            if known is None or known.commit != event.commit:
                problems.append(_stray(event, known))
                strays.append(event)
                continue
        elif event.stage:
            here = at.get(event.commit, [])
            claimed = event.claimed
            version = next((one.version for one in here if one.version == claimed), here[-1].version if here else "")
            if claimed and version != claimed:
                problems.append(_moved(event, registered.get(claimed)))
            yield msgspec.structs.replace(event, version=version or event.commit)
            continue
        yield event


def _unregistered(name: str, events: Sequence[Event], registered: dict[str, Version]) -> list[Version]:
    """Commits that stand in a stage without a version of their own."""
    found: dict[str, Version] = {}
    for event in events:
        if event.stage and event.version not in registered and event.version not in found:
            found[event.version] = Version(name, event.version, 0, event.commit, event)
    return [*found.values()]


def _twice(event: Event, before: Version) -> Problem:
    return Problem(
        event.model,
        event.tag,
        f"registers {event.version} at {event.commit[:12]}, which was registered at {before.commit[:12]}",
        f"Delete the wrong one: git tag -d '{event.tag}' or '{before.event.tag}'",
    )


def _gap(event: Event, missing: int, own: int) -> Problem:
    lost = str(missing) if missing == own - 1 else f"{missing} to {own - 1}"
    return Problem(
        event.model,
        event.tag,
        f"is number {own}, but number {lost} is not here: a tag was deleted, or was never fetched",
        "git fetch --tags",
    )


def _stray(event: Event, known: Version | None) -> Problem:
    where = f"is registered at {known.commit[:12]}" if known else "is not registered"
    return Problem(
        event.model,
        event.tag,
        f"deregisters {event.version} at {event.commit[:12]}, which {where}, so it does not count",
        f"If the tag of the version was moved, put it back; if not: git tag -d '{event.tag}'",
    )


def _moved(event: Event, known: Version | None) -> Problem:
    where = f"now names {known.commit[:12]}" if known else "is gone"
    return Problem(
        event.model,
        event.tag,
        f"is about {event.claimed} at {event.commit[:12]}, but the tag of that version {where}: "
        "it was moved, deleted or never fetched",
        f"Put it back (git fetch --tags), or promote again what should stand in {event.stage}",
    )
