"""Drift over any window from stored profiles, beside reading the window's rows again.

    python bench/any_window.py [--days 90] [--rows-per-hour 400] [--windows 20]

Twenty numeric features are profiled by hour, as the server does. Then some windows of a day to four weeks are asked for
at random places: from the profiles through the server's own path, as a whole series of hourly steps, and from the raw
rows with the exact measures (their reading not counted). The difference of the two answers is printed as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelkeep.core.clock import DAY, HOUR
from modelkeep.core.series import Matcher, Want
from modelkeep.core.shapes import Entry, Part
from modelkeep.quality.compare import compare
from modelkeep.quality.quality import Quality
from modelkeep.quality.windows import EVER, Windows

FEATURES = 20
BEGIN = 19_000 * DAY
BATCH = 2_000


def columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    draws = (rng.normal, rng.lognormal, lambda size: rng.gamma(2, size=size), lambda size: rng.integers(0, 50, size))
    wave = np.sin(np.arange(rows) / rows * 40)
    return {f"x{at}": draws[at % 4](size=rows) + wave * (at % 3) for at in range(FEATURES)}


def part(kind: str, values: dict[str, np.ndarray], first: int, last: int, hourly: int) -> Part:
    given = {f"features.{name}": pa.array(value[first:last]) for name, value in values.items()}
    if kind == "prediction":
        moments = BEGIN + np.arange(first, last) * (HOUR // hourly)
        given |= {"id": pa.array([str(at) for at in range(first, last)]), "at": pa.array(moments)}
        given["score"] = pa.array(np.full(last - first, 0.5))
    batch = pa.record_batch(given).replace_schema_metadata({"model": "m", "version": "1", "release": "r"})
    return Part(kind, batch)


def timed(what: str, times: int, run: object) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    for at in range(times):
        run(at)  # type: ignore[operator]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {what:44}{wall / times * 1e3:10.2f} ms wall{cpu / times * 1e3:10.2f} ms CPU")
    return cpu / times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rows-per-hour", type=int, default=400)
    parser.add_argument("--windows", type=int, default=20)
    given = parser.parse_args()
    hourly, rows = given.rows_per_hour, given.days * 24 * given.rows_per_hour
    reference, current = columns(50_000, 0), columns(rows, 1)
    rng = np.random.default_rng(2)
    places = []
    for _ in range(given.windows):
        width = int(rng.choice([24, 168, 672]))
        start = int(rng.integers(0, given.days * 24 - width))
        places.append((start, start + width))
    with tempfile.TemporaryDirectory() as folder:
        quality = Quality(Path(folder))
        quality.apply([Entry(1, "", 0, (part("reference", reference, 0, 50_000, hourly),))])
        feed = [part("prediction", current, at, min(at + BATCH, rows), hourly) for at in range(0, rows, BATCH)]
        wall, cpu = time.perf_counter(), time.process_time()
        quality.apply([Entry(seq, "", 0, (one,)) for seq, one in enumerate(feed, 2)])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{rows:,} rows × {FEATURES} features, {given.days} days: profiled {rows / cpu:,.0f} rows per CPU second")
        quality.seal()
        size = sum(file.stat().st_size for file in Path(folder, "cells").iterdir())
        print(f"  on disk: {size / FEATURES / given.days / 24:.0f} bytes per feature and hour")

        whole = pa.table(current)
        exact = pa.table(reference)
        answers: list[dict[str, dict[str, float]]] = []

        def profiles(at: int) -> None:
            start, end = (BEGIN + place * HOUR for place in places[at])
            found = quality.drift("m", start_ns=start, end_ns=end)
            answers.append({row.feature: {n: v.value for n, v in row.measures.items()} for row in found.rows})

        gaps: dict[str, list[float]] = {}

        def again(at: int) -> None:
            start, end = places[at]
            found = compare(exact, whole.slice(start * hourly, (end - start) * hourly))
            for row in found.rows:
                for name, verdict in row.measures.items():
                    gaps.setdefault(name, []).append(abs(verdict.value - answers[at][row.column][name]))

        def bare(at: int) -> None:
            start, end = (BEGIN // HOUR + place for place in places[at])
            version = quality._catalogue.of("m")[0]
            windows = Windows(np.array([start]), np.array([end]), np.array([EVER]))
            quality.readings.drift(version, "x0", windows)

        stored = timed("one window, all features, from profiles", given.windows, profiles)
        timed("one window, one feature, from profiles", given.windows, bare)
        scanned = timed("one window, all features, from rows", given.windows, again)
        print(f"  from profiles: {scanned / stored:.1f} × less CPU than from rows")
        for name, values in gaps.items():
            print(f"  largest difference of {name:16}{max(values):.2e}   median {np.median(values):.1e}")

        def series(_: int) -> None:
            end = BEGIN + given.days * DAY
            quality.series.select([Matcher("__name__", "=", "model_feature_drift")], Want(BEGIN, end, HOUR, HOUR))

        steps = given.days * 24
        every = timed(f"{steps} hourly steps of a week, all features", 1, series)
        print(f"  per window, feature and measure: {every / steps / FEATURES / 4 * 1e6:.2f} µs of CPU")
        quality.close()


if __name__ == "__main__":
    main()
