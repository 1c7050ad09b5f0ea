"""Folder manifests: which file of a folder is which object, in DVC's `.dir` form.

One line of JSON: a list of `{"md5": …, "relpath": …}`, sorted by path as a string, ASCII only; its md5 with `.dir`
behind it is the folder's id.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import md5
from itertools import islice, pairwise, repeat
from operator import attrgetter, eq, itemgetter
from typing import Final

import msgspec

from modelkeep.core.errors import BadInput, Corrupt
from modelkeep.data.formats.names import safe_relpaths

_HEX: Final = "0123456789abcdef"
_PLAIN: Final = re.compile(r"[^ !#-\[\]-~]")
"""What JSON would have to escape."""


class _Entry(msgspec.Struct, gc=False):
    md5: str
    relpath: str


_PATH: Final = attrgetter("relpath")
_MD5: Final = attrgetter("md5")
_FIRST: Final = itemgetter(0)
_DECODER: Final = msgspec.json.Decoder(list[_Entry])


def encode(entries: Iterable[tuple[str, str]]) -> bytes:
    """Gives the manifest of a folder, byte for byte as DVC writes it.

    Args:
        entries: path below the folder with POSIX separators, and object id; in any order.

    >>> encode([("b", "0" * 32), ("a", "1" * 32)]).decode()[:59]
    '[{"md5": "11111111111111111111111111111111", "relpath": "a"'
    """
    ordered = sorted(entries)
    if not ordered:
        return b"[]"
    if _PLAIN.search("".join(path for path, _ in ordered)) is None:
        text = '"}, {"md5": "'.join(f'{oid}", "relpath": "{path}' for path, oid in ordered)
    else:
        from json.encoder import encode_basestring_ascii as quoted

        text = '"}, {"md5": "'.join(f'{oid}", "relpath": {quoted(path)[:-1]}' for path, oid in ordered)
    return f'[{{"md5": "{text}"}}]'.encode("ascii")


def decode(data: bytes, where: str) -> list[tuple[str, str]]:
    """Gives a manifest's (path, object id) pairs, sorted by path; fields it does not know are passed over.

    Args:
        data: the object's bytes.
        where: what to call it in a message.

    Raises:
        Corrupt: these are not the bytes of a manifest.
        BadInput: a path leads out of the folder, or two entries claim one place.
    """
    entries = _parsed(data, where)
    paths = list(map(_PATH, entries))
    oids = list(map(_MD5, entries))
    if not _are_hex(oids):
        bad = next(entry for entry in entries if entry.md5.strip(_HEX) or len(entry.md5) != 32)
        raise Corrupt(f"{where}: {bad.relpath!a} has no md5 of 32 hex digits", hint=_HINT)
    safe_relpaths(paths, where)
    pairs = sorted(zip(paths, oids, strict=True))
    _distinct(pairs, where)
    return pairs


def oid_of(data: bytes) -> str:
    """Gives a manifest's object id.

    >>> oid_of(b"[]")
    'd751713988987e9331980363e24189ce.dir'
    """
    return md5(data, usedforsecurity=False).hexdigest() + ".dir"


_HINT: Final = "Fetch it again: `modelkeep verify` finds and replaces objects that changed."


def _parsed(data: bytes, where: str) -> list[_Entry]:
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    import json

    try:  # names that are no Unicode are lone surrogates in JSON, which only the slow reader takes
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Corrupt(f"{where}: not a folder manifest: no JSON", hint=_HINT) from None
    try:
        return msgspec.convert(raw, list[_Entry])
    except msgspec.ValidationError as error:
        raise Corrupt(f"{where}: not a folder manifest: {error}", hint=_HINT) from None


def _are_hex(oids: list[str]) -> bool:
    """Whether each is an md5 as DVC writes it; one look at all of them together."""
    whole = "".join(oids)
    try:
        short = len(bytes.fromhex(whole)) * 2 != len(whole)
    except ValueError:
        return False
    return not short and whole == whole.lower() and not set(map(len, oids)) - {32}


def _distinct(pairs: list[tuple[str, str]], where: str) -> None:
    """Refuses a path that is there twice, or that is a file and a folder at once."""
    paths = list(map(_FIRST, pairs))
    if any(map(eq, paths, islice(paths, 1, None))):
        twice = next(one for one, two in pairwise(paths) if one == two)
        raise BadInput(f"{where}: {twice!a} is there twice", hint=_HINT)
    waiting = set(map(_FIRST, map(str.rpartition, paths, repeat("/"))))
    known: set[str] = set()
    while waiting:
        folder = waiting.pop()
        if folder and folder not in known:
            at = bisect_left(paths, folder)
            if at < len(paths) and paths[at] == folder:
                raise BadInput(f"{where}: {folder!a} is both a file and a folder", hint=_HINT)
            known.add(folder)
            waiting.add(folder.rpartition("/")[0])
