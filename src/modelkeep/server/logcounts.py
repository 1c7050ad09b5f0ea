"""The route that counts log records over time, for the histogram above them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Query
from fastapi.responses import Response

from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso
from modelkeep.server.values import Row
from modelkeep.server.words import Told

if TYPE_CHECKING:
    from modelkeep.server.api import Api
    from modelkeep.server.house import House
    from modelkeep.server.questions import Questions

When = Annotated[str, Query(max_length=64, description="ISO 8601, unix seconds, now or now-1h.")]


class LogCountsTold(Told):
    """How many records each stretch of time holds, by severity; the first begins at `start`."""

    start: str
    step: float
    bands: dict[str, list[int]]
    count: int


def enter(api: Api, ask: Questions, house: House) -> None:
    """Enters the route.

    Args:
        api: whose table it goes into.
        ask: reads times.
        house: whose log records are counted.
    """

    @api.enter("GET", "/api/v1/logs/counts", "read", LogCountsTold)
    async def log_counts(
        start: Annotated[str, Query(alias="from", max_length=64, description="Earliest time.")],
        step: Annotated[float, Query(ge=0.001, le=1e8, description="Seconds.")],
        q: Annotated[str | None, Query(max_length=2_000)] = None,
        to: When = "now",
    ) -> Response:
        """How many log records there were over time, by severity."""

        def work() -> Row:
            return counts(house, q or "", ask.at(start, "from"), ask.at(to, "to"), step)

        return await api.reply("text", work, "text")


def counts(house: House, query: str, start_ns: int | None, end_ns: int | None, step_s: float) -> Row:
    """Gives how many log records match, in stretches of time.

    Args:
        house: whose records.
        query: in the language of the log search.
        start_ns: the first moment.
        end_ns: behind the last moment.
        step_s: length of a stretch.

    Raises:
        BadInput: a time is missing, the query is wrong, or there would be too many stretches.
    """
    if start_ns is None or end_ns is None:
        raise BadInput("from and to: expected two times, the earlier one first")
    found = house.text.counts(query, start_ns=start_ns, end_ns=end_ns, step_ns=round(step_s * SECOND))
    bands: dict[str, Json] = {name: [*numbers] for name, numbers in found.bands.items()}
    return {"start": iso(found.start), "step": step_s, "bands": bands, "count": found.count}
