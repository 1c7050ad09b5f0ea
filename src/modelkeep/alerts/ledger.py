"""What alerts keep: their states, every transition, silences, the outbox and how far each group has come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from modelkeep.alerts.channel import Notification
from modelkeep.alerts.rules.rule import ClockName
from modelkeep.alerts.silences import Silence
from modelkeep.alerts.state import LIVE, Instance, State, Transition
from modelkeep.core.series import Matcher
from modelkeep.core.shapes import Json
from modelkeep.store.entries import Entries
from modelkeep.store.tables import alert, notification, rule_progress, silence, transition

Delivery = Literal["waiting", "sent", "dead"]
COVERS: Final = "covers"
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is listed: its state and what is said about it."""

    instance: Instance
    annotations: dict[str, str]
    clock: ClockName
    silenced: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """One row of the outbox.

    Args:
        id: the notification's id.
        channel: where it goes.
        transition: the seq of the change it tells; of the first one for a digest.
        covers: the seqs of all changes it tells.
        message: what is sent.
        state: waiting, sent or dead.
        attempts: how often it was tried.
        next_ns: not tried again before, wall time.
        created_ns: wall time.
        sent_ns: wall time, None until then.
        error: why the last attempt failed.
    """

    id: str
    channel: str
    transition: int
    message: Notification
    created_ns: int
    covers: tuple[int, ...] = ()
    state: Delivery = "waiting"
    attempts: int = 0
    next_ns: int = 0
    sent_ns: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one evaluation writes, all of it or nothing.

    Args:
        alerts: states to keep.
        postings: messages to send.
        group: whose progress it is; empty for none.
        evaluated_ns: up to where.
    """

    alerts: Sequence[Alert] = ()
    postings: Sequence[Posting] = ()
    group: str = ""
    evaluated_ns: int = 0


class Ledger:
    """Reads and writes the tables of alerts.

    Args:
        entries: the database.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def record(self, connection: sa.Connection, changes: Sequence[Transition]) -> list[Transition]:
        """Writes transitions and gives them with their seq."""
        recorded: list[Transition] = []
        for start in range(0, len(changes), _CHUNK):
            part = changes[start : start + _CHUNK]
            rows = [{**_columns(change), "value": _finite(change.value)} for change in part]
            statement = sa.insert(transition).returning(transition.c.seq, sort_by_parameter_order=True)
            seqs = connection.execute(statement, rows).scalars().all()
            recorded += [replace(change, seq=seq) for change, seq in zip(part, seqs, strict=True)]
        return recorded

    def write(self, connection: sa.Connection, batch: Batch) -> None:
        """Writes states, messages and progress."""
        if batch.alerts:
            statement = upsert(alert)
            rest = {column.name: statement.excluded[column.name] for column in alert.c if column.name != "id"}
            rows = [_alert_row(entry) for entry in batch.alerts]
            connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=rest), rows)
        if batch.postings:
            connection.execute(sa.insert(notification), [_posting_row(posting) for posting in batch.postings])
        if batch.group:
            progress = upsert(rule_progress).values(group=batch.group, evaluated_ns=batch.evaluated_ns)
            set_ = {"evaluated_ns": batch.evaluated_ns}
            connection.execute(progress.on_conflict_do_update(index_elements=["group"], set_=set_))

    def progress(self) -> dict[str, int]:
        """Gives up to where each group was evaluated."""
        with self._entries.connect() as connection:
            return {row.group: row.evaluated_ns for row in connection.execute(sa.select(rule_progress))}

    def alerts(self, states: Iterable[State] = LIVE) -> list[Alert]:
        """Gives the alerts in these states, the newest change first."""
        query = sa.select(alert).where(alert.c.state.in_(list(states))).order_by(alert.c.since_ns.desc(), alert.c.id)
        with self._entries.connect() as connection:
            return [_alert(row) for row in connection.execute(query).mappings()]

    def episodes(self, alerts: Sequence[str]) -> dict[str, int]:
        """Gives the seq of the last transition to firing of each alert."""
        found: dict[str, int] = {}
        with self._entries.connect() as connection:
            for start in range(0, len(alerts), _CHUNK):
                query = (
                    sa.select(transition.c.alert, sa.func.max(transition.c.seq))
                    .where(transition.c.alert.in_(alerts[start : start + _CHUNK]), transition.c.to_state == "firing")
                    .group_by(transition.c.alert)
                )
                found.update((row[0], row[1]) for row in connection.execute(query))
        return found

    def postings_since(self, seq: int) -> list[Posting]:
        """Gives the messages about transitions from `seq` on, in the order they were made."""
        query = sa.select(notification).where(notification.c.transition >= seq).order_by(notification.c.created_ns)
        with self._entries.connect() as connection:
            return [_posting(row) for row in connection.execute(query).mappings()]

    def history(
        self, *, start_ns: int | None, end_ns: int | None, rule: str | None, alert_id: str | None, limit: int
    ) -> list[Transition]:
        """Gives the last `limit` transitions that fit, oldest first."""
        query = sa.select(transition).order_by(transition.c.at_ns.desc(), transition.c.seq.desc()).limit(limit)
        query = query if start_ns is None else query.where(transition.c.at_ns >= start_ns)
        query = query if end_ns is None else query.where(transition.c.at_ns < end_ns)
        query = query if rule is None else query.where(transition.c.rule == rule)
        query = query if alert_id is None else query.where(transition.c.alert == alert_id)
        with self._entries.connect() as connection:
            return [_transition(row) for row in connection.execute(query).mappings()][::-1]

    def silences(self) -> list[Silence]:
        """Gives all silences, those that end last first."""
        with self._entries.connect() as connection:
            rows = connection.execute(sa.select(silence).order_by(silence.c.end_ns.desc(), silence.c.id)).mappings()
            return [_silence(row) for row in rows]

    def add_silence(self, made: Silence) -> None:
        """Keeps a silence; it is on disk when this returns."""
        row = {**_columns(made), "matchers": [[one.name, one.op, one.value] for one in made.matchers]}
        with self._entries.begin() as connection:
            connection.execute(sa.insert(silence), row)

    def end_silence(self, silence_id: str, end_ns: int) -> None:
        """Lets a silence end."""
        with self._entries.begin() as connection:
            connection.execute(sa.update(silence).where(silence.c.id == silence_id).values(end_ns=end_ns))

    def outbox(self, state: Delivery | None = None, *, limit: int = 1000) -> list[Posting]:
        """Gives the newest messages, newest first."""
        query = (
            sa.select(notification).order_by(notification.c.created_ns.desc(), notification.c.id.desc()).limit(limit)
        )
        query = query.where(notification.c.state == state) if state else query
        with self._entries.connect() as connection:
            return [_posting(row) for row in connection.execute(query).mappings()]

    def waiting(self, channel: str, *, limit: int) -> list[Posting]:
        """Gives what a channel must still send, oldest first."""
        query = (
            sa.select(notification)
            .where(notification.c.state == "waiting", notification.c.channel == channel)
            .order_by(notification.c.created_ns, notification.c.transition, notification.c.id)
            .limit(limit)
        )
        with self._entries.connect() as connection:
            return [_posting(row) for row in connection.execute(query).mappings()]

    def waiting_channels(self) -> list[str]:
        """Gives the channels that something waits for."""
        query = sa.select(notification.c.channel).where(notification.c.state == "waiting").distinct()
        with self._entries.connect() as connection:
            return sorted(connection.execute(query).scalars())

    def posting(self, posting_id: str) -> Posting | None:
        """Gives one message, or None."""
        query = sa.select(notification).where(notification.c.id == posting_id)
        with self._entries.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _posting(row)

    def settle(self, posting: Posting, *, follow: Posting | None = None) -> None:
        """Keeps what became of a message, and a message that follows from it."""
        values = {
            "state": posting.state,
            "attempts": posting.attempts,
            "next_ns": posting.next_ns,
            "sent_ns": posting.sent_ns,
            "error": posting.error or None,
        }
        with self._entries.begin() as connection:
            connection.execute(sa.update(notification).where(notification.c.id == posting.id).values(values))
            if follow is not None:
                connection.execute(sa.insert(notification), _posting_row(follow))

    def counts(self) -> dict[Delivery, int]:
        """Gives how many messages are in each state."""
        query = sa.select(notification.c.state, sa.func.count()).group_by(notification.c.state)
        with self._entries.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def expire(self, before: Mapping[ClockName, int]) -> int:
        """Deletes old transitions, ended alerts, ended silences and settled messages; gives how many rows.

        Args:
            before: moments on each clock; what happened earlier on its own clock goes.
        """
        ended, doomed = alert.c.state.not_in(LIVE), []
        for clock, at_ns in before.items():
            own = sa.select(alert.c.id).where(alert.c.clock == clock, ended)
            doomed += [
                sa.delete(transition).where(transition.c.at_ns < at_ns, transition.c.alert.in_(own)),
                sa.delete(alert).where(alert.c.since_ns < at_ns, alert.c.clock == clock, ended),
                sa.delete(silence).where(silence.c.end_ns < at_ns, silence.c.clock == clock),
            ]
        sent = (notification.c.created_ns < before["wall"]) & (notification.c.state != "waiting")
        with self._entries.begin() as connection:
            return sum(
                connection.execute(statement).rowcount for statement in [*doomed, sa.delete(notification).where(sent)]
            )


