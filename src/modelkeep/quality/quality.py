"""The quality room's reader of the journal: predictions, facts and references become cells, cells become figures."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import BadInput, Missing
from modelkeep.core.shapes import Entry
from modelkeep.quality.answers import (
    DriftAnswer,
    DriftRow,
    Figure,
    ModelSummary,
    QualityAnswer,
    QualityRow,
    QualityStatus,
    Verdict,
    VersionSummary,
)
from modelkeep.quality.catalogue import Catalogue, Version
from modelkeep.quality.closeup import Closeup
from modelkeep.quality.counters import Counters
from modelkeep.quality.intake import Intake
from modelkeep.quality.judged import Drift
from modelkeep.quality.measure import every
from modelkeep.quality.readings import Readings, whole
from modelkeep.quality.scorecard import Scorecard
from modelkeep.quality.series import DerivedSeries
from modelkeep.quality.tally import ROW
from modelkeep.quality.windows import EVER, Windows, known_day, periods
from modelkeep.store.cells import Cells
from modelkeep.store.keys import Keys

ALL: Final = "*"
"""As a version: all versions together."""


def _verdicts(found: Drift, at: int) -> dict[str, Verdict]:
    verdicts = {}
    for name, one in found.measures.items():
        value, bound = float(one.value[at]), float(one.threshold[at])
        if np.isfinite(value):
            verdicts[name] = Verdict(value, bound, value > bound, float(one.chance[at]))
    return verdicts


@dataclass(frozen=True, slots=True)
class _Asked:
    start_ns: int | None
    end_ns: int | None
    by: str
    timezone: str


class Quality:
    """Reads predictions, facts and references; answers figures, drift and derived series.

    All it knows is in two stores, sealed one after the other: first the index of predictions, then the cells, which
    decide. A crash in between is undone at the next opening, when the index goes back to where the cells are. What
    came after that is taken again from the journal, so that every record counts exactly once.

    Args:
        folder: made when missing.
        window_ns: the trailing window of the derived series, whole hours.

    Raises:
        BadInput: the window is not a whole number of hours.
    """

    name = "quality"

    def __init__(self, folder: Path, *, window_ns: int = 7 * DAY) -> None:
        if window_ns < HOUR or window_ns % HOUR:
            raise BadInput("the window of quality must be whole hours", hint="Set it to 1d, 7d or 28d.")
        self._cells = Cells(folder / "cells")
        self._index = Keys(folder / "index", ROW, at=self._cells.sealed())
        self._catalogue = Catalogue(self._cells)
        self._intake = Intake(self._cells, self._index, self._catalogue)
        self._lock = threading.RLock()
        self._applied = self._cells.sealed()
        self._parts = 0
        self._half = 0
        self.readings: Final = Readings(self._cells, self._catalogue, self._lock)
        self.closeup: Final = Closeup(self._cells, self._catalogue, self.readings, self._lock)
        self.scorecard: Final = Scorecard(self._cells, self._catalogue, self._lock)
        self.series: Final = DerivedSeries(Counters(self._cells), self._catalogue, self.readings, window_ns // HOUR)

    def sealed(self) -> int:
        return self._cells.sealed()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries; one that raised is taken up again at the part that raised."""
        if self._half:
            self._finish()
        for entry in entries:
            if entry.seq <= self._applied:
                continue
            for part in entry.parts[self._parts :]:
                with self._lock:
                    self._intake.take(part)
                    self._parts += 1
            self._applied, self._parts = entry.seq, 0

    def seal(self) -> int:
        if self._half:
            self._finish()
        if self._applied > self._cells.sealed() and not self._parts:
            with self._lock:
                self._catalogue.save()
            self._index.seal(self._applied)
            self._half = self._applied
            self._finish()
        return self._cells.sealed()

    def close(self) -> None:
        self._index.close()
        self._cells.close()

    def _finish(self) -> None:
        """Seals the cells where the index is sealed already; until then nothing new may be applied."""
        self._cells.seal(self._half)
        self._half = 0

    def models(self) -> list[ModelSummary]:
        """What is known of each model, sorted by name."""
        with self._lock:
            found = []
            for model in sorted(self._catalogue.models()):
                versions = sorted(self._made(model), key=lambda one: (one.first_ns, one.version))
                rows = [VersionSummary(one.version, one.predictions, one.first_ns, one.last_ns) for one in versions]
                found.append(ModelSummary(model, tuple(rows)))
            return found

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
        """Gives how good a model's predictions were.

        Args:
            model: its name.
            version: one version; `*` for all together; None for each by itself.
            start_ns: earliest prediction, up to the next whole hour.
            end_ns: latest prediction, exclusive, up to the next whole hour.
            by: hour, day, week, month or all.
            timezone: where days and months begin; only ones that are whole hours from UTC.
            as_of_ns: what was known at this moment: predictions of hours that had ended, facts of days that had
                ended. None for everything known now.
            threshold: scores from here on count as positive.

        Raises:
            Missing: no such model or version.
            BadInput: period, time zone or threshold.
        """
        if not 0 <= threshold <= 1:
            raise BadInput(f"threshold {threshold} is not in 0 to 1")
        chosen = self._chosen(model, version)
        if as_of_ns is not None:
            end_ns = min(as_of_ns // HOUR * HOUR, as_of_ns if end_ns is None else end_ns)
        rows: list[QualityRow] = []
        asked = _Asked(start_ns, end_ns, by, timezone)
        for versions in chosen:
            windows = _windows(versions, asked, known_day(as_of_ns))
            rows += self._quality_rows(version or "", versions, windows, threshold)
        return QualityAnswer(model, chosen[0][0].task, as_of_ns, tuple(rows))

    def _quality_rows(
        self, asked: str, versions: Sequence[Version], windows: Windows, threshold: float
    ) -> Iterator[QualityRow]:
        if not len(windows):
            return
        found = self.readings.quality(versions, windows, cut=threshold)
        for at in np.flatnonzero(found.predictions > 0):
            metrics = {
                name: Figure(float(one.value[at]), float(one.low[at]), float(one.high[at]))
                for name, one in found.metrics.items()
                if np.isfinite(one.value[at])
            }
            yield QualityRow(
                int(windows.starts[at]) * HOUR,
                int(windows.ends[at]) * HOUR,
                ALL if asked == ALL else versions[0].version,
                int(found.predictions[at]),
                int(found.labels[at]),
                float(found.coverage[at]),
                metrics,
            )

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
        """Gives how far a model's features were from its reference; see `measure` for what counts as drift.

        Without a reference the first week of a feature stands in for it.

        Args:
            model: its name.
            version: one version; None for each by itself.
            start_ns: earliest prediction, up to the next whole hour.
            end_ns: latest prediction, exclusive, up to the next whole hour.
            by: hour, day, week, month or all.
            timezone: where days and months begin.
            measures: names; None for all that apply.
            features: names; None for all.

        Raises:
            Missing: no such model, version, measure or feature.
            BadInput: period or time zone.
        """
        _known("measure", measures, list(every()))
        chosen = [versions[0] for versions in self._chosen(model, version)]
        with self._lock:
            names = {one.version: sorted(one.features) for one in chosen}
        _known("feature", features, sorted({name for found in names.values() for name in found}))
        rows: list[DriftRow] = []
        for one in chosen:
            windows = _windows([one], _Asked(start_ns, end_ns, by, timezone), EVER)
            for feature in names[one.version]:
                if features is None or feature in features:
                    rows += self._drift_rows(one, feature, windows, measures)
        return DriftAnswer(model, tuple(rows))

    def _drift_rows(
        self, version: Version, feature: str, windows: Windows, measures: Sequence[str] | None
    ) -> Iterator[DriftRow]:
        if not len(windows):
            return
        presence = self.readings.presence(version, feature, windows)
        found = self.readings.drift(version, feature, windows, wanted=measures, chances=True)
        for at in np.flatnonzero(presence.rows > 0):
            verdicts = _verdicts(found, int(at)) if found else {}
            yield DriftRow(
                int(windows.starts[at]) * HOUR,
                int(windows.ends[at]) * HOUR,
                version.version,
                feature,
                int(presence.rows[at]),
                float(presence.missing[at] / presence.rows[at]),
                float(found.unseen[at]) if found else float("nan"),
                verdicts,
                any(verdict.drifted for verdict in verdicts.values()),
            )

    def windows(
        self,
        model: str,
        *,
        version: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        by: str = "all",
        timezone: str = "UTC",
        feature: str | None = None,
    ) -> list[tuple[Version, Windows]]:
        """Gives the versions that are asked for, each with its periods, for `closeup` and `scorecard`.

        Periods before a version's first prediction and behind its last are left out.

        Args:
            model: its name.
            version: one version; None for each by itself.
            start_ns: earliest prediction, up to the next whole hour.
            end_ns: latest prediction, exclusive, up to the next whole hour.
            by: hour, day, week, month or all.
            timezone: where days and months begin.
            feature: one that they must have.

        Raises:
            Missing: no such model, version or feature.
            BadInput: period or time zone.
        """
        asked = _Asked(start_ns, end_ns, by, timezone)
        chosen = [versions[0] for versions in self._chosen(model, version)]
        with self._lock:
            if feature is not None:
                _known("feature", [feature], sorted({name for one in chosen for name in one.features}))
            chosen = [one for one in chosen if feature is None or feature in one.features]
        return [(one, _within(_windows([one], asked, EVER), one)) for one in chosen]

    def status(self) -> QualityStatus:
        """What was counted since the store was made."""
        with self._lock:
            count = self._catalogue.counts.get
            return QualityStatus(
                self._applied,
                self._cells.sealed(),
                count("predictions", 0),
                count("duplicates", 0),
                count("labels", 0),
                count("corrections", 0),
                count("repeats", 0),
                count("waiting", 0) + count("anonymous", 0),
                count("unusable", 0),
                count("mismatches", 0),
            )

    def _made(self, model: str) -> list[Version]:
        return [one for one in self._catalogue.of(model) if one.predictions]

    def _chosen(self, model: str, version: str | None) -> list[list[Version]]:
        """The versions of each row of an answer."""
        with self._lock:
            found = self._made(model)
            _known("model", [model], self._catalogue.models())
        if version == ALL:
            return [[one for one in found if one.task == found[0].task]]
        if version is not None:
            _known("version", [version], [one.version for one in found])
        return [[one] for one in found if version in (None, one.version)]


def _known(what: str, asked: Sequence[str] | None, there: Sequence[str]) -> None:
    for name in asked or ():
        if name not in there:
            raise Missing(f"no {what} {name!r}", hint=f"There are: {', '.join(there) or 'none'}.")


def _windows(versions: Sequence[Version], asked: _Asked, known: int) -> Windows:
    """The periods that have predictions, whole ones unless they were asked to be cut."""
    lead = 0 if asked.by in ("all", "hour") else 32 * 24
    first = min(one.first_ns for one in versions) // HOUR - lead
    last = max(one.last_ns for one in versions) // HOUR + 1 + lead
    if asked.start_ns is not None:
        start = -(-asked.start_ns // HOUR)
        first = start if asked.by == "all" else max(first, start)
    if asked.end_ns is not None:
        end = -(-asked.end_ns // HOUR)
        last = end if asked.by == "all" else min(last, end)
    return whole(*periods(asked.by, asked.timezone, first, last), known)


def _within(windows: Windows, version: Version) -> Windows:
    if len(windows) < 2:
        return windows
    first = int(np.searchsorted(windows.ends, version.first_ns // HOUR, "right"))
    last = int(np.searchsorted(windows.starts, version.last_ns // HOUR, "right"))
    return windows.part(first, max(first, last))
