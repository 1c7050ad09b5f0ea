"""What has been said about which alert, and what is to be said now: new states, ended silences, repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelkeep.alerts.channel import State
from modelkeep.alerts.ledger import Alert, Ledger, Posting
from modelkeep.alerts.notices import Notice, compose
from modelkeep.alerts.rules import Rule
from modelkeep.alerts.state import Instance, Transition

Mute = Callable[[Mapping[str, str]], bool]
Texts = Callable[[Rule, str, Mapping[str, str], float], dict[str, str]]
"""A rule, the id of an alert, its labels and its value → its annotations."""


def plainly(rule: Rule, alert: str, labels: Mapping[str, str], value: float) -> dict[str, str]:
    """Gives the annotations as the rule has them."""
    return rule.texts(labels, value)


@dataclass(frozen=True, slots=True)
class Episode:
    """One time that an alert fires, from then to its end.

    Args:
        seq: of the transition to firing.
        thread: id of its first message; empty while there is none.
        told_ns: when its last message was due, wall time; None while there is none.
        muted: whether it was silenced when last looked at.
    """

    seq: int
    thread: str = ""
    told_ns: int | None = None
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A stored transition with what is needed to speak of it."""

    rule: Rule
    transition: Transition
    since_ns: int
    muted: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Messages, and the episodes as they are once these are kept; None where one has ended."""

    postings: Sequence[Posting] = ()
    episodes: Mapping[str, Episode | None] = field(default_factory=dict)


class Episodes:
    """Decides what is said. Nothing changes before a plan is accepted.

    Args:
        route: the channel; empty when nothing is to be sent.
        link: where to look.
        storm: more alerts than this of one rule and model at once become one message.
        repeat_ns: a firing alert is told again after this long; 0 for never.
        make_id: gives a new id, later ones greater.
        texts: fills annotations in.
    """

    def __init__(
        self, *, route: str, link: str, storm: int, repeat_ns: int, make_id: Callable[[], str], texts: Texts = plainly
    ) -> None:
        self._route, self._link, self._storm = route, link, storm
        self._repeat, self._make_id, self._texts = repeat_ns, make_id, texts
        self._episodes: dict[str, Episode] = {}

    def load(self, ledger: Ledger, burning: Sequence[Alert], muted_since: Callable[[Alert, int | None], bool]) -> None:
        """Reads what was said before a restart.

        Args:
            ledger: the tables.
            burning: the alerts that fire.
            muted_since: whether some silence spoke of an alert after a wall time.
        """
        seqs = ledger.episodes([entry.instance.id for entry in burning])
        first: dict[int, Posting] = {}
        last: dict[int, Posting] = {}
        for posting in ledger.postings_since(min(seqs.values(), default=0)) if seqs else ():
            for seq in posting.covers:
                first.setdefault(seq, posting)
                last[seq] = posting
        for entry in burning:
            seq = seqs.get(entry.instance.id, 0)
            thread = first[seq].id if seq in first else ""
            told = last[seq].created_ns if seq in last else None
            self._episodes[entry.instance.id] = Episode(seq, thread, told, muted_since(entry, told))

    def changed(self, changes: Iterable[Change], now_ns: int) -> Plan:
        """Gives what to say about transitions, in their order.

        Args:
            changes: stored ones.
            now_ns: wall time.
        """
        episodes: dict[str, Episode | None] = {}
        notices: list[Notice] = []
        for change in changes:
            one = change.transition
            if one.to_state == "firing":
                told = None if change.muted or not self._route else now_ns
                episodes[one.alert] = episode = Episode(one.seq, told_ns=told, muted=change.muted)
                if told is not None:
                    notices.append(self._notice(change, "firing", episode))
            elif one.to_state == "resolved":
                before = episodes.get(one.alert) or self._episodes.get(one.alert)
                episodes[one.alert] = None
                if before is not None and before.told_ns is not None and not change.muted:
                    notices.append(self._notice(change, "resolved", before))
        return self._plan(notices, episodes, now_ns)

    def due(self, firing: Iterable[tuple[Rule, Instance]], mute: Mute, now_ns: int) -> Plan:
        """Gives what to say about alerts that go on firing: not told yet, a silence ended, or time to repeat.

        Args:
            firing: those that nobody has acknowledged.
            mute: whether an alert with these labels is silenced now.
            now_ns: wall time.
        """
        episodes: dict[str, Episode | None] = {}
        notices: list[Notice] = []
        for rule, instance in firing:
            before = self._episodes.get(instance.id, Episode(0))
            muted = mute(instance.labels)
            after = replace(before, muted=muted)
            if self._route and not muted and (said := self._when(before, now_ns)) is not None:
                after = replace(after, told_ns=said)
                change = Change(rule, _standing(instance, before.seq), instance.started_ns, muted=False)
                notices.append(self._notice(change, "firing", before, repeated=before.told_ns is not None))
            if after != before:
                episodes[instance.id] = after
        return self._plan(notices, episodes, now_ns)

    def accept(self, plan: Plan) -> None:
        """Takes over a plan that has been kept."""
        for alert, episode in plan.episodes.items():
            if episode is None:
                self._episodes.pop(alert, None)
            else:
                self._episodes[alert] = episode

    def _notice(self, change: Change, state: State, episode: Episode, *, repeated: bool = False) -> Notice:
        one = change.transition
        return Notice(
            one.alert,
            state,
            one.rule,
            one.labels,
            self._texts(change.rule, one.alert, one.labels, one.value),
            one.value,
            change.since_ns,
            one.at_ns,
            one.seq,
            episode.thread,
            repeated,
        )

    def _when(self, episode: Episode, now_ns: int) -> int | None:
        """Gives when the next message was due, or None when none is; a late look does not shift the next one."""
        if episode.told_ns is None or episode.muted:
            return now_ns
        due = episode.told_ns + self._repeat
        if not self._repeat or now_ns < due:
            return None
        return due if now_ns - due < self._repeat else now_ns

    def _plan(self, notices: Sequence[Notice], episodes: dict[str, Episode | None], now_ns: int) -> Plan:
        postings = compose(
            notices,
            channel=self._route,
            link=self._link,
            storm=self._storm,
            now_ns=now_ns,
            make_id=self._make_id,
        )
        threads = {seq: posting.id for posting in reversed(postings) for seq in posting.covers}
        for alert, episode in episodes.items():
            if episode is not None and not episode.thread and episode.seq in threads:
                episodes[alert] = replace(episode, thread=threads[episode.seq])
        return Plan(postings, episodes)


def _standing(instance: Instance, seq: int) -> Transition:
    return Transition(
        instance.since_ns,
        instance.id,
        instance.rule,
        instance.labels,
        "firing",
        "firing",
        instance.value,
        seq,
    )
