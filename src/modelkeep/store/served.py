"""What each release served: how many predictions in which hour, the first and the last, as the journal tells it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.core.clock import HOUR
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.entries import Entries
from modelkeep.store.tables import served, served_hour
from modelkeep.store.told import reach, reached

Whose = tuple[str, str, str]
"""Release, model and version; the release is empty for predictions that named none."""


@dataclass(frozen=True, slots=True)
class Served:
    """The predictions of one release of a model version.

    Args:
        predictions: how many came; one that was sent again counts again.
        first_ns: time of the earliest.
        last_ns: time of the latest.
    """

    release: str
    model: str
    version: str
    predictions: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class ServedHour:
    """The predictions of one release of a model version in one hour, counted in hours since 1970."""

    release: str
    model: str
    version: str
    hour: int
    predictions: int


class Serving:
    """A reader of the journal that sums predictions; rows and progress change in one transaction, at every seal.

    What each release served over all is held in memory, what it served by the hour is asked of the store.
    """

    name = "serving"

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._lock = threading.Lock()
        self._spans = self._loaded()
        self._changed: set[Whose] = set()
        self._hours: dict[tuple[Whose, int], int] = {}
        self._applied = self._sealed = reached(entries, self.name)

    def sealed(self) -> int:
        return self._sealed

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries."""
        new = [entry for entry in entries if entry.seq > self._applied]
        parts = [part for entry in new for part in entry.parts if part.kind == "prediction" and part.batch.num_rows]
        with self._lock:
            for part in parts:
                self._take(part)
            if new:
                self._applied = new[-1].seq

    def seal(self) -> int:
        """Adds what came to what is stored."""
        with self._lock:
            if self._sealed < self._applied:
                self._store(self._applied)
                self._sealed = self._applied
                self._changed, self._hours = set(), {}
        return self._sealed

    def close(self) -> None:
        """Nothing is held."""

    def spans(self, model: str | None = None) -> list[Served]:
        """Gives what the releases of a model, or of all, served so far; in no order."""
        with self._lock:
            return [one for one in self._spans.values() if model is None or one.model == model]

    def hours(self, model: str, start_ns: int | None = None, end_ns: int | None = None) -> list[ServedHour]:
        """Gives predictions by release and hour, those of hours that touch [start, end); in no order."""
        first = -(1 << 62) if start_ns is None else start_ns // HOUR
        last = (1 << 62) if end_ns is None else -(-end_ns // HOUR)
        columns = (served_hour.c[name] for name in ("release", "model", "version", "hour", "predictions"))
        test = sa.and_(served_hour.c.model == model, served_hour.c.hour >= first, served_hour.c.hour < last)
        with self._lock, self._entries.connect() as connection:
            found = [ServedHour(*row) for row in connection.execute(sa.select(*columns).where(test))]
            found += [
                ServedHour(*key, hour, count)
                for (key, hour), count in self._hours.items()
                if key[1] == model and first <= hour < last
            ]
        return found

    def expire(self, before_ns: int) -> None:
        """Forgets the hours before; what a release served over all stays."""
        with self._entries.begin() as connection:
            connection.execute(served_hour.delete().where(served_hour.c.hour < before_ns // HOUR))

    def _take(self, part: Part) -> None:
        at = np.asarray(part.batch.column("at").to_numpy(zero_copy_only=False), np.int64)
        key = (part.meta("release"), part.meta("model"), part.meta("version"))
        one = Served(*key, len(at), int(at.min()), int(at.max()))
        self._spans[key] = _joined(self._spans[key], one) if key in self._spans else one
        self._changed.add(key)
        hours, counts = np.unique(at // HOUR, return_counts=True)
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
            self._hours[key, hour] = self._hours.get((key, hour), 0) + count

    def _loaded(self) -> dict[Whose, Served]:
        query = sa.select(*(served.c[name] for name in (*_WHOSE, *_SPAN)))
        with self._entries.connect() as connection:
            return {(row[0], row[1], row[2]): Served(*row) for row in connection.execute(query)}

    def _store(self, seq: int) -> None:
        with self._entries.begin() as connection:
            if self._changed:
                connection.execute(_PUT_SPANS, [_span(self._spans[key]) for key in self._changed])
            if self._hours:
                connection.execute(_ADD_HOURS, [_hour(key, hour, count) for (key, hour), count in self._hours.items()])
            reach(connection, self.name, seq)


_WHOSE: Final = ("release", "model", "version")
_SPAN: Final = ("predictions", "first_ns", "last_ns")


def _joined(one: Served, other: Served) -> Served:
    return replace(
        one,
        predictions=one.predictions + other.predictions,
        first_ns=min(one.first_ns, other.first_ns),
        last_ns=max(one.last_ns, other.last_ns),
    )


def _span(one: Served) -> dict[str, str | int]:
    return {name: getattr(one, name) for name in (*_WHOSE, *_SPAN)}


def _hour(key: Whose, hour: int, count: int) -> dict[str, str | int]:
    return {**dict(zip(_WHOSE, key, strict=True)), "hour": hour, "predictions": count}


def _put_spans() -> sa.Insert:
    new = insert(served)
    return new.on_conflict_do_update(index_elements=list(_WHOSE), set_={name: new.excluded[name] for name in _SPAN})


def _add_hours() -> sa.Insert:
    new = insert(served_hour)
    sums = {"predictions": served_hour.c.predictions + new.excluded.predictions}
    return new.on_conflict_do_update(index_elements=["model", "hour", "release", "version"], set_=sums)


_PUT_SPANS: Final = _put_spans()
_ADD_HOURS: Final = _add_hours()
