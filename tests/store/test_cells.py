"""Cells against a dictionary: additions, seals, crashes, retention, merging of files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.store.cells import CellRows, Cells

Key = tuple[int, int, int]
KEYS = st.tuples(st.integers(-3, 6), st.integers(0, 2), st.integers(0, 4))
ADD = st.tuples(st.sampled_from("ab"), st.lists(st.tuples(KEYS, st.integers(-3, 70_000)), max_size=8))
STEP = st.one_of(
    ADD,
    st.sampled_from(["seal", "reopen", "crash", "compact"]),
    st.integers(-3, 6),
)


def listed(rows: CellRows) -> list[tuple[int, int, int, float]]:
    columns = (rows.bucket, rows.day, rows.index, rows.value)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def add(cells: Cells, group: str, pairs: list[tuple[Key, int]]) -> None:
    rows = np.array([key for key, _ in pairs], np.int64).reshape(-1, 3)
    cells.add("t", group, rows, np.array([value for _, value in pairs], np.float64))


class Model:
    """What `Cells` must show."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[Key, float]] = defaultdict(lambda: defaultdict(float))
        self.floor = -(10**6)

    def add(self, group: str, pairs: list[tuple[Key, int]]) -> None:
        for key, value in pairs:
            if key[0] >= self.floor:
                self.sums[group][key] += value

    def drop(self, before: int) -> None:
        self.floor = max(self.floor, before)
        for sums in self.sums.values():
            for key in [key for key in sums if key[0] < self.floor]:
                del sums[key]

    def rows(self, group: str) -> list[tuple[int, int, int, float]]:
        return sorted((*key, value) for key, value in self.sums[group].items() if value)


@given(st.lists(STEP, max_size=30))
def test_cells_are_a_dictionary_of_sums(steps):
    with tempfile.TemporaryDirectory() as place:
        cells, model, seq = Cells(Path(place)), Model(), 0
        since: list[object] = []
        for step in steps:
            if isinstance(step, tuple):
                seq += 1
                add(cells, *step)
                model.add(*step)
                since.append(step)
            elif isinstance(step, int):
                cells.drop("t", step)
                model.drop(step)
                since.append(step)
            elif step == "compact":
                cells.compact()
            elif step == "crash":
                cells.close()
                cells = Cells(Path(place))
                for again in since:
                    if isinstance(again, int):
                        cells.drop("t", again)
                    else:
                        add(cells, *again)
            else:
                cells.seal(seq)
                assert cells.sealed() == seq
                since.clear()
                if step == "reopen":
                    cells.close()
                    cells = Cells(Path(place))
            for group in "ab":
                assert listed(cells.rows("t", group)) == model.rows(group)
                part = [row for row in model.rows(group) if 1 <= row[0] < 4]
                assert listed(cells.rows("t", group, 1, 4)) == part
        cells.close()


def test_documents_are_sealed_with_the_cells(tmp_path):
    cells = Cells(tmp_path)
    cells.put("edges", b"one")
    cells.seal(1)
    cells.put("edges", b"two")
    cells.put("more", b"three")
    assert cells.get("edges") == b"two"
    cells = Cells(tmp_path)
    assert (cells.get("edges"), cells.get("more"), cells.sealed()) == (b"one", None, 1)
    cells.put("edges", b"four")
    cells.seal(2)
    cells.compact()
    assert Cells(tmp_path).get("edges") == b"four"


def test_many_seals_leave_few_files(tmp_path):
    cells = Cells(tmp_path)
    rng = np.random.default_rng(0)
    for seq in range(1, 120):
        rows = np.stack([rng.integers(0, 400, 200), np.zeros(200, int), rng.integers(0, 50, 200)], axis=1)
        cells.add("t", "g", rows, np.ones(200))
        cells.seal(seq)
    cells._runs.settle()
    cells.seal(200)
    cells.seal(201)
    assert len(list(tmp_path.glob("*.run"))) <= 16
    again = Cells(tmp_path)
    assert again.sealed() == 201
    assert again.rows("t", "g").value.sum() == 119 * 200
    assert listed(again.rows("t", "g")) == listed(cells.rows("t", "g"))


def test_the_state_before_the_last_seal_can_be_opened(tmp_path):
    cells = Cells(tmp_path)
    for seq in (1, 2, 3):
        add(cells, "a", [((seq, 0, 0), 1)])
        cells.seal(seq)
        cells.compact()
    cells.seal(3)
    cells = Cells(tmp_path, at=2)
    assert (cells.sealed(), cells.rows("t", "a").bucket.tolist()) == (2, [1, 2])
    add(cells, "a", [((3, 0, 0), 1)])
    cells.seal(3)
    assert Cells(tmp_path).rows("t", "a").bucket.tolist() == [1, 2, 3]
    with pytest.raises(Corrupt, match="no state at 1"):
        Cells(tmp_path, at=1)


def test_sums_of_whole_numbers_stay_exact(tmp_path):
    cells = Cells(tmp_path)
    for _ in range(3):
        cells.add("t", "g", np.array([[0, 0, 0], [0, 0, 1]]), np.array([2.0**50 + 1, 0.25]))
    cells.seal(1)
    assert Cells(tmp_path).rows("t", "g").value.tolist() == [3 * (2.0**50 + 1), 0.75]


def test_revision_changes_with_every_addition(tmp_path):
    cells = Cells(tmp_path)
    assert cells.revision("t", "a") == 0
    add(cells, "a", [((1, 0, 0), 1)])
    one = cells.revision("t", "a")
    cells.seal(1)
    assert cells.revision("t", "a") == one
    add(cells, "a", [((1, 0, 0), 1)])
    assert cells.revision("t", "a") > one


@pytest.mark.parametrize("row", [(1 << 26, 0, 0), (0, -1, 0), (0, 1 << 16, 0), (0, 0, 1 << 20)])
def test_a_number_out_of_range_is_refused(tmp_path, row):
    with pytest.raises(BadInput, match="out of range"):
        Cells(tmp_path).add("t", "g", np.array([row]), np.ones(1))


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    cells = Cells(tmp_path)
    with pytest.raises(BadInput, match="shape"):
        cells.add("t", "g", np.zeros((2, 2), np.int64), np.ones(2))
    with pytest.raises(BadInput, match="3 values"):
        cells.add("t", "g", np.zeros((2, 3), np.int64), np.ones(3))
    cells.seal(3)
    with pytest.raises(BadInput, match="cannot seal"):
        cells.seal(2)


def test_damage_is_told_with_its_place(tmp_path):
    cells = Cells(tmp_path)
    add(cells, "a", [((1, 0, 0), 1)])
    cells.seal(1)
    (file,) = tmp_path.glob("*.run")
    whole = file.read_bytes()
    for bad in (whole[:-1], whole[:12] + b"\xff" + whole[13:], whole[:-30] + b"\xff" + whole[-29:], b""):
        file.write_bytes(bad)
        with pytest.raises(Corrupt, match=file.name):
            Cells(tmp_path)
    file.unlink()
    with pytest.raises(Corrupt, match="missing"):
        Cells(tmp_path)


def test_a_newer_or_foreign_folder_is_refused(tmp_path):
    Cells(tmp_path).seal(1)
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"form":1', '"form":9'))
    with pytest.raises(Conflict, match="form 9"):
        Cells(tmp_path)
    manifest.write_text(text.replace("cells", "keys"))
    with pytest.raises(Conflict, match="holds keys"):
        Cells(tmp_path)
    manifest.write_text("{")
    with pytest.raises(Corrupt):
        Cells(tmp_path)
