"""What a channel is, what it is given, and how the settings become channels."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from modelkeep.alerts.outbound import Outbound
from modelkeep.core.errors import BadInput
from modelkeep.core.kinds import Kind
from modelkeep.core.secret import Secret, resolve
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso

State = Literal["firing", "resolved", "test"]
SHORT: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One alert of a digest."""

    alert: str
    labels: dict[str, str]
    value: float | None
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a channel is asked to say. Everything in it is text, never HTML.

    Args:
        id: unique; a message that is sent twice carries the same id twice.
        alert: the alert's id, the same in all messages about it; the rule's for a digest.
        thread: the id of the first message of this episode of the alert.
        state: firing, resolved or test.
        title: one line.
        summary: some sentences; may be empty.
        rule: the rule's name.
        labels: the alert's labels, `alertname` included.
        annotations: as the rule gives them, filled in.
        value: the expression's value; None when it is not a finite number.
        since_ns: when the condition began to hold.
        at_ns: when the state changed, on the rule's clock.
        link: where to look.
        repeated: True for a reminder.
        members: the first alerts of a digest; empty for a message about one alert.
    """

    id: str
    alert: str
    thread: str
    state: State
    title: str
    summary: str
    rule: str
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    since_ns: int
    at_ns: int
    link: str
    repeated: bool = False
    members: tuple[Member, ...] = ()

    @property
    def headline(self) -> str:
        """The title with its state, in one line without control characters."""
        mark = {"firing": "[FIRING]", "resolved": "[RESOLVED]", "test": "[DRILL]"}[self.state]
        return line(f"{mark} {self.title}")

    @property
    def short(self) -> str:
        """The message in at most 160 characters.

        >>> example().short
        '[FIRING] flights: error rate 12 %'
        """
        return self.headline if len(self.headline) <= SHORT else self.headline[: SHORT - 1] + "…"

    @property
    def text(self) -> str:
        """The whole message as plain text.

        >>> print(example().text)
        flights: error rate 12 %
        <BLANKLINE>
        Every eighth call fails.
        <BLANKLINE>
        state: firing since 2013-04-01T00:00:00Z, at 2013-04-01T01:00:00Z
        value: 0.12
        labels: alertname=ErrorRate, model=flights
        http://127.0.0.1:7300/
        """
        since = f" since {iso(self.since_ns)}" if self.since_ns else ""
        lines = [self.title, "", *([self.summary, ""] if self.summary else [])]
        lines.append(f"state: {self.state}{since}, at {iso(self.at_ns)}")
        if self.value is not None:
            lines.append(f"value: {self.value:.6g}")
        lines.append("labels: " + ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items())))
        lines += [f"changed: {self.annotations['changed']}"] if self.annotations.get("changed") else []
        lines += [f"- {_member(member)}" for member in self.members]
        return "\n".join([*lines, *([self.link] if self.link else [])])


class Channel(Protocol):
    """Speaks, nothing more: retries, grouping, limits and silences live in the outbox.

    A channel is a frozen dataclass; its fields are its settings. A field of type `Secret` is masked wherever it
    is shown and may be set as `secret:NAME`; a field of type `Outbound` receives the one door to the network.
    """

    def send(self, notification: Notification) -> None:
        """Says it; returns when the other side has taken it.

        Raises:
            Busy: try again after `retry_after_s`.
            Unreachable: try again later.
            Error: any other: the message will never be taken like this.
        """
        ...


CHANNELS: Final = Kind[Channel]("modelkeep.alerts.channels")


def line(text: str) -> str:
    r"""Gives text as one line: control characters become spaces, runs of spaces become one.

    >>> line("a\r\nBcc: b\x1b[31m")
    'a Bcc: b [31m'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def open_channels(
    settings: Sequence[Mapping[str, Json]], door: Outbound, *, secrets: Path | None = None
) -> dict[str, Channel]:
    """Gives the channels that the settings `alerts.channels` describe, by name.

    Args:
        settings: each with `name`, `kind` (a plugin's name) and the plugin's own fields.
        door: the way out.
        secrets: a folder of files that hold secrets.

    Raises:
        BadInput: a key is missing, unknown or has the wrong type.
        Missing: there is no such kind or secret.

    >>> sorted(open_channels([{"name": "me", "kind": "loopback"}], Outbound()))
    ['me']
    """
    channels: dict[str, Channel] = {}
    for position, entry in enumerate(settings):
        where = f"alerts.channels[{position}]"
        name, kind = entry.get("name"), entry.get("kind")
        if not isinstance(name, str) or not isinstance(kind, str) or not name:
            raise BadInput(f"{where} needs a name and a kind", hint=f"Kinds: {', '.join(CHANNELS.names())}.")
        if name in channels:
            raise BadInput(f"{where}: the name {name!r} is taken")
        options = {key: value for key, value in entry.items() if key not in {"name", "kind"}}
        channels[name] = _open(f"{where} ({name})", CHANNELS.load(kind), options, door, secrets)
    return channels


def _open(
    where: str, kind: type[Channel], options: Mapping[str, Json], door: Outbound, secrets: Path | None
) -> Channel:
    if not dataclasses.is_dataclass(kind):
        raise BadInput(f"{where}: {kind.__name__} is not a dataclass")
    types = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind) if field.init and types[field.name] is not Outbound}
    if unknown := sorted(set(options) - known):
        raise BadInput(f"{where}: unknown key {unknown[0]!r}", hint=f"Known: {', '.join(sorted(known))}.")
    values: dict[str, object] = {name: door for name, kind_ in types.items() if kind_ is Outbound}
    for name, value in options.items():
        try:
            values[name] = msgspec.convert(_plain(value, secrets), types[name], dec_hook=_secret, strict=True)
        except msgspec.ValidationError as error:
            raise BadInput(f"{where}: {name}: {error}") from None
    try:
        made: Channel = kind(**values)
    except TypeError as error:
        raise BadInput(f"{where}: {str(error).partition('() ')[2] or error}") from None
    return made


def _plain(value: Json, secrets: Path | None) -> Json:
    if isinstance(value, str):
        return resolve(value, folder=secrets).reveal()
    if isinstance(value, list):
        return [_plain(entry, secrets) for entry in value]
    return value


def _secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")


def _member(member: Member) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(member.labels.items()) if name != "alertname")
    value = "" if member.value is None else f": {member.value:.6g}"
    return f"{labels or member.alert}{value} at {iso(member.at_ns)}"


def example(state: State = "firing") -> Notification:
    """Gives a notification to try a channel with.

    >>> example("test").headline
    '[DRILL] flights: error rate 12 %'
    """
    return Notification(
        id="n-1",
        alert="a-1",
        thread="n-1",
        state=state,
        title="flights: error rate 12 %",
        summary="Every eighth call fails.",
        rule="ErrorRate",
        labels={"alertname": "ErrorRate", "model": "flights"},
        annotations={"summary": "flights: error rate 12 %"},
        value=0.12,
        since_ns=1_364_774_400_000_000_000,
        at_ns=1_364_778_000_000_000_000,
        link="http://127.0.0.1:7300/",
    )
