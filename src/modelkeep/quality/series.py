"""The derived series: computed from cells when asked, never stored, behind the protocol of stored ones.

- Counters `model_predictions_total`, `model_errors_total`, `model_labels_total`, `model_feedback_total{kind}` and the
  histogram `model_latency_seconds`: at time t what happened in the minutes that had ended. Labels and feedback count in
  the minute they came. They ignore `as_of`, except that nothing is known of the time after it.
- `model_quality{metric}` with `_low` and `_high`, `model_label_coverage_ratio`, `model_feature_missing_ratio`,
  `model_feature_drift{feature, measure}` and `model_feature_drift_threshold`: at time t over the hours that had ended
  by then, as far back as the room's window; `{window="1d"}` asks for another one and comes back as a label.

A figure that rests on too little is not there at all: quality needs `LEAST_LABELS` labels in the window, drift
`LEAST_VALUES` values, the missing ratio `LEAST_ROWS` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.errors import BadInput
from modelkeep.core.series import AT_STEP, NAME, STALE_BITS, Block, Labels, Matcher, Want, labels
from modelkeep.core.times import duration_ns
from modelkeep.quality.catalogue import Catalogue, Version
from modelkeep.quality.counters import Counters, own_times, resolution
from modelkeep.quality.latency import BOUNDS
from modelkeep.quality.measure import LEAST_ROWS, applicable
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.readings import TASKS, Readings
from modelkeep.quality.tally import ENGAGEMENT, ERRORS, FEEDBACK, LABELS, REQUESTS, SECONDS, TIMED
from modelkeep.quality.windows import Windows, known_day

LEAST_LABELS: Final = 100
LEAST_VALUES: Final = 100

_COUNTS: Final = {
    "model_predictions_total": REQUESTS,
    "model_errors_total": ERRORS,
    "model_labels_total": LABELS,
    "model_latency_seconds_sum": SECONDS,
    "model_latency_seconds_count": TIMED,
}
_LATENCY: Final = "model_latency_seconds_bucket"
_FEEDBACK: Final = "model_feedback_total"
_REPLIES: Final = {"feedback": FEEDBACK, "engagement": ENGAGEMENT}
_LES: Final = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
COUNTERS: Final = (*_COUNTS, _FEEDBACK, _LATENCY)
_QUALITY: Final = {"model_quality": "value", "model_quality_low": "low", "model_quality_high": "high"}
_DRIFT: Final = ("model_feature_drift", "model_feature_drift_threshold")
_MISSING: Final = "model_feature_missing_ratio"
_COVERAGE: Final = "model_label_coverage_ratio"
GAUGES: Final = (*_QUALITY, _COVERAGE, _MISSING, *_DRIFT)
_STALE: Final = np.array([STALE_BITS], np.uint64).view(np.float64)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The times of an answer, and the windows behind them: `places` gives each time's window."""

    times: Ints
    windows: Windows
    places: Ints


@dataclass(frozen=True, slots=True)
class _Family:
    """Series that are read together and differ in one label.

    Args:
        labels: those they share.
        inner: the label in which they differ; empty when there is one series.
        choices: its values.
        read: grid and some of the choices → shape (choices, windows), for counters (choices, times); NaN = nothing.
    """

    labels: dict[str, str]
    read: Callable[[_Grid, Sequence[str]], Floats]
    inner: str = ""
    choices: Sequence[str] = field(default=("",))

    def all(self, name: str, window: str) -> Iterator[tuple[str, dict[str, str]]]:
        for choice in self.choices:
            yield choice, {NAME: name, **self.labels, "window": window} | ({self.inner: choice} if self.inner else {})


