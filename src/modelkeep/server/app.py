"""The whole server as one ASGI application: every route in one table, behind one door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.core.errors import Error, Unreachable
from modelkeep.server import answers, prometheus
from modelkeep.server.api import Api
from modelkeep.server.backup import Backup
from modelkeep.server.consul import Consul
from modelkeep.server.crew import Crew
from modelkeep.server.door import Door
from modelkeep.server.ingest import Ingest
from modelkeep.server.live import Live
from modelkeep.server.mlflow import Mlflow
from modelkeep.server.page import STATIC, Page
from modelkeep.server.routes import Routes
from modelkeep.server.session import Session, Sessions
from modelkeep.server.webhooks import Webhooks, open_webhooks
from modelkeep.wire.form import forms

if TYPE_CHECKING:
    from modelkeep.server.house import House

DECODERS: Final = 4
"""Threads that decode bodies."""
LIVE: Final = 2
"""Threads that look for what is new, for pages that are open."""
WELCOME: Final = """modelkeep

This address is a page for browsers.
Send records to /api/v1/ingest (SDK) or /api/v1/predictions (JSON).
Ask /api/v1/models, /api/v1/quality, /api/v1/drift, /api/v1/alerts; PromQL at /api/v1/query; SQL at /api/v1/sql.
The routes are described at /openapi.json and in docs/reference/http.md; this server's state is at /api/v1/status.
"""


class App:
    """The ASGI application of one house.

    Args:
        house: open, started or not.
    """

    def __init__(self, house: House) -> None:
        limits = house.settings.limits
        self.routes: Final = Routes()
        self._house = house
        self._asking = Crew("query", limits.queries, waiting=4 * limits.queries)
        self._decoding = Crew("decode", DECODERS, waiting=limits.requests)
        self._live_crew = Crew("live", LIVE, waiting=1_000)
        sessions = Sessions(house.folder / "sessions.json", house.tokens, house.wall, house.settings.port)
        self.door: Final = Door(
            self.routes,
            house.tokens,
            house.own,
            logins=sessions,
            host=house.settings.host,
            hosts=house.settings.hosts,
            requests=limits.requests,
            seconds=limits.body_seconds,
        )
        known = forms()
        self.ingest: Final = Ingest(
            forms=known,
            journal=house.journal,
            clocks=house.clocks,
            own=house.own,
            limits=limits,
            gate=house,
            crew=self._decoding,
            heard=house.presence.told,
            wishes=house.wishes.headers,
        )
        for path in known:
            self.routes.add("POST", path, "ingest", self.ingest)
        prometheus.add(self.routes, house, self._asking)
        self.api: Final = Api(house, self.routes, self._asking, self.door.look_again)
        Mlflow(house.repository, self._asking).add(self.routes)
        self._webhooks()
        self.consul: Final = Consul(house, max(1, limits.requests // 2))
        self.routes.add("GET", "/v1/kv/{key...}", "read", self.consul)
        self.routes.add("PUT DELETE", "/v1/kv/{key...}", "admin", self.consul)
        self.routes.add("GET", "/api/v1/backup", "admin", Backup(house))
        self.routes.add("GET", "/openapi.json", "read", self._openapi())
        self._page(sessions)
        self.routes.add("GET", "/healthz", "none", _live)
        self.routes.add("GET", "/readyz", "none", self._ready)
        house.own.read(self._figures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.door(scope, receive, send)

    def _webhooks(self) -> None:
        house = self._house
        known = open_webhooks(house.settings.code.webhooks)
        seconds = house.settings.limits.body_seconds
        Webhooks(known, house.deploys, house.wall, house.own, self._decoding, seconds=seconds).add(self.routes)

    def _page(self, sessions: Sessions) -> None:
        """Enters what the web page needs."""
        house = self._house
        Page(STATIC, WELCOME).add(self.routes)
        session = Session(
            sessions,
            house.tokens,
            self.door,
            lambda: (house.settings.clock, house.clocks.now_ns(), house.wall.now_ns()),
        )
        self.routes.add("GET POST DELETE", "/api/v1/session", "page", session)
        self.live: Live = Live(house, self._live_crew, self.door.still)
        self.routes.add("GET", "/api/v1/live", "read", self.live, socket=True)

    def close(self) -> None:
        """Waits for the threads."""
        self.consul.close()
        self._live_crew.close()
        self._asking.close()
        self._decoding.close()

    def _figures(self) -> list[tuple[str, dict[str, str], float]]:
        return [
            ("modelkeep_ingest_waiting", {}, self.ingest.waiting),
            ("modelkeep_query_waiting", {}, self._asking.busy),
            ("modelkeep_kv_waiting", {}, self.consul.waiting),
            ("modelkeep_live_connections", {}, self.live.connections),
            ("modelkeep_live_messages_total", {}, self.live.messages),
            *(
                ("modelkeep_configuration_changes_total", {"state": state}, count)
                for state, count in self._house.configurations.counts().items()
            ),
        ]

    def _openapi(self) -> ASGIApp:
        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            await answers.json(send, self.api.openapi())

        return page

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = self._house.closed()
        if not why:
            status = await asyncio.to_thread(self._house.journal.status)
            why = "the disk is full" if status.busy else ""
        if why:
            await answers.error(send, _unready(why), scope["path"])
        else:
            await answers.json(send, b'{"ready":true}')


def _unready(why: str) -> Error:
    return Unreachable(f"no records are taken now: {why}", hint="Try again in a moment.")


async def _live(scope: Scope, receive: Receive, send: Send) -> None:
    await answers.json(send, b'{"alive":true}')


def app(house: House) -> App:
    """Gives the ASGI application of a house."""
    return App(house)
