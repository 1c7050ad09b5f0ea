"""Sweeps whose values an optimiser chooses from what the runs before came to.

`lr=tag(log, interval(1e-5, 1e-1)) depth=range(1, 9) opt=sgd,adam` is a space: an interval, numbers in steps, a choice.
Everything asked and told is in one journal file, so that a search that ended, or was ended, goes on where it was. What
is asked for next follows from the seed, the number of the run and what was told alone.

Source: Optuna, https://optuna.readthedocs.io; Watanabe, Tree-structured Parzen Estimator, arXiv:2304.11127
"""

from __future__ import annotations

import hashlib
import itertools
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from optuna import Study, create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from modelkeep.configuration.overrides import Override, Sweep, parse
from modelkeep.configuration.secrecy import MASK, is_hidden
from modelkeep.configuration.sweep import written
from modelkeep.configuration.tree import Node
from modelkeep.core.errors import BadInput, Conflict
from modelkeep.core.shapes import Json

Goal = Literal["minimize", "maximize"]
Sampler = Literal["tpe", "random", "grid"]
FILE: Final = "study.journal"
_STUDY: Final = "sweep"
_RUN, _TOLD, _PLAN = "run", "told", "plan"
_MOST: Final = 100_000
_WORDS: Final = {"sampler": "sampler", "goal": "goal", "space": "space", "sources": "sources or command"}


