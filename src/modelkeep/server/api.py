"""The typed part of the HTTP API: questions, alerts, administration. FastAPI checks parameters and writes OpenAPI."""

from __future__ import annotations

import time
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import orjson
from fastapi import Body, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from modelkeep._version import __version__
from modelkeep.core.errors import BadInput, Error
from modelkeep.server import (
    answers,
    closeups,
    coderoutes,
    configurations,
    findings,
    logcounts,
    modelroutes,
    wishes,
    words,
)
from modelkeep.server.configurations import Asked
from modelkeep.server.crew import Crew
from modelkeep.server.drill import drill
from modelkeep.server.questions import Questions
from modelkeep.server.routes import Need, Routes
from modelkeep.server.values import Row

if TYPE_CHECKING:
    from modelkeep.server.house import House

F = TypeVar("F", bound=Callable[..., object])

When = Annotated[str | None, Query(max_length=64, description="ISO 8601, unix seconds, now or now-1h.")]
From = Annotated[str | None, Query(alias="from", max_length=64, description="Earliest time.")]
To = Annotated[str | None, Query(max_length=64, description="Latest time, exclusive.")]
Short = Annotated[str | None, Query(max_length=512)]
Model = Annotated[str, Query(min_length=1, max_length=200)]
By = Annotated[Literal["hour", "day", "week", "month", "all"], Query()]
Zone = Annotated[str, Query(max_length=64, description="IANA name, such as Europe/Berlin.")]
Many = Annotated[list[str] | None, Query(max_length=100)]
UNEXPECTED: Final = "unexpected error; the server's log says more"
_FAILURES: Final = {
    "400": "BadInput",
    "401": "Denied: no valid token",
    "403": "Denied: the scope is missing",
    "404": "Missing",
    "409": "Conflict",
    "413": "BadInput: too large",
    "429": "Busy: see Retry-After",
    "500": "Corrupt",
    "503": "Unreachable",
}
_REFERENCE: Final = "#/components/schemas/{model}"


def _no_others(request: Request) -> None:
    """Refuses parameters that the route does not know: a misspelt `from` must not widen the question."""
    route = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params] if isinstance(route, APIRoute) else []
    for name in request.query_params:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}."
            raise BadInput(f"parameter {name[:60]!r} is not known here", hint=hint)


