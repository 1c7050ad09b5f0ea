"""What arrives becomes cells: predictions are counted and remembered by id, facts are joined to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from modelkeep.core.clock import DAY, HOUR, MINUTE
from modelkeep.core.layouts import SCORES as SCORE_COLUMNS
from modelkeep.core.shapes import Part
from modelkeep.quality import binary
from modelkeep.quality.catalogue import Catalogue, Version, group
from modelkeep.quality.columns import Columns
from modelkeep.quality.features import Features
from modelkeep.quality.latency import slots
from modelkeep.quality.outcomes import Found, Outcomes, class_name
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.tally import (
    COUNTED,
    ENGAGEMENT,
    ERRORS,
    FAILED,
    FEEDBACK,
    GUESS,
    LABELLED,
    LABELS,
    LAST_BUCKET,
    LAST_DAY,
    LATENCY,
    OUTCOME,
    PREDICTED,
    PREDICTIONS,
    REQUESTS,
    ROW,
    SCORES,
    SECONDS,
    TIMED,
    USABLE,
    Rows,
    Tally,
)
from modelkeep.store.cells import Cells
from modelkeep.store.keys import Keys, keys

_REPLIES: Final = {"feedback": FEEDBACK, "engagement": ENGAGEMENT}


@dataclass(frozen=True, slots=True)
class _Said:
    """Labels as they arrived: texts as numbers of names + 1, 0 where the label is a number."""

    ids: list[str]
    values: Floats
    texts: Ints
    days: Ints
    minutes: Ints

    def part(self, at: Ints) -> _Said:
        ids = [self.ids[one] for one in at]
        return _Said(ids, self.values[at], self.texts[at], self.days[at], self.minutes[at])


class Intake:
    """Takes parts of entries, each all or nothing.

    A prediction whose id the model has had before is counted as a duplicate and changes nothing. Of several labels of
    one prediction the last one to arrive counts; it takes the place of the one before from the day it came, so that
    a question about an earlier day still sees the earlier label. A label without its prediction waits for it.
    """

    def __init__(self, cells: Cells, index: Keys, catalogue: Catalogue) -> None:
        self._cells = cells
        self._index = index
        self._catalogue = catalogue
        self._outcomes = Outcomes(index, catalogue)
        self._features = Features(cells, catalogue)

    def take(self, part: Part) -> None:
        """Counts one part; kinds that do not concern quality are passed over."""
        if part.kind == "prediction":
            self._predictions(part)
        elif part.kind == "fact":
            self._facts(part)
        elif part.kind == "reference":
            self._features.reference(part)

    def _predictions(self, part: Part) -> None:
        model = part.meta("model")
        place = self._catalogue.place(model, part.meta("version"))
        version = self._catalogue.versions[place]
        columns = Columns(part.batch)
        names = keys("prediction", model, last=columns.texts("id"))
        found, rows = self._index.get(names)
        fresh = _first(names) & ~(found & (rows["state"] & PREDICTED > 0))
        tally = Tally()
        tally.counts["duplicates"] = int(len(names) - fresh.sum())
        at = np.flatnonzero(fresh)
        if len(at):
            columns, names, rows = columns.take(at), [names[one] for one in at], rows[at]
            moments = columns.times("at")
            rows["state"] |= PREDICTED
            rows["version"], rows["hour"] = place, _bucket(moments, HOUR)
            _infer(version, columns)
            rows["guess"] = self._guesses(columns, version)
            self._traffic(tally, version, columns, moments)
            self._guessed(tally, version, columns, rows)
            self._late(tally, version, columns.texts("id"), rows)
            tally.put(names, rows)
            coded = self._features.code(tally, place, columns, _bucket(moments, HOUR))
            self._commit(tally)
            self._features.keep(coded)
            _seen(version, moments)
        else:
            self._commit(tally)

    def _guesses(self, columns: Columns, version: Version) -> Floats:
        if version.task == "binary" and version.scored:
            scores = columns.numbers("score")
            return np.where((scores >= 0) & (scores <= 1), scores, np.nan)
        if version.task != "classes":
            return np.where(np.isfinite(columns.numbers("prediction")), columns.numbers("prediction"), np.nan)
        ids = columns.texts("id")
        for name in columns.names(SCORE_COLUMNS):
            given = columns.numbers(SCORE_COLUMNS + name)
            at = np.flatnonzero(np.isfinite(given))
            rows = np.zeros(len(at), ROW)
            rows["guess"] = given[at]
            self._index.put(keys("score", version.model, name, last=[ids[one] for one in at]), rows)
        return np.array([np.nan if name is None else self._catalogue.name_place(name) for name in _classes(columns)])

    def _traffic(self, tally: Tally, version: Version, columns: Columns, moments: Ints) -> None:
        minutes = _bucket(moments, MINUTE)
        failed = columns.present("error")
        tally.counts["predictions"] += len(minutes)
        tally.add_traffic(version.group, minutes, REQUESTS)
        tally.add_traffic(version.group, minutes[failed], ERRORS)
        tally.add(OUTCOME, version.group, _bucket(moments, HOUR), PREDICTIONS)
        tally.add(OUTCOME, version.group, _bucket(moments, HOUR)[failed], FAILED)
        seconds = columns.numbers("latency_ns") / 1e9
        timed = np.isfinite(seconds) & (seconds >= 0)
        seconds, minutes = seconds[timed], minutes[timed]
        tally.add_traffic(version.group, minutes, TIMED)
        tally.add_traffic(version.group, minutes, SECONDS, seconds)
        tally.add_traffic(version.group, minutes, LATENCY + slots(seconds))

    def _guessed(self, tally: Tally, version: Version, columns: Columns, rows: Rows) -> None:
        usable = np.isfinite(rows["guess"])
        failed = columns.present("error")
        tally.counts["unusable"] += int((~usable & ~failed).sum())
        hours, guesses = rows["hour"][usable].astype(np.int64), rows["guess"][usable]
        tally.add(OUTCOME, version.group, hours, USABLE)
        if version.task == "classes":
            return
        tally.add(OUTCOME, version.group, hours, GUESS, guesses)
        if version.task == "binary":
            tally.add(OUTCOME, version.group, hours, SCORES + binary.bins(guesses))

    def _late(self, tally: Tally, version: Version, ids: list[str], rows: Rows) -> None:
        """Joins predictions to the labels that waited for them."""
        waiting = rows["state"] & LABELLED > 0
        if self._catalogue.counts.get("anonymous", 0):
            found, others = self._index.get(keys("prediction", "", last=ids))
            for field in ("label", "text", "day", "minute"):
                rows[field] = np.where(found & ~waiting, others[field], rows[field])
            tally.counts["waiting"] -= int(waiting.sum())
            waiting |= found
        else:
            tally.counts["waiting"] -= int(waiting.sum())
        rows["state"][waiting] |= LABELLED
        self._count(tally, ids, rows, version, np.flatnonzero(waiting))

    def _count(self, tally: Tally, ids: list[str], rows: Rows, version: Version, at: Ints) -> None:
        """Adds the labels of some rows to the sums and marks the rows as counted where they could be used."""
        usable = self._outcomes.usable(rows[at], version)
        tally.counts["unusable"] += int((~usable).sum())
        tally.counts["labels"] += len(at)
        tally.add_traffic(version.group, rows["minute"][at].astype(np.int64), LABELS)
        counted = at[usable]
        rows["state"][counted] |= COUNTED
        self._outcomes.add(tally, [ids[one] for one in counted], rows[counted], version, sign=1.0)

    def _facts(self, part: Part) -> None:
        columns = Columns(part.batch)
        kinds = np.array(columns.texts("kind"), object)
        models = np.array(columns.texts("model"), object)
        texts = [self._catalogue.name_place(one) + 1 if one is not None else 0 for one in columns.names_of("text")]
        moments = columns.times("at")
        said = _Said(
            columns.texts("id"),
            columns.numbers("value"),
            np.array(texts, np.int64),
            np.clip(moments // DAY, 1, LAST_DAY),
            _bucket(moments, MINUTE),
        )
        for name in dict.fromkeys(models.tolist()):
            here = said.part(np.flatnonzero((models == name) & (kinds == "label")))
            if here.ids:
                self._labels(name, here)
        for kind in _REPLIES:
            for name in dict.fromkeys(models[kinds == kind].tolist()):
                self._replies(name, said.part(np.flatnonzero((models == name) & (kinds == kind))), _REPLIES[kind])

    def _labels(self, model: str, said: _Said) -> None:
        """Labels of one model; of none they go to every model that has the id."""
        while said.ids:
            first = _first(said.ids)
            now = said.part(np.flatnonzero(first))
            said = said.part(np.flatnonzero(~first))
            tally = Tally()
            if model:
                self._label(tally, model, now)
            else:
                self._label_anywhere(tally, now)
            self._commit(tally)

    def _label_anywhere(self, tally: Tally, said: _Said) -> None:
        known = np.zeros(len(said.ids), bool)
        for model in self._catalogue.models():
            found, rows = self._index.get(keys("prediction", model, last=said.ids))
            here = found & (rows["state"] & PREDICTED > 0)
            self._label(tally, model, said.part(np.flatnonzero(here)))
            known |= here
        lost = said.part(np.flatnonzero(~known))
        names = keys("prediction", "", last=lost.ids)
        found, before = self._index.get(names)
        same = found & (before["text"] == lost.texts) & _equal(before["label"], lost.values)
        tally.counts["anonymous"] += int((~found).sum())
        tally.counts["repeats"] += int(same.sum())
        rows = np.zeros(len(names), ROW)
        _write(rows, lost)
        changed = np.flatnonzero(~same)
        tally.put([names[one] for one in changed], rows[changed])

    def _label(self, tally: Tally, model: str, said: _Said) -> None:
        names = keys("prediction", model, last=said.ids)
        _, rows = self._index.get(names)
        before = rows.copy()
        labelled = rows["state"] & LABELLED > 0
        same = labelled & (rows["text"] == said.texts) & _equal(rows["label"], said.values)
        predicted = rows["state"] & PREDICTED > 0
        tally.counts["repeats"] += int(same.sum())
        tally.counts["corrections"] += int((labelled & ~same).sum())
        tally.counts["waiting"] += int((~labelled & ~predicted).sum())
        changed = np.flatnonzero(~same)
        days = np.where(labelled & predicted, np.maximum(rows["day"], said.days), said.days)
        _write(rows, said)
        rows["day"] = days
        rows["state"] &= ~np.uint8(COUNTED)
        for place in np.unique(rows["version"][predicted & ~same]):
            version = self._catalogue.versions[place]
            at = changed[(predicted & (rows["version"] == place))[changed]]
            gone = at[before["state"][at] & COUNTED > 0]
            old = before[gone]
            old["day"] = days[gone]
            self._outcomes.add(tally, [said.ids[one] for one in gone], old, version, sign=-1.0)
            self._count(tally, said.ids, rows, version, at)
        tally.put([names[one] for one in changed], rows[changed])

    def _replies(self, model: str, said: _Said, cell: int) -> None:
        tally = Tally()
        known = np.zeros(len(said.ids), bool)
        for name in [model] if model else self._catalogue.models():
            found, rows = self._index.get(keys("prediction", name, last=said.ids))
            here = found & (rows["state"] & PREDICTED > 0)
            for place in np.unique(rows["version"][here]):
                minutes = said.minutes[here & (rows["version"] == place)]
                tally.add_traffic(self._catalogue.versions[place].group, minutes, cell)
            known |= here
        tally.add_traffic(group(model, ""), said.minutes[~known], cell)
        self._commit(tally)

    def _commit(self, tally: Tally) -> None:
        tally.commit(self._cells, self._index, self._catalogue.counts)


def _infer(version: Version, columns: Columns) -> None:
    """Takes the task from the first predictions that show one."""
    if version.task:
        return
    given = columns.column("prediction")
    if columns.present("score").any():
        version.task, version.scored = "binary", True
    elif columns.names(SCORE_COLUMNS) or (columns.present("prediction").any() and pa.types.is_string(given.type)):
        version.task = "classes"
    elif columns.present("prediction").any():
        version.task = "binary" if pa.types.is_boolean(given.type) else "regression"


def _classes(columns: Columns) -> list[str | None]:
    """The predicted classes, a number by its name."""
    if pa.types.is_string(columns.column("prediction").type):
        return columns.names_of("prediction")
    return [class_name(value) if np.isfinite(value) else None for value in columns.numbers("prediction").tolist()]


def _seen(version: Version, moments: Ints) -> None:
    first, last = int(moments.min()), int(moments.max())
    version.first_ns = min(version.first_ns, first) if version.predictions else first
    version.last_ns = max(version.last_ns, last)
    version.predictions += len(moments)


def _write(rows: Rows, said: _Said) -> None:
    rows["label"], rows["text"] = said.values, said.texts
    rows["day"], rows["minute"] = said.days, said.minutes
    rows["state"] |= LABELLED


def _bucket(moments: Ints, width: int) -> Ints:
    return np.clip(moments // width, 0, LAST_BUCKET)


def _first(names: Sequence[bytes] | Sequence[str]) -> Found:
    """Which names occur for the first time."""
    found = np.zeros(len(names), np.bool_)
    places = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
    found[list(places.values())] = True
    return found


def _equal(left: Floats, right: Floats) -> Found:
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)), np.bool_)
