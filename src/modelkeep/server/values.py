"""Arrow tables and values as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

import orjson
import pyarrow as pa

from modelkeep.core.layouts import FEATURE, SCORES
from modelkeep.core.shapes import Json
from modelkeep.core.times import datetime_ns, iso

Row = dict[str, Json]


def plain(value: object) -> Json:
    """Gives any value that an engine may answer as JSON: times as ISO 8601 UTC, no NaN, long numbers as text.

    >>> plain({"a": (1, float("nan")), "b": 2**70})
    {'a': [1, None], 'b': '1180591620717411303424'}
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float | Decimal):
        number = float(value)
        return number if math.isfinite(number) else None
    return _compound(value)


def _compound(value: object) -> Json:
    if isinstance(value, date | timedelta):
        return _time(value)
    if isinstance(value, Mapping):
        return {_key(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value.hex() if isinstance(value, bytes) else str(value)


def _time(value: date | timedelta) -> Json:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return iso(datetime_ns(value)) if isinstance(value, datetime) and value.tzinfo else value.isoformat()


def _key(name: object) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def table(found: pa.Table, limit: int) -> Row:
    """Gives the answer of `POST /api/v1/sql`.

    Args:
        found: up to `limit` + 1 rows.
        limit: how many are told.

    >>> table(pa.table({"n": [1, 2]}), 1)
    {'columns': [{'name': 'n', 'type': 'int64'}], 'rows': [[1]], 'truncated': True}
    """
    columns: list[Json] = [{"name": field.name, "type": str(field.type)} for field in found.schema]
    cells = [column.to_pylist() for column in found.slice(0, limit).columns]
    rows: list[Json] = [[plain(cell) for cell in row] for row in zip(*cells, strict=True)]
    return {"columns": columns, "rows": rows, "truncated": found.num_rows > limit}


def predictions(found: pa.Table, facts: pa.Table) -> list[Json]:
    """Gives the answer of `GET /api/v1/predictions`.

    A feature that no listed prediction of a model has is left out for that model.

    Args:
        found: rows of the view `prediction`.
        facts: the latest facts about them.
    """
    rows = found.to_pylist()
    known: dict[object, set[str]] = {}
    for row in rows:
        known.setdefault(row["model"], set()).update(name for name, value in row.items() if value is not None)
    about: dict[tuple[object, object], list[Json]] = {}
    for fact in facts.to_pylist():
        about.setdefault((fact.get("model"), fact["id"]), []).append(_fact(fact))
    return [
        _prediction(
            row, known[row["model"]], about.get((row["model"], row["id"]), []) + about.get((None, row["id"]), [])
        )
        for row in rows
    ]


def _fact(row: Mapping[str, object]) -> Json:
    value = row.get("text") if row.get("value") is None else row.get("value")
    return {"kind": plain(row["kind"]), "value": plain(value), "source": plain(row.get("source") or ""), "at": _at(row)}


def _at(row: Mapping[str, object]) -> Json:
    at = row.get("at_ns", row.get("at"))
    return iso(at) if isinstance(at, int) else plain(at)


def _prediction(row: Mapping[str, object], known: set[str], facts: list[Json]) -> Json:
    scores: Row = {
        name.removeprefix(SCORES): plain(value)
        for name, value in row.items()
        if name.startswith(SCORES) and value is not None
    }
    latency = row.get("latency_ns")
    return {
        "id": plain(row["id"]),
        "at": _at(row),
        "model": plain(row["model"]),
        "version": plain(row["version"]),
        "release": plain(row.get("release") or ""),
        "features": _features(row, known),
        "prediction": plain(row.get("prediction")),
        "score": scores or plain(row.get("score")),
        "latency_s": latency / 1e9 if isinstance(latency, int) else None,
        "error": plain(row.get("error")),
        "facts": facts,
    }


def _features(row: Mapping[str, object], known: set[str]) -> Row:
    found: Row = {
        name.removeprefix(FEATURE): plain(value)
        for name, value in row.items()
        if name.startswith(FEATURE) and name in known
    }
    misfits = row.get("misfits")
    if isinstance(misfits, str) and misfits:
        given: Json = orjson.loads(misfits)
        if isinstance(given, dict):
            found |= {name.removeprefix(FEATURE): value for name, value in given.items() if name != "prediction"}
    return found
