"""The derived series of trainings: how old a model is, how often it was trained.

- `model_age_seconds{model, version}`: at time t how long ago the last finished training of the version had ended;
  without the label `version` for trainings that name none. A version that no training names is as old as the last
  such one that had ended before its first prediction. `min by (model) (model_age_seconds)` is the time since the
  model was last trained.
- `model_trained_total{model}`: how many trainings had finished.

Only models that were ever trained have them. Trainings come from `mk.train` and from `modelkeep model trainings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from modelkeep.core.clock import SECOND
from modelkeep.core.series import AT_STEP, NAME, STALE_BITS, Block, Labels, Matcher, Want, labels
from modelkeep.quality.counters import own_times, resolution

if TYPE_CHECKING:
    from modelkeep.store.trainings import Training

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

AGE: Final = "model_age_seconds"
TRAINED: Final = "model_trained_total"
NAMES: Final = (AGE, TRAINED)
_STALE: Final = np.array([STALE_BITS], np.uint64).view(np.float64)[0]


@dataclass(frozen=True, slots=True)
class First:
    """When a version was first seen to serve, ns."""

    model: str
    version: str
    first_ns: int


@dataclass(frozen=True, slots=True)
class Ends:
    """When trainings finished, in ns, rising: of each model, and of each model and version."""

    models: Mapping[str, Ints]
    versions: Mapping[tuple[str, str], Ints]


def ends(trainings: Iterable[Training], firsts: Iterable[First] = ()) -> Ends:
    """Gives when trainings finished.

    Args:
        trainings: of any models; only finished ones count.
        firsts: versions that served; one that no training names takes over from trainings that name no version.
    """
    models: dict[str, list[int]] = {}
    versions: dict[tuple[str, str], list[int]] = {}
    for one in trainings:
        if one.status == "finished" and one.end_ns is not None:
            models.setdefault(one.model, []).append(one.end_ns)
            versions.setdefault((one.model, one.version), []).append(one.end_ns)
    for first in firsts:
        unnamed = versions.get((first.model, ""), ())
        before = [end for end in unnamed if end <= first.first_ns]
        if before and (first.model, first.version) not in versions:
            versions[first.model, first.version] = [max(before)]
    return Ends(
        {name: np.sort(np.array(found, np.int64)) for name, found in models.items()},
        {key: np.sort(np.array(found, np.int64)) for key, found in versions.items()},
    )


def age_s(finished: Ints, times: Ints) -> Floats:
    """Gives how long ago the last of some trainings had finished at each time, s; NaN before the first.

    >>> age_s(np.array([10, 30]) * SECOND, np.array([5, 10, 29, 31]) * SECOND).tolist()
    [nan, 0.0, 19.0, 1.0]
    """
    place = np.searchsorted(finished, times, "right") - 1
    last = finished[np.maximum(place, 0)] if len(finished) else np.zeros(len(times), np.int64)
    return np.where(place >= 0, (times - last) / SECOND, np.nan)


def trained(finished: Ints, times: Ints) -> Floats:
    """Gives how many trainings had finished at each time; NaN before the first.

    >>> trained(np.array([10, 30]), np.array([5, 10, 31])).tolist()
    [nan, 1.0, 2.0]
    """
    count = np.searchsorted(finished, times, "right").astype(np.float64)
    return np.where(count > 0, count, np.nan)


class TrainingSeries:
    """Answers for `model_age_seconds` and `model_trained_total`.

    Args:
        known: gives when trainings finished; asked at every question.
    """

    def __init__(self, known: Callable[[], Ends]) -> None:
        self._known = known

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        """Gives the matching series; a range selector sees a sample a minute, fewer over long ranges."""
        names = _named(matchers)
        if not names:
            return []
        times = _times(want)
        if not len(times):
            return []
        found = self._known()
        blocks: list[Block] = []
        for name in names:
            rows = [
                (pairs, _read(name, finished, times))
                for pairs, finished in _series(name, found)
                if _ok(matchers, pairs)
            ]
            kept = [(pairs, values) for pairs, values in rows if not np.isnan(values).all()]
            if kept:
                values = np.stack([values for _, values in kept])
                blocks.append(Block([pairs for pairs, _ in kept], times, np.where(np.isnan(values), _STALE, values)))
        return blocks

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        """Gives the label sets that match and have samples up to the end of the interval."""
        names = _named(matchers)
        found = self._known() if names else Ends({}, {})
        return [
            pairs
            for name in names
            for pairs, finished in _series(name, found)
            if finished[0] <= end_ns and _ok(matchers, pairs)
        ]


def _named(matchers: Sequence[Matcher]) -> list[str]:
    tests = [one for one in matchers if one.name == NAME]
    if any(one.name == "window" and not one.matches("") for one in matchers):
        return []
    return [name for name in NAMES if all(one.matches(name) for one in tests)]


def _series(name: str, found: Ends) -> Iterator[tuple[Labels, Ints]]:
    if name == TRAINED:
        for model, finished in found.models.items():
            yield labels({NAME: name, "model": model}), finished
    else:
        for (model, version), finished in found.versions.items():
            yield labels({NAME: name, "model": model, "version": version}), finished


def _read(name: str, finished: Ints, times: Ints) -> Floats:
    return (trained if name == TRAINED else age_s)(finished, times)


def _ok(matchers: Sequence[Matcher], pairs: Labels) -> bool:
    full = dict(pairs)
    return all(one.matches(full.get(one.name, "")) for one in matchers)


def _times(want: Want) -> Ints:
    if want.ranged:
        times = own_times(want, resolution(want.range_ns))
    else:
        times = np.arange(want.start_ns, want.end_ns + 1, want.step_ns, dtype=np.int64)
    return times if want.as_of_ns in (None, AT_STEP) else times[times <= want.as_of_ns]
