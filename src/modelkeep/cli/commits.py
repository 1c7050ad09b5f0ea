"""Commits with all that is known of them: when they were made, pushed, deployed and used, by whom, where to look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.cli.client import Client
from modelkeep.cli.output import rows_of
from modelkeep.core.errors import BadInput, Denied, Error, Missing, Unreachable

if TYPE_CHECKING:
    from modelkeep.code.history import Commit
    from modelkeep.code.repository import Git
    from modelkeep.core.shapes import Json

Row = Mapping[str, "Json"]
NO_SERVER: Final = "No server answers, so that pushes, deploys and predictions are not known (MODELKEEP_URL)."
_MOST: Final = 10_000
_MISSES: Final = 20
"""So many events in a row, going back in time, that hold none of the commits: those before hold none either."""
_ID: Final = re.compile(r"[0-9a-f]{8,32}\Z")


class Event(NamedTuple):
    """Something that happened to a commit and with it to all before it.

    Args:
        code: the commit.
        at: when the server was told, ISO 8601.
        who: by whom, as far as that is known.
    """

    code: str
    at: str
    who: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a server knows of code.

    Args:
        stretches: rows of the timeline of models.
        deploys: what webhooks told.
        note: what is missing, as a sentence; empty when nothing is.
    """

    stretches: Sequence[Row] = ()
    deploys: Sequence[Row] = ()
    note: str = ""

    def pushes(self) -> list[Event]:
        """Gives when code reached the shared repository."""
        kinds = {"push", "merge", "tag"}
        return [Event(_text(row, "code"), _text(row, "at"), _text(row, "pusher")) for row in self.deploys
                if row.get("kind") in kinds and row.get("code")]  # fmt: skip

    def deployed(self, model: str = "") -> list[Event]:
        """Gives when code began to run: told by processes at their start, or by a webhook of a deployment."""
        told = [
            Event(_text(row, "code"), _text(row, "announced"), ", ".join(_texts(row, "deployers")))
            for row in self.of(model)
        ]
        hooks = [
            Event(_text(row, "code"), _text(row, "at"), _text(row, "pusher"))
            for row in self.deploys
            if row.get("kind") == "deployment" and row.get("state") == "success" and not model
        ]
        return [one for one in (*told, *hooks) if one.code]

    def predicted(self, model: str = "") -> list[Event]:
        """Gives when code made its first prediction."""
        return [
            Event(_text(row, "code"), _text(row, "first_prediction"))
            for row in self.of(model)
            if row.get("first_prediction") and row.get("code")
        ]

    def of(self, model: str) -> list[Row]:
        """Gives what served of one model, or of all."""
        return [row for row in self.stretches if not model or row.get("model") == model]


def known(model: str = "") -> Known:
    """Gives what the server of this folder or of the environment knows; nothing where there is none."""
    client = Client.here(timeout_s=20)
    try:
        deploys = rows_of(client.get("/api/v1/deploys", limit=_MOST), "deploys")
    except (Unreachable, Denied) as error:
        return Known(note=NO_SERVER if isinstance(error, Unreachable) else f"{client.url}: {error.message}")
    except Error as error:
        return Known(note=f"{client.url}: {error.message}")
    try:
        stretches = rows_of(client.get("/api/v1/models/timeline", limit=_MOST, model=model or None), "timeline")
    except Missing:
        stretches = []  # the server has never heard of the model
    return Known(stretches, deploys)


@dataclass(frozen=True, slots=True)
class Times:
    """When what happened to commits, by their ids; each is the first event that held the commit."""

    pushed: dict[str, Event] = field(default_factory=dict)
    deployed: dict[str, Event] = field(default_factory=dict)
    predicted: dict[str, Event] = field(default_factory=dict)


def times(git: Git, commits: Sequence[Commit], found: Known, model: str = "") -> Times:
    """Gives when commits were pushed, deployed and first used.

    A commit is pushed and deployed with any commit that holds it. The order is that in which the server was told;
    what the clocks of authors and committers said plays no part.
    """
    return Times(
        first_holding(git, commits, found.pushes()),
        first_holding(git, commits, found.deployed(model)),
        first_holding(git, commits, found.predicted(model)),
    )


