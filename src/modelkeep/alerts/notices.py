"""From changes of state to messages: what is said, and when many alerts become one message."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelkeep.alerts.channel import Member, Notification, State
from modelkeep.alerts.ledger import Posting

MODEL: Final = "model"
LISTED: Final = 50
"""How many alerts a digest names; its value is their number."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be said about one alert.

    Args:
        alert: its id.
        state: firing or resolved.
        rule: the rule's name.
        labels: the alert's.
        annotations: filled in.
        value: of the expression.
        since_ns: when the condition began to hold.
        at_ns: when the state changed.
        seq: of the transition.
        thread: id of the episode's first message; empty when this is the first.
        repeated: whether it was said before.
    """

    alert: str
    state: State
    rule: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    since_ns: int
    at_ns: int
    seq: int
    thread: str = ""
    repeated: bool = False


def compose(
    notices: Iterable[Notice], *, channel: str, link: str, storm: int, now_ns: int, make_id: Callable[[], str]
) -> list[Posting]:
    """Gives the messages: one an alert, or one for all alerts of a rule and model when they are more than `storm`.

    Args:
        notices: of one evaluation.
        channel: where they go.
        link: where to look.
        storm: at most this many messages a rule, model and state.
        now_ns: wall time.
        make_id: gives a new id, later ones greater.
    """
    groups: dict[tuple[str, str, str], list[Notice]] = {}
    for notice in notices:
        groups.setdefault((notice.rule, notice.labels.get(MODEL, ""), notice.state), []).append(notice)
    postings = []
    for (_, model, _), members in groups.items():
        messages = [_digest(members, model, make_id(), link)] if len(members) > storm else []
        messages = messages or [_single(notice, make_id(), link) for notice in members]
        parts = [members] if len(members) > storm else [[notice] for notice in members]
        for message, part in zip(messages, parts, strict=True):
            seqs = tuple(notice.seq for notice in part)
            postings.append(Posting(message.id, channel, min(seqs), message, now_ns, seqs, next_ns=now_ns))
    return sorted(postings, key=lambda posting: posting.id)


def _single(notice: Notice, made: str, link: str) -> Notification:
    shown = {name: text for name, text in notice.labels.items() if name != "alertname"}
    labels = ", ".join(f"{name}={text}" for name, text in sorted(shown.items()))
    return Notification(
        id=made,
        alert=notice.alert,
        thread=notice.thread or made,
        state=notice.state,
        title=notice.annotations.get("summary") or f"{notice.rule}{f' ({labels})' if labels else ''}",
        summary=notice.annotations.get("description", ""),
        rule=notice.rule,
        labels=dict(notice.labels),
        annotations=dict(notice.annotations),
        value=_finite(notice.value),
        since_ns=notice.since_ns,
        at_ns=notice.at_ns,
        link=link,
        repeated=notice.repeated,
    )


def _digest(notices: Sequence[Notice], model: str, made: str, link: str) -> Notification:
    first = notices[0]
    verb = "resolved" if first.state == "resolved" else "fire"
    return Notification(
        id=made,
        alert=f"{first.rule}/{model}",
        thread=first.thread or made,
        state=first.state,
        title=f"{first.rule}: {len(notices)} alerts{f' of {model}' if model else ''} {verb}",
        summary=first.annotations.get("description", ""),
        rule=first.rule,
        labels=_common([notice.labels for notice in notices]),
        annotations=_common([notice.annotations for notice in notices]),
        value=float(len(notices)),
        since_ns=min(notice.since_ns for notice in notices),
        at_ns=max(notice.at_ns for notice in notices),
        link=link,
        repeated=all(notice.repeated for notice in notices),
        members=tuple(
            Member(alert=one.alert, labels=dict(one.labels), value=_finite(one.value), at_ns=one.at_ns)
            for one in notices[:LISTED]
        ),
    )


def _common(mappings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *rest = mappings
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in rest)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
