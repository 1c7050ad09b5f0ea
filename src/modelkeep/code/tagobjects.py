"""What tag objects say, by their ids, and a record of it on disk: an id is the digest of what the object says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from modelkeep.code.repository import Git

_SIGNATURE: Final = re.compile(r"^-----BEGIN (?:PGP|SSH|SIGNED) (?:SIGNATURE|MESSAGE)-----$", re.MULTILINE)
_NS: Final = 1_000_000_000
_MOST_NS: Final = 2**63 - 1
_FORM: Final = 1


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What an object says in the end.

    Args:
        annotated: it is a tag object.
        commit: what it names; empty when that is no commit.
        tagger: `Name <address>`.
        at_ns: what the tagger's clock said; 0 when it said nothing that can be.
        message: without a signature.
    """

    annotated: bool
    commit: str
    tagger: str
    at_ns: int
    message: str


class _Record(msgspec.Struct, array_like=True):
    form: int
    known: dict[str, Said]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def read(git: Git, wanted: Iterable[str]) -> dict[str, Said]:
    """Gives what objects say; what is not there is left out."""
    objects: dict[str, tuple[str, bytes]] = {}
    inner = set(wanted)
    while inner:  # a tag may name a tag
        objects |= git.objects(inner)
        targets = {_target(objects[name][1]) for name in inner if objects.get(name, ("",))[0] == "tag"}
        inner = {name for kind, name in targets if kind == "tag" and name not in objects}
    return {name: _said(name, objects) for name in wanted if name in objects}


def _said(name: str, objects: dict[str, tuple[str, bytes]]) -> Said:
    kind, data = objects[name]
    if kind != "tag":
        return Said(False, name if kind == "commit" else "", "", 0, "")
    inner, target = _target(data)
    while inner == "tag" and target in objects:
        inner, target = _target(objects[target][1])
    head, _, body = data.partition(b"\n\n")
    tagger, at_ns = _tagger(next((line[7:] for line in head.split(b"\n") if line.startswith(b"tagger ")), b""))
    message = body.decode("utf-8", "replace")
    signed = _SIGNATURE.search(message)
    return Said(
        True, target if inner == "commit" else "", tagger, at_ns, message[: signed.start()] if signed else message
    )


def _target(data: bytes) -> tuple[str, str]:
    """Kind and id of what a tag object names."""
    lines = data.split(b"\n", 2)
    if len(lines) < 2 or not lines[0].startswith(b"object ") or not lines[1].startswith(b"type "):
        return "", ""
    return lines[1][5:].decode("ascii", "replace"), lines[0][7:].decode("ascii", "replace")


def _tagger(line: bytes) -> tuple[str, int]:
    who, _, when = line.decode("utf-8", "replace").rpartition("> ")
    seconds = when.split(" ")[0]
    at_ns = int(seconds) * _NS if re.fullmatch(r"-?\d{1,18}", seconds, re.ASCII) else 0
    return (f"{who}>" if who else ""), at_ns if abs(at_ns) <= _MOST_NS else 0


def remembered(place: Path) -> dict[str, Said]:
    """Gives what was recorded; nothing where the record is missing or damaged."""
    try:
        data = place.read_bytes()
    except OSError:
        return {}
    if len(data) < 4 or crc32(data[4:]) != int.from_bytes(data[:4], "big"):
        return {}
    try:
        record = _decoder.decode(data[4:])
    except msgspec.DecodeError:
        return {}
    return record.known if record.form == _FORM else {}


def remember(place: Path, known: dict[str, Said]) -> None:
    """Records what is known, whole or not at all."""
    data = _encoder.encode(_Record(_FORM, known))
    fresh = place.with_name(f"tags.{os.urandom(4).hex()}")
    with suppress(OSError):  # a repository that only others may write to is asked anew each time
        place.parent.mkdir(exist_ok=True)
        try:
            fresh.write_bytes(crc32(data).to_bytes(4, "big") + data)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
