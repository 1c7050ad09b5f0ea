"""`modelkeep dataset`: rows from files and pipes, snapshots listed and restored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from modelkeep.cli.commands.dataset import dataset
from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.verbs.initialise import initialise


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    initialise(tmp_path, git=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(dataset, list(words), input=stdin, catch_exceptions=False)


def answer(*words: str, stdin: str | bytes | None = None) -> dict[str, object]:
    found = run(*words, "--json", stdin=stdin)
    assert found.exit_code == 0
    value: dict[str, object] = json.loads(found.stdout)
    return value


def test_a_story(root: Path) -> None:
    (root / "a.jsonl").write_text('{"n": 1}\n{"n": 2}')
    assert answer("append", "events", "a.jsonl") == {"rows": 2, "parts": 0, "waiting": 2, "snapshot": None}
    (root / "b.csv").write_text("n,m\n3,x\n4,y\n")
    done = answer("append", "events", "b.csv", "--snapshot")
    assert (done["rows"], done["parts"], done["waiting"]) == (2, 2, 0)
    parquet.write_table(pa.table({"n": [5, 6, 7]}), root / "c.parquet")
    assert answer("append", "events", "c.parquet", "--every-rows", "3")["snapshot"] is not None
    snapshots = answer("list", "events")["snapshots"]
    assert isinstance(snapshots, list)
    assert [one["rows"] for one in snapshots] == [4, 7]
    assert "2026" in run("list", "events").stdout or "20" in run("list", "events").stdout
    back = answer("restore", "events", "1", "out")
    assert back["files"] == 2
    assert sum(1 for _ in (root / "out").iterdir()) == 2
    assert "3 parts, 7 rows" in run("restore", "events", "last", "now").stdout
    assert answer("snapshot", "events")["snapshot"] == snapshots[-1]


def test_lines_come_from_a_pipe_as_they_come(root: Path) -> None:
    command = [sys.executable, "-m", "modelkeep", "dataset", "append", "events", "--json"]
    lines = b"".join(b'{"n": %d, "pad": "%s"}\n' % (n, b"x" * (n % 300)) for n in range(20_000))
    found = subprocess.run(command, input=lines, capture_output=True, check=True, timeout=60)
    assert json.loads(found.stdout)["rows"] == 20_000
    assert answer("snapshot", "events")["snapshot"]["rows"] == 20_000  # type: ignore[index]


def test_bad_rows_are_named_with_their_line_and_those_before_are_kept(root: Path) -> None:
    text = "".join(f'{{"n": {n}, "pad": "{"x" * 500}"}}\n' for n in range(4_000))
    (root / "a.jsonl").write_text(text + "[1]\n")
    with pytest.raises(BadInput, match=r"a\.jsonl:4001: "):
        run("append", "events", "a.jsonl")
    assert answer("list", "events")["waiting"] != 0
    (root / "b.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(BadInput, match=r"b\.csv:3: 1 fields, expected 2"):
        run("append", "other", "b.csv")
    (root / "c.parquet").write_text("nonsense")
    with pytest.raises(BadInput, match=r"c\.parquet: "):
        run("append", "other", "c.parquet")


def test_nothing_yet(root: Path) -> None:
    assert "no snapshot" in run("list", "events").stdout
    assert "no rows yet" in run("snapshot", "events").stdout
    with pytest.raises(Missing):
        run("restore", "events", "1", "out")
    assert answer("append", "events", stdin="") == {"rows": 0, "parts": 0, "waiting": 0, "snapshot": None}
