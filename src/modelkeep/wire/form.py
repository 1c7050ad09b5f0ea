"""What a protocol over HTTP is: bytes of a body become parts for the journal, and what was kept becomes an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar, Final, Protocol

from modelkeep.core.kinds import Kind
from modelkeep.core.shapes import Part

_PACKAGE: Final = "modelkeep.wire"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server knows about a body besides its bytes.

    Args:
        now_ns: the active clock, for records that carry no time.
        sender: name of the token that was used, empty in open mode.
        key: the header `Idempotency-Key`, empty when there was none.
    """

    now_ns: int
    sender: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One body, decoded: everything in it is kept together or not at all.

    Args:
        token: idempotency token; empty when the sender gave none.
        parts: what goes into the journal, in this order.
        counts: rows by kind.
        process: the sending process, as the SDK names it.
        dropped: what that process dropped so far, by reason; cumulative.
        newest_prediction_ns: the latest `at` of a prediction in it; 0 when it holds none.
        ids: the ids of its predictions, for forms that make them.
    """

    token: str
    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    process: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    newest_prediction_ns: int = 0
    ids: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows all parts hold together.

        >>> Decoded(token="", parts=(), counts={"event": 2, "log": 3}).rows
        5
        """
        return sum(self.counts.values())


class HttpForm(Protocol):
    """A protocol over HTTP; one file in `modelkeep.wire`, its last line registers it as `plugin`."""

    paths: ClassVar[tuple[str, ...]]
    """The routes it serves by POST, as they stand in docs/reference/http.md."""

    def decode(self, path: str, body: bytes, sent: Sent) -> Decoded:
        """Gives the records in a body that was decompressed already.

        Raises:
            BadInput: the body is not of this form; the message names the place.
        """
        ...

    def answer(self, path: str, decoded: Decoded, *, repeated: bool) -> bytes:
        """Gives the JSON body of the answer, once the records are on disk."""
        ...


def forms() -> dict[str, HttpForm]:
    """Gives every form there is, by the path it serves.

    >>> sorted(forms())[:2]
    ['/api/v1/events', '/api/v1/facts']
    """
    kind = Kind[HttpForm](_PACKAGE)
    found: dict[str, HttpForm] = {}
    for name in kind.names():
        own = f"{_PACKAGE}.{name}"
        if find_spec(own) and not hasattr(import_module(own), "plugin"):
            continue
        form = kind.load(name)()
        found.update(dict.fromkeys(form.paths, form))
    return found
