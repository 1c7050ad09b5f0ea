"""Results as Prometheus' own JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.series import Labels
from modelkeep.core.shapes import Json
from modelkeep.metrics.promql.notation import number, plain
from modelkeep.metrics.promql.result import Mask, Result, Times, Values, is_stale
from modelkeep.metrics.promql.values import dense

if TYPE_CHECKING:
    Texts = pa.Array[pa.Scalar[pa.lib.StringType]]

_AT_ONCE: Final = 1_000_000
_EXACT: Final = 2.0**53


def answer(result: Result) -> dict[str, Json]:
    """Gives the `data` object of Prometheus' answer.

    >>> answer(Result("scalar", [()], np.array([1_500_000_000]), np.array([[2.0]])))
    {'resultType': 'scalar', 'result': [1.5, '2']}
    """
    found: dict[str, Json] = orjson.loads(_data(result))
    return found


def answer_json(result: Result) -> bytes:
    """Gives the whole answer, status and data, as JSON.

    >>> answer_json(Result("vector", [(("a", "b"),)], np.array([0]), np.array([[0.1]])))
    b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[0,"0.1"]}]}}'
    """
    return b'{"status":"success","data":%b}' % _data(result)


def _data(result: Result) -> bytes:
    if result.kind == "string":
        inside = b"[%b,%b]" % (seconds(int(result.times[0])).encode(), orjson.dumps(result.text))
    elif result.kind == "scalar":
        value = plain(float(result.values[0, 0]))
        inside = b'[%b,"%b"]' % (seconds(int(result.times[0])).encode(), value.encode())
    else:
        inside = b"[%b]" % b",".join(_rows(result))
    return b'{"resultType":"%b","result":%b}' % (result.kind.encode(), inside)


def _rows(result: Result) -> Iterator[bytes]:
    if result.kind == "vector":
        yield from _written(result.labels, b'"value":%b', _points(result.times, result.values))
        return
    yield from _written(result.labels, b'"values":[%b]', _points(result.times, result.values))
    for block in dense(result.blocks):
        yield from _written(block.labels, b'"values":[%b]', _points(block.times, block.values))


def _written(labels: Sequence[Labels], form: bytes, points: Iterator[bytes]) -> Iterator[bytes]:
    for one, some in zip(labels, points, strict=True):
        yield b'{"metric":%b,%b}' % (orjson.dumps(dict(one)), form % some)


def seconds(at_ns: int) -> str:
    """Gives a time as seconds, with three decimals when it has any.

    >>> seconds(1_500_000_000), seconds(2_000_000_000), seconds(-1_000_000)
    ('1.500', '2', '-0.001')
    """
    whole, rest = divmod(abs(at_ns) // 1_000_000, 1000)
    sign = "-" if at_ns <= -1_000_000 else ""
    return f"{sign}{whole}.{rest:03d}" if rest else f"{sign}{whole}"


def _points(times: Times, values: Values) -> Iterator[bytes]:
    """Gives the points of each row, joined by commas."""
    opened = pa.array([f'[{seconds(at)},"' for at in times.tolist()], pa.string())
    at_once = max(1, _AT_ONCE // max(1, len(times)))
    for begin in range(0, len(values), at_once):
        part = np.ascontiguousarray(values[begin : begin + at_once])
        there = ~is_stale(part)
        columns = np.broadcast_to(np.arange(len(times)), part.shape)[there]
        closed = pa.scalar('"]')
        points = pc.call_function(
            "binary_join_element_wise", [pc.call_function("take", [opened, columns]), _texts(part[there]), closed, ""]
        )
        stops = np.concatenate(([0], np.cumsum(there.sum(axis=1)))).astype(np.int32)
        rows = pc.call_function("binary_join", [pa.ListArray.from_arrays(stops.tolist(), points), ","])
        yield from (row.encode() for row in rows.to_pylist())


def _texts(values: Values) -> Texts:
    """Gives numbers as `notation.number` writes them; the ordinary ones all at once."""
    texts = pc.cast(pa.array(values), pa.string())
    size = np.abs(values)
    large = (size >= 1e10) & (size < _EXACT) & (values == np.floor(values))
    if large.any():
        texts = _mended(texts, large, pc.cast(pa.array(values[large].astype(np.int64)), pa.string()))
    odd = ~(((size >= 1e-6) & (size < 1e10)) | (size == 0) | large)
    if odd.any():
        texts = _mended(texts, odd, pa.array([number(value) for value in values[odd].tolist()], pa.string()))
    return texts


def _mended(texts: Texts, where: Mask, others: Texts) -> Texts:
    found: Texts = pc.call_function("replace_with_mask", [texts, pa.array(where), others])
    return found