def first_holding(git: Git, commits: Sequence[Commit], events: Iterable[Event]) -> dict[str, Event]:
    """Gives the first event that held each commit; commits that none held are left out."""
    parents = {one.id: one.parents for one in commits}
    inner = {parent for one in commits for parent in one.parents}
    tips = [one.id for one in commits if one.id not in inner]
    held: dict[str, Event] = {}
    started: dict[str, list[str]] = {}
    misses = 0
    for event in sorted(events, key=lambda one: one.at, reverse=True):
        if event.code not in started:
            started[event.code] = [event.code] if event.code in parents else _bases(git, event.code, tips, parents)
        if not started[event.code]:
            misses += 1
            if misses >= _MISSES:
                break
            continue
        misses = 0
        for name in _before(started[event.code], parents):
            held[name] = event  # events come from the newest to the oldest: the last one to write was the first
    return held


def _bases(git: Git, code: str, tips: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Where the history of a commit enters the listed ones."""
    found = []
    for tip in tips:
        failed, out, _ = git.attempt("merge-base", code, tip)
        base = "" if failed else out.decode().split()[0]
        if base in parents:
            found.append(base)
    return found


def _before(start: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in parents and name not in seen:
            seen.add(name)
            waiting += parents[name]
    return seen


class Named(NamedTuple):
    """A commit that somebody named.

    Args:
        code: its full id.
        asked: the words.
        what: what they named: `revision`, `version` or `release`.
        patch: what was not committed where it ran, by name; empty when nothing was.
        remote: where the code came from, as the process said; empty when unknown.
    """

    code: str
    asked: str
    what: str
    patch: str = ""
    remote: str = ""


def resolve(git: Git | None, asked: str, found: Known) -> Named:
    """Gives the commit behind a revision, a model's version or the beginning of a release's id.

    Args:
        git: the repository here; None where there is none.
        asked: such as `main~2`, `churn@v1.2.0`, `churn@production`, `churn@5`, `9f3c12ab`.
        found: what the server knows.

    Raises:
        Missing: nobody knows it.
    """
    model, at, version = asked.partition("@")
    served = [row for row in found.of(model) if row.get("version") == version and row.get("code")] if at else []
    if git is not None and at and model and version and "{" not in version:
        from modelkeep.models.registry import Registry

        try:
            code = Registry(git).resolve(asked, hidden=True).commit
        except (Missing, BadInput) as error:
            refused: Error = error
        else:
            return _with(Named(code, asked, "version"), [row for row in served if row.get("code") == code])
        if not served and git.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", asked)[0]:
            raise refused
    if served:
        return _with(Named(_text(served[0], "code"), asked, "version"), served)
    return _revision(git, asked, found)


def _revision(git: Git | None, asked: str, found: Known) -> Named:
    told = [row for row in found.stretches if _ID.match(asked) and _is_release(row, asked)]
    if told and _text(told[0], "code"):
        return _with(Named(_text(told[0], "code"), asked, "release"), told)
    if git is None:
        raise Missing(
            f"{asked}: not known to the server", hint="Name a version that served, or go into a git repository."
        )
    return Named(git.resolve(asked), asked, "revision")


def _is_release(row: Row, asked: str) -> bool:
    return any(name.startswith(asked) for name in (_text(row, "id"), *_texts(row, "releases")))


def _with(named: Named, rows: Sequence[Row]) -> Named:
    """Adds what the processes said that ran the code; where some were dirty and others not, the newest counts."""
    if not rows:
        return named
    patch = _text(rows[0], "patch") or ("dirty" if rows[0].get("dirty") else "")
    return named._replace(patch=patch, remote=_text(rows[0], "remote"))


def _text(row: Row, name: str) -> str:
    found = row.get(name)
    return found if isinstance(found, str) else ""


def _texts(row: Row, name: str) -> list[str]:
    found = row.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
