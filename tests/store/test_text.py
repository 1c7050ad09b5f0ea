"""The text engine against a list: searches, pages, seals, crashes, retention."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR, Fixed
from modelkeep.core.errors import BadInput, Busy, Conflict, Corrupt
from modelkeep.core.layouts import LOG
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.engines import text as text_module
from modelkeep.store.engines.text import Text
from modelkeep.store.text import days as days_module

TYPES = {"int64": pa.int64(), "string": pa.string()}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in LOG])
START = 15_000 * DAY


def record(at: int, message: str, **more: object) -> dict[str, object]:
    return {"at": at, "severity": 9, "level": "INFO", "service": "shop", "message": message, **more}


def entry(seq: int, *records: dict[str, object]) -> Entry:
    batch = pa.RecordBatch.from_pylist(list(records), schema=SCHEMA)
    half = len(records) // 2
    return Entry(seq, "", 0, (Part("log", batch.slice(0, half)), Part("event", batch), Part("log", batch.slice(half))))


def messages(engine: Text, query: str = "", **more: object) -> list[str]:
    return [row["message"] for row in engine.search(query, limit=10_000, **more).rows]


@pytest.fixture
def engine(tmp_path):
    found = Text(tmp_path / "text", heap_bytes=15_000_000)
    yield found
    found.close()


def test_a_record_is_found_from_the_moment_it_is_applied(engine):
    more = {"trace_id": "t1", "attributes": '{"user": {"id": 7}}', "level": "WARNING", "severity": 13}
    engine.apply([entry(1, record(START, "one"), record(START + 5, "two words", **more))])
    for _ in ("in memory", "on disk"):
        found = engine.search("words")
        assert (found.count, found.next) == (1, None)
        assert found.rows[0] == {
            "at": START + 5,
            "severity": 13,
            "level": "WARNING",
            "service": "shop",
            "host": None,
            "logger": None,
            "message": "two words",
            "trace_id": "t1",
            "prediction_id": None,
            "attributes": {"user": {"id": 7}},
            "id": found.rows[0]["id"],
        }
        for query in ("t1", "attributes.user.id:7", "level:warn", "severity:>9"):
            assert messages(engine, query) == ["two words"], query
        assert messages(engine) == ["two words", "one"]
        assert messages(engine, start_ns=START, end_ns=START + 5) == ["one"]
        assert engine.seal() == 1


STEP = st.one_of(
    st.lists(st.tuples(st.integers(-2, 3), st.sampled_from(["a", "b", "a b"])), min_size=1, max_size=6),
    st.sampled_from(["flush", "seal", "crash", "crash after writing"]),
)


@settings(max_examples=25)
@given(st.lists(STEP, max_size=12), st.integers(1, 4))
def test_searching_is_filtering_a_list(steps, limit):
    with tempfile.TemporaryDirectory() as place:
        engine, journal, everything = Text(Path(place), heap_bytes=15_000_000), [], []
        for step in steps:
            if isinstance(step, list):
                seq = len(journal) + 1
                # few different times: ties are the rule
                rows = [(START + number * HOUR * 12, text, f"{seq}.{row}") for row, (number, text) in enumerate(step)]
                journal.append(entry(seq, *(record(at, text, trace_id=name) for at, text, name in rows)))
                engine.apply(journal[-1:])
                everything += rows
            elif step == "flush":
                engine._flush()
            elif step == "seal":
                assert engine.seal() == len(journal)
            else:
                if step == "crash after writing":
                    engine._flush()
                engine._writers.clear()
                engine.close()
                engine = Text(Path(place), heap_bytes=15_000_000)
                engine.apply(journal[engine.sealed() :])
        expected = [
            name
            for at, text, name in sorted(everything, key=lambda row: (row[0], *map(int, row[2].split("."))))
            if "a" in text and at >= START
        ][::-1]
        found, before = [], None
        while True:
            answer = engine.search("a", start_ns=START, limit=limit, before=before)
            assert answer.count == len(expected)
            assert len(answer.rows) <= limit
            found += [row["trace_id"] for row in answer.rows]
            before = answer.next
            if before is None:
                break
            engine._flush()
        assert found == expected
        engine.close()


def test_a_year_at_once_keeps_few_writers_open(engine, monkeypatch):
    monkeypatch.setattr(text_module, "_TAIL_LINES", 50)
    monkeypatch.setattr(text_module, "_MOST_OPEN", 6)
    days = 40
    for seq in range(1, days + 1):
        engine._pause_s = 0.0
        engine.apply([entry(seq, *(record(START + seq * DAY + row, f"day{seq}") for row in range(10)))])
        assert len(engine._writers) <= 4
    assert engine.seal() == days
    assert engine.search("day7 OR day30").count == 20
    assert len(engine._open) <= 6
    assert engine.search().count == 10 * days
    assert engine.status().days == days
    assert engine.status().first_day == "2011-01-27"


def test_old_days_go_but_a_jumping_clock_takes_nothing(tmp_path):
    clock = Fixed(START + 10 * DAY)
    engine = Text(tmp_path, clock=clock, retention_ns=3 * DAY, heap_bytes=15_000_000)
    assert engine.expire() == 0
    engine.apply([entry(1, *(record(START + day * DAY, f"day{day}") for day in range(11)))])
    engine.seal()
    assert engine.expire() == 7
    assert messages(engine) == ["day10", "day9", "day8", "day7"]
    clock.at_ns = START + 1000 * DAY
    assert engine.expire() == 1
    assert engine.expire() == 0
    assert messages(engine) == ["day10", "day9", "day8"]
    clock.at_ns = 0
    assert engine.expire() == 0
    engine.close()
    assert len(list((tmp_path / "days").iterdir())) == 3
    (tmp_path / "days" / "2011-02-05").rename(tmp_path / "days" / "2011-02-05.deleted")
    again = Text(tmp_path, clock=clock)
    assert len(list((tmp_path / "days").iterdir())) == len(messages(again))
    again.close()


def test_a_disk_that_refuses_loses_nothing(engine, monkeypatch):
    engine.apply([entry(1, record(START, "one"))])
    real = days_module._document
    calls = []

    def fails(line):
        calls.append(line)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(line)

    monkeypatch.setattr(days_module, "_document", fails)
    engine.apply([entry(2, record(START, "two"))])
    with pytest.raises(Busy, match="No space left"):
        engine.seal()
    assert messages(engine) == ["two", "one"]
    assert engine.sealed() == 0
    assert engine.seal() == 2
    assert messages(engine) == ["two", "one"]


def test_a_commit_that_was_made_but_not_answered_doubles_nothing(engine, monkeypatch):
    engine.apply([entry(1, record(START, "one"))])
    engine.seal()
    engine.apply([entry(2, record(START, "two"), record(START, "three"))])
    (day,) = engine._writers.values()

    class Unsure:
        def __init__(self, writer: object) -> None:
            self.add_document, self._commit = writer.add_document, writer.commit

        def commit(self) -> None:
            self._commit()
            raise OSError("who knows")

    day._writer = Unsure(day._open())
    with pytest.raises(Busy):
        engine.seal()
    assert engine.seal() == 2
    assert messages(engine) == ["three", "two", "one"]


CHILD = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from importlib import util
spec = util.spec_from_file_location("made", {file!r})
made = util.module_from_spec(spec)
spec.loader.exec_module(made)
engine = made.Text(Path({store!r}), heap_bytes=15_000_000)
for seq in range(engine.sealed() + 1, 100_000):
    engine.apply([made.entry(seq, *(made.record(made.START + seq % 3 * made.DAY, "x") for _ in range(20)))])
    if seq % 7 == 0:
        engine._flush()
    if seq % 20 == 0:
        print(engine.seal(), flush=True)
"""


