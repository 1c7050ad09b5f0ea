"""What people add to a version later: git notes on its tag, one line of JSON each, which travel with the tags."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.core.times import datetime_ns, iso

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.models.state import Version

_MOST: Final = 64_000


class Annotation(msgspec.Struct, frozen=True):
    """One remark.

    Args:
        at_ns: when it was made, by the clock of whoever made it.
        by: who, `Name <address>`.
        text: what they say; may be empty when there are values.
        values: by name, for example `approved_by=risk`.
    """

    at_ns: int
    by: str
    text: str = ""
    values: dict[str, str] = {}

    def json(self) -> dict[str, Json]:
        """The remark as programs read it."""
        return {"at": iso(self.at_ns), "by": self.by, "text": self.text or None, "values": {**self.values}}


def remarks(git: Git, version: Version) -> list[Annotation]:
    """Gives the remarks on a version, the oldest first.

    Lines that are no remark of ours, such as those of `git notes add`, are given as texts of nobody.
    """
    from modelkeep.code.tags import notes

    found = [_read(line) for line in notes(git).get(version.event.object, [])]
    return sorted(found, key=lambda one: (one.at_ns, one.by, one.text))


def annotate(
    git: Git, version: Version, text: str = "", values: Mapping[str, str] | None = None, *, by: str = ""
) -> Annotation:
    """Adds a remark to a version and gives it; the tag itself stays as it is.

    Args:
        git: the repository.
        version: which.
        text: what you want to say.
        values: by name.
        by: who says it, `Name <address>`; git's own user when empty.

    Raises:
        BadInput: there is neither text nor value, or it is too long, or git does not know who you are.
    """
    from modelkeep.code import tags

    if not text.strip() and not values:
        raise BadInput(f"{version.name}: an empty remark", hint="Say something: modelkeep model annotate NAME 'text'")
    who = by or _me(git)
    made = Annotation(time.time_ns() // 1_000_000 * 1_000_000, who, text.strip(), dict(values or {}))
    line = msgspec.json.encode(made.json()).decode()
    if len(line) > _MOST:
        raise BadInput(f"{version.name}: a remark of {len(line)} characters", hint=f"{_MOST} at most; link to more.")
    tags.annotate(git, version.event.object, line, by=by)
    return made


def _me(git: Git) -> str:
    code, out, _ = git.attempt("var", "GIT_COMMITTER_IDENT")
    if code:
        raise BadInput(
            f"{git.root}: git does not know who you are",
            hint="Tell it: git config user.name 'Your Name'; git config user.email you@example.org",
        )
    return out.decode("utf-8", "replace").rpartition(">")[0] + ">"


def _read(line: str) -> Annotation:
    try:
        found = msgspec.json.decode(line)
        values = found.get("values") or {}
        at_ns = datetime_ns(_moment(found["at"]))
        return Annotation(at_ns, str(found["by"]), found.get("text") or "", {str(k): str(v) for k, v in values.items()})
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError):
        return Annotation(0, "", line)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