class Api:
    """The FastAPI application and its entries in the table of routes.

    Args:
        house: which knows.
        routes: the server's table.
        crew: threads for questions.
        token_made: called when a token was made or revoked.
    """

    def __init__(self, house: House, routes: Routes, crew: Crew, token_made: Callable[[], None]) -> None:
        self._house, self._routes, self._crew, self._token_made = house, routes, crew, token_made
        self.fastapi: Final = FastAPI(
            title="modelkeep",
            version=__version__,
            description="The typed part of the API; all routes stand in docs/reference/http.md.",
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            dependencies=[Depends(_no_others)],
        )
        self.fastapi.add_exception_handler(Error, _error)
        self.fastapi.add_exception_handler(Exception, _error)
        self.fastapi.add_exception_handler(RequestValidationError, _invalid)
        self.fastapi.add_exception_handler(HTTPException, _http)
        ask = Questions(house)
        self._questions(ask)
        logcounts.enter(self, ask, house)
        self._alerts(ask)
        self._configurations(ask, Asked(house))
        wishes.enter(self, house.wishes)
        modelroutes.enter(self, ask, house.models)
        closeups.enter(self, ask, house)
        findings.enter(self, ask, house)
        coderoutes.enter(self, ask, house)
        self._administration(ask)

    def openapi(self) -> bytes:
        """Gives the OpenAPI document of the typed part, as JSON."""
        document: dict[str, Any] = self.fastapi.openapi()
        components = document["components"]
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema = words.ErrorTold.model_json_schema(ref_template=_REFERENCE)
        components["schemas"] |= {**schema.pop("$defs"), "ErrorTold": schema}
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorTold")}}}
        failures = {status: {"description": text, "content": content} for status, text in _FAILURES.items()}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                route, _, _ = self._routes.find(method.upper(), path)
                operation["security"] = [{"token": []}]
                operation["x-scope"] = route.scope if route else ""
                operation["responses"].pop("422", None)
                operation["responses"] |= failures
        return orjson.dumps(document)

    def enter(
        self, method: str, path: str, scope: Need, told: type[words.Told] | type[words.StatusTold]
    ) -> Callable[[F], F]:
        """Enters a route in FastAPI and, with its scope, in the server's table."""

        def entered(function: F) -> F:
            self.fastapi.api_route(path, methods=[method], response_model=told, name=function.__name__)(function)
            self._routes.add(method, path, scope, self.fastapi)
            return function

        return entered

    async def reply(self, room: str, work: Callable[[], Row], *readers: str) -> Response:
        """Answers in a thread, after the readers have taken what was acknowledged before."""

        def answered() -> tuple[bytes, bool]:
            start = time.perf_counter()
            complete = not readers or self._house.caught_up(*readers)
            body = orjson.dumps(work())
            self._house.own.time("modelkeep_query_seconds", time.perf_counter() - start, room=room)
            return body, complete

        body, complete = await self._crew.run(answered)
        return Response(body, media_type="application/json", headers=answers.completeness(complete))

    def _questions(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/models", "read", words.ModelsTold)
        async def models() -> Response:
            """All models and versions."""
            return await self.reply("quality", ask.models, "quality")

        @self.enter("GET", "/api/v1/quality", "read", words.QualityTold)
        async def quality(
            *,
            model: Model,
            version: Short = None,
            start: From = None,
            to: To = None,
            by: By = "all",
            timezone: Zone = "UTC",
            as_of: When = None,
            threshold: Annotated[float, Query(ge=0, le=1)] = 0.5,
        ) -> Response:
            """How good a model was."""
            return await self.reply(
                "quality",
                lambda: ask.quality(
                    model,
                    version=version,
                    start=start,
                    end=to,
                    by=by,
                    timezone=timezone,
                    as_of=as_of,
                    threshold=threshold,
                ),
                "quality",
            )

        self._drift(ask)
        self._records(ask)

    def _drift(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/drift", "read", words.DriftTold)
        async def drift(
            *,
            model: Model,
            version: Short = None,
            start: From = None,
            to: To = None,
            by: By = "all",
            timezone: Zone = "UTC",
            measure: Many = None,
            feature: Many = None,
        ) -> Response:
            """How far a model's inputs and outputs were from their reference."""
            return await self.reply(
                "quality",
                lambda: ask.drift(
                    model,
                    version=version,
                    start=start,
                    end=to,
                    by=by,
                    timezone=timezone,
                    measures=measure or [],
                    features=feature or [],
                ),
                "quality",
            )

    def _records(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/predictions", "read", words.PredictionsTold)
        async def predictions(
            *,
            model: Short = None,
            version: Short = None,
            id_: Annotated[str | None, Query(alias="id", max_length=512)] = None,
            start: From = None,
            to: To = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        ) -> Response:
            """Predictions, newest first, with the facts about them."""
            return await self.reply(
                "rows",
                lambda: ask.predictions(model=model, version=version, id_=id_, start=start, end=to, limit=limit),
                "rows",
            )

        @self.enter("POST", "/api/v1/sql", "read", words.SqlTold)
        async def sql(given: words.SqlGiven) -> Response:
            """The answer of one SELECT."""
            return await self.reply("rows", lambda: ask.sql(given.sql, given.limit), "rows")

        @self.enter("GET", "/api/v1/logs", "read", words.LogsTold)
        async def logs(
            q: Annotated[str | None, Query(max_length=2_000)] = None,
            start: From = None,
            to: To = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
            before: Short = None,
        ) -> Response:
            """Log records, newest first."""
            return await self.reply(
                "text", lambda: ask.logs(query=q or "", start=start, end=to, limit=limit, before=before), "text"
            )

        @self.enter("GET", "/api/v1/releases", "read", words.ReleasesTold)
        async def releases(model: Short = None) -> Response:
            """What ran, newest first."""
            return await self.reply("entries", lambda: ask.releases(model), "releases")

        @self.enter("GET", "/api/v1/status", "read", words.StatusTold)
        async def status() -> Response:
            """How the server is."""
            return await self.reply("status", ask.status)

    def _alerts(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/alerts", "read", words.AlertsTold)
        async def alerts(
            state: Literal["pending", "firing", "acknowledged", "resolved"] | None = None,
        ) -> Response:
            """Alerts that live, or those in one state."""
            return await self.reply("alerts", lambda: ask.alerts(state))

        @self.enter("GET", "/api/v1/alerts/history", "read", words.TransitionsTold)
        async def history(
            start: From = None,
            to: To = None,
            rule: Short = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
        ) -> Response:
            """Changes of states, oldest first."""
            return await self.reply("alerts", lambda: ask.history(start=start, end=to, rule=rule, limit=limit))

        @self.enter("POST", "/api/v1/alerts/{id}/ack", "write", words.MadeTold)
        async def acknowledge(id: str, given: words.AckGiven) -> Response:  # noqa: A002
            """Acknowledges a firing alert."""
            return await self.reply("alerts", lambda: ask.acknowledge(id, given.by, given.note))

        @self.enter("POST", "/api/v1/alerts/replay", "read", words.TransitionsTold)
        async def replay(given: words.ReplayGiven) -> Response:
            """What rules would have done; nothing is stored or sent."""
            return await self.reply(
                "alerts", lambda: ask.replay(given.from_, given.to, given.rules), "series", "quality"
            )

        @self.enter("POST", "/api/v1/alerts/test", "write", words.TestTold)
        async def test(given: words.TestGiven) -> Response:
            """Sends a marked test notification."""
            return await self.reply("alerts", lambda: ask.test(given.channel))

        @self.enter("GET", "/api/v1/rules", "read", words.GroupsTold)
        async def rules() -> Response:
            """All rules and how they stand."""
            return await self.reply("alerts", ask.rules)

        self._silences(ask)

    def _silences(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/silences", "read", words.SilencesTold)
        async def silences() -> Response:
            """All silences that are kept."""
            return await self.reply("alerts", ask.silences)

        @self.enter("POST", "/api/v1/silences", "write", words.MadeTold)
        async def silence(given: words.SilenceGiven) -> Response:
            """Silences alerts with these labels."""
            return await self.reply(
                "alerts",
                lambda: ask.silence(
                    given.matchers, duration=given.duration, to=given.to, by=given.by, reason=given.reason
                ),
            )

        @self.enter("DELETE", "/api/v1/silences/{id}", "write", words.MadeTold)
        async def unsilence(id: str) -> Response:  # noqa: A002
            """Ends a silence now."""
            return await self.reply("alerts", lambda: ask.unsilence(id))

        @self.enter("GET", "/api/v1/outbox", "read", words.OutboxTold)
        async def outbox(state: Literal["waiting", "sent", "dead"] | None = None) -> Response:
            """Messages, newest first."""
            return await self.reply("alerts", lambda: ask.outbox(state))

        @self.enter("POST", "/api/v1/drill", "write", words.DrillTold)
        async def drilled(_: Annotated[dict[str, Any] | None, Body()] = None) -> Response:
            """One synthetic sample through ingest, rule, channel and read-back."""
            return await self.reply("alerts", lambda: drill(self._house))

    def _configurations(self, ask: Questions, asked: Asked) -> None:
        @self.enter("GET", "/api/v1/configurations", "read", configurations.ConfigurationsTold)
        async def current(
            name: Short = None, process: Short = None, everyone: bool = False, brief: bool = False
        ) -> Response:
            """What holds in every live process, and where each key was written."""
            return await self.reply(
                "entries",
                lambda: asked.current(name=name or "", process=process or "", everyone=everyone, brief=brief),
                "configurations",
            )

        @self.enter("GET", "/api/v1/configurations/history", "read", configurations.ChangesTold)
        async def changes(
            *,
            process: Short = None,
            name: Short = None,
            key: Short = None,
            state: configurations.State | None = None,
            start: From = None,
            to: To = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        ) -> Response:
            """What was applied, refused and rolled back, newest first."""
            return await self.reply(
                "entries",
                lambda: asked.history(
                    process=process or "",
                    name=name or "",
                    key=key or "",
                    state=state or "",
                    start_ns=ask.at(start, "from"),
                    end_ns=ask.at(to, "to"),
                    limit=limit,
                ),
                "configurations",
            )

        self._compared(asked)

    def _compared(self, asked: Asked) -> None:
        @self.enter("GET", "/api/v1/configurations/diff", "read", configurations.DiffTold)
        async def diff(before: Annotated[Model, Query(alias="from")], to: Model) -> Response:
            """How two configurations differ, named by hashes or releases."""
            return await self.reply("entries", lambda: asked.diff(before, to), "configurations", "releases")

        @self.enter("GET", "/api/v1/configurations/blame", "read", configurations.BlameTold)
        async def blame(
            key: Model,
            process: Short = None,
            name: Short = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        ) -> Response:
            """Who gave a key its values, newest first."""
            return await self.reply(
                "entries",
                lambda: asked.blame(key, process=process or "", name=name or "", limit=limit),
                "configurations",
            )

        @self.enter("GET", "/api/v1/configurations/versions/{hash}", "read", configurations.VersionOfConfigurationTold)
        async def version(hash: str) -> Response:  # noqa: A002
            """One configuration by its content."""
            return await self.reply("entries", lambda: asked.version(hash), "configurations")

        self._pairs(asked)

    def _pairs(self, asked: Asked) -> None:
        @self.enter("GET", "/api/v1/configurations/kv", "read", configurations.WritesTold)
        async def writes(
            prefix: Annotated[str | None, Query(max_length=1024)] = None,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        ) -> Response:
            """Writes of the key-value store, newest first."""
            return await self.reply("entries", lambda: asked.writes(prefix or "", limit))

        @self.enter("POST", "/api/v1/configurations/kv/rollback", "admin", configurations.RolledBackTold)
        async def rollback(given: configurations.RollbackGiven, request: Request) -> Response:
            """Puts keys of the key-value store back to what they were after a write."""
            token = request.scope.get("modelkeep.token")
            return await self.reply(
                "entries", lambda: asked.rollback(given, token.name if token else given.author or "nobody")
            )

    def _administration(self, ask: Questions) -> None:
        @self.enter("GET", "/api/v1/tokens", "admin", words.TokensTold)
        async def tokens() -> Response:
            """All tokens, never their secrets."""
            return await self.reply("entries", ask.tokens)

        @self.enter("POST", "/api/v1/tokens", "admin", words.TokenMadeTold)
        async def make_token(given: words.TokenGiven) -> Response:
            """Makes a token; it is shown this once."""
            answer = await self.reply("entries", lambda: ask.make_token(given.name, given.scopes, given.expires))
            self._token_made()
            return answer

        @self.enter("DELETE", "/api/v1/tokens/{id}", "admin", words.MadeTold)
        async def revoke(id: str) -> Response:  # noqa: A002
            """Revokes a token at once."""
            answer = await self.reply("entries", lambda: ask.revoke(id))
            self._token_made()
            return answer


async def _error(request: Request, error: Exception) -> Response:
    return answers.response(error if isinstance(error, Error) else Error(UNEXPECTED))


async def _invalid(request: Request, error: Exception) -> Response:
    """Names the first parameter or key that is wrong."""
    found = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = ".".join(str(part) for part in found.get("loc", ())[1:]) or "body"
    text = f"{where}: {found.get('msg', 'it cannot be read')}"
    if where == "body" and "json" not in request.headers.get("content-type", ""):
        return answers.response(BadInput("body: expected JSON", hint="Send `Content-Type: application/json`."))
    return answers.response(BadInput(text, hint="See /openapi.json or docs/reference/http.md."))


async def _http(request: Request, error: Exception) -> Response:
    return answers.response(BadInput(f"body: {getattr(error, 'detail', 'it cannot be read')}"))
