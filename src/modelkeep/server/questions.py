"""What the typed API gives for its parameters; each function waits for nothing but the house."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from modelkeep._version import __version__
from modelkeep.alerts.ledger import Alert, Delivery, Posting
from modelkeep.alerts.rules import RuleGroup, parse_rules
from modelkeep.alerts.silences import Silence
from modelkeep.alerts.state import State, Transition
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.core.times import duration_ns, iso
from modelkeep.server import values
from modelkeep.server.prometheus import moment
from modelkeep.server.values import Row, plain

if TYPE_CHECKING:
    from modelkeep.server.house import House


class Questions:
    """Everything that can be asked.

    Args:
        house: which knows.
    """

    def __init__(self, house: House) -> None:
        self._house = house

    def at(self, text: str | None, name: str) -> int | None:
        """Gives the time that a parameter names, None for an empty one."""
        return moment(text, name, self._house.clocks.now_ns()) if text else None

    # --- models ---

    def models(self) -> Row:
        """Gives all models and versions."""
        return {"models": [model.json() for model in self._house.quality.models()]}

    def quality(
        self,
        model: str,
        *,
        version: str | None,
        start: str | None,
        end: str | None,
        by: str,
        timezone: str,
        as_of: str | None,
        threshold: float,
    ) -> Row:
        """Gives how good a model was."""
        return self._house.quality.figures(
            model,
            version=version or None,
            start_ns=self.at(start, "from"),
            end_ns=self.at(end, "to"),
            by=by,
            timezone=timezone,
            as_of_ns=self.at(as_of, "as_of"),
            threshold=threshold,
        ).json()

    def drift(
        self,
        model: str,
        *,
        version: str | None,
        start: str | None,
        end: str | None,
        by: str,
        timezone: str,
        measures: Sequence[str],
        features: Sequence[str],
    ) -> Row:
        """Gives how far a model's inputs and outputs were from their reference."""
        return self._house.quality.drift(
            model,
            version=version or None,
            start_ns=self.at(start, "from"),
            end_ns=self.at(end, "to"),
            by=by,
            timezone=timezone,
            measures=list(measures) or None,
            features=list(features) or None,
        ).json()

    def predictions(
        self, *, model: str | None, version: str | None, id_: str | None, start: str | None, end: str | None, limit: int
    ) -> Row:
        """Gives predictions, newest first, with the facts about them."""
        found = self._house.rows.scan(
            "prediction",
            model=model or None,
            version=version or None,
            ids=[id_] if id_ else None,
            start_ns=self.at(start, "from"),
            end_ns=self.at(end, "to"),
            limit=limit,
            newest_first=True,
        )
        return {"predictions": values.predictions(found, self._facts(found))}

    def _facts(self, found: pa.Table) -> pa.Table:
        ids: dict[str, list[str]] = {}
        for row in found.select(["id", "model"]).to_pylist():
            ids.setdefault(row["model"], []).append(row["id"])
        tables = [self._house.rows.latest_facts(some, model) for model, some in ids.items()]
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})

    def sql(self, query: str, limit: int) -> Row:
        """Gives the answer of a query."""
        seconds = self._house.settings.limits.query_seconds
        return values.table(self._house.rows.sql(query, limit=limit + 1, timeout_s=seconds), limit)

    def logs(self, *, query: str, start: str | None, end: str | None, limit: int, before: str | None) -> Row:
        """Gives log records, newest first."""
        found = self._house.text.search(
            query, start_ns=self.at(start, "from"), end_ns=self.at(end, "to"), limit=limit, before=before or None
        )
        rows: list[Json] = [
            {
                name: iso(value) if name == "at" and isinstance(value, int) else plain(value)
                for name, value in row.items()
            }
            for row in found.rows
        ]
        return {"logs": rows, "count": found.count, "next": found.next}

    def releases(self, model: str | None) -> Row:
        """Gives what ran."""
        rows: list[Json] = []
        for release in self._house.releases.list(model or None):
            row = plain(release)
            if isinstance(row, dict):
                rows.append(row | {"at": iso(release.at), "extra": plain(orjson.loads(release.extra or "{}"))})
        return {"releases": rows}

    # --- alerts ---

    def alerts(self, state: State | None) -> Row:
        """Gives the alerts in a state, or all that live."""
        return {"alerts": [_alert(entry) for entry in self._house.alerts.list(state)]}

    def history(self, *, start: str | None, end: str | None, rule: str | None, limit: int) -> Row:
        """Gives changes of states, oldest first."""
        found = self._house.alerts.history(self.at(start, "from"), self.at(end, "to"), rule=rule or None, limit=limit)
        return {"transitions": [_transition(change) for change in found]}

    def acknowledge(self, alert: str, by: str, note: str) -> Row:
        """Acknowledges an alert."""
        return {"id": self._house.alerts.ack(alert, by=by, note=note).alert}

    def replay(self, start: str, end: str, rules: str | None) -> Row:
        """Gives what rules would have done."""
        start_ns, end_ns = self.at(start, "from"), self.at(end, "to")
        if start_ns is None or end_ns is None or end_ns < start_ns:
            raise BadInput("from and to: expected two times, the earlier one first")
        groups: list[RuleGroup] | None = parse_rules(rules, file="rules") if rules is not None else None
        return {"transitions": [_transition(change) for change in self._house.alerts.replay(start_ns, end_ns, groups)]}

    def test(self, channel: str) -> Row:
        """Sends a marked test notification."""
        drill = self._house.alerts.drill(channel)
        return {"channel": drill.channel, "latency_s": drill.latency_s}

    def rules(self) -> Row:
        """Gives all rules and how they stand."""
        groups: list[Json] = []
        for status in self._house.alerts.rules():
            rules: list[Json] = [
                {
                    "name": one.rule.name,
                    "expr": one.rule.expr,
                    "for_s": one.rule.for_ns / 1e9,
                    "labels": {name: template.text for name, template in one.rule.labels},
                    "annotations": {name: template.text for name, template in one.rule.annotations},
                    "state": one.state,
                }
                for one in status.rules
            ]
            group = status.group
            groups.append(
                {"name": group.name, "interval_s": group.interval_ns / 1e9, "clock": group.clock, "rules": rules}
            )
        return {"groups": groups}

    def silences(self) -> Row:
        """Gives all silences."""
        return {"silences": [_silence(entry) for entry in self._house.alerts.silences()]}

    def silence(self, matchers: dict[str, str], *, duration: str | None, to: str | None, by: str, reason: str) -> Row:
        """Makes a silence."""
        now_ns = self._house.wall.now_ns()
        if (duration is None) == (to is None):
            raise BadInput("give either duration or to", hint='For example "duration": "2h".')
        end_ns = moment(to, "to", now_ns) if to is not None else now_ns + duration_ns(duration or "")
        if end_ns >= 1 << 62:
            raise BadInput("duration: too long", hint="For example 2h or 30d.")
        return {"id": self._house.alerts.silence(matchers, end_ns=end_ns, by=by, reason=reason).id}

    def unsilence(self, silence: str) -> Row:
        """Ends a silence."""
        return {"id": self._house.alerts.unsilence(silence).id}

    def outbox(self, state: Delivery | None) -> Row:
        """Gives messages, newest first."""
        return {"notifications": [_posting(entry) for entry in self._house.alerts.outbox(state)]}

    # --- tokens ---

    def tokens(self) -> Row:
        """Gives all tokens that were not revoked."""
        rows: list[Json] = [
            {
                "id": token.id,
                "name": token.name,
                "scopes": [*sorted(token.scopes)],
                "created": iso(token.created_ns),
                "expires": _iso(token.expires_ns),
                "last_used": _iso(token.last_used_ns),
            }
            for token in self._house.tokens.list()
            if token.revoked_ns is None
        ]
        return {"tokens": rows}

    def make_token(self, name: str, scopes: Sequence[str], expires: str | None) -> Row:
        """Makes a token."""
        end_ns = None if expires is None else moment(expires, "expires", self._house.wall.now_ns())
        made, text = self._house.tokens.create(name, scopes, end_ns)
        return {"id": made, "token": text}

    def revoke(self, token: str) -> Row:
        """Revokes a token."""
        self._house.tokens.revoke(token)
        return {"id": token}

    # --- the server ---

    def status(self) -> Row:
        """Gives how the server is."""
        house = self._house
        now = house.clock.now_ns()
        disk = shutil.disk_usage(house.folder)
        house.own.look()
        return {
            "version": __version__,
            "clock": {
                "kind": house.settings.clock,
                "now": iso(now),
                "evaluated_to": iso(house.evaluated_ns),
            },
            "journal": plain(house.journal.status()),
            "readers": [self._reader(name) for name in house.feeds],
            "ingest": {"open": not house.closed(), "reason": house.closed(), **house.own.totals("modelkeep_ingest_")},
            "rooms": {
                "rows": plain(house.rows.status()),
                "series": plain(house.series.status()),
                "text": plain(house.text.status()),
                "quality": house.quality.status().json(),
                "alerts": plain(house.alerts.status()),
                "sdk": house.own.totals("modelkeep_sdk_"),
            },
            "disk": {
                "free_bytes": disk.free,
                "total_bytes": disk.total,
                "floor_bytes": house.settings.disk_floor_bytes,
            },
        }

    def _reader(self, name: str) -> Json:
        told = plain(self._house.feeds[name].status())
        return {**told, "name": name} if isinstance(told, dict) else {"name": name}


