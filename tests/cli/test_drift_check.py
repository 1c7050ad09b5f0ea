"""`modelkeep drift check`: the fastest first five minutes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import csv, parquet
from scipy import stats

from modelkeep.cli.commands import modelkeep
from modelkeep.core.errors import BadInput

ROWS = 4_000


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(5)
    reference = {
        "income": random.lognormal(3, 1, ROWS),
        "age": random.normal(40, 9, ROWS),
        "plan": random.choice(["a", "b"], ROWS),
    }
    moved = {**reference, "income": reference["income"] * 1.8, "age": random.normal(40, 9, ROWS)}
    paths = {
        "reference": tmp_path / "reference.parquet",
        "moved": tmp_path / "moved.parquet",
        "csv": tmp_path / "moved.csv",
    }
    parquet.write_table(pa.table(reference), paths["reference"])
    parquet.write_table(pa.table(moved), paths["moved"])
    csv.write_csv(pa.table(moved), paths["csv"])
    return paths


@pytest.mark.parametrize("current", ["moved", "csv"])
def test_a_drifted_file_exits_1_and_names_the_column(files: dict[str, Path], current: str) -> None:
    result = CliRunner().invoke(modelkeep, ["drift", "check", str(files["reference"]), str(files[current])])
    assert result.exit_code == 1
    drifted = [line.split()[0] for line in result.output.splitlines() if line.endswith("drifted")]
    assert drifted == ["income"]
    assert "1 of 3 columns drifted" in result.output


def test_a_file_beside_itself_exits_0(files: dict[str, Path]) -> None:
    result = CliRunner().invoke(modelkeep, ["drift", "check", str(files["reference"]), str(files["reference"])])
    assert result.exit_code == 0
    assert "0 of 3 columns drifted" in result.output


def test_json_gives_the_number_that_scipy_gives(files: dict[str, Path]) -> None:
    result = CliRunner().invoke(modelkeep, ["drift", "check", "--json", str(files["reference"]), str(files["moved"])])
    rows = {row["column"]: row for row in json.loads(result.output)["rows"]}
    expected = stats.ks_2samp(
        parquet.read_table(files["reference"])["income"].to_numpy(),
        parquet.read_table(files["moved"])["income"].to_numpy(),
    ).statistic
    assert rows["income"]["measures"]["ks"]["value"] == pytest.approx(expected, abs=1e-12)


def test_a_missing_column_and_a_file_that_is_no_table_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    words = ["drift", "check", str(files["reference"]), str(files["moved"]), "--column", "salary"]
    with pytest.raises(BadInput, match="no column salary"):
        CliRunner().invoke(modelkeep, words, catch_exceptions=False, standalone_mode=False)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not a table")
    with pytest.raises(BadInput, match=r"broken\.parquet"):
        CliRunner().invoke(
            modelkeep,
            ["drift", "check", str(files["reference"]), str(broken)],
            catch_exceptions=False,
            standalone_mode=False,
        )
