"""Envelopes as bytes: encoded, compressed, small enough for one request."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from types import ModuleType
from typing import Final, TypeVar, cast

import msgspec

from modelkeep.core.encoding import Envelope, decode, encode
from modelkeep.sdk.envelopes import rows
from modelkeep.sdk.values import clean

LARGEST_BYTES: Final = 4_000_000
"""An envelope whose msgpack is larger is sent in parts."""
REFERENCE_BYTES: Final = 14_000_000
"""A reference is one request; of a larger one, every second row is sent."""
CODINGS: Final = ("identity", "deflate", "zstd")
_PARTS: Final = ("references", "facts", "events", "logs", "samples", "configurations", "trainings", "predictions")
Struct = TypeVar("Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Package:
    """One request's body.

    Args:
        body: the envelope, compressed by `coding`.
        coding: one of `CODINGS`.
        rows: records within.
    """

    body: bytes
    coding: str
    rows: int

    def smaller(self) -> Package:
        """Gives the same compressed, for the disk."""
        if self.coding != "identity":
            return self
        return Package(zlib.compress(self.body, 1), "deflate", self.rows)

    def open(self) -> Envelope:
        """Gives the envelope within.

        Raises:
            ValueError: the bytes are not an envelope.
        """
        if self.coding == "zstd":
            return decode(_zstd().ZstdDecompressor().decompress(self.body))
        try:
            return decode(zlib.decompress(self.body) if self.coding == "deflate" else self.body)
        except zlib.error as error:
            raise ValueError(str(error)) from None


def pack(envelope: Envelope, *, compress: bool, largest_bytes: int = LARGEST_BYTES) -> Iterator[Package]:
    """Gives an envelope as one or more packages, in order.

    Args:
        envelope: is given up: text in it may be cleaned.
        compress: by zstd where the process has it already, else by zlib; a server on this machine needs neither.
        largest_bytes: of the msgpack of one package; a single row may be larger. A reference is never parted.
    """
    try:
        data = encode(envelope)
    except UnicodeEncodeError:
        envelope = cast("Envelope", _cleaned(envelope))
        data = encode(envelope)
    if len(data) > REFERENCE_BYTES and (thin := thinner(envelope)):
        yield from pack(thin, compress=compress, largest_bytes=largest_bytes)
        return
    if len(data) > largest_bytes and (parts := halves(envelope)):
        for part in parts:
            yield from pack(part, compress=compress, largest_bytes=largest_bytes)
        return
    if not compress:
        yield Package(data, "identity", rows(envelope))
    elif "zstandard" in sys.modules:
        yield Package(_zstd().ZstdCompressor(level=1).compress(data), "zstd", rows(envelope))
    else:
        yield Package(zlib.compress(data, 1), "deflate", rows(envelope))


def halves(envelope: Envelope) -> tuple[Envelope, Envelope] | None:
    """Gives two envelopes that together hold the same rows in the same order, or None when there is one row.

    Their tokens follow from the envelope's, so that parting it again after a crash repeats and does not double.
    """
    first = Envelope(token=_token(envelope, 0), sent_at=envelope.sent_at, process=envelope.process)
    second = Envelope(token=_token(envelope, 1), sent_at=envelope.sent_at, process=envelope.process)
    first.releases, second.dropped = envelope.releases, envelope.dropped
    first.references = envelope.references
    structs = [(name, part) for name in _PARTS[1:] for part in getattr(envelope, name)]
    if all(_length(part) < 2 for _, part in structs):
        middle = len(structs) // 2
        if envelope.references:
            middle = 0
        for index, (name, part) in enumerate(structs):
            getattr(first if index < middle else second, name).append(part)
    else:
        for name, part in structs:
            middle = (_length(part) + 1) // 2
            getattr(first, name).append(_cut(part, slice(0, middle)))
            if middle < _length(part):
                getattr(second, name).append(_cut(part, slice(middle, None)))
    return (first, second) if rows(first) and rows(second) else None


def thinner(envelope: Envelope) -> Envelope | None:
    """Gives a reference with every second row, or None for anything else: a sample may be smaller."""
    if len(envelope.references) != 1 or rows(envelope) < 2:
        return None
    half = _cut(envelope.references[0], slice(None, None, 2))
    return Envelope(token=_token(envelope, 0), process=envelope.process, releases=envelope.releases, references=[half])


def _token(envelope: Envelope, half: int) -> str:
    return blake2b(f"{envelope.token}.{half}".encode(), digest_size=16).hexdigest()


def _length(part: msgspec.Struct) -> int:
    return len(cast("list[int]", getattr(part, "at")))  # noqa: B009


def _cut(part: Struct, cut: slice) -> Struct:
    changes: dict[str, object] = {}
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, list) and name != "labels":
            changes[name] = value[cut]
        elif isinstance(value, dict):
            changes[name] = {key: values[cut] for key, values in value.items()}
    return msgspec.structs.replace(part, **changes)


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, msgspec.Struct):
        fields: dict[str, object] = {name: _cleaned(getattr(value, name)) for name in value.__struct_fields__}
        make = cast("Callable[..., object]", type(value))
        return make(**fields)
    return value


def _zstd() -> ModuleType:
    return sys.modules["zstandard"]
