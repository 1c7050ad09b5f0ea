"""History from files: what becomes of each column, and that the same file gives the same tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from modelkeep.cli.backfill import ROWS, Columns, count_rows, envelopes
from modelkeep.core.clock import SECOND
from modelkeep.core.errors import BadInput

START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = Columns("id", "at", "prediction", "score", "label")


def write(path: Path, rows: int) -> Path:
    table = pa.table(
        {
            "id": [f"p{row}" for row in range(rows)],
            "at": pa.array([START + timedelta(seconds=row) for row in range(rows)], pa.timestamp("us", tz="UTC")),
            "prediction": [row % 2 == 0 for row in range(rows)],
            "score": [row / rows for row in range(rows)],
            "label": [None if row % 3 else 1 for row in range(rows)],
            "amount": [Decimal("1.50")] * rows,
            "plan": pa.array(["a"] * rows).dictionary_encode(),
        }
    )
    parquet.write_table(table, path)
    return path


def test_every_row_arrives_once_with_its_time_label_and_features(tmp_path: Path) -> None:
    path = write(tmp_path / "history.parquet", ROWS + 7)
    found = list(envelopes(path, "m", "1", COLUMNS))
    assert count_rows(path) == sum(rows for _, rows in found) == ROWS + 7
    ids = [one for envelope, _ in found for one in envelope.predictions[0].ids]
    assert ids == [f"p{row}" for row in range(ROWS + 7)]
    first = found[0][0]
    start = int(START.timestamp()) * SECOND
    assert first.predictions[0].at[:2] == [start, start + SECOND]
    assert set(first.predictions[0].features) == {"amount", "plan"}
    assert first.predictions[0].features["amount"][0] == 1.5
    assert first.predictions[0].features["plan"][0] == "a"
    assert first.facts[0].ids[:3] == ["p0", "p3", "p6"]
    assert set(first.facts[0].at) <= set(first.predictions[0].at)


def test_the_same_import_has_the_same_tokens_and_another_has_others(tmp_path: Path) -> None:
    path = write(tmp_path / "history.parquet", ROWS + 1)
    tokens = [envelope.token for envelope, _ in envelopes(path, "m", "1", COLUMNS)]
    assert tokens == [envelope.token for envelope, _ in envelopes(path, "m", "1", COLUMNS)]
    assert len(set(tokens)) == 2
    assert not set(tokens) & {envelope.token for envelope, _ in envelopes(path, "m", "2", COLUMNS)}


def test_csv_with_iso_times_and_unix_seconds(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    csv.write_csv(pa.table({"id": [7], "at": [1_767_225_600], "prediction": [0.25], "x": [1]}), path)
    ((envelope, rows),) = envelopes(path, "m", "1", Columns("id", "at", "prediction"))
    assert rows == 1
    assert envelope.predictions[0].ids == ["7"]
    assert envelope.predictions[0].at == [1_767_225_600 * SECOND]


def test_a_missing_column_and_a_missing_time_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "history.parquet", 3)
    with pytest.raises(BadInput, match="no column when"):
        list(envelopes(path, "m", "1", Columns("id", "when", "prediction")))
    parquet.write_table(pa.table({"id": ["a"], "at": pa.array([None], pa.int64()), "prediction": [1]}), path)
    with pytest.raises(BadInput, match="1 rows without a time"):
        list(envelopes(path, "m", "1", Columns("id", "at", "prediction")))
