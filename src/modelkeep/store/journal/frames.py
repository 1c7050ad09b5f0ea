"""Frames: how one entry lies in a journal's file.

A frame is a head, the token, zeros up to a multiple of 8, and the body. All numbers are little-endian:

    offset  bytes  what
    0       4      magic
    4       1      version of this form
    5       1      zero
    6       2      length of the token
    8       4      length of the body, a multiple of 8
    12      4      CRC-32 of the body
    16      8      seq
    24      8      received_ns
    32      4      CRC-32 of the 32 bytes above and the token, begun with the file's salt

The salt stands in the file's name only. Bytes that a sender chose can therefore not pass for a frame when a
damaged file is searched for the next whole one.

The body is a directory (count, then kind and length of each part) and one Arrow IPC stream per part.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from isal.isal_zlib import crc32

from modelkeep.core.errors import BadInput, Corrupt
from modelkeep.core.shapes import Part

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT: Final = 1
MAGIC: Final = b"\xf3mkJ"
TOKEN_LIMIT: Final = 512
"""The longest token, in bytes."""
BODY_LIMIT: Final = 1 << 30
"""The largest body, in bytes."""
NO_LIMIT: Final = 1 << 63

_HEAD: Final = struct.Struct("<4sBxHIIQq")
_CRC: Final = struct.Struct("<I")
_FIXED: Final = _HEAD.size + _CRC.size
_LOOK: Final = _FIXED + TOKEN_LIMIT
_CHUNK: Final = 1 << 20

Read = Callable[[int, int], bytes]
"""Gives the bytes at an offset; fewer than asked for at the end of the file."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a frame says of itself.

    Args:
        seq: position in the journal.
        received_ns: when the server took the entry.
        token: the sender's idempotency token, UTF-8.
        body_bytes: length of the body.
        body_crc: CRC-32 of the body.
    """

    seq: int
    received_ns: int
    token: bytes
    body_bytes: int
    body_crc: int

    @property
    def body_offset(self) -> int:
        """Where the body begins, counted from the frame's first byte."""
        return _padded(_FIXED + len(self.token))

    @property
    def size(self) -> int:
        """The frame's length in bytes."""
        return self.body_offset + self.body_bytes

    def at(self, seq: int) -> Head:
        """Gives the same head at another position."""
        return Head(seq, self.received_ns, self.token, self.body_bytes, self.body_crc)

    def pack(self, salt: int) -> bytes:
        """Gives all bytes before the body.

        >>> head = Head(7, 9, b"t", 16, 5)
        >>> unpack(head.pack(3), 3) == head, unpack(head.pack(3), 4)
        (True, None)
        """
        fixed = _HEAD.pack(MAGIC, FORMAT, len(self.token), self.body_bytes, self.body_crc, self.seq, self.received_ns)
        crc = crc32(self.token, crc32(fixed, salt))
        return (fixed + _CRC.pack(crc) + self.token).ljust(self.body_offset, b"\0")


def unpack(data: Buffer, salt: int) -> Head | None:
    """Gives the head at the beginning of `data`, or None when there is no whole one.

    Raises:
        BadInput: the head is whole and of a newer form.
    """
    view = memoryview(data)
    if len(view) < _FIXED or bytes(view[:4]) != MAGIC:
        return None
    _, version, token_bytes, body_bytes, body_crc, seq, received_ns = _HEAD.unpack_from(view)
    if token_bytes > TOKEN_LIMIT or body_bytes > BODY_LIMIT or len(view) < _FIXED + token_bytes:
        return None
    token = bytes(view[_FIXED : _FIXED + token_bytes])
    if crc32(token, crc32(view[: _HEAD.size], salt)) != _CRC.unpack_from(view, _HEAD.size)[0]:
        return None
    if version > FORMAT:
        raise BadInput(
            f"a journal frame of form {version}; this modelkeep reads up to {FORMAT}",
            hint="Start the newer modelkeep that wrote it.",
        )
    return Head(seq, received_ns, token, body_bytes, body_crc)


def body(parts: Sequence[Part]) -> list[Buffer]:
    """Gives the pieces of a body, whose lengths sum to a multiple of 8.

    Raises:
        BadInput: there is no part, a kind is empty or longer than 255 bytes, or the whole is too large.

    >>> batch = pa.record_batch({"at": [1, 2]})
    >>> [part.batch.num_rows for part in parts_of(b"".join(body([Part("event", batch)])))]
    [2]
    """
    if not 0 < len(parts) < 1 << 16:
        raise BadInput(f"{len(parts)} parts in one entry; it must hold 1 to 65,535")
    streams = [_stream(part.batch) for part in parts]
    directory = bytearray(struct.pack("<H", len(parts)))
    for part, stream in zip(parts, streams, strict=True):
        kind = part.kind.encode()
        if not 0 < len(kind) < 256:
            raise BadInput(f"a kind of {len(kind)} bytes; it must have 1 to 255")
        directory += struct.pack("<B", len(kind)) + kind + struct.pack("<I", min(stream.size, BODY_LIMIT))
    pieces: list[Buffer] = [bytes(directory).ljust(_padded(len(directory)), b"\0")]
    for stream in streams:
        pieces.append(stream)
        if rest := -stream.size % 8:
            pieces.append(bytes(rest))
    size = sum(len(memoryview(piece)) for piece in pieces)
    if size > BODY_LIMIT:
        raise BadInput(
            f"an entry of {size:,} bytes; the limit is {BODY_LIMIT:,}", hint="Send it in pieces.", status=413
        )
    return pieces


