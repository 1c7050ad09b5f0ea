"""Keys against a dictionary: puts, seals, crashes, merging, lookups of many keys."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.store import keys as keys_module
from modelkeep.store.keys import Keys, key, keys
from modelkeep.store.runs.hashed import Hashed, union

FIELDS = np.dtype([("hour", "<i4"), ("bin", "<u2")])
# first words collide on purpose
KEY = st.builds(lambda high, low: bytes([high]) * 8 + bytes([low]) * 8, st.integers(0, 3), st.integers(0, 5))
STEP = st.one_of(
    st.lists(st.tuples(KEY, st.integers(0, 100)), max_size=10),
    st.sampled_from(["seal", "reopen", "crash", "compact"]),
)


def put(index: Keys, pairs: list[tuple[bytes, int]]) -> None:
    index.put([one for one, _ in pairs], np.array([(value, value % 7) for _, value in pairs], FIELDS))


@given(st.lists(STEP, max_size=25), st.lists(KEY, max_size=12))
def test_keys_are_a_dictionary(steps, asked):
    with tempfile.TemporaryDirectory() as place:
        index, model, since, seq = Keys(Path(place), FIELDS), {}, [], 0
        for step in steps:
            if isinstance(step, list):
                put(index, step)
                model |= dict(step)
                since.append(step)
                seq += 1
            elif step == "compact":
                index.compact()
            elif step == "crash":
                index.close()
                index = Keys(Path(place), FIELDS)
                for again in since:
                    put(index, again)
            else:
                index.seal(seq)
                since.clear()
                if step == "reopen":
                    index.close()
                    index = Keys(Path(place), FIELDS)
                    assert index.sealed() == seq
            found, rows = index.get(asked)
            assert found.tolist() == [one in model for one in asked]
            assert rows["hour"].tolist() == [model.get(one, 0) for one in asked]
            assert rows["bin"].tolist() == [model.get(one, 0) % 7 for one in asked]
        index.close()


def test_freezing_keeps_the_latest(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "_MOST_RECENT", 16)
    index = Keys(tmp_path, FIELDS)
    rng = np.random.default_rng(1)
    model: dict[bytes, int] = {}
    for seq in range(1, 60):
        pairs = [(key(str(rng.integers(0, 300))), int(rng.integers(1, 1000))) for _ in range(40)]
        put(index, pairs)
        model |= dict(pairs)
        if seq % 7 == 0:
            index.seal(seq)
    asked = [key(str(number)) for number in range(320)]
    found, rows = index.get(asked)
    assert rows["hour"].tolist() == [model.get(one, 0) for one in asked]
    assert found.sum() == len(model)
    index.seal(60)
    index.compact()
    assert len(index) == len(model)


def test_dropped_rows_are_gone(tmp_path):
    index = Keys(tmp_path, FIELDS)
    put(index, [(key(str(number)), number) for number in range(100)])
    index.seal(1)
    assert index.drop(lambda rows: rows["hour"] < 30) == 30
    found, _ = Keys(tmp_path, FIELDS).get([key(str(number)) for number in range(100)])
    assert found.tolist() == [number >= 30 for number in range(100)]
    assert index.drop(lambda rows: rows["hour"] < 1000) == 70
    assert not index.get([key("50")])[0].any()


def test_the_state_before_the_last_seal_can_be_opened(tmp_path):
    index = Keys(tmp_path, FIELDS)
    for seq in (1, 2):
        put(index, [(key("a"), seq)])
        index.seal(seq)
        index.compact()
    assert Keys(tmp_path, FIELDS, at=1).get([key("a")])[1]["hour"].tolist() == [1]


def test_reading_while_sealing(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "_MOST_RECENT", 64)
    index = Keys(tmp_path, FIELDS)
    asked = [key(str(number)) for number in range(50)]
    put(index, [(one, 1) for one in asked])
    wrong: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            wrong.append(50 - int(index.get(asked)[0].sum()))

    thread = threading.Thread(target=read)
    thread.start()
    for seq in range(1, 40):
        put(index, [(key("x", str(seq), str(number)), 1) for number in range(50)])
        index.seal(seq)
    stop.set()
    thread.join()
    index.close()
    assert set(wrong) == {0}


def test_equal_first_words_are_told_apart():
    def run(lows: list[int], value: int) -> Hashed:
        rows = np.array([(value, 0)] * len(lows), FIELDS)
        return Hashed(np.full(len(lows), 7, np.uint64), np.array(lows, np.uint64), rows)

    whole = union([run([1, 3, 5], 1), run([1, 4, 5, 6], 2)])
    assert whole.low.tolist() == [1, 3, 4, 5, 6]
    assert whole.rows["hour"].tolist() == [2, 1, 2, 2, 2]
    hit, where = whole.find(np.full(7, 7, np.uint64), np.arange(1, 8, dtype=np.uint64))
    assert hit.tolist() == [True, False, True, True, True, True, False]
    assert where[hit].tolist() == [0, 1, 2, 3, 4]


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_keys_of_different_texts_differ(left, right):
    assert (key(*left) == key(*right)) is (left == right)
    assert keys(*left, last=right) == [key(*left, one) for one in right]


def test_bad_puts_are_refused(tmp_path):
    index = Keys(tmp_path, FIELDS)
    with pytest.raises(BadInput, match="1 keys, 2 rows"):
        index.put([key("a")], np.zeros(2, FIELDS))
    with pytest.raises(BadInput, match="16 bytes"):
        index.put([b"short"], np.zeros(1, FIELDS))


def test_other_fields_and_damage_are_told(tmp_path):
    index = Keys(tmp_path, FIELDS)
    put(index, [(key("a"), 1)])
    index.seal(1)
    with pytest.raises(Conflict, match="expected"):
        Keys(tmp_path, np.dtype([("other", "<i8")]))
    (file,) = tmp_path.glob("*.run")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="bytes, expected"):
        Keys(tmp_path, FIELDS)
