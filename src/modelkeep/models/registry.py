"""The registry of models: what git's tags say about versions and stages, answered from one reading of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.models.events import Event, Problem, Read, number_of, read
from modelkeep.models.names import Asked, asked, check_model, precedence

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.core.shapes import Json

_LINE: Final = re.compile(r"v?([0-9]+(?:\.[0-9]+)?)\Z")
_NEAR: Final = 3


class Version(msgspec.Struct, frozen=True):
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
    """

    name: str
    versions: tuple[Version, ...]
    stages: dict[str, Version]
    events: tuple[Event, ...]
    deprecated: Event | None
    problems: tuple[Problem, ...]

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


class Registry:
    """The models of one git repository.

    Tags are read once, on the first question; after a verb of `models.register` they are read again.

    Args:
        git: the repository.
    """

    def __init__(self, git: Git) -> None:
        self.git: Final = git

    @cached_property
    def _read(self) -> Read:
        from modelkeep.code.tags import tags

        return read(tags(self.git))

    @cached_property
    def _models(self) -> dict[str, Model]:
        return {}

    def refresh(self) -> None:
        """Has the next question read the tags again."""
        self.__dict__.pop("_read", None)
        self.__dict__.pop("_models", None)

    def artifacts(self, *, hidden: bool = False) -> list[Model]:
        """Gives the models, sorted by name.

        Args:
            hidden: deprecated ones, too, and those whose versions are all deregistered.
        """
        found = [self._model(name) for name in sorted(self._read.events)]
        return [one for one in found if hidden or (one.deprecated is None and any(v.active for v in one.versions))]

    def artifact(self, name: str) -> Model:
        """Gives one model; deprecated ones, too.

        Raises:
            Missing: there is none of this name; near names are in the hint.
            BadInput: it is no name for a model.
        """
        if name not in self._read.events:
            raise self._unknown(check_model(name))
        return self._model(name)

    def versions(self, name: str, *, hidden: bool = False) -> list[Version]:
        """Gives the versions of a model in order of their numbers.

        Args:
            name: of the model.
            hidden: deregistered ones, too, and those that only stand in a stage.

        Raises:
            Missing: there is no such model.
        """
        model = self.artifact(name)
        return [*model.versions] if hidden else model.active

    def stages(self, name: str) -> dict[str, Version]:
        """Gives which version of a model stands in which stage, sorted by stage.

        As with GTO, it is the one that was assigned last among those that were neither unassigned nor deregistered.

        Raises:
            Missing: there is no such model.
        """
        return dict(self.artifact(name).stages)

    def history(self, name: str) -> list[Event]:
        """Gives everything that happened to a model, in order.

        Raises:
            Missing: there is no such model.
        """
        return [*self.artifact(name).events]

    def held(self, name: str, stage: str) -> list[Held]:
        """Gives who stood in a stage from which event on, in order.

        Raises:
            Missing: there is no such model.
        """
        model = self.artifact(name)
        known = {one.version: one for one in model.versions}
        state = _State()
        found: list[Held] = []
        for event in model.events:
            state.take(event)
            holder = state.holder(stage)
            if (found[-1].version.version if found and found[-1].version else "") != holder:
                found.append(Held(known.get(holder), event))
        return found

    def problems(self, name: str = "") -> list[Problem]:
        """Gives what tags say in contradiction, of one model or of all."""
        unread = [one for one in self._read.problems if not name or one.model == name]
        names = [name] if name else sorted(self._read.events)
        return unread + [one for each in names if each in self._read.events for one in self._model(each).problems]

    def resolve(self, text: str, *, hidden: bool = False) -> Version:
        """Gives the version that a text asks for.

        Args:
            text: `churn@v1.2.0`, `churn@v1` (the highest of them), `churn@5` (the fifth registered), `churn@production`
                or `churn#production`, `churn@latest` (the highest), or `churn@` and a commit.
            hidden: a deregistered version may be meant, too.

        Raises:
            BadInput: it is no such text, or names the model alone.
            Missing: there is no such model, version or stage; the hint says what there is.
        """
        want = asked(text)
        model = self.artifact(want.model)
        if not want.kind:
            choices = [*model.stages, *(["latest"] if model.latest else [])]
            raise BadInput(
                f"{want.model}: which version?", hint=f"Say it, for example {want.model}@{(choices or ['v1.0.0'])[0]}"
            )
        found = self._found(model, want)
        if found is None:
            raise _no_version(model, want)
        if found.gone is not None and not hidden:
            raise _deregistered(found)
        return found

    def at_commit(self, name: str, commit: str) -> list[Version]:
        """Gives the registered versions of a model at a commit, deregistered ones among them."""
        model = self._model(name) if name in self._read.events else None
        return [one for one in model.versions if one.commit == commit and one.registered] if model else []

    # The parts of which the above is made

    def _model(self, name: str) -> Model:
        if name not in self._models:
            self._models[name] = assembled(name, self._read.events[name])
        return self._models[name]

    def _found(self, model: Model, want: Asked) -> Version | None:
        if want.kind == "latest":
            return model.latest
        if want.kind == "number":
            return next((one for one in model.versions if one.number == int(want.value)), None)
        if want.kind == "version":
            return next((one for one in model.versions if one.version == want.value), None)
        if want.kind == "commit":
            return _only([one for one in model.versions if one.commit.startswith(want.value)], want)
        if want.value in model.stages or want.kind == "stage":
            found = model.stages.get(want.value)
            return found if found or not _LINE.match(want.value) else _highest(model, want.value)
        return _highest(model, want.value)

    def _unknown(self, name: str) -> Missing:
        from difflib import get_close_matches

        known = sorted(self._read.events)
        near = get_close_matches(name, known, n=_NEAR, cutoff=0.5)
        if near:
            hint = f"Near: {', '.join(near)}"
        elif known:
            hint = "See what there is: modelkeep model list"
        elif self.git.shallow:
            hint = "This clone is shallow and may lack tags; get them: git fetch --tags"
        else:
            hint = f"Get the tags (git fetch --tags), or register a first version: modelkeep model register {name}"
        return Missing(f"{name}: no such model in {self.git.root}", hint=hint)


