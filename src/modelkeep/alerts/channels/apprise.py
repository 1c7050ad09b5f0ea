"""Hands messages to Apprise, which speaks to some 170 services by URL."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from modelkeep.alerts.channel import Channel, Notification
from modelkeep.alerts.outbound import CLOSED, Outbound
from modelkeep.core.errors import BadInput, Missing, Unreachable
from modelkeep.core.secret import Secret


class _Service(Protocol):
    templates: tuple[str, ...]
    host: str | None
    port: int | None
    secure: bool


class _Apprise(Protocol):
    def add(self, servers: object) -> bool: ...
    def notify(self, *, body: str, title: str, notify_type: str, body_format: str) -> object: ...
    def __getitem__(self, index: int) -> _Service: ...


@dataclass(frozen=True)
class Apprise:
    """Sends each message to one Apprise URL.

    Args:
        url: such as `slack://…` or `discord://…`; a secret, so configure it as `secret:NAME`.
        door: the way out; a host that the URL names is checked first. Apprise then opens its own socket.
    """

    url: Secret
    door: Outbound = CLOSED

    def send(self, notification: Notification) -> None:
        apprise = self._open()
        service = apprise[0]
        if any("{host}" in template for template in service.templates) and service.host:
            self.door.check(service.host, service.port or (443 if service.secure else 80))
        said = apprise.notify(
            body=notification.text,
            title=notification.headline,
            notify_type=_TYPES[notification.state],
            body_format="text",
        )
        if not said:
            raise Unreachable("apprise could not deliver", hint="The log of apprise says why.")

    def _open(self) -> _Apprise:
        try:
            module = import_module("apprise")
        except ImportError:
            raise Missing("apprise is not installed", hint="pip install 'modelkeep[server]'") from None
        made = cast("_Apprise", module.Apprise(asset=module.AppriseAsset(http_redirects=False, app_id="modelkeep")))
        if not made.add(self.url.reveal()):
            raise BadInput("apprise does not know this URL", hint="See the list of services of apprise.")
        return made


_TYPES = {"firing": "failure", "resolved": "success", "test": "info"}

plugin: type[Channel] = Apprise
