"""Lossless compression of sample times and values: small differences, byte by byte, then zstd.

A row of values becomes whole numbers when some power of ten up to 10⁹ allows it exactly, bit for bit; what stands
apart (NaN, infinities, -0, markers) is kept beside it. The differences between neighbours take the smallest integer
that holds them, their bytes are sorted by significance, and zstd does the rest. A row that has no such form keeps
its bits, each xored with the one before.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt
import zstandard

from modelkeep.core.errors import Corrupt

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_LEVEL: Final = 3
_DECIMALS: Final = 9
_EXACT: Final = float(2**53)
_PROBE: Final = 16
_BITS: Final = 255
_APART: Final = 4
_TENS: Final = 10.0 ** np.arange(_DECIMALS + 1)
_HEAD: Final = struct.Struct("<III")
_WIDTHS: Final = (1, 2, 4, 8)
_INTS: Final = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def encode(values: Values) -> bytes:
    """Gives the values of some series as bytes.

    Args:
        values: shape (m, n), any bit patterns.

    >>> decode(encode(np.array([[0.1, 0.25, np.nan], [-0.0, 1e300, 2.0]]))).tolist()
    [[0.1, 0.25, nan], [-0.0, 1e+300, 2.0]]
    """
    values = np.ascontiguousarray(values, np.float64)
    rows, columns = values.shape
    bits = values.view(np.int64)
    plain, apart = _set_apart(values)
    numbers, form = _whole_numbers(plain)
    raw = form == _BITS
    apart[raw] = False
    steps = np.zeros_like(bits)
    steps[:, :1] = np.where(raw[:, None], bits[:, :1], numbers[:, :1])
    np.subtract(numbers[:, 1:], numbers[:, :-1], out=steps[:, 1:])
    if raw.any():
        steps[raw, 1:] = bits[raw, 1:] ^ bits[raw, :-1]
    where = np.flatnonzero(apart).astype(np.uint32)
    width = _width(steps[:, 1:])
    width[raw] = 8
    pieces = [
        _HEAD.pack(rows, columns, len(where)),
        form.tobytes(),
        width.tobytes(),
        np.ascontiguousarray(steps[:, 0]).tobytes() if columns else b"",
        where.tobytes(),
        bits.reshape(-1)[where].tobytes(),
    ]
    pieces += [_shuffled(steps[width == size, 1:], size) for size in _WIDTHS]
    return _compressed(b"".join(pieces))


def decode(data: bytes | memoryview) -> Values:
    """Gives back what `encode` was given.

    Raises:
        Corrupt: the bytes are not what was written.
    """
    body = _expanded(data)
    rows, columns, count = _HEAD.unpack_from(body)
    if not columns:
        return np.empty((rows, 0))
    at = _HEAD.size
    form = np.frombuffer(body, np.uint8, rows, at)
    width = np.frombuffer(body, np.uint8, rows, at + rows)
    at += 2 * rows
    numbers = np.zeros((rows, columns), np.int64)
    numbers[:, 0] = np.frombuffer(body, np.int64, rows, at)
    at += 8 * rows
    where = np.frombuffer(body, np.uint32, count, at)
    kept = np.frombuffer(body, np.int64, count, at + 4 * count)
    at += 12 * count
    for size in _WIDTHS:
        some = width == size
        length = int(some.sum()) * (columns - 1)
        if length:
            flat = np.frombuffer(body, np.uint8, length * size, at).reshape(size, length)
            steps = np.ascontiguousarray(flat.T).view(_INTS[size]).reshape(-1, columns - 1)
            numbers[some, 1:] = steps
            at += length * size
    raw = form == _BITS
    if raw.any():
        numbers[raw] = np.bitwise_xor.accumulate(numbers[raw], axis=1)
    if not raw.all():
        numbers[~raw] = _from_steps(numbers[~raw], form[~raw])
    numbers.reshape(-1)[where] = kept
    return numbers.view(np.float64)


def _from_steps(steps: Times, form: npt.NDArray[np.uint8]) -> Times:
    whole = np.cumsum(steps, axis=1).astype(np.float64)
    if form.any():
        whole /= _TENS[form][:, None]
    return whole.view(np.int64)


def _set_apart(values: Values) -> tuple[Values, Mask]:
    """Puts the value before in the place of what no integer can stand for; a row full of such stays as it is."""
    apart = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
    if not apart.any():
        return values, apart
    some = apart.any(axis=1)
    some[apart.sum(axis=1) * _APART > values.shape[1]] = False
    apart[~some] = False
    plain = values.copy()
    for row in np.flatnonzero(some):
        good = ~apart[row]
        before = np.maximum.accumulate(np.where(good, np.arange(values.shape[1]), -1))
        before[before < 0] = np.flatnonzero(good)[0]
        plain[row] = values[row, before]
    return plain, apart


def _whole_numbers(values: Values) -> tuple[Times, npt.NDArray[np.uint8]]:
    """Gives each row as integers and the power of ten that they were multiplied by."""
    form = np.full(len(values), _BITS, np.uint8)
    numbers = np.zeros(values.shape, np.int64)
    left = np.flatnonzero(np.isfinite(values).all(axis=1))
    for decimals in range(_DECIMALS + 1):
        if not len(left):
            break
        likely = left[_exact(values[left, :_PROBE], decimals)[1]]
        if len(likely):
            scaled, exact = _exact(values[likely], decimals)
            done = likely[exact]
            numbers[done], form[done] = scaled[exact], decimals
            left = left[~np.isin(left, done)]
    return numbers, form


def _exact(values: Values, decimals: int) -> tuple[Times, Mask]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * _TENS[decimals])
        fits = np.asarray((np.abs(scaled) < _EXACT).all(axis=1))
        whole = np.where(np.abs(scaled) < _EXACT, scaled, 0).astype(np.int64)
    back = whole / _TENS[decimals]
    return whole, fits & np.asarray((back.view(np.int64) == values.view(np.int64)).all(axis=1))


def _width(steps: Times) -> npt.NDArray[np.uint8]:
    """Gives the bytes that each row's differences need: 0 when there are none."""
    if not steps.shape[1]:
        return np.zeros(len(steps), np.uint8)
    low, high = steps.min(axis=1), steps.max(axis=1)
    found = np.full(len(steps), 8, np.uint8)
    for size in (4, 2, 1):
        limit = 1 << (8 * size - 1)
        found[(low >= -limit) & (high < limit)] = size
    found[(low == 0) & (high == 0)] = 0
    return found