def test_killed_and_opened_again_it_is_exact(tmp_path):
    store = tmp_path / "store"
    script = textwrap.dedent(CHILD).format(folder=str(Path(__file__).parent), file=__file__, store=str(store))
    for lines in (1, 2, 3):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        sealed = [int(child.stdout.readline()) for _ in range(lines)][-1]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        engine = Text(store, heap_bytes=15_000_000)
        assert engine.sealed() >= sealed
        found = engine.search("x", limit=100_000)
        assert found.count == 20 * engine.sealed()
        assert len({row["id"] for row in found.rows}) == found.count
        engine.close()


def test_wrong_questions_are_refused(engine):
    for bad in ("x", "1-", "-", "1--1", f"{1 << 63}-1", "1.5-2"):
        with pytest.raises(BadInput, match="before"):
            engine.search(before=bad)
    with pytest.raises(BadInput, match="limit"):
        engine.search(limit=0)
    with pytest.raises(BadInput, match="column 2"):
        engine.search("(")
    assert engine.search(start_ns=5, end_ns=1).count == 0


def test_what_cannot_be_searched_is_counted_and_kept(engine):
    many = json.dumps({f"k{number}": number for number in range(1000)})
    engine.apply([entry(1, record(START, "many", attributes=many), record(START, "long", host="h" * 5000))])
    engine.seal()
    assert engine.status().cut == 2
    assert messages(engine, "attributes.k9:9") == ["many"]
    assert messages(engine, f"host:{'h' * 700}*") == ["long"]
    assert engine.search("long").rows[0]["host"] == "h" * 5000
    assert len(engine.search("many").rows[0]["attributes"]) == 1000


def test_a_newer_or_damaged_folder_is_told(tmp_path):
    engine = Text(tmp_path, heap_bytes=15_000_000)
    engine.apply([entry(1, record(START, "one"))])
    engine.seal()
    engine.close()
    manifest = tmp_path / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(good.replace('"form":1', '"form":7'))
    with pytest.raises(Conflict, match="form 7"):
        Text(tmp_path)
    manifest.write_text("nothing")
    with pytest.raises(Corrupt, match="manifest"):
        Text(tmp_path)
    manifest.write_text(good)
    (meta,) = tmp_path.glob("days/*/meta.json")
    meta.write_text("nothing")
    with pytest.raises(Corrupt, match="2011"):
        Text(tmp_path).search()
