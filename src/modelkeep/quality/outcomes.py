"""Predictions meet their labels: what each pair adds to the cells of its version, and takes away when corrected."""

from __future__ import annotations

import numpy as np

from modelkeep.quality import binary, classes, regression
from modelkeep.quality.catalogue import Catalogue, Version
from modelkeep.quality.pair import Floats, Ints
from modelkeep.quality.tally import CONFUSION, HISTOGRAM, OUTCOME, Rows, Tally
from modelkeep.store.keys import Keys, keys

Found = np.ndarray[tuple[int], np.dtype[np.bool_]]


def class_name(value: float) -> str:
    """Gives the name of a class that was sent as a number.

    >>> class_name(3.0), class_name(0.5)
    ('3', '0.5')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _when(rows: Rows) -> tuple[Ints, Ints]:
    return rows["hour"].astype(np.int64), rows["day"].astype(np.int64)


class Outcomes:
    """Adds labelled predictions to a tally.

    Args:
        index: holds the probabilities of classes.
        catalogue: knows the versions and names.
    """

    def __init__(self, index: Keys, catalogue: Catalogue) -> None:
        self._index = index
        self._catalogue = catalogue

    def usable(self, rows: Rows, version: Version) -> Found:
        """Which rows have a guess and a label that fits the version's task."""
        finite = np.isfinite(rows["label"])
        fits = finite | (rows["text"] > 0) if version.task == "classes" else finite & (rows["text"] == 0)
        return np.asarray(fits & np.isfinite(rows["guess"]) & (version.task != ""), np.bool_)

    def add(self, tally: Tally, ids: list[str], rows: Rows, version: Version, *, sign: float) -> None:
        """Adds (or with sign -1 takes away) what labelled rows of one version stand for."""
        if not len(rows):
            return
        if version.task == "binary":
            terms = self._binary(tally, rows, version, sign)
        elif version.task == "regression":
            if version.origin is None:
                version.origin = float(rows["label"][0])
            terms = regression.terms(rows["guess"], rows["label"], version.origin)
        else:
            terms = self._classes(tally, ids, rows, version, sign=sign)
        for column in range(terms.shape[1]):
            tally.add_known(OUTCOME, version.group, *_when(rows), index=column, value=sign * terms[:, column])

    def _binary(self, tally: Tally, rows: Rows, version: Version, sign: float) -> Floats:
        positive = (rows["label"] >= 0.5).astype(np.float64)
        places = HISTOGRAM + binary.bins(rows["guess"]) + binary.BINS * positive.astype(np.int64)
        tally.add_known(OUTCOME, version.group, *_when(rows), index=places, value=sign)
        return binary.terms(rows["guess"], positive)

    def _classes(self, tally: Tally, ids: list[str], rows: Rows, version: Version, *, sign: float) -> Floats:
        actual = np.array([self._class(row) for row in rows], np.int64)
        predicted = rows["guess"].astype(np.int64)
        cells = self._local(version, actual) * classes.MOST + self._local(version, predicted)
        tally.add_known(CONFUSION, version.group, *_when(rows), index=cells, value=sign)
        probability = np.full(len(rows), np.nan)
        for place in np.unique(actual):
            at = np.flatnonzero(actual == place)
            name = self._catalogue.name(int(place))
            found, held = self._index.get(keys("score", version.model, name, last=[ids[one] for one in at]))
            probability[at[found]] = held["guess"][found]
        return classes.terms((actual == predicted).astype(np.float64), probability)

    def _class(self, row: np.void) -> int:
        return int(row["text"]) - 1 if row["text"] else self._catalogue.name_place(class_name(float(row["label"])))

    def _local(self, version: Version, places: Ints) -> Ints:
        """The version's own number of each class; what comes after the last one it has room for shares that one."""
        known = {place: at for at, place in enumerate(version.classes)}
        for place in dict.fromkeys(places.tolist()):
            if place not in known and len(known) < classes.MOST:
                known[place] = len(known)
                version.classes.append(place)
        return np.array([known.get(place, classes.MOST - 1) for place in places.tolist()], np.int64)
