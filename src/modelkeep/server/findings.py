"""Search among the predictions of a model: a few words people can type, as one SELECT with bound values.

Source: our own language; docs/reference/http.md has it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Query
from fastapi.responses import Response

from modelkeep.core.errors import BadInput
from modelkeep.core.layouts import FEATURE
from modelkeep.core.shapes import Json
from modelkeep.server import values
from modelkeep.server.values import Row
from modelkeep.server.words import PredictionTold, Told
from modelkeep.store.rows import views

if TYPE_CHECKING:
    from modelkeep.server.api import Api
    from modelkeep.server.house import House
    from modelkeep.server.questions import Questions

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_TERM: Final = re.compile(
    rf"""(?P<no>-)?(?:(?P<name>{_QUOTED}|[^\s":<>=!-][^\s":<>=!]*)(?P<sign>:|<=|>=|!=|=|<|>)"""
    rf"""(?P<value>{_QUOTED}|[^\s"]+)|(?P<word>{_QUOTED}|[^\s":<>=!]+))(?=\s|$)"""
)
_FIXED: Final = {
    "id": "p.id",
    "version": "p.version",
    "release": "p.release",
    "prediction": "p.prediction",
    "score": "p.score",
    "latency": "p.latency_ns / 1e9",
    "error": "p.error",
    "label": "coalesce(CAST(l.value AS VARCHAR), l.text)",
}
_STATES: Final = {
    "failed": "p.error IS NOT NULL",
    "labelled": "l.id IS NOT NULL",
    "unlabelled": "l.id IS NULL",
    "wrong": (
        "CASE WHEN l.value IS NOT NULL AND TRY_CAST(p.prediction AS DOUBLE) IS NOT NULL"
        " THEN l.value <> TRY_CAST(p.prediction AS DOUBLE) ELSE l.text <> CAST(p.prediction AS VARCHAR) END"
    ),
}
_WORDS: Final = {"true": 1.0, "false": 0.0}
_FROM: Final = (
    "FROM prediction p LEFT JOIN (SELECT id, value, text FROM label WHERE model = ? OR model IS NULL"
    " QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq DESC) = 1) l ON l.id = p.id"
)
Bound = str | float | int


class FoundTold(Told):
    """Predictions that were found, newest first; `next` is the cursor for older ones."""

    predictions: list[PredictionTold]
    count: int | None
    next: str | None


@dataclass(slots=True)
class Condition:
    """SQL with its values.

    Args:
        parts: joined by AND.
        bound: in the order of their question marks.
    """

    parts: list[str] = field(default_factory=list)
    bound: list[Bound] = field(default_factory=list)

    def add(self, sql: str, *bound: Bound) -> None:
        """Adds a part."""
        self.parts.append(sql)
        self.bound += bound

    @property
    def sql(self) -> str:
        """The whole."""
        return " AND ".join(self.parts)


def condition(query: str, columns: Collection[str]) -> Condition:
    """Gives what a search means.

    Args:
        query: words such as `plan:pro tenure>12 is:wrong -region:north c12`.
        columns: of the view `prediction`.

    Raises:
        BadInput: it cannot be read, or names what no prediction has.

    >>> found = condition("tenure>12 -is:failed", ["features.tenure"])
    >>> found.sql
    'TRY_CAST(p."features.tenure" AS DOUBLE) > ? AND (p.error IS NOT NULL) IS NOT TRUE'
    """
    made = Condition()
    at = 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        found = _TERM.match(query, at)
        if found is None:
            raise BadInput(f"q: character {at + 1}: {query[at : at + 20]!r} cannot be read", hint=_HINT)
        _term(made, found, columns)
        at = found.end()
    return made


_HINT: Final = "For example: plan:pro tenure>12 is:wrong error:* -region:north. Quote what has blanks."


def _term(made: Condition, found: re.Match[str], columns: Collection[str]) -> None:
    name, sign, value = _plain(found["name"] or ""), found["sign"], _plain(found["value"] or found["word"])
    one = Condition()
    if not sign:
        one.add("contains(lower(p.id), lower(?))", value)
    elif name == "is":
        if value not in _STATES:
            raise BadInput(f"q: is:{value[:40]} is not known", hint=f"There are: {', '.join(_STATES)}.")
        one.add(_STATES[value])
    else:
        _compare(one, _column(name, columns), sign, value)
    no = bool(found["no"]) != (sign == "!=")
    made.add(f"({one.sql}) IS NOT TRUE" if no else one.sql, *one.bound)


def _column(name: str, columns: Collection[str]) -> str:
    if name in _FIXED:
        return _FIXED[name]
    for column in (FEATURE + name.removeprefix(FEATURE), FEATURE + name):
        if column in columns:
            return f"p.{views.name(column)}"
    known = [*_FIXED, *(column.removeprefix(FEATURE) for column in columns if column.startswith(FEATURE))]
    near = get_close_matches(name, known, 1)
    raise BadInput(f"q: no prediction has {name[:60]!r}", hint=f"Did you mean {near[0]}?" if near else _HINT)


def _compare(made: Condition, column: str, sign: str, value: str) -> None:
    number = _WORDS.get(value.lower(), _number(value))
    if sign in ("<", "<=", ">", ">="):
        if number is None:
            raise BadInput(f"q: {value[:40]!r} is not a number", hint=_HINT)
        made.add(f"TRY_CAST({column} AS DOUBLE) {sign} ?", number)
    elif value == "*":
        made.add(f"{column} IS NOT NULL")
    elif value == "null":
        made.add(f"{column} IS NULL")
    elif number is not None:
        made.add(f"(TRY_CAST({column} AS DOUBLE) = ? OR CAST({column} AS VARCHAR) = ?)", number, value)
    else:
        made.add(f"CAST({column} AS VARCHAR) ILIKE ? ESCAPE '\\'", _pattern(value))


def _pattern(value: str) -> str:
    return re.sub(r"[%_\\]", r"\\\g<0>", value).replace("*", "%")


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def found(
    house: House,
    model: str,
    query: str,
    *,
    version: str | None,
    start_ns: int | None,
    end_ns: int | None,
    limit: int,
    before: str | None,
) -> Row:
    """Gives the predictions that a search finds.

    Args:
        house: knows.
        model: whose.
        query: see `condition`.
        version: only of this one.
        start_ns: earliest.
        end_ns: latest, exclusive.
        limit: how many at once.
        before: cursor.

    Raises:
        BadInput: the search or the cursor cannot be read.
    """
    seconds = house.settings.limits.query_seconds
    columns = house.rows.sql("SELECT * FROM prediction LIMIT 0", timeout_s=seconds).column_names
    wanted = condition(query, columns)
    wanted.add("p.model = ?", model)
    for sql, bound in (("p.version = ?", version), ("p.at_ns >= ?", start_ns), ("p.at_ns < ?", end_ns)):
        if bound is not None:
            wanted.add(sql, bound)
    count: int | None = None

    def ask(sql: str) -> list[dict[str, object]]:
        return house.rows.sql(sql, [model, *wanted.bound], timeout_s=seconds).to_pylist()

    if not before:
        count = int(str(ask(f"SELECT count(*) AS n {_FROM} WHERE {wanted.sql}")[0]["n"]))
    else:
        at, _, last = before.partition(":")
        if not at.lstrip("-").isdigit():
            raise BadInput("before: not a cursor", hint="Give what `next` of the answer before was.")
        wanted.add("(p.at_ns < ? OR (p.at_ns = ? AND p.id < ?))", int(at), int(at), last)
    keys = ask(f"SELECT p.id, p.at_ns {_FROM} WHERE {wanted.sql} ORDER BY p.at_ns DESC, p.id DESC LIMIT {limit + 1}")
    shown = keys[:limit]
    following = f"{shown[-1]['at_ns']}:{shown[-1]['id']}" if len(keys) > limit else None
    return {"predictions": _whole(house, model, shown), "count": count, "next": following}


def _whole(house: House, model: str, keys: list[dict[str, object]]) -> list[Json]:
    if not keys:
        return []
    ids = [str(key["id"]) for key in keys]
    order = {(key["id"], key["at_ns"]): place for place, key in enumerate(keys)}
    table = house.rows.scan("prediction", model=model, ids=ids)
    places = [order.get((row["id"], row["at"]), -1) for row in table.select(["id", "at"]).to_pylist()]
    kept = sorted((place, at) for at, place in enumerate(places) if place >= 0)
    return values.predictions(table.take([at for _, at in kept]), house.rows.latest_facts(ids, model))


def enter(api: Api, ask: Questions, house: House) -> None:
    """Enters the route.

    Args:
        api: whose table it goes into.
        ask: reads times.
        house: knows.
    """

    @api.enter("GET", "/api/v1/predictions/search", "read", FoundTold)
    async def search(
        *,
        model: Annotated[str, Query(min_length=1, max_length=200)],
        version: Annotated[str | None, Query(max_length=512)] = None,
        q: Annotated[str, Query(max_length=2_000)] = "",
        start: Annotated[str | None, Query(alias="from", max_length=64, description="Earliest time.")] = None,
        to: Annotated[str | None, Query(max_length=64, description="Latest time, exclusive.")] = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        before: Annotated[str | None, Query(max_length=600)] = None,
    ) -> Response:
        """Predictions of a model that a search finds, newest first."""
        return await api.reply(
            "rows",
            lambda: found(
                house,
                model,
                q,
                version=version or None,
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                limit=limit,
                before=before or None,
            ),
            "rows",
        )