def _iso(at_ns: int | None) -> Json:
    return None if at_ns is None else iso(at_ns)


def _alert(entry: Alert) -> Json:
    one = entry.instance
    return {
        "id": one.id,
        "rule": one.rule,
        "labels": dict(one.labels),
        "annotations": dict(entry.annotations),
        "state": one.state,
        "since": iso(one.since_ns),
        "value": plain(one.value),
        "silenced": entry.silenced,
    }


def _transition(change: Transition) -> Json:
    return {
        "at": iso(change.at_ns),
        "alert": change.alert,
        "rule": change.rule,
        "labels": dict(change.labels),
        "from": change.from_state,
        "to": change.to_state,
        "value": plain(change.value),
    }


def _silence(entry: Silence) -> Json:
    return {
        "id": entry.id,
        "matchers": {
            matcher.name: matcher.value if matcher.op == "=" else matcher.op + matcher.value
            for matcher in entry.matchers
        },
        "from": iso(entry.start_ns),
        "to": iso(entry.end_ns),
        "by": entry.by,
        "reason": entry.reason,
    }


def _posting(entry: Posting) -> Json:
    return {
        "id": entry.id,
        "alert": entry.message.alert,
        "channel": entry.channel,
        "state": entry.state,
        "title": entry.message.headline,
        "attempts": entry.attempts,
        "created": iso(entry.created_ns),
        "sent": _iso(entry.sent_ns),
        "next": iso(entry.next_ns) if entry.state == "waiting" else None,
        "error": entry.error,
    }
