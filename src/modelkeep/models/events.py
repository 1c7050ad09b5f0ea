"""What happened to models: one event for each git tag of the registry, in the order in which things were done.

The clock of whoever made a tag orders nothing against the count that GTO keeps behind the last `#`, nor against the
number that a registration of ours carries: a clock that was wrong is corrected by those who came before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from modelkeep.models.names import Action, TagName, is_version, parse, precedence

if TYPE_CHECKING:
    from modelkeep.code.tags import Tag
    from modelkeep.core.shapes import Json

Key = Literal[
    "Number", "After", "Data", "Path", "Hash", "Configuration", "Features", "Metrics", "Log", "Reference", "Rollback"
]
PREFIX: Final = "Modelkeep-"
_TRAILER: Final = re.compile(rf"{PREFIX}([A-Z][A-Za-z]*): ?(.*)\Z")
_BREAK: Final = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_NUMBER: Final = f"\n{PREFIX}Number: "
_AFTER: Final = f"\n{PREFIX}After: "
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_NAMED: Final = re.compile(r"\bversion '?(v[0-9][^\s']*)'?")
_RANK: Final[dict[Action, int]] = {"register": 0, "deregister": 1, "assign": 2, "unassign": 3, "deprecate": 4}


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One tag of the registry.

    Args:
        action: what was done.
        model: to which model.
        version: of the model; of a stage's event the one registered at its commit, empty while nobody knows.
        stage: of `assign` and `unassign` only.
        number: the count behind the last `#`; 0 without one.
        tag: its name.
        object: the id of the tag object.
        commit: what it names.
        by: who did it, `Name <address>`.
        at_ns: when, by the clock of whoever did it.
        message: whole, with what follows the first line.
        ordinal: the number of a registration of ours, or the highest number when another event of ours was made; 0 for
            events of others.
        after: the count behind which an event of ours without one came; -1 for others.
    """

    action: Action
    model: str
    version: str
    stage: str
    number: int
    tag: str
    object: str
    commit: str
    by: str
    at_ns: int
    message: str
    ordinal: int = 0
    after: int = -1

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0].strip()

    @property
    def text(self) -> str:
        """What somebody wrote: the message without our trailers, and without the first line when it is GTO's own."""
        lines = [line for line in self.message.strip().split("\n") if not line.startswith(PREFIX)]
        if lines and lines[0].strip() in subjects(self):
            lines = lines[1:]
        return "\n".join(lines).strip()

    @property
    def trailers(self) -> dict[str, str]:
        """What the message says about the version, by key without `Modelkeep-`."""
        found = (_TRAILER.match(line) for line in self.message.split("\n")[1:])
        return {match[1]: match[2].strip() for match in found if match}

    @property
    def claimed(self) -> str:
        """The version that the first line names; empty when it names none."""
        found = _NAMED.search(self.subject)
        return found[1] if found and is_version(found[1]) else ""

    def json(self) -> dict[str, Json]:
        """The event as programs read it."""
        from modelkeep.core.times import iso

        return {
            "action": self.action,
            "model": self.model,
            "version": self.version or None,
            "stage": self.stage or None,
            "commit": self.commit,
            "by": self.by,
            "at": iso(self.at_ns),
            "message": self.text or None,
            "tag": self.tag,
        }


class Problem(NamedTuple):
    """A tag that looks like one of the registry and is none, or contradicts another.

    Args:
        model: which model it is about.
        tag: its name.
        what: what is wrong with it.
        hint: what to do next.
    """

    model: str
    tag: str
    what: str
    hint: str


class Read(NamedTuple):
    """What tags say.

    Args:
        named: the tags that count, by model.
        problems: what is no event although it looks like one.
        counts: for each model the highest count behind a `#`, of tags that do not count among them.
    """

    named: dict[str, list[tuple[TagName, Tag]]]
    problems: list[Problem]
    counts: dict[str, int]

    def events(self, model: str) -> list[Event]:
        """Gives the events of a model, in the order in which things were done."""
        return ordered(_event(name, tag) for name, tag in self.named.get(model, ()))


def read(tags: Iterable[Tag]) -> Read:
    """Gives what some tags say.

    Lightweight tags are left out, as GTO does, and told of as problems; so are tags of what is no commit.
    """
    found: dict[str, list[tuple[TagName, Tag]]] = {}
    problems: list[Problem] = []
    counts: dict[str, int] = {}
    for tag in tags:
        name = parse(tag.name)
        if name is None:
            continue
        if name.number > counts.get(name.model, 0):
            counts[name.model] = name.number
        if tag.object and tag.commit:
            found.setdefault(name.model, []).append((name, tag))
        else:
            problems.append(_unfit(tag, name))
    return Read(found, problems, counts)


