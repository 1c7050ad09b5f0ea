"""Drift between two tables."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from modelkeep.core.errors import BadInput, Missing
from modelkeep.quality.compare import compare


def numbers(count: int, columns: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({f"x{at}": rng.normal(size=count) for at in range(columns)})


def test_the_same_table_does_not_drift() -> None:
    table = numbers(500, 5, 0)
    found = compare(table, table)
    assert not found.drifted
    assert all(verdict.value == 0 for row in found.rows for verdict in row.measures.values())


def test_values_are_exact() -> None:
    left, right = numbers(5_000, 1, 0), numbers(3_000, 1, 1)
    found = compare(left, right).rows[0].measures
    assert found["ks"].value == pytest.approx(stats.ks_2samp(left["x0"], right["x0"]).statistic, abs=1e-12)


@pytest.mark.parametrize("rows", [80, 2_000])
def test_many_columns_of_the_same_population_raise_no_storm(rows: int) -> None:
    found = compare(numbers(3_000, 300, 0), numbers(rows, 300, 1))
    assert sum(row.drifted for row in found.rows) <= 1


def test_large_tables_are_judged_by_effect_not_by_p_value() -> None:
    """A shift of a fiftieth of a deviation is certain at this size, and nobody's business."""
    rng = np.random.default_rng(0)
    left, right = pa.table({"x": rng.normal(size=200_000)}), pa.table({"x": rng.normal(0.02, 1, 200_000)})
    assert stats.ks_2samp(left["x"], right["x"]).pvalue < 1e-4
    assert not compare(left, right).drifted


def test_a_shift_is_found() -> None:
    rng = np.random.default_rng(0)
    left = pa.table({"x": rng.normal(size=4_000), "y": rng.choice(["a", "b"], 4_000)})
    right = pa.table({"x": rng.normal(0.8, 1, 900), "y": rng.choice(["b", "c"], 900)})
    found = compare(left, right)
    assert [(row.column, row.kind, row.drifted) for row in found.rows] == [
        ("x", "numeric", True),
        ("y", "categorical", True),
    ]


def test_columns_that_come_go_or_change_type_are_named() -> None:
    left = pa.table({"kept": [1.0], "gone": [1], "retyped": [1.5], "list": [[1]]})
    right = pa.table({"kept": [1.0], "new": [1], "retyped": ["one"], "list": [[1]]})
    found = compare(left, right)
    assert (found.added, found.removed, found.retyped, found.skipped) == (("new",), ("gone",), ("retyped",), ("list",))
    assert found.drifted
    assert [row.column for row in found.rows] == ["kept"]


@pytest.mark.parametrize("gone", [pa.nulls(400), pa.nulls(400, pa.float64()), pa.array([float("nan")] * 400)])
def test_a_column_that_lost_its_values_drifts(gone: pa.Array) -> None:
    found = compare(pa.table({"x": np.arange(400.0)}), pa.table({"x": gone}))
    assert (found.rows[0].reference_missing, found.rows[0].current_missing) == (0, 1)
    assert found.drifted
    assert found.rows[0].measures == {}


def test_a_few_more_nulls_are_chance() -> None:
    left = pa.table({"x": pa.array([None if at % 50 == 0 else 1.0 for at in range(1_000)])})
    right = pa.table({"x": pa.array([None if at % 20 == 0 else 1.0 for at in range(60)])})
    assert not compare(left, right).drifted


def test_columns_empty_on_both_sides_are_skipped() -> None:
    table = pa.table({"x": pa.nulls(3, pa.float64()), "y": pa.nulls(3), "z": [1, 2, 3]})
    assert compare(table, table).skipped == ("x", "y")


def test_bools_times_decimals_and_dictionaries_are_compared() -> None:
    day = dt.date(2013, 4, 1)
    table = pa.table(
        {
            "bool": pa.array([True, False, None] * 50),
            "date": pa.array([day] * 150),
            "time": pa.array([dt.datetime(2013, 4, 1, tzinfo=dt.UTC)] * 150),
            "span": pa.array([dt.timedelta(seconds=at) for at in range(150)]),
            "decimal": pa.array(range(150)).cast(pa.decimal128(24, 2)),
            "dictionary": pa.array(["a", "b", "c"] * 50).dictionary_encode(),
            "large": pa.array(["a", "b", "c"] * 50, pa.large_string()),
            "chunks": pa.chunked_array([[1, 2, 3] * 20, [1, 2, 3] * 30]),
        }
    )
    found = compare(table, table)
    assert [row.column for row in found.rows] == table.column_names
    assert not found.drifted


def test_a_table_of_no_rows_has_nothing_to_compare() -> None:
    table = numbers(10, 2, 0)
    assert compare(table, table.slice(0, 0)).skipped == ("x0", "x1")


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadInput, match="no column in common"):
        compare(pa.table({"x": [1]}), pa.table({"y": [1]}))
    with pytest.raises(Missing, match="no measure 'cramer'"):
        compare(pa.table({"x": [1]}), pa.table({"x": [1]}), measures=["cramer"])
    double = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(BadInput, match="'x' occurs twice"):
        compare(double, double)


def test_json_is_json() -> None:
    left, right = pa.table({"x": [1.0, None]}), pa.table({"x": [1.0, 2.0]})
    found = json.loads(json.dumps(compare(left, right, measures=["ks"]).json(), allow_nan=False))
    ks = found["rows"][0]["measures"]["ks"]
    assert (ks["value"], ks["threshold"], ks["drifted"]) == (0.5, None, False)
    assert 0.5 < ks["p_value"] <= 1