class _State:
    """What holds after some events: which versions are active, which stand assigned, and since when."""

    def __init__(self) -> None:
        self.gone: dict[str, Event] = {}
        self.assigned: dict[str, dict[str, int]] = {}
        """For each stage its versions, and when each was last assigned."""
        self._count = 0

    def take(self, event: Event) -> None:
        self._count += 1
        if event.action == "register":
            self.gone.pop(event.version, None)
        elif event.action == "deregister":
            self.gone[event.version] = event
        elif event.action == "assign":
            self.assigned.setdefault(event.stage, {})[event.version] = self._count
        elif event.action == "unassign":
            self.assigned.get(event.stage, {}).pop(event.version, None)

    def holder(self, stage: str) -> str:
        """The version that stands in a stage, or nothing."""
        held = {name: at for name, at in self.assigned.get(stage, {}).items() if name not in self.gone}
        return max(held, key=lambda name: held[name], default="")


def assembled(name: str, events: Sequence[Event]) -> Model:
    """Gives a model from its events.

    Args:
        name: of the model.
        events: in order, stages' events without a version yet.
    """
    registered, problems = _registered(events)
    told = [*_with_versions(events, registered, problems)]
    state = _State()
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
        own = number_of(event)
        if own > number + 1:
            problems.append(_gap(event, number + 1, own))
        number = max(number + 1, own)
        found[event.version] = Version(event.model, event.version, number, event.commit, event)
    return found, problems


def _with_versions(
    events: Sequence[Event], registered: dict[str, Version], problems: list[Problem]
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


def _highest(model: Model, line: str) -> Version | None:
    """The highest version that begins with `v1` or `v1.2`."""
    found = _LINE.match(line)
    start = f"v{found[1]}." if found else line
    return max(
        (one for one in model.active if one.version.startswith(start)),
        key=lambda one: precedence(one.version),
        default=None,
    )


def _only(found: list[Version], want: Asked) -> Version | None:
    if len({one.commit for one in found}) > 1:
        raise Conflict(f"{want.model}@{want.value}: several commits begin like this", hint="Give more of the id.")
    return found[-1] if found else None


def _no_version(model: Model, want: Asked) -> Missing:
    from difflib import get_close_matches

    if want.kind == "latest":
        return Missing(
            f"{model.name}: no version is registered", hint=f"Register one: modelkeep model register {model.name}"
        )
    if want.kind == "stage":
        have = ", ".join(f"{stage} ({one.version})" for stage, one in model.stages.items())
        return Missing(
            f"{model.name}: no version stands in {want.value}",
            hint=f"There is: {have}" if have else f"Put one there: modelkeep model promote {model.name}@latest STAGE",
        )
    near = get_close_matches(want.value, [one.version for one in model.active][-1000:], n=_NEAR, cutoff=0.5)
    hint = f"Near: {', '.join(near)}" if near else f"See what there is: modelkeep model list {model.name}"
    return Missing(f"{model.name}: no version {want.value}", hint=hint)


def _deregistered(one: Version) -> Missing:
    from modelkeep.core.times import iso

    gone = one.gone
    told = f" by {gone.by} on {iso(gone.at_ns)[:10]}" if gone else ""
    return Missing(
        f"{one.name} was deregistered{told}",
        hint=f"Take another one (modelkeep model list {one.model}), or register it again: "
        f"modelkeep model register {one.model} {one.version} --rev {one.commit[:12]}",
    )


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


