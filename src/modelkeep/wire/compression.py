"""Bounded decompression of request bodies: gzip, deflate and zstd, never more than asked for in memory."""

from __future__ import annotations

import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol

import zstandard

from modelkeep.core.errors import BadInput

_fast: Final = import_module("isal.isal_zlib") if find_spec("isal") else zlib
"""isal undoes gzip and deflate about twice as fast; zlib stands in on machines without a wheel of it."""
_ERRORS: Final = (zlib.error, _fast.error, zstandard.ZstdError)

RATIO: Final = 100
"""A body may grow by this factor; random bytes of an honest sender stay far below."""
ALWAYS: Final = 4 << 20
"""Up to this size in bytes the ratio is not looked at: small bodies of equal rows shrink more than 100 fold."""
_CHUNK: Final = 1 << 20
_STEP: Final = 512
"""A zstd block of 4 bytes can mean 128 KiB: so many bytes at a time never make more than 16 MiB."""


class _Inflater(Protocol):
    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


def decompress(body: bytes, encoding: str, *, limit_bytes: int = 64 << 20) -> bytes:
    """Gives the plain bytes of a body.

    Args:
        body: as received.
        encoding: the header Content-Encoding; empty or `identity` for plain bodies. One encoding only.
        limit_bytes: cap of the result.

    Raises:
        BadInput: unknown or nested encoding, truncated or damaged bytes; with status 413 when the result
            passes the cap or grows more than 100 fold.

    >>> decompress(zlib.compress(b"x" * 10), "deflate")
    b'xxxxxxxxxx'
    """
    kind = encoding.strip().lower()
    if kind in {"", "identity"}:
        return _plain(body, limit_bytes)
    if kind not in {"gzip", "x-gzip", "deflate", "zstd"}:
        raise BadInput(
            f"Content-Encoding {encoding[:60]!r} is not known",
            hint="Send one of gzip, deflate, zstd, or none; never two at once.",
        )
    most = min(limit_bytes, max(ALWAYS, RATIO * len(body)))
    try:
        if kind == "zstd":
            return _zstd(body, most)
        if kind == "deflate":
            return _inflate(body, most, zlib.MAX_WBITS if _is_zlib(body) else -zlib.MAX_WBITS)
        return _inflate(body, most, 16 + zlib.MAX_WBITS)
    except _ERRORS as error:
        raise BadInput(f"body: not valid {kind}: {error}", hint="Was it cut on the way?") from None


def _plain(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise _large(limit_bytes)
    return body


def _is_zlib(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _inflate(body: bytes, most: int, window: int) -> bytes:
    out: list[bytes] = []
    rest = body
    while rest or not out:
        piece, rest = _member(rest, most - sum(map(len, out)), most, window)
        out.append(piece)
        if rest and window <= zlib.MAX_WBITS:
            raise BadInput(f"body: {len(rest)} bytes follow the compressed data")
    return b"".join(out)


def _member(body: bytes, room: int, most: int, window: int) -> tuple[bytes, bytes]:
    """One gzip member or deflate stream, decompressed, and the bytes behind it."""
    inflater: _Inflater = _fast.decompressobj(window)
    out: list[bytes] = []
    total, rest = 0, body
    while True:
        piece = inflater.decompress(rest, min(_CHUNK, room - total + 1))
        before, rest = len(rest), inflater.unconsumed_tail
        total += len(piece)
        out.append(piece)
        if total > room:
            raise _large(most)
        if inflater.eof:
            return b"".join(out), inflater.unused_data
        if not piece and len(rest) in {0, before}:
            raise BadInput(f"body: compressed data ends too early, after {total} bytes", hint="Was it cut?")


def _zstd(body: bytes, most: int) -> bytes:
    if not body:
        raise BadInput("body: compressed data is empty")
    out: list[bytes] = []
    total = 0
    rest = body
    while rest:
        piece, rest = _frame(rest, most - total, most)
        total += len(piece)
        out.append(piece)
    return b"".join(out)


def _frame(body: bytes, room: int, most: int) -> tuple[bytes, bytes]:
    """One frame, decompressed, and the bytes behind it; the window, and so the memory, is capped at 64 MiB."""
    inflater = zstandard.ZstdDecompressor(max_window_size=64 << 20).decompressobj()
    out: list[bytes] = []
    total = 0
    for start in range(0, len(body), _STEP):
        piece = inflater.decompress(body[start : start + _STEP])
        total += len(piece)
        if total > room:
            raise _large(most)
        out.append(piece)
        if inflater.eof:
            return b"".join(out), inflater.unused_data + body[start + _STEP :]
    raise BadInput(f"body: compressed data ends too early, after {total} bytes", hint="Was it cut?")


def _large(most: int) -> BadInput:
    return BadInput(
        f"body: more than {most} bytes after decompression",
        hint="Send smaller batches.",
        status=413,
    )
