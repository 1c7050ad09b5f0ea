"""Tables: what differs between two versions, beside polars, and what is said about bad files."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.datasets.tables import Nulls, TableDifference, compare
from modelkeep.quality.compare import compare as quality

CALM = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def differ(folder: Path, old: str | bytes | pa.Table, new: str | bytes | pa.Table, **more: object) -> TableDifference:
    for name, content in (("old", old), ("new", new)):
        if isinstance(content, pa.Table):
            parquet.write_table(content, folder / name)
        else:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return compare(folder / "old", folder / "new", names=("old.csv", "new.csv"), **more)  # type: ignore[arg-type]


def test_columns_rows_and_missing_values(tmp_path: Path) -> None:
    found = differ(tmp_path, "id,x,y\n1,1.5,a\n2,2.5,b\n3,3.5,\n", "x,id,z\n1.50,1,7\n,2,8\n4.5,4,9\n3.5,3,9\n")
    assert (found.old_rows, found.new_rows) == (3, 4)
    assert found.columns_added == (("z", "BIGINT"),)
    assert found.columns_removed == (("y", "VARCHAR"),)
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (2, 1, None)
    assert found.retyped == ()
    assert found.nulls == (Nulls("x", 0.0, 0.25),)
    assert not found.same
    assert found.json()["drift"] is None


def test_with_a_key_rows_change(tmp_path: Path) -> None:
    found = differ(tmp_path, "id,x\n1,1\n2,2\n3,3\n", "id,x\n4,4\n2,\n1,1\n", key=["id"])
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)
    assert differ(tmp_path, "a,b,x\n1,1,5\n1,2,5\n", "a,b,x\n1,2,6\n1,1,5\n", key=["a", "b"]).rows_changed == 1


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"new\.csv: id=1 stands in 2 rows"):
        differ(tmp_path, "id,x\n1,1\n", "id,x\n1,1\n1,2\n", key=["id"])
    with pytest.raises(Missing, match="no column 'key'") as caught:
        differ(tmp_path, "id,x\n1,1\n", "id,x\n1,1\n", key=["key"])
    assert "id, x" in caught.value.hint


def test_the_cell_that_broke_a_type_is_named(tmp_path: Path) -> None:
    old = "id,amount\n" + "".join(f"{row},{row}\n" for row in range(30_000))
    new = old.replace("\n20000,20000\n", '\n20000,"20,000"\n').replace("\n25000,25000\n", "\n25000,oops\n")
    (one,) = differ(tmp_path, old, new).retyped
    assert (one.column, one.old, one.new) == ("amount", "BIGINT", "VARCHAR")
    assert str(one.cell) == "new.csv:20002: '20,000' and 1 more"
    (back,) = differ(tmp_path, new, old).retyped
    assert str(back.cell).startswith("old.csv:20002")


def test_the_line_of_a_cell_counts_line_breaks_in_values_and_blank_lines(tmp_path: Path) -> None:
    (one,) = differ(tmp_path, "a,b\nx,1\n", 'a,b\n"x\ny",1\n\nz,?\n').retyped
    assert str(one.cell) == "new.csv:5: '?'"
    (one,) = differ(tmp_path, "a,b\nx,1\n", gzip.compress(b"a,b\r\nx,1\r\ny,2.5\r\n")).retyped
    assert (one.old, one.new, str(one.cell)) == ("BIGINT", "DOUBLE", "new.csv:3: '2.5'")


def test_codes_stay_text(tmp_path: Path) -> None:
    text = "zip,id,ok,day,at\n01234,12345678901234567890,true,2026-01-02,2026-01-02 03:04:05\n"
    found = differ(tmp_path, "a\n1\n", text).columns_added
    assert [kind for _, kind in found] == ["VARCHAR", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP"]


def test_csv_against_parquet_and_drift_of_common_columns(tmp_path: Path) -> None:
    rows = 5_000
    old = pa.table({"id": range(rows), "x": [row / rows for row in range(rows)], "only": ["a"] * rows})
    new = "id,x\n" + "".join(f"{row},{row / rows + 2}\n" for row in range(rows))
    found = differ(tmp_path, old, new, measures=quality)
    assert (found.rows_added, found.rows_removed) == (rows, rows)
    assert found.drift is not None
    drifted = {row["column"]: row["drifted"] for row in found.drift.json()["rows"]}  # type: ignore[union-attr,index,call-overload]
    assert drifted == {"id": False, "x": True}
    assert found.sampled is None
    same = differ(tmp_path, old, old, measures=quality)
    assert same.same
    assert same.drift is not None
    assert not same.drift.drifted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3\n", "new.csv:3: 1 fields, expected 2"),
        ("a,b\n1,2\n3,4,5\n", "new.csv:3: 3 fields, expected 2"),
        ('a,b\n1,2\n3,"4\n', "new.csv:3: Value with unterminated quote"),
        (b"a,b\n1,\xff\xfe\n", "new.csv:2: Invalid unicode"),
        (b"\xff\xfea,b\n", "new.csv:1: .*utf-8"),
        ("a,A\n1,2\n", "new.csv:1: column 'A' occurs twice"),
        ("", "new.csv:1: no head line"),
        (b"PAR1 and nothing", "new.csv: .*"),
        (b"\x1f\x8bnot gzip", "new.csv:1: "),
        (b"\x89PNG\0\0\0\n", "new.csv:1: "),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        differ(tmp_path, "a,b\n1,2\n", text)
    assert str(tmp_path) not in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_odd_names(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="gone"):
        compare(tmp_path / "gone", tmp_path / "gone")
    odd = tmp_path / "it's [a] *.csv"
    odd.write_text('"a""b",\'c\n1,2\n')
    assert compare(odd, odd).same


def test_separators_and_a_byte_order_mark(tmp_path: Path) -> None:
    for separator in ";\t|":
        found = differ(tmp_path, "a,b\n1,2\n", f"\ufeffa{separator}b\r\n1{separator}2\r\n")
        assert found.same
    assert differ(tmp_path, "a\n", "a\n1\n").rows_added == 1
    assert differ(tmp_path, "a\n1\n", "b\n1\n").rows_removed == 1


def test_a_table_larger_than_the_memory_given(tmp_path: Path) -> None:
    rows = 400_000
    frame = pl.DataFrame({"id": range(rows), "text": [f"row {row * 7919}" for row in range(rows)]})
    frame.write_parquet(tmp_path / "a")
    frame[:-1].sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b", memory="60MB")
    assert (found.rows_added, found.rows_removed) == (0, 1)


values = st.one_of(st.none(), st.integers(0, 4))
records = st.lists(st.tuples(values, values, st.sampled_from(["a", "b", "c d", 'q"', "é"])), max_size=40)


@CALM
@given(old=records, new=records, as_csv=st.tuples(st.booleans(), st.booleans()))
def test_rows_are_compared_as_polars_would(
    old: list[tuple[int | None, int | None, str]],
    new: list[tuple[int | None, int | None, str]],
    as_csv: tuple[bool, bool],
    tmp_path: Path,
) -> None:
    schema = {"a": pl.Int64, "b": pl.Int64, "c": pl.String}
    frames = [pl.DataFrame(rows, schema=schema, orient="row") for rows in (old, new)]
    for name, frame, csv in zip(("old", "new"), frames, as_csv, strict=True):
        (frame.write_csv if csv else frame.write_parquet)(tmp_path / name)
    found = compare(tmp_path / "old", tmp_path / "new")
    counts = [
        Counter(
            dict(
                frame.group_by(pl.all())
                .len()
                .select(pl.struct("a", "b", "c"), "len")
                .map_rows(lambda row: (str(row[0]), row[1]))
                .iter_rows()
            )
        )
        if len(frame)
        else Counter()
        for frame in frames
    ]
    assert found.rows_added == (counts[1] - counts[0]).total()
    assert found.rows_removed == (counts[0] - counts[1]).total()
    nulls = [frame.null_count().row(0) for frame in frames]
    expected = {
        name: (nulls[0][at] / max(len(old), 1), nulls[1][at] / max(len(new), 1)) for at, name in enumerate(schema)
    }
    for one in found.nulls:
        assert expected.pop(one.column) == (pytest.approx(one.old), pytest.approx(one.new))
    assert all(before == pytest.approx(after) for before, after in expected.values())


@CALM
@given(
    cells=st.lists(st.sampled_from(["1", "2.5", "-7", "true", "2026-01-02", "x", "", "1e5"]), min_size=1, max_size=8)
)
def test_types_are_those_that_polars_infers(cells: list[str], tmp_path: Path) -> None:
    text = "n,a\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells))
    (tmp_path / "t").write_text(text)
    inferred = pl.read_csv(tmp_path / "t", infer_schema_length=None, try_parse_dates=True).schema["a"]
    known = {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "BOOLEAN", pl.Date: "DATE", pl.String: "VARCHAR"}
    found = differ(tmp_path, "n\n1\n", text).columns_added[0][1]
    assert found == (known[type(inferred)] if any(cells) else "NULL")
