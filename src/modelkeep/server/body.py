"""Request bodies, read within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import Message, Receive, Scope

from modelkeep.core.errors import BadInput, Busy, Unreachable

SMALL: Final = 1 << 20
"""Bytes of a body on any route but ingest."""


class Room:
    """How many bytes of bodies may be in memory at a time, over all requests.

    Args:
        most: bytes.

    >>> room = Room(10)
    >>> with room.taken() as take:
    ...     take(8), room.left
    (None, 2)
    >>> room.left
    10
    """

    def __init__(self, most: int) -> None:
        self.left = most

    @contextmanager
    def taken(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes bytes; all of them come back at the end.

        Raises:
            Busy: by that function: there is no room for more.
        """
        sum_ = 0

        def take(size: int) -> None:
            nonlocal sum_
            if size > self.left:
                raise Busy("too many bodies are on their way", retry_after_s=1)
            self.left -= size
            sum_ += size

        try:
            yield take
        finally:
            self.left += sum_


def header(scope: Scope, name: bytes) -> str:
    """Gives a header's value, empty when it is absent.

    >>> header({"headers": [(b"host", b"a")]}, b"host")
    'a'
    """
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


async def read(
    scope: Scope, receive: Receive, *, limit_bytes: int, seconds: float, take: Callable[[int], None] | None = None
) -> bytes:
    """Gives the whole body.

    Args:
        scope: of the request.
        receive: as ASGI gives it.
        limit_bytes: more is refused, at once when Content-Length says so.
        seconds: for all of it.
        take: called with the size of each piece, before the piece is kept.

    Raises:
        BadInput: too large (413) or too slow (408).
        Busy: `take` says so.
        Unreachable: the peer went away.
    """
    told = header(scope, b"content-length")
    if told.isdigit() and int(told) > limit_bytes:
        raise _large(limit_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Unreachable("the peer went away before its body had arrived")
                piece = message.get("body", b"")
                size += len(piece)
                if size > limit_bytes:
                    raise _large(limit_bytes)
                if take is not None:
                    take(len(piece))
                pieces.append(piece)
                if not message.get("more_body", False):
                    return b"".join(pieces) if len(pieces) > 1 else pieces[0]
    except TimeoutError:
        raise BadInput(f"body: {size} bytes came in {seconds:g} s, the rest did not", status=408) from None


def again(body: bytes, receive: Receive) -> Receive:
    """Gives a `receive` that delivers a body that was read already."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _large(limit_bytes: int) -> BadInput:
    return BadInput(
        f"body: more than {limit_bytes} bytes", hint="Send smaller batches, or raise limits.body_bytes.", status=413
    )
