"""Features and references: which edges a column is counted over, and its counts by hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from modelkeep.core.layouts import FEATURE
from modelkeep.core.shapes import Part
from modelkeep.quality.catalogue import MOST_FEATURES, Catalogue, Version, Waiting, group
from modelkeep.quality.columns import Columns
from modelkeep.quality.pair import Arrow, Ints
from modelkeep.quality.profile import (
    LONGEST,
    MISFIT,
    VALUE,
    Coded,
    Edges,
    code,
    edges_of,
    is_text,
    profile,
    states_of,
)
from modelkeep.quality.tally import PRESENCE, PROFILE, SQUARES, TOTAL, Tally
from modelkeep.store.cells import Cells

FIRST_ROWS: Final = 1_000
"""Values of a column from which edges are made when no reference has it."""
REFERENCE_ROWS: Final = 100_000
SCORE: Final = "@score"
PREDICTION: Final = "@prediction"


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A column's values that wait for edges."""

    version: int
    feature: str
    hours: Ints
    values: Arrow


class Features:
    """Counts feature columns into cells.

    Edges come from the version's own reference, else from the model's newest, else from the first `FIRST_ROWS` values
    of the column; until then values wait (durably) and are counted as soon as there are edges. A new reference makes
    new edges; rows counted before stay with the edges they were counted over.
    """

    def __init__(self, cells: Cells, catalogue: Catalogue) -> None:
        self._cells = cells
        self._catalogue = catalogue

    def code(self, tally: Tally, place: int, columns: Columns, hours: Ints) -> list[Unplaced]:
        """Counts one batch of predictions of one version into the tally and gives what waits for edges."""
        version = self._catalogue.versions[place]
        waiting = []
        for feature, values in _features(columns, version):
            if feature not in version.features and len(version.features) >= MOST_FEATURES:
                tally.counts["features_refused"] += 1
                continue
            edges_id = self._catalogue.present(version, feature)
            if not edges_id:
                _presence(tally, group(version.model, version.version, feature), hours, values)
                waiting.append(Unplaced(place, feature, hours, values))
                continue
            known = version.features.setdefault(feature, [])
            if edges_id not in known:
                known.append(edges_id)
            edges = self._catalogue.edges(edges_id)[0]
            coded = code(values, edges)
            _states(tally, group(version.model, version.version, feature), hours, coded)
            _counted(tally, group(version.model, version.version, feature, edges_id), hours, coded)
        return waiting

    def keep(self, waiting: list[Unplaced]) -> None:
        """Keeps values that wait, and counts those of columns that have enough of them now."""
        known = {(one.version, one.feature): one for one in self._catalogue.waiting}
        for column in waiting:
            self._register(column.version, column.feature)
            found = known.get((column.version, column.feature))
            if found is None:
                found = Waiting(column.version, column.feature, [], [])
            kept = _joined(found, column)
            if kept is None:
                self._catalogue.counts["mismatches"] = self._catalogue.counts.get("mismatches", 0) + 1
                continue
            if (column.version, column.feature) not in known and kept.hours:
                self._catalogue.waiting.append(kept)
            if len(kept.hours) >= FIRST_ROWS:
                self._place(kept, edges_of(_array(kept.values)))

    def reference(self, part: Part) -> None:
        """Makes edges of a reference, replacing those of an earlier one.

        What was counted over the first rows' edges gets the reference as its counterpart too.
        """
        place = self._catalogue.place(part.meta("model"), part.meta("version"))
        version = self._catalogue.versions[place]
        columns = Columns(part.batch.slice(0, REFERENCE_ROWS))
        self._catalogue.referenced(version)
        for feature, values in _features(columns, None):
            if not (states_of(values, numeric=not is_text(values)) == VALUE).any():
                continue
            edges = edges_of(values).named(version.model, version.version, feature)
            for edges_id in self._unreferenced(version, feature):
                older = self._catalogue.edges(edges_id)[0]
                self._catalogue.keep(older, profile(values, older))
            self._catalogue.keep(edges, profile(values, edges))
            known = version.features.setdefault(feature, [])
            if edges.id in known:
                known.remove(edges.id)
            known.append(edges.id)
        for column in list(self._catalogue.waiting):
            edges_id = self._catalogue.present(self._catalogue.versions[column.version], column.feature)
            if edges_id:
                self._place(column, self._catalogue.edges(edges_id)[0])

    def _unreferenced(self, version: Version, feature: str) -> Iterator[str]:
        for one in self._catalogue.of(version.model):
            if one is version or not one.reference:
                for edges_id in one.features.get(feature, ()):
                    if self._catalogue.edges(edges_id)[1] is None:
                        yield edges_id

    def _register(self, place: int, feature: str) -> None:
        self._catalogue.versions[place].features.setdefault(feature, [])

    def _place(self, column: Waiting, edges: Edges) -> None:
        """Counts values that waited."""
        version = self._catalogue.versions[column.version]
        if not self._catalogue.present(version, column.feature):
            edges = edges.named(version.model, version.version, column.feature)
            self._catalogue.keep(edges, None)
            version.features[column.feature].append(edges.id)
        tally = Tally()
        coded = code(_array(column.values), edges)
        name = group(version.model, version.version, column.feature, edges.id)
        _counted(tally, name, np.array(column.hours, np.int64), coded)
        for table, key, rows, values in tally.cells():
            self._cells.add(table, key, rows, values)
        self._catalogue.waiting.remove(column)


