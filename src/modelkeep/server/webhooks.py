"""What GitHub and GitLab tell of the code: messages that prove themselves by a signature, kept as deploys."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.code.webhooks import LIMIT_BYTES, SOURCES, Message, Source, Told, read, verified
from modelkeep.core.clock import Clock
from modelkeep.core.errors import BadInput, Denied
from modelkeep.core.secret import Secret, resolve
from modelkeep.server import answers, body
from modelkeep.server.crew import Crew
from modelkeep.server.own import Own
from modelkeep.server.routes import Routes
from modelkeep.server.values import Row
from modelkeep.store.deploys import Deploy, Deploys, identity

log: Final = logging.getLogger(__name__)

PREFIX: Final = "/api/v1/webhooks/"
_WAITING_BYTES: Final = 4 * LIMIT_BYTES
"""Bodies in memory at a time: they arrive before anybody knows who sent them."""
_KEYS: Final = frozenset({"name", "kind", "secret"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of the settings.

    Args:
        name: shown with its deploys.
        source: who sends.
        secret: what both sides know.
    """

    name: str
    source: Source
    secret: Secret


def open_webhooks(settings: Sequence[Mapping[str, object]]) -> list[Webhook]:
    """Gives the webhooks that the setting `code.webhooks` describes.

    Args:
        settings: each with `name`, `kind` (github or gitlab) and `secret`.

    Raises:
        BadInput: a key is missing, unknown or wrong, or a name is taken.
        Missing: there is no such secret.

    >>> open_webhooks([{"name": "hub", "kind": "github", "secret": "s3cret"}])
    [Webhook(name='hub', source='github', secret=Secret(***))]
    """
    found: dict[str, Webhook] = {}
    for position, entry in enumerate(settings):
        where = f"code.webhooks[{position}]"
        name, kind, secret = entry.get("name"), entry.get("kind"), entry.get("secret")
        if unknown := sorted(set(entry) - _KEYS):
            raise BadInput(f"{where}: unknown key {unknown[0]!r}", hint="Known: name, kind, secret.")
        if not isinstance(name, str) or not name or name in found:
            raise BadInput(f"{where} needs a name of its own", hint="For example `name: team`.")
        if kind not in SOURCES:
            raise BadInput(f"{where} ({name}): kind is {kind!r}", hint=f"Kinds: {', '.join(SOURCES)}.")
        if not isinstance(secret, str) or not secret:
            raise BadInput(f"{where} ({name}): a webhook without a secret proves nothing", hint="secret: secret:NAME")
        resolved = resolve(secret)
        if not resolved:
            raise BadInput(f"{where} ({name}): the secret is empty", hint="Give both sides a long random text.")
        found[name] = Webhook(name, kind, resolved)
    return list(found.values())


class Webhooks:
    """Answers webhooks; a message that does not prove itself changes nothing and learns nothing.

    Args:
        webhooks: of the settings.
        deploys: where they are kept.
        clock: the wall: when a message was received.
        own: where messages are counted.
        crew: threads that write.
        seconds: how long a body may take.
    """

    def __init__(
        self, webhooks: Sequence[Webhook], deploys: Deploys, clock: Clock, own: Own, crew: Crew, *, seconds: float
    ) -> None:
        self._webhooks, self._deploys, self._clock, self._own, self._crew = webhooks, deploys, clock, own, crew
        self._seconds = seconds
        self._room = body.Room(_WAITING_BYTES)

    def add(self, routes: Routes) -> None:
        """Enters a route for each source."""
        for source in SOURCES:
            routes.add("POST", PREFIX + source, "signed", self._page(source))

    def _page(self, source: Source) -> ASGIApp:
        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            with self._room.taken() as take:
                known = [one for one in self._webhooks if one.source == source]
                data = b""
                if known and _may_be_signed(headers):
                    data = await body.read(scope, receive, limit_bytes=LIMIT_BYTES, seconds=self._seconds, take=take)
                told = await self._crew.run(lambda: self._taken(known, Message(source, headers, data)))
            await answers.json(send, orjson.dumps(told))

        return page

    def _taken(self, known: Sequence[Webhook], message: Message) -> Row:
        now_ns = self._clock.now_ns()
        whose = next((one for one in known if verified(message, one.secret, now_ns)), None)
        if whose is None:
            self._own.add("modelkeep_webhooks_total", source=message.source, result="refused")
            raise Denied(
                f"no webhook of {message.source} in the settings has signed this",
                hint="Give code.webhooks and the sender the same secret.",
                status=401,
            )
        try:
            told = read(message)
        except BadInput:
            self._own.add("modelkeep_webhooks_total", source=message.source, result="unreadable")
            raise
        if told is None:
            self._own.add("modelkeep_webhooks_total", source=message.source, result="ignored")
            return {"id": None, "kind": None, "repeated": False}
        deploy = _deploy(whose.name, message, told, now_ns)
        new = self._deploys.add(deploy)
        self._own.add("modelkeep_webhooks_total", source=message.source, result="kept" if new else "repeated")
        return {"id": deploy.id, "kind": deploy.kind, "repeated": not new}


def _may_be_signed(headers: Mapping[str, str]) -> bool:
    """Whether it is worth while to read a body: what claims no proof has none."""
    return any(name in headers for name in ("x-hub-signature-256", "x-gitlab-token", "webhook-signature"))


def _deploy(name: str, message: Message, told: Told, now_ns: int) -> Deploy:
    return Deploy(
        id=identity(name, message.unique),
        at_ns=now_ns,
        name=name,
        source=message.source,
        delivery=message.delivery or message.unique,
        kind=told.kind,
        repository=told.repository,
        ref=told.ref,
        code=told.code,
        before=told.before,
        author=told.author,
        committer=told.committer,
        coauthors=told.coauthors,
        pusher=told.pusher,
        environment=told.environment,
        state=told.state,
        url=told.url,
        title=told.title,
        authored_ns=told.authored_ns,
    )
