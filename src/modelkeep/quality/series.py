"""The derived series: computed from cells when asked, never stored, behind the protocol of stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelkeep.core.series import Block, Labels, Matcher, Want

if TYPE_CHECKING:
    from modelkeep.quality.quality import Quality


class DerivedSeries:
    """Answers for the `model_*` metric names."""

    def __init__(self, quality: Quality) -> None:
        self._quality = quality

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        return []

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        return []
