"""What served when: releases and their predictions as stretches of time, and the share of each version.

A process tells its release once, with the time of its first prediction; a stretch is all processes that ran the same
thing. The order is that of what arrived: no date that an author or a committer wrote moves anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from modelkeep.core.clock import HOUR, SECOND
from modelkeep.core.times import datetime_ns

if TYPE_CHECKING:
    from modelkeep.store.releases import Release
    from modelkeep.store.served import Served, ServedHour

_decoder: Final = msgspec.json.Decoder()
Role = Literal["live", "shadow", "canary"]
ROLES: Final[tuple[Role, ...]] = ("live", "canary", "shadow")
Period = Literal["hour", "day", "week", "month", "all"]
GAP_NS: Final = HOUR
"""A release that is told within this time of the last prediction of its like goes on with it."""


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a release is made of; two releases with the same content do the same.

    Args:
        patch: digest of what the working tree had beyond the commit; `dirty` where it is not known.
        files: hash of the program's files where there is no commit.
    """

    model: str
    version: str
    role: Role = "live"
    code: str = ""
    patch: str = ""
    files: str = ""
    data: str = ""
    configuration: str = ""


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """One content over one time, in however many processes.

    Args:
        content: what ran.
        releases: ids, in the order in which they were told.
        announced_ns: when the first process told it.
        first_ns: its first prediction; None while there is none.
        last_ns: its last prediction.
        predictions: how many came.
        hosts: where.
        processes: how many.
        authors: who wrote the commit.
        deployers: whose tokens the processes used.
        remote: address of the code's repository, without secrets.
        branch: that was checked out.
        told_ns: when the last process told it.
    """

    content: Content
    releases: tuple[str, ...]
    announced_ns: int
    first_ns: int | None
    last_ns: int | None
    predictions: int
    hosts: tuple[str, ...] = ()
    processes: int = 1
    authors: tuple[str, ...] = ()
    deployers: tuple[str, ...] = ()
    remote: str = ""
    branch: str = ""
    told_ns: int = 0

    @property
    def id(self) -> str:
        """The id of its first release."""
        return self.releases[0]

    @property
    def who(self) -> str:
        """Whom to ask: the owner of the token, else the commit's author."""
        return ", ".join(self.deployers or self.authors)

    @property
    def end_ns(self) -> int:
        """The last that was heard of it."""
        return max(self.announced_ns, self.told_ns, self.last_ns or 0)


class Line(msgspec.Struct, frozen=True, gc=False):
    """A release with what was read in it."""

    release: Release
    content: Content
    extra: Mapping[str, object]


class _Open(msgspec.Struct, gc=False):
    """A stretch that may go on."""

    turn: int
    first: Line
    more: list[Line] | None = None
    predictions: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    end_ns: int = 0

    def add(self, line: Line, span: Served | None) -> None:
        if line is not self.first:
            self.more = [line] if self.more is None else self.more
            if self.more[-1] is not line:
                self.more.append(line)
        self.end_ns = max(self.end_ns, line.release.at)
        if span is not None:
            self.predictions += span.predictions
            self.first_ns = span.first_ns if self.first_ns is None else min(self.first_ns, span.first_ns)
            self.last_ns = span.last_ns if self.last_ns is None else max(self.last_ns, span.last_ns)
            self.end_ns = max(self.end_ns, span.last_ns)

    def closed(self) -> Stretch:
        found = (self.first,) if self.more is None else (self.first, *self.more)
        return Stretch(
            content=self.first.content,
            releases=_each(found, "id"),
            announced_ns=self.first.release.at,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            predictions=self.predictions,
            hosts=_each(found, "host"),
            processes=1 if len(found) == 1 else len({one.release.process or one.release.id for one in found}),
            authors=_each(found, "author"),
            deployers=_each(found, "deployer"),
            remote=_word(found, "remote"),
            branch=_word(found, "branch"),
            told_ns=found[-1].release.at,
        )


def _each(found: Sequence[Line], name: str) -> tuple[str, ...]:
    """Gives a column of releases, each text once; mostly there is one release, and many stretches to be made."""
    if len(found) == 1:
        text = getattr(found[0].release, name)
        return (text,) if text else ()
    return tuple(filter(None, dict.fromkeys(getattr(one.release, name) for one in found)))


def _word(found: Sequence[Line], name: str) -> str:
    return next((str(one.extra[name]) for one in found if one.extra.get(name)), "")


def lines(releases: Iterable[Release]) -> list[Line]:
    """Gives releases in the order in which they were told, each read once."""
    found: list[Line] = []
    for one in sorted(releases, key=lambda one: (one.at, one.id)):
        extra = told(one.extra)
        found.append(Line(one, content_of(one, extra), extra))
    return found


def stretches(releases: Iterable[Release], served: Iterable[Served]) -> list[Stretch]:
    """Gives what served when, the one that began last first; see `joined`."""
    return joined(lines(releases), served)


def joined(found: Iterable[Line], served: Iterable[Served]) -> list[Stretch]:
    """Gives what served when, the one that began last first.

    A content that comes back after another one was told, and after its own predictions had ended, begins a new
    stretch: a rollback shows.

    Args:
        found: what processes told, as `lines` gives it.
        served: their predictions; those of a release that nobody told are a stretch by themselves.
    """
    spans = {(one.release, one.model, one.version): one for one in served}
    made: list[_Open] = []
    latest: dict[Content, _Open] = {}
    turns: dict[tuple[str, Role], int] = defaultdict(int)
    for one in found:
        release, content = one.release, one.content
        span = spans.pop((release.id, release.model, release.version), None)
        line = content.model, content.role
        open_ = latest.get(content)
        if open_ is None or (open_.turn != turns[line] and open_.end_ns + GAP_NS < release.at):
            turns[line] += 1
            open_ = latest[content] = _Open(turns[line], one)
            made.append(open_)
        open_.add(one, span)
    whole = [open_.closed() for open_ in made] + [_alone(span) for span in spans.values()]
    return sorted(whole, key=lambda stretch: (stretch.announced_ns, stretch.id), reverse=True)


