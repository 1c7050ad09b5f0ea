"""What changed before a moment: releases, configurations, deploys and trainings, what most likely mattered first.

Changes that touch what served the model in question come first, nearest in time first; then what may have led to one
(pushes to its repository, its trainings); then those of other models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from modelkeep.code.links import commit_url, compare_url
from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND
from modelkeep.models.timeline import Stretch, predecessors

if TYPE_CHECKING:
    from modelkeep.store.configurations import Change as Configured
    from modelkeep.store.trainings import Training

Kind = Literal["release", "configuration", "push", "tag", "merge", "deployment", "training"]
Near = Literal["own", "maybe", "other"]
"""How near a change is to the question: it changed what served, it may have led to that, or it was elsewhere."""

_ORDER: Final[dict[Near, int]] = {"own": 0, "maybe": 1, "other": 2}
_SAME_NS: Final = HOUR
"""The same change of configuration in other processes within this time is one change."""
_SHORT: Final = 8
_SHOWN: Final = 3
_DEPLOYS: Final[dict[str, Kind]] = {"tag": "tag", "merge": "merge", "deployment": "deployment"}
_NAMES: Final = ("version", "code", "patch", "files", "data", "configuration", "role")


class Deployed(Protocol):
    """What a webhook told; `store.deploys` keeps it."""

    @property
    def id(self) -> str: ...
    @property
    def at_ns(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def ref(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def pusher(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def title(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that changed; what there was not is empty."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed.

    Args:
        at_ns: when the server heard of it, or when it took effect in a process.
        kind: release, configuration, push, tag, merge, deployment or training.
        title: one line for people.
        model: whose; empty when it is of no model.
        who: as far as known.
        differences: what changed.
        link: where to see it; empty when there is none.
        command: that shows it; empty when there is none.
        id: of the record.
        code: the commit that it brought.
        near: how near it is to what was asked.
    """

    at_ns: int
    kind: Kind
    title: str
    model: str = ""
    who: str = ""
    differences: tuple[Difference, ...] = ()
    link: str = ""
    command: str = ""
    id: str = ""
    code: str = ""
    near: Near = "other"


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that may have changed.

    Args:
        stretches: what served when, newest first, of all models.
        configurations: applied changes.
        deploys: what webhooks told.
        trainings: of all models.
        processes: process → model that it served; of several, any.
    """

    stretches: Sequence[Stretch] = ()
    configurations: Sequence[Configured] = ()
    deploys: Sequence[Deployed] = ()
    trainings: Sequence[Training] = ()
    processes: Mapping[str, str] = field(default_factory=dict)


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A change that is not written out yet: of thousands only the first are.

    Args:
        near: how near it is to what was asked.
        at_ns: when.
        id: of the record.
        write: writes it out from what follows.
        one: the record.
        former: what was there before a release; else what `write` needs.
    """

    near: Near
    at_ns: int
    id: str
    write: Callable[..., Change]
    one: object
    former: object = None

    def make(self) -> Change:
        """Writes it out."""
        return self.write(self.one, self.former, self.near)


def ranked(known: Known, moment_ns: int, *, model: str = "", since_ns: int = 0) -> list[Draft]:
    """Gives what changed in [since, moment], what most likely mattered first.

    Args:
        known: what there is.
        moment_ns: of the alert, or any.
        model: what served it, and what may have led there, is nearer than the rest; empty: all is alike.
        since_ns: changes before do not count.
    """
    found = [*_releases(known, model), *_configurations(known, model), *_deploys(known, model)]
    found += [_training(one, model) for one in known.trainings]
    there = [one for one in found if since_ns <= one.at_ns <= moment_ns]
    return sorted(there, key=lambda one: (_ORDER[one.near], moment_ns - one.at_ns, one.id))


def changes(
    known: Known, moment_ns: int, *, model: str = "", since_ns: int = 0, limit: int | None = None
) -> list[Change]:
    """Gives what `ranked` gives, written out; at most `limit` of it."""
    return [one.make() for one in ranked(known, moment_ns, model=model, since_ns=since_ns)[:limit]]


def _near(asked: str, whose: str, near: Near = "own") -> Near:
    return near if not asked or asked == whose else "other"


def _releases(known: Known, model: str) -> Iterator[Draft]:
    for one, former in zip(known.stretches, predecessors(known.stretches), strict=True):
        near = _near(model, one.content.model, "maybe" if one.content.role == "shadow" else "own")
        yield Draft(near, one.announced_ns, one.id, _release, one, former)


