"""The shape of a probe: something that asks the machine for figures."""

from __future__ import annotations

from typing import Protocol

Reading = tuple[dict[str, str], float]
"""Labels, `__name__` among them, and a finite value."""


class Probe(Protocol):
    """Asks the machine; made without arguments, read every few seconds.

    A metric's name is small letters with the unit as its last word (`_seconds`, `_bytes`, `_ratio`; `_total` behind
    it for what only grows). What a machine does not have is left out, without an exception.
    """

    def read(self) -> list[Reading]:
        """Gives the figures of this moment."""
        ...
