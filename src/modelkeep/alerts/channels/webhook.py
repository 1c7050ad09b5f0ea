"""Posts JSON to a URL, signed when a secret is configured."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from modelkeep.alerts.channel import Channel, Notification
from modelkeep.alerts.outbound import CLOSED, Outbound
from modelkeep.core.secret import NONE, Secret
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso

ID: Final = "X-Modelkeep-Notification"
TIMESTAMP: Final = "X-Modelkeep-Timestamp"
SIGNATURE: Final = "X-Modelkeep-Signature"
ENDLESS: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Webhook:
    """Posts each message as JSON.

    Args:
        url: where to; often a secret, so configure it as `secret:NAME`.
        secret: signs the time and the body with HMAC-SHA256, see `signature`.
        form: `modelkeep`, or `alertmanager` for receivers of Alertmanager's webhook, version 4.
        door: the way out.
    """

    url: Secret
    secret: Secret = NONE
    form: Literal["modelkeep", "alertmanager"] = "modelkeep"
    door: Outbound = CLOSED

    def send(self, notification: Notification) -> None:
        body = msgspec.json.encode(alertmanager(notification) if self.form == "alertmanager" else own(notification))
        headers = {"Content-Type": "application/json", "User-Agent": "modelkeep", ID: notification.id}
        if self.secret:
            at = str(int(time.time()))
            headers |= {TIMESTAMP: at, SIGNATURE: signature(self.secret.reveal(), at, body)}
        self.door.post(self.url.reveal(), body, headers)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Gives the header X-Modelkeep-Signature: `v1=` and the hex HMAC-SHA256 of `timestamp.body`.

    A receiver computes the same from the header X-Modelkeep-Timestamp and the raw body, compares in constant
    time, and refuses timestamps that are minutes old.

    >>> signature("key", "1", b"{}")[:11]
    'v1=1ba6b817'
    """
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return "v1=" + mac.hexdigest()


def own(notification: Notification) -> dict[str, Json]:
    """Gives the body of the form `modelkeep`.

    >>> from modelkeep.alerts.channel import example
    >>> body = own(example())
    >>> body["state"], body["value"], body["at"]
    ('firing', 0.12, '2013-04-01T01:00:00Z')
    """
    return {
        "id": notification.id,
        "alert": notification.alert,
        "thread": notification.thread,
        "state": notification.state,
        "repeated": notification.repeated,
        "title": notification.title,
        "summary": notification.summary,
        "rule": notification.rule,
        "labels": dict(notification.labels),
        "annotations": dict(notification.annotations),
        "value": notification.value,
        "since": iso(notification.since_ns),
        "at": iso(notification.at_ns),
        "link": notification.link,
        "members": [
            {"alert": member.alert, "labels": dict(member.labels), "value": member.value, "at": iso(member.at_ns)}
            for member in notification.members
        ],
    }


def alertmanager(notification: Notification) -> dict[str, Json]:
    """Gives the body of the form `alertmanager`.

    Source: the webhook payload of Prometheus Alertmanager, version "4".

    >>> from modelkeep.alerts.channel import example
    >>> body = alertmanager(example("resolved"))
    >>> body["version"], body["status"], body["alerts"][0]["endsAt"]
    ('4', 'resolved', '2013-04-01T01:00:00Z')
    """
    status = "resolved" if notification.state == "resolved" else "firing"
    alerts: list[Json] = [
        _alert(notification, status, member.alert, member.labels, member.at_ns) for member in notification.members
    ] or [_alert(notification, status, notification.alert, notification.labels, notification.since_ns)]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{notification.rule}"}}',
        "truncatedAlerts": max(0, int(notification.value or 0) - len(alerts)) if notification.members else 0,
        "status": status,
        "receiver": "modelkeep",
        "groupLabels": {"alertname": notification.rule},
        "commonLabels": dict(notification.labels),
        "commonAnnotations": dict(notification.annotations),
        "externalURL": notification.link,
        "alerts": alerts,
    }


def _alert(notification: Notification, status: str, alert: str, labels: dict[str, str], start_ns: int) -> Json:
    return {
        "status": status,
        "labels": dict(labels),
        "annotations": dict(notification.annotations),
        "startsAt": iso(start_ns),
        "endsAt": iso(notification.at_ns) if status == "resolved" else ENDLESS,
        "generatorURL": notification.link,
        "fingerprint": hashlib.blake2b(alert.encode(), digest_size=8).hexdigest(),
    }


plugin: type[Channel] = Webhook
