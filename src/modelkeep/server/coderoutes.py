"""The typed routes about the code: deploys that webhooks told of, and patches of trees that were not committed."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Query
from fastapi.responses import Response

from modelkeep.core.errors import Missing
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso
from modelkeep.server.values import Row
from modelkeep.server.words import Told

if TYPE_CHECKING:
    from modelkeep.server.api import Api
    from modelkeep.server.house import House
    from modelkeep.server.questions import Questions
    from modelkeep.store.deploys import Deploy

Short = Annotated[str | None, Query(max_length=512)]
From = Annotated[str | None, Query(alias="from", max_length=64, description="Earliest time.")]
To = Annotated[str | None, Query(max_length=64, description="Latest time, exclusive.")]
Digits = Annotated[str | None, Query(min_length=4, max_length=64, pattern="^[0-9a-f]+$")]


class DeployTold(Told):
    """One thing that happened to the code; `at` is when this server was told."""

    id: str
    at: str
    webhook: str
    source: Literal["github", "gitlab"]
    kind: Literal["push", "tag", "merge", "deployment"]
    repository: str
    ref: str
    code: str
    before: str
    author: str
    committer: str
    coauthors: list[str]
    pusher: str
    environment: str
    state: str
    url: str
    title: str
    authored: str | None


class DeploysTold(Told):
    """Deploys, the last received first."""

    deploys: list[DeployTold]


class PatchTold(Told):
    """What a working tree had beyond its commit; `deflated` is base64 of zlib."""

    digest: str
    size: int
    first: str
    deflated: str


def enter(api: Api, ask: Questions, house: House) -> None:
    """Enters all routes.

    Args:
        api: whose table they go into.
        ask: reads times.
        house: which knows.
    """

    @api.enter("GET", "/api/v1/deploys", "read", DeploysTold)
    async def deploys(
        *,
        start: From = None,
        to: To = None,
        repository: Short = None,
        code: Digits = None,
        kind: Literal["push", "tag", "merge", "deployment"] | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Response:
        """What webhooks told of the code, the last received first."""
        return await api.reply(
            "entries",
            lambda: {
                "deploys": [
                    _deploy(one)
                    for one in house.deploys.list(
                        start_ns=ask.at(start, "from"),
                        end_ns=ask.at(to, "to"),
                        repository=repository or "",
                        code=code or "",
                        kind=kind or "",
                        limit=limit,
                    )
                ]
            },
        )

    @api.enter("GET", "/api/v1/patches/{digest}", "read", PatchTold)
    async def patch(digest: str) -> Response:
        """What a working tree had beyond its commit."""
        return await api.reply("entries", lambda: _patch(house, digest), "releases")


def _deploy(one: Deploy) -> dict[str, Json]:
    return {
        "id": one.id,
        "at": iso(one.at_ns),
        "webhook": one.name,
        "source": one.source,
        "kind": one.kind,
        "repository": one.repository,
        "ref": one.ref,
        "code": one.code,
        "before": one.before,
        "author": one.author,
        "committer": one.committer,
        "coauthors": list(one.coauthors),
        "pusher": one.pusher,
        "environment": one.environment,
        "state": one.state,
        "url": one.url,
        "title": one.title,
        "authored": iso(one.authored_ns) if one.authored_ns else None,
    }


def _patch(house: House, digest: str) -> Row:
    found = house.releases.patch(digest)
    if found is None:
        raise Missing(f"no patch {digest[:64]}", hint="Releases name theirs: GET /api/v1/releases, extra.patch.")
    return {
        "digest": found.digest,
        "size": found.size,
        "first": iso(found.first_ns),
        "deflated": b64encode(found.deflated).decode(),
    }
