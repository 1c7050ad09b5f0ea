"""The demo's serving process: a model that predicts and logs as in production, through the public SDK alone.

It runs as `python -m modelkeep.cli.demo.serving FROM TO SECONDS` with MODELKEEP_URL set, and prints one JSON line
per event day for the process that shows the progress.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

import modelkeep as mk
from modelkeep.cli.demo.flights import FEATURES, flights
from modelkeep.cli.demo.model import NAME, VERSION, Delays
from modelkeep.core.clock import DAY, HOUR

log: Final = logging.getLogger("flight-delay")
THRESHOLD: Final = 0.5


def main(first: date, last: date, seconds: float) -> None:
    """Serves the flights of the days `first` to `last` in their order.

    Args:
        first: first local day.
        last: last local day, inclusive.
        seconds: how long the whole shall take; 0 means as fast as it goes.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # what is logged goes to the server, not to the terminal
    log.setLevel(logging.INFO)
    mk.logging.install(level="INFO")
    frame = flights()
    day = pd.to_datetime({"year": 2013, "month": frame["month"], "day": frame["day"]}).dt.date
    known = frame["late"].notna()
    learnt = frame[known & (day <= date(2013, 2, 14))]
    held_out = frame[known & (day >= date(2013, 2, 15)) & (day <= date(2013, 2, 28))]
    with mk.at(int(learnt["at"].iloc[-1])), mk.train(NAME, version=VERSION, flights=len(learnt)) as run:
        delays = Delays(learnt)
        run.log_metrics(auc=roc_auc_score(held_out["late"] > 0, delays.score(held_out)))
    with mk.at(int(held_out["at"].iloc[-1])):
        mk.reference(NAME, VERSION, held_out[FEATURES], held_out["late"] > 0, delays.score(held_out))
        log.info("Model %s %s is ready, learnt from %d flights", NAME, VERSION, len(learnt))
    live = frame[(day >= first) & (day <= last)]
    start, days = time.monotonic(), (last - first).days + 1
    truths = Truths(live)
    for number, (today, rows) in enumerate(live.groupby(day[live.index], sort=True)):
        serve_day(rows, delays, truths)
        sys.stdout.write(json.dumps({"day": str(today), "flights": len(rows)}) + "\n")
        sys.stdout.flush()
        time.sleep(max(0.0, start + seconds * (number + 1) / days - time.monotonic()))
    truths.tell(int(live["at"].iloc[-1]) + DAY)
    if not mk.flush(60):
        sys.exit("The server did not take everything within a minute.")


def serve_day(rows: pd.DataFrame, delays: Delays, truths: Truths) -> None:
    """Predicts one day's flights hour by hour, and tells the truth of those that departed a day before."""
    scores = delays.score(rows)
    without_weather = int(rows["temp"].isna().sum())
    hours = rows["at"].to_numpy() // HOUR
    for hour in np.unique(hours):
        chosen = hours == hour
        part, part_scores = rows[chosen], scores[chosen]
        now = int(part["at"].iloc[-1])
        truths.tell(now)
        with mk.at(now):
            mk.log_prediction(
                NAME,
                part[FEATURES],
                part_scores >= THRESHOLD,
                score=part_scores,
                id=list(part["id"]),
                at=list(part["at"]),
                version=VERSION,
            )
    with mk.at(now):
        log.info("Predicted %d flights, %.1f %% of them late", len(rows), 100 * scores.mean())
        if without_weather:
            log.warning("No weather for %d of %d flights", without_weather, len(rows))


class Truths:
    """Tells whether flights were late, each one day after its scheduled departure; some never arrive.

    Args:
        live: the flights that are served, in time order.
    """

    def __init__(self, live: pd.DataFrame) -> None:
        arrived = live[live["late"].notna()]
        self._due = self._rows(arrived)
        self._next = next(self._due, None)

    def tell(self, now_ns: int) -> None:
        """Tells everything that is known by `now_ns`."""
        while self._next is not None and self._next[0] <= now_ns:
            at, identity, late = self._next
            mk.truth(identity, late, model=NAME, at=at)
            self._next = next(self._due, None)

    @staticmethod
    def _rows(arrived: pd.DataFrame) -> Iterator[tuple[int, str, bool]]:
        for at, identity, late in zip(arrived["at"] + DAY, arrived["id"], arrived["late"] > 0, strict=True):
            yield int(at), str(identity), bool(late)


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2]), float(sys.argv[3]))
