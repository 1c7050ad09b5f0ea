"""Alerts as they live: rules stepped over their clock, states, silences and messages kept in one transaction."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from modelkeep.alerts.causes import Causes, Explain, unexplained
from modelkeep.alerts.channel import Channel
from modelkeep.alerts.channels.loopback import Loopback
from modelkeep.alerts.drill import Drill, deliver_drill
from modelkeep.alerts.episodes import Change, Episodes
from modelkeep.alerts.ledger import Alert, Batch, Delivery, Ledger, Posting
from modelkeep.alerts.outbox import Outbox
from modelkeep.alerts.replay import replay
from modelkeep.alerts.rules import Rule, RuleGroup
from modelkeep.alerts.rules.file import distinct
from modelkeep.alerts.rules.rule import PREFIX, ClockName
from modelkeep.alerts.silences import Silence, matchers, silenced
from modelkeep.alerts.state import BURNING, LIVE, Frame, Instance, State, Transition, advance
from modelkeep.alerts.status import AlertsStatus, GroupStatus, Health, RuleStatus
from modelkeep.alerts.steps import Query, ask, batches, beginning, newest
from modelkeep.core.clock import DAY, HOUR, MINUTE, Clock, Wall
from modelkeep.core.errors import BadInput, Conflict, Error, Missing
from modelkeep.core.ids import Ids
from modelkeep.core.series import Matcher
from modelkeep.store.entries import Entries

LOOPBACK: Final = "loopback"


class Alerts:
    """Evaluates rules, keeps what comes of it, and tells it to a channel.

    Args:
        entries: where states, history, silences and the outbox are kept.
        query: answers the rules' expressions.
        rules: the groups.
        channels: by name; `loopback` is added when it is missing.
        route: the channel that messages go to; the built-in loopback when empty.
        events_clock: what the rules over models live by: the clock of events, or the machine's.
        wall: the machine's clock, for rules about the machine, for repeats and for sending.
        link: where people look, put into every message.
        repeat_ns: a firing alert that nobody acknowledged is told again after this long; 0 for never.
        storm: more alerts than this of one rule and model at once become one message.
        catch_up_ns: evaluation times missed on a running clock are made up for this far back.
        fallback: the channel that is told what the route could not deliver; empty for none.
        explain: says what changed before an alert.

    Raises:
        BadInput: an expression cannot be evaluated, or there is no such channel; the message names the rule.
    """

    def __init__(
        self,
        entries: Entries,
        query: Query,
        *,
        rules: Sequence[RuleGroup],
        channels: Mapping[str, Channel],
        route: str,
        events_clock: Clock,
        wall: Clock,
        link: str,
        repeat_ns: int = 4 * HOUR,
        storm: int = 5,
        catch_up_ns: int = 10 * MINUTE,
        fallback: str = "",
        explain: Explain = unexplained,
    ) -> None:
        self._entries, self._query, self._groups = entries, query, tuple(distinct(rules))
        self.channels: Final[Mapping[str, Channel]] = {LOOPBACK: Loopback(), **channels}
        for name in filter(None, (route, fallback)):
            if name not in self.channels:
                raise BadInput(f"alerts.route: no channel {name!r}", hint=f"There are: {', '.join(self.channels)}.")
        self._route, self._link, self._catch_up, self._wall = route or LOOPBACK, link, catch_up_ns, wall
        self._clocks: Final[dict[ClockName, Clock]] = {"events": events_clock, "wall": wall}
        self._jumps = not (events_clock is wall or isinstance(events_clock, Wall))
        self._ids = Ids()
        self._ledger = Ledger(entries)
        self._causes = Causes(explain)
        self._episodes = Episodes(
            route=self._route, link=link, storm=storm, repeat_ns=repeat_ns, make_id=self._ids, texts=self._causes.texts
        )
        self._outbox = Outbox(entries, self.channels, fallback=fallback)
        self._evaluating, self._lock = threading.Lock(), threading.RLock()
        self._counts: Counter[str] = Counter()
        self._health = {rule.key: Health() for group in self._groups for rule in group.rules}
        self._rules = {rule.key: rule for group in self._groups for rule in group.rules}
        self._instances: dict[str, dict[str, Instance]] = {}
        self._silences: dict[str, Silence] = {}
        self._progress: dict[str, int] = {}
        self._orphans: list[Alert] = []
        self._try_rules()
        self._load()

    # --- the clock's side ---

    def evaluate(self) -> int:
        """Brings every group up to its clock, then tells what is due again; gives how many states changed.

        Every evaluation time since the last one counts, however far the clock jumped. States, messages and
        progress of one batch are written together or not at all.
        """
        with self._evaluating:
            count = self._forget()
            for group in self._groups:
                count += self._group(group)
            with self._lock:
                self._remind()
            return count

    def replay(self, start_ns: int, end_ns: int, rules: Sequence[RuleGroup] | None = None) -> Sequence[Transition]:
        """Gives what rules would have done in [start, end]; nothing is stored and nothing sent.

        Args:
            start_ns: the beginning, on the rules' clock.
            end_ns: the end, inclusive.
            rules: others than the ones that live here. Of these, when events have a clock of their own, the ones
                on the machine's clock are left out: they never lived in the time of events.
        """
        own = [group for group in self._groups if group.clock == "events" or not self._jumps]
        return replay(self._query, own if rules is None else rules, start_ns, end_ns)

    def drill(self, channel: str = "", *, timeout_s: float = 30.0) -> Drill:
        """Sends a marked message through the outbox and a channel and reads back that it went.

        Args:
            channel: its name; the route, or the loopback, when empty.
            timeout_s: how long to wait for it.

        Raises:
            Missing: there is no such channel.
            Unreachable: it was not sent in time; the message says why.
        """
        name = channel or self._route
        if name not in self.channels:
            raise Missing(f"no channel {name!r}", hint=f"There are: {', '.join(self.channels)}.")
        return deliver_drill(
            self._entries, self._outbox, name, wall=self._wall, made=self._ids(), link=self._link, timeout_s=timeout_s
        )

    def deliver(self, *, wait_s: float = 0.0) -> int:
        """Sends what is due; see `Outbox.deliver`."""
        return self._outbox.deliver(self._wall.now_ns(), wait_s=wait_s)

    def close(self, *, wait_s: float = 2.0) -> None:
        """Waits for messages that are being sent; what is not sent by then is sent after the next start."""
        self._outbox.close(wait_s=wait_s)

    # --- the people's side ---

    def list(self, state: State | None = None) -> Sequence[Alert]:
        """Gives the alerts in a state, or all that are pending, firing or acknowledged."""
        with self._lock:
            times = self._times()
            found = self._ledger.alerts(LIVE if state is None else (state,))
            return [
                replace(entry, silenced=silenced(self._silences.values(), entry.instance.labels, times))
                for entry in found
            ]

    def history(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        rule: str | None = None,
        alert: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Transition]:
        """Gives the last `limit` transitions in [start, end), oldest first."""
        return self._ledger.history(start_ns=start_ns, end_ns=end_ns, rule=rule, alert_id=alert, limit=limit)

    def ack(self, alert: str, *, by: str, note: str = "") -> Transition:
        """Acknowledges a firing alert: it is not told again until it fires anew.

        Raises:
            Missing: no such alert is pending, firing or acknowledged.
            Conflict: it does not fire, or is acknowledged already.
            BadInput: nobody is named.
        """
        if not by.strip():
            raise BadInput("by: who acknowledges it?")
        with self._lock:
            rule, instance = self._find(alert)
            if instance.state != "firing":
                raise Conflict(f"alert {alert} is {instance.state}", hint="Only a firing alert can be acknowledged.")
            at_ns = max(self._clocks[rule.clock].now_ns(), instance.since_ns)
            change = instance.turned("acknowledged", at_ns)
            acked = replace(
                instance, state="acknowledged", since_ns=at_ns, acked_by=by, acked_ns=self._wall.now_ns(), note=note
            )
            with self._entries.begin() as connection:
                [change] = self._ledger.record(connection, [change])
                self._ledger.write(connection, Batch([self._causes.entry(rule, acked)]))
            self._instances[rule.key][alert] = acked
            return change

    def silences(self) -> Sequence[Silence]:
        """Gives all silences that are kept, those that end last first."""
        return self._ledger.silences()

    def silence(
        self,
        given: Mapping[str, str] | Sequence[Matcher],
        *,
        end_ns: int,
        by: str,
        reason: str,
        start_ns: int | None = None,
        clock: ClockName = "wall",
    ) -> Silence:
        """Silences alerts with these labels; it is on disk when this returns.

        Args:
            given: labels that must be equal, or matchers; all must match.
            end_ns: when it ends.
            by: who asks for it.
            reason: why.
            start_ns: when it begins; now when left out.
            clock: the clock that start and end are told by.

        Raises:
            BadInput: it would silence everything, ends before it begins, or nobody or no reason is named.
        """
        start_ns = self._clocks[clock].now_ns() if start_ns is None else start_ns
        if end_ns <= start_ns:
            raise BadInput("the silence ends before it begins")
        if not by.strip() or not reason.strip():
            raise BadInput("a silence needs by and reason", hint="Say who silences it and why.")
        made = Silence(self._ids(), matchers(given), start_ns, end_ns, by, reason, self._wall.now_ns(), clock)
        with self._lock:
            self._ledger.add_silence(made)
            self._silences[made.id] = made
        return made

    def unsilence(self, silence: str) -> Silence:
        """Ends a silence now.

        Raises:
            Missing: there is no such silence.
        """
        with self._lock:
            found = self._silences.get(silence)
            if found is None:
                raise Missing(f"no silence {silence!r}")
            end_ns = max(found.start_ns, min(found.end_ns, self._clocks[found.clock].now_ns()))
            self._ledger.end_silence(silence, end_ns)
            self._silences[silence] = ended = replace(found, end_ns=end_ns)
            return ended

    def outbox(self, state: Delivery | None = None, *, limit: int = 1000) -> Sequence[Posting]:
        """Gives the newest messages, newest first."""
        return self._ledger.outbox(state, limit=limit)

    def expire(self, before_ns: int) -> int:
        """Deletes history, ended alerts, ended silences and settled messages from before; gives how many rows.

        Args:
            before_ns: wall time. What lives by the clock of events goes when it is as old on that clock.
        """
        with self._lock:
            times = self._times()
            age_ns = times["wall"] - before_ns
            count = self._ledger.expire({name: now_ns - age_ns for name, now_ns in times.items()})
            self._silences = {one.id: one for one in self._ledger.silences()}
            return count

    def rules(self) -> Sequence[GroupStatus]:
        """Gives every group and rule, and how it does."""
        with self._lock:
            return [
                GroupStatus(group, self._progress.get(group.key, 0), tuple(self._status(rule) for rule in group.rules))
                for group in self._groups
            ]

    def status(self) -> AlertsStatus:
        """Gives what was done since the start, and what is so now."""
        posted = self._ledger.counts()
        with self._lock:
            states = Counter(one.state for live in self._instances.values() for one in live.values())
            return AlertsStatus(
                evaluations=self._counts["evaluations"],
                failures=self._counts["failures"],
                skipped=self._counts["skipped"],
                transitions=self._counts["transitions"],
                pending=states["pending"],
                firing=states["firing"] + states["acknowledged"],
                waiting=posted.get("waiting", 0),
                dead=posted.get("dead", 0),
            )

    # --- one batch ---

    def _group(self, group: RuleGroup) -> int:
        now_ns = self._clocks[group.clock].now_ns()
        last = self._after(group, now_ns)
        if last is None:
            return 0
        return sum(self._batch(group, first, end) for first, end in batches(group, last, now_ns))

    def _after(self, group: RuleGroup, now_ns: int) -> int | None:
        """Gives the evaluation time to go on from, or None when the clock has not begun."""
        if now_ns <= 0:
            return None
        last = self._progress.get(group.key)
        if self._jumps and group.clock == "events":
            return beginning(self._query, now_ns) if last is None else last
        reach = newest(group, now_ns) - max(self._catch_up, group.interval_ns)
        if last is None or last > now_ns + group.interval_ns:
            return newest(group, now_ns) - group.interval_ns
        if last >= reach:
            return last
        self._counts["skipped"] += (reach - last) // group.interval_ns
        with self._lock:
            self._shift(group, reach - last)
        return reach

    def _shift(self, group: RuleGroup, gap_ns: int) -> None:
        """Lets pending alerts wait on: nobody saw whether their condition held in the gap."""
        for rule in group.rules:
            live = self._instances.get(rule.key, {})
            for name, one in live.items():
                if one.state == "pending":
                    live[name] = replace(one, started_ns=one.started_ns + gap_ns)

    def _batch(self, group: RuleGroup, first: int, last: int) -> int:
        frames = [(rule, self._frame(group, rule, first, last)) for rule in group.rules]
        with self._lock:
            found: list[tuple[int, int, Rule, Transition]] = []
            touched: list[tuple[Rule, Instance]] = []
            for position, (rule, frame) in enumerate(frames):
                if frame is None:
                    continue
                outcome = advance(rule, frame, self._instances.get(rule.key, {}), limit=group.limit)
                touched += [(rule, one) for one in outcome.instances.values()]
                found += [(change.at_ns, position, rule, change) for change in outcome.transitions]
                if outcome.over_limit:
                    self._fail(rule, f"more than {group.limit} alerts at {outcome.over_limit} evaluations")
            found.sort(key=lambda entry: entry[:2])
            self._keep(group, last, [(rule, change) for _, _, rule, change in found], touched)
        return len(found)

    def _frame(self, group: RuleGroup, rule: Rule, first: int, last: int) -> Frame | None:
        """Gives what the rule sees, or None when it cannot be evaluated: that is counted and shown."""
        began = time.perf_counter()
        try:
            frame = ask(self._query, group, rule, first, last)
        except Exception as error:
            if isinstance(error, Error) and error.retry:
                raise
            self._fail(rule, str(error) or type(error).__name__)
            return None
        health = self._health[rule.key]
        health.error, health.seconds = "", time.perf_counter() - began
        self._counts["evaluations"] += len(frame.times)
        return frame

    def _fail(self, rule: Rule, reason: str) -> None:
        self._counts["failures"] += 1
        health = self._health[rule.key]
        health.failures, health.error = health.failures + 1, reason

    def _keep(
        self,
        group: RuleGroup,
        last: int,
        changes: Sequence[tuple[Rule, Transition]],
        touched: Sequence[tuple[Rule, Instance]],
    ) -> None:
        """Writes one batch; memory follows only when it is on disk."""
        started = {one.id: one.started_ns for _, one in touched}
        self._causes.ask((change for _, change in changes), started)
        with self._entries.begin() as connection:
            recorded = self._ledger.record(connection, [change for _, change in changes])
            told = [
                Change(rule, change, started[change.alert], self._muted(change.labels, rule.clock, change.at_ns))
                for (rule, _), change in zip(changes, recorded, strict=True)
            ]
            plan = self._episodes.changed(told, self._wall.now_ns())
            alerts = [self._causes.entry(rule, one) for rule, one in touched]
            self._ledger.write(connection, Batch(alerts, plan.postings, group.key, last))
        self._episodes.accept(plan)
        for rule, one in touched:
            live = self._instances.setdefault(rule.key, {})
            live[one.id] = one
            if one.state not in LIVE:
                del live[one.id]
        self._causes.forget(one for _, one in touched)
        self._progress[group.key] = last
        self._counts["transitions"] += len(changes)

    def _remind(self) -> None:
        firing = [
            (self._rules[key], one)
            for key, live in self._instances.items()
            for one in live.values()
            if one.state == "firing"
        ]
        if not firing:
            return
        plan = self._episodes.due(firing, self._muted, self._wall.now_ns())
        if plan.postings:
            with self._entries.begin() as connection:
                self._ledger.write(connection, Batch(postings=plan.postings))
        self._episodes.accept(plan)

    def _forget(self) -> int:
        """Ends the alerts of rules that are gone."""
        orphans = self._orphans
        if not orphans:
            return 0
        with self._lock, self._entries.begin() as connection:
            changes, ended, told = [], [], []
            for entry in orphans:
                one, rule = entry.instance, Rule(entry.instance.rule, "", clock=entry.clock)
                at_ns = max(self._clocks[entry.clock].now_ns(), one.since_ns)
                state: State = "inactive" if one.state == "pending" else "resolved"
                changes.append(one.turned(state, at_ns))
                ended.append(replace(entry, instance=replace(one, state=state, since_ns=at_ns, resolved_ns=at_ns)))
                told.append((rule, self._muted(one.labels, entry.clock, at_ns), one.started_ns))
            recorded = self._ledger.record(connection, changes)
            spoken = [
                Change(rule, change, since, muted) for (rule, muted, since), change in zip(told, recorded, strict=True)
            ]
            plan = self._episodes.changed(spoken, self._wall.now_ns())
            self._ledger.write(connection, Batch(ended, plan.postings))
        self._episodes.accept(plan)
        self._orphans = []
        self._counts["transitions"] += len(changes)
        return len(changes)

    # --- what was kept ---

    def _try_rules(self) -> None:
        """Asks every expression for one moment, so that what cannot be evaluated is refused at the start."""
        for group in self._groups:
            for rule in group.rules:
                try:
                    ask(self._query, group, rule, 400 * DAY, 400 * DAY)
                except BadInput as error:
                    raise BadInput(f"{rule.where}: expr: {error.message}", hint=error.hint) from None

    def _load(self) -> None:
        """Reads states, silences, progress and what was said; alerts of rules that are gone wait to be ended."""
        by_prefix = {rule.prefix: rule for rule in self._rules.values()}
        self._progress = self._ledger.progress()
        self._silences = {one.id: one for one in self._ledger.silences()}
        kept = self._ledger.alerts()
        self._causes.load(kept)
        for entry in kept:
            rule = by_prefix.get(entry.instance.id[:PREFIX])
            if rule is None:
                self._orphans.append(entry)
            else:
                self._instances.setdefault(rule.key, {})[entry.instance.id] = entry.instance
        burning = [entry for entry in kept if entry.instance.state in BURNING]
        self._episodes.load(self._ledger, burning, self._muted_since)

    def _muted_since(self, entry: Alert, told_ns: int | None) -> bool:
        """Whether a silence spoke of an alert after it was last told."""
        times = self._times()
        after: dict[ClockName, int] = {"wall": told_ns or 0, "events": entry.instance.fired_ns or 0}
        return any(
            one.start_ns <= times[one.clock] and one.end_ns > after[one.clock] and one.matches(entry.instance.labels)
            for one in self._silences.values()
            if told_ns is None or one.clock == "wall" or one.holds(times)
        )

    def _times(self) -> dict[ClockName, int]:
        return {name: clock.now_ns() for name, clock in self._clocks.items()}

    def _muted(self, labels: Mapping[str, str], clock: ClockName | None = None, at_ns: int = 0) -> bool:
        """Whether an alert is silenced now, or at a moment of its own clock."""
        if not self._silences:
            return False
        times = self._times()
        if clock == "events":
            times["events"] = at_ns
        return silenced(self._silences.values(), labels, times)

    def _find(self, alert: str) -> tuple[Rule, Instance]:
        for key, live in self._instances.items():
            if alert in live:
                return self._rules[key], live[alert]
        raise Missing(f"no alert {alert!r} is pending, firing or acknowledged", hint="modelkeep alert list shows them.")

    def _status(self, rule: Rule) -> RuleStatus:
        states = Counter(one.state for one in self._instances.get(rule.key, {}).values())
        order: tuple[State, ...] = ("firing", "acknowledged", "pending")
        state: State = next((name for name in order if states[name]), "inactive")
        health = self._health[rule.key]
        return RuleStatus(rule, state, states.total(), health.failures, health.error, health.seconds)