def _columns(value: Transition | Silence) -> dict[str, Json]:
    fields = {name: getattr(value, name) for name in value.__slots__}
    fields.pop("seq", None)
    return cast("dict[str, Json]", fields)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _alert_row(entry: Alert) -> dict[str, Json]:
    row = cast("dict[str, Json]", asdict(entry.instance))
    row |= {"annotations": dict(entry.annotations), "clock": entry.clock, "value": _finite(entry.instance.value)}
    return row


def _alert(row: sa.RowMapping) -> Alert:
    instance = Instance(
        row["id"],
        row["rule"],
        row["labels"],
        row["state"],
        row["since_ns"],
        row["started_ns"],
        row["fired_ns"],
        row["resolved_ns"],
        _number(row["value"]),
        row["acked_by"] or "",
        row["acked_ns"],
        row["note"] or "",
    )
    return Alert(instance, row["annotations"], row["clock"])


def _transition(row: sa.RowMapping) -> Transition:
    return Transition(
        row["at_ns"],
        row["alert"],
        row["rule"],
        row["labels"],
        row["from_state"],
        row["to_state"],
        _number(row["value"]),
        row["seq"],
    )


def _silence(row: sa.RowMapping) -> Silence:
    matchers = tuple(Matcher(name, op, value) for name, op, value in row["matchers"])
    return Silence(**{**row, "matchers": matchers})


def _posting_row(posting: Posting) -> dict[str, Json]:
    body = cast("dict[str, Json]", msgspec.to_builtins(posting.message))
    return {
        "id": posting.id,
        "alert": posting.message.alert,
        "transition": posting.transition,
        "channel": posting.channel,
        "state": posting.state,
        "attempts": posting.attempts,
        "next_ns": posting.next_ns,
        "created_ns": posting.created_ns,
        "sent_ns": posting.sent_ns,
        "error": posting.error or None,
        "body": {**body, COVERS: list(posting.covers)},
    }


def _posting(row: sa.RowMapping) -> Posting:
    body = row["body"]
    return Posting(
        row["id"],
        row["channel"],
        row["transition"],
        msgspec.convert(body, Notification),
        row["created_ns"],
        tuple(body.get(COVERS, ())),
        row["state"],
        row["attempts"],
        row["next_ns"],
        row["sent_ns"],
        row["error"] or "",
    )