def _release(one: Stretch, former: Stretch | None, near: Near) -> Change:
    found = differences(former, one)
    code = next((each for each in found if each.name == "code"), None)
    return Change(
        at_ns=one.announced_ns,
        kind="release",
        title=_title(one, former, found),
        model=one.content.model,
        who=one.who,
        differences=found,
        link=link(one.remote, code) if code else "",
        command=_command(one, former, found),
        id=one.id,
        code=one.content.code,
        near=near,
    )


def link(remote: str, code: Difference) -> str:
    """Gives the page that shows what changed in the code; empty where none is known."""
    if not remote or not code.after:
        return ""
    return compare_url(remote, code.before, code.after) if code.before else commit_url(remote, code.after)


def differences(former: Stretch | None, one: Stretch) -> tuple[Difference, ...]:
    """Gives in which parts two stretches differ; everything that is known where there is none before."""
    found = []
    for name in _NAMES:
        was = getattr(former.content, name) if former else ""
        now = getattr(one.content, name)
        if was != now and not (name == "role" and former is None and now == "live"):
            found.append(Difference(name, was, now))
    return tuple(found)


def _title(one: Stretch, former: Stretch | None, found: Sequence[Difference]) -> str:
    what = f"{one.content.model} {one.content.version}"
    where = f" as {one.content.role}" if one.content.role != "live" else ""
    if former is None:
        code = f", code {short(one.content.code)}" if one.content.code else ""
        return f"{what} served for the first time{where}{code}"
    said = ", ".join(_said(each) for each in found if each.name not in {"version", "role"})
    if former.content.version == one.content.version:
        return f"{what}{where}: {said or 'began again'}"
    if former.content.role != one.content.role:
        verb = "took over from" if one.content.role == "live" else f"began as {one.content.role} beside"
    else:
        verb = f"took over{where} from"
    return f"{what} {verb} {former.content.version}{f': {said}' if said else ''}"


def _said(one: Difference) -> str:
    if one.name == "patch":
        return "with uncommitted changes" if one.after else "without uncommitted changes"
    if not one.before:
        return f"{one.name} {short(one.after)}"
    return f"{one.name} {short(one.before)} → {short(one.after) or 'unknown'}"


def bare_hash(text: str) -> str:
    """Gives a version of data without the words that some write around its hash.

    >>> bare_hash("md5: 0a1b2c.dir")
    '0a1b2c'
    """
    return text.strip().removeprefix("md5:").strip().removesuffix(".dir")


def short(text: str) -> str:
    """Gives a hash as people read it; what is no hash stays.

    >>> short("9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c"), short("2026-03"), short("a" * 64 + "+" + "b" * 64)
    ('9f8e7d6c', '2026-03', 'aaaaaaaa+bbbbbbbb')
    """
    return "+".join(part[:_SHORT] if _is_hash(part) else part for part in bare_hash(text).split("+"))


def _is_hash(text: str) -> bool:
    return len(text) >= 32 and not set(text) - set("0123456789abcdef")


def _command(one: Stretch, former: Stretch | None, found: Sequence[Difference]) -> str:
    names = {each.name for each in found}
    if former is None:
        return f"modelkeep model lineage {one.content.model}"
    if names & {"code", "patch", "files"}:
        return f"modelkeep code diff {former.id} {one.id}"
    if "configuration" in names:
        return f"modelkeep config diff {former.id} {one.id}"
    return (
        f"modelkeep model diff {one.content.model}@{former.content.version} {one.content.model}@{one.content.version}"
    )


def _configurations(known: Known, model: str) -> Iterator[Draft]:
    """Gives what was applied in running processes; what a process begins with is part of its release."""
    groups: dict[tuple[str, str, str], list[list[Configured]]] = {}
    for one in sorted(known.configurations, key=lambda each: each.at):
        if not one.previous:
            continue
        runs = groups.setdefault((one.name, one.hash, one.previous), [])
        if runs and one.at - runs[-1][0].at <= _SAME_NS:
            runs[-1].append(one)
        else:
            runs.append([one])
    for runs in groups.values():
        for members in runs:
            places = sorted({one.process for one in members})
            whose = next((known.processes[place] for place in places if place in known.processes), "")
            near = _near(model, whose)
            yield Draft(near, members[0].at, members[0].id, _configuration, members[0], (len(places), whose))


