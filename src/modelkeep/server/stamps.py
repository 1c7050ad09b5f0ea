"""Whether the times of records can be true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from modelkeep.core.clock import MINUTE, SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Part
from modelkeep.core.times import iso
from modelkeep.wire.form import Decoded

OLDEST_NS: Final = 631_152_000 * SECOND
"""1990-01-01: earlier times are a unit's error (seconds or ms taken for ns), not history."""
_OF_THE_WALL: Final = frozenset({"prediction", "fact", "release", "configuration", "training"})
"""Kinds that only the machine's time bounds."""
AHEAD_NS: Final = 10 * MINUTE
"""How far a record may be ahead of the active clock."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The latest time that each kind of record may carry.

    Args:
        wall_ns: this machine's time.
        watermark_ns: the newest prediction seen; None with the wall clock.

    >>> Bounds(wall_ns=100 * MINUTE).latest("log", 0) // MINUTE
    110
    >>> Bounds(wall_ns=100 * MINUTE, watermark_ns=20 * MINUTE).latest("log", 40 * MINUTE) // MINUTE
    50
    >>> Bounds(wall_ns=100 * MINUTE, watermark_ns=20 * MINUTE).latest("fact", 0) // MINUTE
    110
    """

    wall_ns: int
    watermark_ns: int | None = None

    def latest(self, kind: str, newest_ns: int) -> int:
        """Gives the latest allowed time.

        With the clock of events predictions move the clock, so only the wall bounds them; facts count from the day
        after their own time whatever the clock says, so neither does the clock bound them; releases, configurations
        and trainings are of the wall's time. What else comes in one body is judged against its newest prediction.
        Before the first prediction there is only the wall.

        Args:
            kind: of the record.
            newest_ns: the newest prediction in the same body; 0 for none.
        """
        if self.watermark_ns is None or kind in _OF_THE_WALL:
            return self.wall_ns + AHEAD_NS
        now = max(self.watermark_ns, newest_ns)
        return (now or self.wall_ns) + AHEAD_NS

    def check(self, decoded: Decoded) -> None:
        """Checks every time in a body.

        Raises:
            BadInput: one is before 1990 or too far ahead; the message names its record and row.
        """
        for part in decoded.parts:
            if "at" in part.batch.schema.names:
                self._part(part, self.latest(part.kind, decoded.newest_prediction_ns))

    def _part(self, part: Part, latest_ns: int) -> None:
        column = part.batch.column("at")
        if column.null_count:
            raise BadInput(f"{part.kind}: a row has no time")
        at = _numbers(column)
        if not len(at) or (at.min() >= OLDEST_NS and at.max() <= latest_ns):
            return
        row = int(np.argmax((at < OLDEST_NS) | (at > latest_ns)))
        what = f"{part.kind} {part.meta('model')}".rstrip()
        if at[row] < OLDEST_NS:
            raise BadInput(f"{what} row {row}: at is {at[row]} ns, before 1990", hint="Times are ns since 1970, UTC.")
        clock = "newest prediction" if self.watermark_ns else "server's time"
        raise BadInput(
            f"{what} row {row}: at is {iso(int(at[row]))}, more than 10 minutes ahead of the {clock}",
            hint="Check the sender's clock; with `--clock events`, send the prediction first.",
        )


def _numbers(column: pa.Array[pa.Scalar[pa.DataType]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return column.to_numpy().astype(np.int64, copy=False)