def _shuffled(steps: Times, size: int) -> bytes:
    small = np.ascontiguousarray(steps.astype(_INTS[size]))
    return small.view(np.uint8).reshape(-1, size).T.tobytes()


def encode_times(times: Times) -> bytes:
    """Gives increasing times as bytes: a steady rhythm takes a few of them.

    >>> at = np.arange(0, 10**12, 15 * 10**9)
    >>> len(encode_times(at)) < 50, bool((decode_times(encode_times(at)) == at).all())
    (True, True)
    """
    if len(times) < 2:
        return _compressed(struct.pack("<QqB", len(times), 1, 0) + times.tobytes())
    apart = np.diff(times)
    unit = int(np.gcd.reduce(apart))
    steps = np.diff(apart // unit)
    size = int(_width(steps[None, :])[0])
    head = struct.pack("<QqBqq", len(times), unit, size, int(times[0]), int(apart[0]) // unit)
    return _compressed(head + (_shuffled(steps[None, :], size) if size else b""))


def decode_times(data: bytes | memoryview) -> Times:
    """Gives back what `encode_times` was given.

    Raises:
        Corrupt: the bytes are not what was written.
    """
    body = _expanded(data)
    count, unit, size = struct.unpack_from("<QqB", body)
    at = struct.calcsize("<QqB")
    if count < 2:
        return np.frombuffer(body, np.int64, count, at).copy()
    first, rhythm = struct.unpack_from("<qq", body, at)
    steps = np.zeros(count - 1, np.int64)
    steps[0] = rhythm
    if size:
        flat = np.frombuffer(body, np.uint8, (count - 2) * size, at + 16).reshape(size, count - 2)
        steps[1:] = np.ascontiguousarray(flat.T).view(_INTS[size])[:, 0]
    times = np.empty(count, np.int64)
    times[0] = first
    times[1:] = first + np.cumsum(np.cumsum(steps)) * unit
    return times


def _compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True).compress(data)


def _expanded(data: bytes | memoryview) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise Corrupt(f"sealed samples: {error}", hint="Restore the series folder from a backup.") from None
