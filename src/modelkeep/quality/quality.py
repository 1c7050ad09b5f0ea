"""The quality room's reader of the journal: predictions, facts and references become cells, cells become figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelkeep.core.clock import DAY
from modelkeep.core.shapes import Entry
from modelkeep.quality.answers import DriftAnswer, ModelSummary, QualityAnswer, QualityStatus
from modelkeep.quality.series import DerivedSeries


class Quality:
    """Reads predictions, facts and references; answers figures, drift and derived series."""

    name = "quality"

    def __init__(self, folder: Path, *, window_ns: int = 7 * DAY) -> None:
        self.series: Final = DerivedSeries(self)
        self._applied = 0

    def sealed(self) -> int:
        return 0

    def apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._applied = entry.seq

    def seal(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def models(self) -> list[ModelSummary]:
        return []

    def figures(
        self,
        model: str,
        *,
        version: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        by: str = "all",
        timezone: str = "UTC",
        as_of_ns: int | None = None,
        threshold: float = 0.5,
    ) -> QualityAnswer:
        return QualityAnswer(model, "", as_of_ns, ())

    def drift(
        self,
        model: str,
        *,
        version: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        by: str = "all",
        timezone: str = "UTC",
        measures: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
    ) -> DriftAnswer:
        return DriftAnswer(model, ())

    def status(self) -> QualityStatus:
        return QualityStatus(self._applied)