def content_of(release: Release, extra: Mapping[str, object] | None = None) -> Content:
    """Gives what a release is made of; `extra` are its further words where they were read already."""
    extra = told(release.extra) if extra is None else extra
    role = extra.get("role")
    patch = extra.get("patch") or ("dirty" if release.dirty else "")
    return Content(
        model=release.model,
        version=release.version,
        role=role if role in ("shadow", "canary") else "live",
        code=release.code,
        patch=str(patch),
        files=str(extra.get("content") or ""),
        data=release.data_version,
        configuration=release.config_version,
    )


def told(extra: str) -> dict[str, object]:
    """Gives a release's further words; none where they are no JSON object.

    >>> told('{"role": "shadow"}'), told("[1]")
    ({'role': 'shadow'}, {})
    """
    if extra in ("", "{}"):
        return {}
    try:
        found = _decoder.decode(extra)
    except (msgspec.DecodeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _alone(span: Served) -> Stretch:
    """Gives the stretch of predictions whose release nobody told: only their version is known."""
    return Stretch(
        content=Content(span.model, span.version),
        releases=(span.release,),
        announced_ns=span.first_ns,
        first_ns=span.first_ns,
        last_ns=span.last_ns,
        predictions=span.predictions,
        processes=0,
    )


def before(stretch: Stretch, newest_first: Sequence[Stretch]) -> Stretch | None:
    """Gives what a stretch took over from: the one of its model that was told before it, in its own role if any was.

    Args:
        stretch: one of the others.
        newest_first: of any models.
    """
    found: Stretch | None = None
    for one in newest_first:
        if one.content.model != stretch.content.model or one.announced_ns >= stretch.announced_ns:
            continue
        if one.content.role == stretch.content.role:
            return one
        found = found or one
    return found


def predecessors(newest_first: Sequence[Stretch]) -> list[Stretch | None]:
    """Gives `before` of each stretch, in their order.

    Args:
        newest_first: as `stretches` gives them.
    """
    own: dict[tuple[str, Role], Stretch] = {}
    any_role: dict[str, Stretch] = {}
    found: list[Stretch | None] = []
    for one in reversed(newest_first):
        key = (one.content.model, one.content.role)
        found.append(own.get(key) or any_role.get(one.content.model))
        own[key] = any_role[one.content.model] = one
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Share:
    """One version in one role over one period.

    Args:
        start_ns: where the period begins; None for all time.
        end_ns: where it ends.
        version: of the model.
        role: live, canary or shadow.
        predictions: how many.
        share: of the answers that users got, in 0 to 1; None for a shadow, whose answers nobody gets.
    """

    start_ns: int | None
    end_ns: int | None
    version: str
    role: Role
    predictions: int
    share: float | None


def shares(hours: Iterable[ServedHour], roles: Mapping[str, Role], by: Period = "day") -> list[Share]:
    """Gives the share of each version over time, oldest period first, the largest share of a period first.

    Args:
        hours: of one model.
        roles: of releases by id; live where one is missing.
        by: the period, in UTC; weeks begin on Monday.
    """
    sums: dict[tuple[int, int] | None, dict[tuple[str, Role], int]] = {}
    periods: dict[int, tuple[int, int] | None] = {}
    for one in hours:
        if one.hour not in periods:
            periods[one.hour] = period(one.hour * HOUR, by)
        found = sums.setdefault(periods[one.hour], defaultdict(int))
        found[one.version, roles.get(one.release, "live")] += one.predictions
    rows: list[Share] = []
    for span, counts in sorted(sums.items(), key=lambda pair: pair[0] or (0, 0)):
        rows += _period(span, counts)
    return rows


def _period(span: tuple[int, int] | None, counts: Mapping[tuple[str, Role], int]) -> Iterator[Share]:
    answered = sum(count for (_, role), count in counts.items() if role != "shadow")
    start, end = span or (None, None)
    for (version, role), count in sorted(counts.items(), key=lambda pair: (pair[0][1] == "shadow", -pair[1], pair[0])):
        yield Share(start, end, version, role, count, None if role == "shadow" else count / answered)


def period(at_ns: int, by: Period) -> tuple[int, int] | None:
    """Gives the period that a time is in, in UTC, ns; None for all time.

    >>> period(1364774400 * SECOND + 5, "month") == (1364774400 * SECOND, 1367366400 * SECOND)
    True
    """
    if by == "all":
        return None
    if by == "hour":
        start = at_ns // HOUR * HOUR
        return start, start + HOUR
    moment = datetime.fromtimestamp(at_ns // SECOND, UTC)
    day = moment.replace(hour=0, minute=0, second=0)
    if by == "week":
        day -= timedelta(days=day.weekday())
    if by == "month":
        day = day.replace(day=1)
        return datetime_ns(day), datetime_ns((day + timedelta(days=32)).replace(day=1))
    return datetime_ns(day), datetime_ns(day + timedelta(days=7 if by == "week" else 1))
