"""The typed routes about models as they served; `server.models` says what they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Query
from fastapi.responses import Response

from modelkeep.models.lineage import Asked
from modelkeep.models.timeline import Period
from modelkeep.server import models as told
from modelkeep.server.models import Serving

if TYPE_CHECKING:
    from modelkeep.server.api import Api
    from modelkeep.server.questions import Questions

Short = Annotated[str | None, Query(max_length=512)]
Model = Annotated[str, Query(min_length=1, max_length=200)]
From = Annotated[str | None, Query(alias="from", max_length=64, description="Earliest time.")]
To = Annotated[str | None, Query(max_length=64, description="Latest time, exclusive.")]
When = Annotated[str | None, Query(max_length=64, description="ISO 8601, unix seconds, now or now-1h.")]
Limit = Annotated[int, Query(ge=1, le=10_000)]
_READERS = ("releases", "serving")


def enter(api: Api, ask: Questions, serving: Serving) -> None:
    """Enters all routes.

    Args:
        api: whose table they go into.
        ask: reads times.
        serving: answers.
    """
    _served(api, ask, serving)
    _causes(api, ask, serving)


def _served(api: Api, ask: Questions, serving: Serving) -> None:
    @api.enter("GET", "/api/v1/models/timeline", "read", told.TimelineTold)
    async def timeline(
        model: Short = None, version: Short = None, start: From = None, to: To = None, limit: Limit = 100
    ) -> Response:
        """What served when, the newest first."""
        return await api.reply(
            "models",
            lambda: serving.timeline(
                model or "",
                version=version or "",
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                limit=limit,
            ),
            *_READERS,
        )

    @api.enter("GET", "/api/v1/models/share", "read", told.SharesTold)
    async def share(
        model: Model, start: From = None, to: To = None, by: Annotated[Period, Query()] = "day"
    ) -> Response:
        """Which share of a model's answers each version gave, shadows apart."""
        return await api.reply(
            "models",
            lambda: serving.shares(model, start_ns=ask.at(start, "from"), end_ns=ask.at(to, "to"), by=by),
            *_READERS,
        )

    @api.enter("GET", "/api/v1/trainings", "read", told.TrainingsTold)
    async def trainings(
        model: Short = None,
        status: told.Status | None = None,
        start: From = None,
        to: To = None,
        limit: Limit = 100,
    ) -> Response:
        """Who trained what when, the newest first."""
        return await api.reply(
            "models",
            lambda: serving.trainings(
                model or "",
                status=status or "",
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                limit=limit,
            ),
            "trainings",
        )


def _causes(api: Api, ask: Questions, serving: Serving) -> None:
    @api.enter("GET", "/api/v1/lineage", "read", told.LineageTold)
    async def lineage(
        *,
        model: Short = None,
        version: Short = None,
        data: Short = None,
        code: Short = None,
        release: Short = None,
        alert: Short = None,
    ) -> Response:
        """The way from data and code to predictions and alerts, of what is named."""
        asked = Asked(model or "", version or "", data or "", release or "", code or "")
        return await api.reply("models", lambda: serving.lineage(asked, alert or ""), *_READERS, "trainings")

    @api.enter("GET", "/api/v1/changes", "read", told.ChangesTold)
    async def changes(
        *,
        alert: Short = None,
        model: Short = None,
        at: When = None,
        start: From = None,
        to: To = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 20,
    ) -> Response:
        """What changed before an alert or a moment, what most likely mattered first."""
        return await api.reply(
            "models",
            lambda: serving.changes(
                alert=alert or "",
                model=model or "",
                at_ns=ask.at(at, "at"),
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                limit=limit,
            ),
            *_READERS,
            "trainings",
            "configurations",
        )