class Axis:
    """One key of the space.

    Args:
        sweep: what was said of it.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep: Final = sweep
        hidden = is_hidden(sweep.key)
        self.labels: Final = [f"{MASK}{place}" if hidden else written(one) for place, one in enumerate(sweep.values)]
        """How its values are called in the journal: secrets by their places."""

    def __str__(self) -> str:
        return str(self.sweep.interval) if self.sweep.interval else ",".join(self.labels)

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.sweep.interval is None and len(self.sweep.values) == 1

    def choices(self) -> list[object]:
        """What stands for each value in the journal: whole numbers for themselves, other ranges by their places."""
        if not self.sweep.ordered:
            return [*self.labels]
        whole = all(isinstance(one, int) for one in self.sweep.values)
        return [*self.sweep.values] if whole else [*range(len(self.labels))]

    def distribution(self) -> BaseDistribution:
        """What the optimiser chooses from."""
        interval = self.sweep.interval
        if interval is not None:
            if interval.whole:
                return IntDistribution(int(interval.low), int(interval.high), log=interval.log)
            return FloatDistribution(interval.low, interval.high, log=interval.log)
        if not self.sweep.ordered:
            return CategoricalDistribution(self.labels)
        low, second, *_ = numbers = sorted(cast("list[int]", self.choices()))
        return IntDistribution(low, numbers[-1], step=second - low)

    def value(self, chosen: object) -> Node:
        """Gives the value that a choice of the optimiser stands for."""
        if self.sweep.interval is not None:
            return cast("float", chosen)
        return self.sweep.values[self.choices().index(chosen)]


@dataclass(frozen=True, slots=True)
class Asked:
    """One run that is to be done.

    Args:
        number: of the run, from 0.
        overrides: what it changes.
        trial: the optimiser's own name for it.
    """

    number: int
    overrides: tuple[Override, ...]
    trial: Trial


@dataclass(frozen=True, slots=True)
class Told:
    """One run that was done.

    Args:
        number: of the run.
        value: what it came to; None where it failed.
        row: what was told of it besides.
    """

    number: int
    value: float | None
    row: Mapping[str, Json]


class Search:
    """A search that is kept in a folder.

    Args:
        overrides: the space, as a sweep is written.
        folder: where the journal is; the search there goes on.
        goal: what is wanted of the metric.
        metric: its name.
        sampler: `tpe` learns from the runs before, `random` does not, `grid` takes every combination in order.
        seed: equal seeds ask for equal runs where runs come to equal values; None takes that of the folder, or any.
        sources: a hash of what all runs have in common, so that a search goes on with nothing else.

    Raises:
        BadInput: an override is wrong, or a grid has no end.
        Conflict: the folder holds another search.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        folder: Path,
        *,
        goal: Goal,
        metric: str,
        sampler: Sampler = "tpe",
        seed: int | None = None,
        sources: str = "",
    ) -> None:
        self._axes = [Axis(parse(text)) for text in overrides]
        self._distributions = {axis.sweep.key: axis.distribution() for axis in self._axes if not axis.fixed}
        if not self._distributions:
            raise BadInput("there is nothing to choose", hint="For example lr='tag(log,interval(1e-5,1e-1))'")
        self._sampler: Sampler = sampler
        self._grid = self._combinations() if sampler == "grid" else []
        folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(folder / FILE)))
        self._study: Study = create_study(storage=storage, study_name=_STUDY, direction=goal, load_if_exists=True)
        plan: dict[str, Json] = {
            "sampler": sampler,
            "goal": f"{goal} {metric}",
            "space": {f"{axis.sweep.kind} {axis.sweep.key}": str(axis) for axis in self._axes},
            "sources": sources,
        }
        self.seed: Final = self._agreed(plan, seed, folder)
        self._repeat_interrupted()

    @property
    def size(self) -> int | None:
        """How many different runs there are; None where there is no end."""
        return len(self._grid) if self._sampler == "grid" else None

    def ask(self) -> Asked:
        """Gives the next run."""
        number = len(self._runs())
        if not any(trial.state == TrialState.WAITING for trial in self._trials()):
            if self._sampler == "grid":
                self._study.enqueue_trial(self._grid[number])
            self._study.sampler = _sampler(self._sampler, f"{self.seed}:{number}")
        trial = self._study.ask(self._distributions)
        number = cast("int", trial.user_attrs.get(_RUN, number))
        trial.set_user_attr(_RUN, number)
        return Asked(number, tuple(self._overrides(trial.params)), trial)

    def tell(self, asked: Asked, value: float | None, row: Mapping[str, Json]) -> None:
        """Takes what a run came to; None says that it failed."""
        asked.trial.set_user_attr(_TOLD, dict(row))
        if value is None or not math.isfinite(value):
            self._study.tell(asked.trial, state=TrialState.FAIL)
        else:
            self._study.tell(asked.trial, value)

    def told(self) -> list[Told]:
        """Gives the runs that were done, in order."""
        done = [trial for trial in self._runs() if trial.state.is_finished()]
        found = [Told(trial.user_attrs[_RUN], trial.value, trial.user_attrs[_TOLD]) for trial in done]
        return sorted(found, key=lambda one: one.number)

    def best(self) -> Told | None:
        """Gives the run that came nearest to the goal, the first of equals; None while none has a value."""
        found = [one for one in self.told() if one.value is not None]
        sign = 1 if self._study.direction.name == "MINIMIZE" else -1
        return min(found, key=lambda one: sign * cast("float", one.value), default=None)

    def _overrides(self, params: Mapping[str, object]) -> Iterator[Override]:
        for axis in self._axes:
            sweep = axis.sweep
            value = sweep.values[0] if axis.fixed else axis.value(params[sweep.key])
            yield Override(sweep.key, value, sweep.kind)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _runs(self) -> list[FrozenTrial]:
        """The trials that are runs; for one that ended without being told of, interrupted, another stands."""
        found = [one for one in self._trials() if _RUN in one.user_attrs]
        return [one for one in found if _TOLD in one.user_attrs or not one.state.is_finished()]

    def _combinations(self) -> list[dict[str, object]]:
        choices: list[list[object]] = []
        for axis in self._axes:
            if axis.sweep.interval is not None:
                raise BadInput(f"{axis.sweep.key}={axis} has no end of values", hint="A grid needs range() or a list.")
            if not axis.fixed:
                choices.append(axis.choices())
        count = math.prod(map(len, choices))
        if count > _MOST:
            raise BadInput(f"a grid of {count:,} runs is larger than {_MOST:,}", hint="Take fewer values, or tpe.")
        return [dict(zip(self._distributions, one, strict=True)) for one in itertools.product(*choices)]

    def _agreed(self, plan: dict[str, Json], seed: int | None, folder: Path) -> int:
        """Gives the seed of the search after making sure that it is the one in the folder."""
        old = self._study.user_attrs.get(_PLAN)
        if old is None:
            plan["seed"] = secrets.randbelow(1 << 31) if seed is None else seed
            self._study.set_user_attr(_PLAN, plan)
            return cast("int", plan["seed"])
        other = [words for name, words in _WORDS.items() if old.get(name) != plan[name]]
        if seed not in {None, old["seed"]}:
            other.append("seed")
        if other:
            raise Conflict(f"{folder} holds a search with another {other[0]}", hint="Choose another --folder.")
        return int(old["seed"])

    def _repeat_interrupted(self) -> None:
        """Puts runs that never ended in line again."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
                if _RUN in trial.user_attrs:
                    self._study.enqueue_trial(trial.params, user_attrs={_RUN: trial.user_attrs[_RUN]})


def _sampler(kind: Sampler, seed: str) -> BaseSampler:
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4])
    return TPESampler(seed=number) if kind == "tpe" else RandomSampler(seed=number)