def _array(values: Sequence[float | str]) -> Arrow:
    return pa.array(values, pa.string() if values and isinstance(values[0], str) else pa.float64())


def _features(columns: Columns, version: Version | None) -> Iterator[tuple[str, Arrow]]:
    for name in columns.names(FEATURE):
        values = columns.column(FEATURE + name)
        if _counts(values):
            yield name, values
    if version is None or version.scored:
        yield SCORE, columns.column("score")
    elif version.task:
        yield PREDICTION, columns.column("prediction")


def _counts(values: Arrow) -> bool:
    kind = values.type
    simple = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_null)
    return any(test(kind) for test in simple)


def _presence(tally: Tally, name: str, hours: Ints, values: Arrow) -> None:
    states = states_of(values, numeric=not is_text(values))
    numbers = np.zeros(len(values)) if is_text(values) else Columns(pa.record_batch({"x": values})).numbers("x")
    _states(tally, name, hours, Coded(states, states, np.where(states == VALUE, numbers, 0.0)))


def _states(tally: Tally, name: str, hours: Ints, coded: Coded) -> None:
    tally.add(PRESENCE, name, hours, coded.states)
    tally.counts["mismatches"] += int((coded.states == MISFIT).sum())
    if coded.numbers.any():
        tally.add(PRESENCE, name, hours, TOTAL, coded.numbers)
        tally.add(PRESENCE, name, hours, SQUARES, np.clip(coded.numbers, -1e150, 1e150) ** 2)


def _counted(tally: Tally, name: str, hours: Ints, coded: Coded) -> None:
    held = coded.states == VALUE
    tally.add(PROFILE, name, hours[held], coded.cells[held])


def _joined(found: Waiting, column: Unplaced) -> Waiting | None:
    """The waiting column with more values; None when they are of the other kind."""
    states = states_of(column.values, numeric=not is_text(column.values))
    held = np.flatnonzero(states == VALUE)
    if not len(held):
        return found
    values = column.values.take(held)
    text = is_text(values)
    if found.values and isinstance(found.values[0], str) != text:
        return None
    columns = Columns(pa.record_batch({"x": values}))
    given = [one[:LONGEST] for one in columns.texts("x")] if text else columns.numbers("x").tolist()
    found.values = [*found.values, *given]
    found.hours = [*found.hours, *column.hours[held].tolist()]
    return found
