"""Sealed rows are plain Parquet: other engines read the same files and count the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from modelkeep.core.clock import DAY, Fixed
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.engines.rows import Rows

DAYS = 20_000
ROWS = 600


def entry(seq: int) -> Entry:
    batch = pa.record_batch(
        {
            "id": [f"{seq}-{row}" for row in range(ROWS)],
            "at": pa.array([(DAYS + seq) * DAY + row for row in range(ROWS)], pa.int64()),
            "score": [row / ROWS for row in range(ROWS)],
            "latency_ns": pa.array([None] * ROWS, pa.int64()),
            "error": pa.array([None] * ROWS, pa.string()),
            "prediction": [row % 2 == 0 for row in range(ROWS)],
            "features.amount": [float(row) for row in range(ROWS)],
        }
    ).replace_schema_metadata({"model": "churn/eu", "version": str(seq), "release": "r"})
    return Entry(seq, "", 0, (Part("prediction", batch),))


def test_polars_and_duckdb_read_what_was_sealed(tmp_path: Path) -> None:
    rows = Rows(tmp_path, clock=Fixed((DAYS + 9) * DAY))
    for seq in range(1, 6):
        rows.apply([entry(seq)])
        rows.seal()
    rows.close()
    pattern = str(tmp_path / "prediction" / "**" / "*.parquet")
    frame = pl.scan_parquet(pattern, missing_columns="insert", hive_partitioning=False).collect()
    assert frame.height == frame["id"].n_unique() == 5 * ROWS
    assert frame["features.amount"].sum() == 5 * sum(range(ROWS))
    assert sorted(frame["version"].unique()) == list("12345")
    counted = duckdb.sql(
        f"select version, count(*), sum(score) from read_parquet('{pattern}', union_by_name=true) group by 1"
    )
    assert sorted(counted.fetchall()) == [(str(n), ROWS, sum(row / ROWS for row in range(ROWS))) for n in range(1, 6)]
    counted.close()