def _event(name: TagName, tag: Tag) -> Event:
    ordinal, after, said = 0, -1, tag.message
    if not name.number and PREFIX in said:
        ordinal = max(0, _figure(said, _NUMBER))
        after = _figure(said, _AFTER)
        after = 0 if after < 0 < ordinal else after
    return Event(*name, tag.name, tag.object, tag.commit, tag.tagger, tag.at_ns, said, ordinal, after)


def _figure(message: str, key: str) -> int:
    """The number behind a key at the beginning of a line; -1 when there is none."""
    at = message.find(key)
    if at < 0:
        return -1
    at += len(key)
    end = message.find("\n", at)
    text = message[at : end if end >= 0 else None]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def ordered(events: Iterable[Event]) -> list[Event]:
    """Gives the events of one model in the order in which they were done.

    Those with a count, and ours, which say behind which count they came, stand in a chain; each counts as no earlier
    than the one before it, whatever its clock said. The others stand where their clock puts them.
    """
    chain, loose = [], []
    for event in events:
        after = event.number or event.after
        if after < 0:
            loose.append((event.at_ns, _RANK[event.action], precedence(event.version), event.tag, event))
        else:
            place = 0 if event.number else 2 * event.ordinal + (event.action != "register")
            chain.append((after, not event.number, place, event.at_ns, _RANK[event.action], event.tag, event))
    chain.sort()
    loose.sort()
    if not chain:
        return [row[-1] for row in loose]
    found: list[Event] = []
    latest, at = 0, 0
    for *_, event in chain:
        latest = max(latest, event.at_ns)
        while at < len(loose) and loose[at][:2] <= (latest, _RANK[event.action]):
            found.append(loose[at][-1])
            at += 1
        found.append(event)
    return found + [row[-1] for row in loose[at:]]


def subjects(event: Event) -> tuple[str, ...]:
    """Gives the first lines that GTO writes for an event; the version of a stage's may be a commit."""
    about = event.version or event.claimed
    if event.action == "register":
        return (f"Registering artifact {event.model} version {event.version}",)
    if event.action == "deregister":
        return (f"Deregistering artifact {event.model} version {event.version}",)
    if event.action == "deprecate":
        return (f"Deprecating artifact '{event.model}'",)
    if event.action == "unassign":
        return tuple(
            f"Unassigning stage '{event.stage}' to artifact '{event.model}' version '{one}'"
            for one in (about, event.claimed, event.commit)
        )
    start = f"Assigning stage {event.stage} to artifact {event.model} "
    return (
        *(f"{start}version {one}" for one in (about, event.claimed, event.commit)),
        f"{start}commit {event.commit}",
    )


def message(name: TagName, version: str = "", *, text: str = "", trailers: Iterable[tuple[Key, str]] = ()) -> str:
    """Gives the message of a tag that is made: GTO's first line, what somebody wrote, and our trailers.

    Args:
        name: the tag's.
        version: that a stage is about.
        text: what somebody wrote.
        trailers: what the version was made of; empty values are left out.

    >>> print(message(TagName("register", "churn", "v1.0.0"), text="First.", trailers=[("Data", "md5:ab")]))
    Registering artifact churn version v1.0.0
    <BLANKLINE>
    First.
    <BLANKLINE>
    Modelkeep-Data: md5:ab
    """
    event = Event(name.action, name.model, name.version or version, name.stage, 0, "", "", version, "", 0, "")
    lines = [f"{PREFIX}{key}: {_BREAK.sub(' ', value).strip()}" for key, value in trailers if value.strip()]
    told = "\n".join(line for line in text.strip().splitlines() if _TRAILER.match(line) is None)
    return "\n\n".join(part for part in (subjects(event)[0], told, "\n".join(lines)) if part)


def is_commit(text: str) -> bool:
    """Says whether a text is the full id of a commit.

    >>> is_commit("a" * 40), is_commit("v1.0.0")
    (True, False)
    """
    return _COMMIT.match(text) is not None


def _unfit(tag: Tag, name: TagName) -> Problem:
    if tag.commit:
        return Problem(
            name.model,
            tag.name,
            "is a lightweight tag: nobody knows who made it, so it does not count",
            f"Delete it (git tag -d '{tag.name}') and do it again: modelkeep model {_verb(name.action)} --help",
        )
    return Problem(name.model, tag.name, "names no commit, so it does not count", f"git tag -d '{tag.name}'")


def _verb(action: Action) -> str:
    return "promote" if action == "assign" else action