def _configuration(first: Configured, told: tuple[int, str], near: Near) -> Change:
    places, whose = told
    found = _keys(first.differences)
    shown = ", ".join(f"{each.name} {each.before} → {each.after}" for each in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    where = f" in {places} processes" if places > 1 else ""
    verb = "rolled back" if first.state == "rolled back" else "changed"
    return Change(
        at_ns=first.at,
        kind="configuration",
        title=f"configuration {first.name} {verb}{where}{f': {shown}{more}' if shown else ''}",
        model=whose,
        who=first.author or first.deployer,
        differences=found,
        command=f"modelkeep config diff {first.previous[:12]} {first.hash[:12]}",
        id=first.id,
        near=near,
    )


def _keys(text: str) -> tuple[Difference, ...]:
    rows = json.loads(text or "[]")
    return tuple(
        Difference(str(row.get("key")), _value(row.get("before")), _value(row.get("after")))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    )


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _deploys(known: Known, model: str) -> Iterator[Draft]:
    commits = {one.content.code for one in known.stretches if one.content.model == model and one.content.code}
    places = {place(one.remote) for one in known.stretches if one.content.model == model and one.remote}
    for one in known.deploys:
        kind = _DEPLOYS.get(one.kind, "push")
        whose = model if one.code in commits or _of(one.repository, places) else ""
        near = _near(model, whose, "own" if kind == "deployment" else "maybe")
        yield Draft(near, one.at_ns, one.id, _deploy, one, whose)


def _deploy(one: Deployed, whose: str, near: Near) -> Change:
    kind = _DEPLOYS.get(one.kind, "push")
    verb = {"tag": "tagged in", "merge": "merged in", "deployment": "deployed from"}.get(kind, "pushed to")
    target = f" to {one.environment}" if kind == "deployment" and one.environment else ""
    named = one.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    what = " ".join(filter(None, (named, short(one.code))))
    return Change(
        at_ns=one.at_ns,
        kind=kind,
        title=f"{what} {verb} {one.repository}{target}{f': {one.title}' if one.title else ''}",
        who=one.pusher or one.author,
        link=one.url,
        id=one.id,
        code=one.code,
        model=whose,
        near=near,
    )


def place(address: str) -> str:
    """Gives what two addresses of one repository have in common.

    >>> place("git@github.com:Team/Churn.git") == place("https://github.com/team/churn")
    True
    """
    bare = address.partition("://")[2] or address.rpartition("@")[2].replace(":", "/", 1)
    return bare.rpartition("@")[2].strip("/").removesuffix(".git").lower()


def _of(repository: str, places: Collection[str]) -> bool:
    """Whether a webhook's repository is one of these: its address, or its path at some host."""
    mine = place(repository) if "://" in repository or "@" in repository else repository.strip("/").lower()
    return bool(mine) and any(one == mine or one.endswith(f"/{mine}") for one in places)


def _training(one: Training, model: str) -> Draft:
    near = _near(model, one.model, "maybe")
    return Draft(near, one.end_ns or one.at_ns, one.id, _trained, one)


def _trained(one: Training, _: None, near: Near) -> Change:
    named = f"{one.model} {one.version}".rstrip()
    verb = {"finished": "was trained", "failed": f"could not be trained ({one.error or 'failed'})"}
    figures = json.loads(one.metrics or "{}")
    said = ", ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:_SHOWN]) if figures else ""
    return Change(
        at_ns=one.end_ns or one.at_ns,
        kind="training",
        title=f"{named} {verb.get(one.status, 'is being trained')}{f': {said}' if said else ''}",
        model=one.model,
        who=one.by or one.deployer,
        link=one.url,
        command=f"modelkeep model trainings {one.model}",
        id=one.id,
        code=one.code,
        near=near,
    )


def annotation(found: Iterable[Change], moment_ns: int) -> str:
    """Gives the newest change of what served as a text for an alert; empty when nothing near is known."""
    first = next((one for one in found if one.near == "own"), None)
    if first is None:
        return ""
    by = f" by {first.who}" if first.who else ""
    link = f" ({first.link})" if first.link else ""
    return f"{ago(moment_ns - first.at_ns)} before: {first.title}{by}{link}"


def ago(span_ns: int) -> str:
    """Gives a time span in its two largest units.

    >>> ago(95 * MINUTE), ago(3 * DAY + 4 * HOUR + MINUTE), ago(2 * SECOND), ago(0)
    ('1 h 35 min', '3 d 4 h', '2 s', '0 s')
    """
    units = (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND))
    left, parts = max(0, span_ns), list[str]()
    for name, size in units:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"