def parts_of(data: Buffer) -> tuple[Part, ...]:
    """Gives the parts of a body, without copying their columns.

    Raises:
        Corrupt: these bytes are no body.
    """
    try:
        return tuple(_parts(memoryview(data).cast("B")))
    except (struct.error, UnicodeDecodeError, pa.ArrowException, OSError, StopIteration) as error:
        raise Corrupt(f"not the body of a journal frame: {error}") from error


def checksum(pieces: Sequence[Buffer]) -> int:
    """Gives the CRC-32 of all pieces one behind the other.

    >>> checksum([b"ab", b"c"]) == checksum([b"abc"])
    True
    """
    crc = 0
    for piece in pieces:
        crc = crc32(piece, crc)
    return crc


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame in a file.

    Args:
        offset: where it begins.
        head: what it says of itself.
        body: its checked body, empty where only heads were asked for.
    """

    offset: int
    head: Head
    body: bytes


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes in a file that belong to no whole frame.

    Args:
        offset: where they begin.
        size: how many, without the zeros at the end of the file.
        lost: how many seqs are missing here.
    """

    offset: int
    size: int
    lost: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which bytes of one file to look at, and what may stand there.

    Args:
        start: the first byte; a frame begins here when all is well.
        stop: one behind the last byte.
        salt: the file's salt.
        low: every seq here is higher.
        high: every seq here is lower.
    """

    start: int
    stop: int
    salt: int
    low: int = 0
    high: int = NO_LIMIT


def scan(read: Read, stretch: Stretch, *, bodies: bool) -> Iterator[Frame | Hole]:
    """Gives every whole frame in order, and what lies between them where something is damaged.

    Args:
        read: gives the file's bytes.
        stretch: where to look.
        bodies: check and give the bodies too; without them a damaged body is not seen.
    """
    at, low = stretch.start, stretch.low
    while at < stretch.stop:
        head = _head(read, at, stretch, low)
        if head is None:
            found, end = _search(read, at, stretch, low)
            if found is None:
                yield from _rest(at, end, low, stretch)
                return
            yield Hole(at, found[0] - at, found[1].seq - low - 1)
            at = found[0]
            low = found[1].seq - 1
            continue
        data = read(at + head.body_offset, head.body_bytes) if bodies else b""
        if bodies and crc32(data) != head.body_crc:
            yield Hole(at, head.size, head.seq - low)
        else:
            yield Frame(at, head, data)
        at, low = at + head.size, head.seq


def _rest(at: int, end: int, low: int, stretch: Stretch) -> Iterator[Hole]:
    lost = stretch.high - low - 1 if stretch.high != NO_LIMIT else 0
    if end > at or lost:
        yield Hole(at, end - at, lost)


def _head(read: Read, at: int, stretch: Stretch, low: int) -> Head | None:
    head = unpack(read(at, min(_LOOK, stretch.stop - at)), stretch.salt)
    if head is None or not low < head.seq < stretch.high or at + head.size > stretch.stop:
        return None
    return head


def _search(read: Read, at: int, stretch: Stretch, low: int) -> tuple[tuple[int, Head] | None, int]:
    """The next whole frame from `at` on, else None; and one behind the last byte that is not zero."""
    end = at
    while at < stretch.stop:
        chunk = read(at, min(_CHUNK, stretch.stop - at))
        if kept := len(chunk.rstrip(b"\0")):
            end = at + kept
        place = chunk.find(MAGIC)
        while place >= 0:
            head = None if (at + place) % 8 else _head(read, at + place, stretch, low)
            if head is not None and crc32(read(at + place + head.body_offset, head.body_bytes)) == head.body_crc:
                return (at + place, head), end
            place = chunk.find(MAGIC, place + 1)
        if len(chunk) < len(MAGIC) or at + len(chunk) >= stretch.stop:
            break
        at += len(chunk) - len(MAGIC) + 1
    return None, end


def _parts(view: memoryview) -> Iterator[Part]:
    (count,) = struct.unpack_from("<H", view)
    at, listed = 2, []
    for _ in range(count):
        (kind_bytes,) = struct.unpack_from("<B", view, at)
        kind = bytes(view[at + 1 : at + 1 + kind_bytes]).decode()
        (size,) = struct.unpack_from("<I", view, at + 1 + kind_bytes)
        listed.append((kind, size))
        at += 5 + kind_bytes
    at = _padded(at)
    for kind, size in listed:
        with pa.ipc.open_stream(pa.py_buffer(view[at : at + size])) as stream:
            yield Part(kind, stream.read_next_batch())
        at += _padded(size)


def _stream(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _padded(size: int) -> int:
    return size + (-size % 8)
