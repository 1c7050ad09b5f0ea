"""Results as Prometheus' own JSON."""

from __future__ import annotations

import math

import orjson

from modelkeep.core.shapes import Json
from modelkeep.metrics.promql.result import Result, is_stale


def answer(result: Result) -> dict[str, Json]:
    """Gives the `data` object of Prometheus' answer.

    >>> import numpy as np
    >>> answer(Result("scalar", [()], np.array([1_500_000_000]), np.array([[2.0]])))
    {'resultType': 'scalar', 'result': [1.5, '2']}
    """
    seconds = [at / 1e9 for at in (result.times // 1_000_000 * 1_000_000).tolist()]
    if result.kind == "string":
        return {"resultType": "string", "result": [seconds[0], result.text]}
    if result.kind == "scalar":
        return {"resultType": "scalar", "result": [seconds[0], number(result.values[0, 0])]}
    rows: list[Json] = []
    for labels, values, gone in zip(result.labels, result.values, is_stale(result.values), strict=True):
        points: list[Json] = [
            [at, number(value)]
            for at, value, away in zip(seconds, values.tolist(), gone.tolist(), strict=True)
            if not away
        ]
        if result.kind == "vector":
            rows.append({"metric": dict(labels), "value": points[0]})
        else:
            rows.append({"metric": dict(labels), "values": points})
    return {"resultType": result.kind, "result": rows}


def answer_json(result: Result) -> bytes:
    """Gives the whole answer, status and data, as JSON."""
    return orjson.dumps({"status": "success", "data": answer(result)})


def number(value: float) -> str:
    """Gives a float as Prometheus writes it: the shortest text that reads back as the same number.

    >>> number(1.0), number(float("nan")), number(float("-inf")), number(1e21), number(1e-7)
    ('1', 'NaN', '-Inf', '1e+21', '1e-07')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e15:
        return "-0" if value == 0 and math.copysign(1, value) < 0 else str(int(value))
    return repr(float(value))
