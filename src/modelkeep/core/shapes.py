"""What flows through the house: parts of columns into the journal, entries out of it, readers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Part:
    """One record batch of one kind; its columns follow `core.layouts`.

    A `prediction` or `reference` batch holds rows of exactly one model, version and release; these three
    stand in the schema's metadata under the keys of the same names.
    """

    kind: str
    batch: pa.RecordBatch

    def meta(self, key: str) -> str:
        """Gives one value of the schema's metadata, or an empty text."""
        found = (self.batch.schema.metadata or {}).get(key.encode(), b"")
        return found.decode()


@dataclass(frozen=True, slots=True)
class Entry:
    """What one acknowledgement covers: the parts of one request, on disk together or not at all.

    Args:
        seq: position in the journal, 1 for the first entry ever, no gaps.
        token: the sender's idempotency token, empty when it gave none.
        received_ns: when the server took it, wall time.
        parts: in the order in which they are to be applied.
    """

    seq: int
    token: str
    received_ns: int
    parts: tuple[Part, ...]


class Reader(Protocol):
    """Something that lives from the journal: an engine, the quality room, a relay.

    Its state is the entries up to `applied`; a restart begins again behind `sealed`. The journal keeps
    every entry that some reader has not sealed.
    """

    @property
    def name(self) -> str:
        """What the journal and the server's figures call it."""
        ...

    def sealed(self) -> int:
        """The last seq that survives without the journal; 0 at the beginning."""
        ...

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries in order, each once; called by one thread at a time."""
        ...

    def seal(self) -> int:
        """Makes everything applied durable outside the journal and gives the new `sealed`."""
        ...

    def close(self) -> None:
        """Lets go of files and threads, without sealing."""
        ...