class DerivedSeries:
    """Answers for the `model_*` metric names.

    Args:
        counters: what happened.
        catalogue: what is known of versions.
        readings: figures per window.
        window: default window in hours.
    """

    def __init__(self, counters: Counters, catalogue: Catalogue, readings: Readings, window: int) -> None:
        self._counters = counters
        self._catalogue = catalogue
        self._readings = readings
        self._window = window

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        """Gives the matching series.

        A range selector sees hourly samples (counters: one a minute, fewer over long ranges), each with what was known
        at its own time where `want` says `AT_STEP`.

        Raises:
            BadInput: a window that is not whole hours.
        """
        hours, shown, rest = self._asked(matchers)
        blocks: list[Block] = []
        for name in _named(rest, shown):
            grid = _grid(want, hours, counter=name in COUNTERS)
            if len(grid.times):
                blocks += self._block(name, rest, grid, shown)
        return blocks

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        """Gives the label sets that match and can have samples in the interval."""
        hours, shown, rest = self._asked(matchers)
        found: list[Labels] = []
        for name in _named(rest, shown):
            for version in self._versions():
                over = version.last_ns + (hours + 1) * HOUR < start_ns and name not in COUNTERS
                if version.first_ns > end_ns or over:
                    continue
                for family in self._families(name, version):
                    found += [labels(full) for _, full in family.all(name, shown) if _matches(rest, full)]
        return found

    def _asked(self, matchers: Sequence[Matcher]) -> tuple[int, str, list[Matcher]]:
        """The window in hours, its label, and the other matchers."""
        for one in matchers:
            if one.name == "window" and one.op == "=" and one.value:
                width = duration_ns(one.value)
                if width < HOUR or width % HOUR:
                    raise BadInput(f"window={one.value!r} is not whole hours", hint="Write it like 24h, 1d or 4w.")
                return width // HOUR, one.value, [other for other in matchers if other is not one]
        return self._window, "", list(matchers)

    def _block(self, name: str, matchers: Sequence[Matcher], grid: _Grid, shown: str) -> Iterator[Block]:
        names: list[Labels] = []
        values: list[Floats] = []
        for version in self._versions():
            for family in self._families(name, version):
                chosen = [one for one in family.all(name, shown) if _matches(matchers, one[1])]
                if not chosen:
                    continue
                found = family.read(grid, [choice for choice, _ in chosen])
                there = np.flatnonzero(~np.isnan(found).all(axis=1))
                names += [labels(chosen[at][1]) for at in there]
                values.append(found[there] if name in COUNTERS else found[there][:, grid.places])
        if names:
            whole = np.ascontiguousarray(np.concatenate(values))
            np.copyto(whole, _STALE, where=np.isnan(whole))
            yield Block(names, grid.times, whole)

    def _versions(self) -> list[Version]:
        """The versions that have predictions, and one without a name per model for what could not be assigned."""
        made = [one for one in list(self._catalogue.versions) if one.predictions]
        lost = [Version(model, "") for model in ("", *dict.fromkeys(one.model for one in made))]
        return made + [one for one in lost if self._counters.there(one.group)]

    def _families(self, name: str, version: Version) -> Iterator[_Family]:
        base = {"model": version.model, "version": version.version}
        if name == _FEEDBACK:
            yield _Family(base, partial(self._replies, version.group), "kind", tuple(_REPLIES))
        elif not version.predictions:
            return
        elif name in _COUNTS:
            yield _Family(base, partial(self._count, version.group, _COUNTS[name]))
        elif name == _LATENCY:
            yield _Family(base, partial(self._latencies, version.group), "le", _LES)
        elif name in _QUALITY:
            read = partial(self._quality, version, _QUALITY[name])
            yield _Family(base, read, "metric", TASKS.get(version.task, ()))
        elif name == _COVERAGE:
            yield _Family(base, partial(self._coverage, version))
        else:
            for feature in sorted(version.features):
                yield self._feature(name, version, feature, base | {"feature": feature})

    def _feature(self, name: str, version: Version, feature: str, base: dict[str, str]) -> _Family:
        if name == _MISSING:
            return _Family(base, partial(self._missing, version, feature))
        kind = self._readings.numeric(version, feature)
        choices = tuple(applicable(kind)) if kind is not None else ()
        return _Family(base, partial(self._drift, version, feature, name == _DRIFT[1]), "measure", choices)

    def _count(self, name: str, cell: int, grid: _Grid, _: Sequence[str]) -> Floats:
        return self._counters.totals(name, grid.times, [cell])

    def _replies(self, name: str, grid: _Grid, chosen: Sequence[str]) -> Floats:
        found = self._counters.totals(name, grid.times, [_REPLIES[kind] for kind in chosen])
        never = found[:, -1] == 0
        found[never] = np.nan
        return found

    def _latencies(self, name: str, grid: _Grid, chosen: Sequence[str]) -> Floats:
        return self._counters.latency(name, grid.times, [_LES.index(one) for one in chosen])

    def _quality(self, version: Version, bound: str, grid: _Grid, chosen: Sequence[str]) -> Floats:
        found = self._readings.quality([version], grid.windows, wanted=chosen)
        none = np.full(len(grid.windows), np.nan)
        few = found.labels < LEAST_LABELS
        rows = [getattr(found.metrics[name], bound) if name in found.metrics else none for name in chosen]
        return np.where(few, np.nan, np.stack(rows))

    def _coverage(self, version: Version, grid: _Grid, _: Sequence[str]) -> Floats:
        return self._readings.coverage([version], grid.windows).coverage[None, :]

    def _missing(self, version: Version, feature: str, grid: _Grid, _: Sequence[str]) -> Floats:
        found = self._readings.presence(version, feature, grid.windows)
        share = found.missing / np.maximum(found.rows, 1)
        return np.where(found.rows < LEAST_ROWS, np.nan, share)[None, :]

    def _drift(self, version: Version, feature: str, bound: bool, grid: _Grid, chosen: Sequence[str]) -> Floats:
        found = self._readings.drift(version, feature, grid.windows, wanted=chosen)
        whole = np.full((len(chosen), len(grid.windows)), np.nan)
        for at, name in enumerate(chosen):
            if found is not None and name in found.measures:
                one = found.measures[name]
                gone = np.isnan(one.value) | (found.rows < LEAST_VALUES)
                whole[at] = np.where(gone, np.nan, one.threshold if bound else one.value)
        return whole


def _named(matchers: Sequence[Matcher], shown: str) -> list[str]:
    """The metric names that match; counters have no window."""
    tests = [one for one in matchers if one.name == NAME]
    names = GAUGES if shown else (*COUNTERS, *GAUGES)
    return [name for name in names if all(one.matches(name) for one in tests)]


def _matches(matchers: Sequence[Matcher], full: dict[str, str]) -> bool:
    return all(one.matches(full.get(one.name, "")) for one in matchers)


def _grid(want: Want, window: int, *, counter: bool) -> _Grid:
    if want.ranged:
        times = own_times(want, resolution(want.range_ns) if counter else HOUR)
    else:
        times = np.arange(want.start_ns, want.end_ns + 1, want.step_ns, dtype=np.int64)
    if want.as_of_ns not in (None, AT_STEP):
        times = times[times <= want.as_of_ns]
    hours = times // HOUR
    if want.as_of_ns == AT_STEP:
        known = (times + want.offset_ns) // DAY
    else:
        known = np.full(len(times), known_day(want.as_of_ns))
    fresh = np.flatnonzero(np.concatenate([[True], (np.diff(hours) != 0) | (np.diff(known) != 0)])[: len(times)])
    places = np.searchsorted(fresh, np.arange(len(times)), "right") - 1
    return _Grid(times, Windows(hours[fresh] - window, hours[fresh], known[fresh]), places)
